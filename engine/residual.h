/* The residual stream of a batch between blocks: rows of fp32, in memory, or in an unlinked file when they are too
 * many. */
#ifndef ENGINE_RESIDUAL_H
#define ENGINE_RESIDUAL_H

#include "core/error.h"

#include <stdint.h>

struct residual {
    uint64_t n_rows, cols;
    float *memory;
    int fd;
};
#define RESIDUAL_INIT                                                                                                  \
    {                                                                                                                  \
        .fd = -1                                                                                                       \
    }

/* In memory up to `memory_bytes`, beyond that in an unlinked file in `spill_dir`; NULL: always in memory. */
MUST_CHECK bool residual_open(struct residual *r, uint64_t n_rows, uint64_t cols, const char *spill_dir,
                              uint64_t memory_bytes, struct error *err);
void residual_close(struct residual *r);
MUST_CHECK bool residual_read(const struct residual *r, uint64_t first, uint64_t n, float *out, struct error *err);
MUST_CHECK bool residual_write(struct residual *r, uint64_t first, uint64_t n, const float *rows, struct error *err);

#endif
