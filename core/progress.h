/* How a stage tells what it is doing, and learns that it should stop. Stages never print; cli/ passes a reporter that
 * does, tests pass NULL or one that records. All calls come from the thread that runs the stage. */
#ifndef CORE_PROGRESS_H
#define CORE_PROGRESS_H

#include "core/error.h"

#include <stdint.h>

struct progress {
    /* `stage` is a verb's name; `item` what is worked on now (may be NULL); total 0 means unknown. */
    void (*update)(void *ctx, const char *stage, const char *item, uint64_t done, uint64_t total);
    /* One finished sentence for a person: a size, a figure, a warning. */
    void (*note)(void *ctx, const char *stage, const char *text);
    bool (*cancelled)(void *ctx);
    void *ctx;
};

/* All accept NULL and reporters with missing members. */
void progress_update(const struct progress *pr, const char *stage, const char *item, uint64_t done, uint64_t total);
void progress_note(const struct progress *pr, const char *stage, const char *fmt, ...) PRINTF_LIKE(3, 4);
MUST_CHECK bool progress_go_on(const struct progress *pr, struct error *err); /* false: ERR_CANCELLED is set */

#endif
