/* A growing text, for tables and documents that are built piece by piece. A failed allocation is remembered and
 * reported once, by text_take or text_ok, so that building code stays straight. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include "core/error.h"

#include <stddef.h>
#include <string.h>

struct text {
    char *data;
    size_t size, capacity;
    bool failed;
};

#define TEXT_INIT                                                                                                      \
    {                                                                                                                  \
        .data = NULL                                                                                                   \
    }

void text_add(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
void text_put(struct text *t, const void *data, size_t n);
MUST_CHECK bool text_take(struct text *t, char **out, size_t *out_size,
                          struct error *err); /* *out: caller frees; terminated */
void text_free(struct text *t);

static inline void cleanup_text(struct text *t)
{
    text_free(t);
}

/* Also when they are equal. */
static inline bool text_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* "12.3 MiB": for people. */
void text_bytes(char out[32], unsigned long long bytes);

#endif
