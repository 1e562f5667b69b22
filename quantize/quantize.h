/* Follows a plan: streams every tensor from the source, encodes or copies it, and writes a checkpoint that engines load
 * as it is. Memory is bounded by the plan's workspace, whatever the model's size; a killed run goes on where it stopped
 * and ends in the same bytes. */
#ifndef QUANTIZE_QUANTIZE_H
#define QUANTIZE_QUANTIZE_H

#include "core/pool.h"
#include "core/progress.h"
#include "plan/stats.h"

struct quantize_options {
    struct pool *pool;
    uint64_t isa;
    uint64_t shard_bytes; /* SHARD_BYTES_DEFAULT */
    bool replace;         /* an existing output is swapped out at the end */
};

/* Everything that the command reports. */
struct quantize_result {
    uint64_t read_bytes, written_bytes;
    uint32_t n_quantized, n_copied, n_zero; /* linears; n_zero: all-zero ones, written with scale 1/2688 or 1/448 */
    bool resumed;
};

/* `stats` may be NULL when the plan needs no data. `m` is the source that the plan was made from. */
MUST_CHECK bool quantize_run(struct plan *plan, const struct model *m, const struct stats *stats, const char *out_dir,
                             const struct quantize_options *opt, struct quantize_result *result,
                             const struct progress *pr, struct error *err);

#endif
