/* Follows a plan: streams every tensor from the source, encodes or copies it, and writes a checkpoint that engines load
 * as it is. Memory is bounded by the plan's workspace, whatever the model's size; a killed run goes on where it stopped
 * and ends in the same bytes. */
#ifndef QUANTIZE_QUANTIZE_H
#define QUANTIZE_QUANTIZE_H

#include "backends/backend.h"
#include "core/pool.h"
#include "core/progress.h"
#include "plan/stats.h"

struct quantize_options {
    struct pool *pool;
    uint64_t isa;
    struct backend_choice backend; /* ops NULL: the CPU. Several devices share the tensors */
    uint64_t shard_bytes;          /* SHARD_BYTES_DEFAULT */
    const char *scales_from;       /* a quantized folder whose scales are taken over (quantize/given.h); NULL: none */
    const struct model *scales_model; /* the same, open; for quantize_digests */
    const json_t *source_signature;   /* what was verified of the source, for ingot.json; NULL: nothing */
    bool replace;                     /* an existing output is swapped out at the end */
    uint64_t piece_bytes;             /* 0: PLAN_PIECE_BYTES, and less where a device's memory is short */
    uint64_t hold_bytes;              /* 0: PLAN_HOLD_BYTES */
};

/* What choosing a linear's block scales was worth: sums of squared errors of its weights. */
struct quantize_gain {
    double error_max, error; /* with each block's own maximum; as it is written */
    bool measured;           /* false: nothing was chosen, calibration did (solve_gain), or an earlier run wrote it */
};

/* Everything that the command reports. */
struct quantize_result {
    uint64_t read_bytes, written_bytes;
    uint32_t n_quantized, n_copied, n_zero; /* linears; n_zero: all-zero ones, written with scale 1/2688 or 1/448 */
    bool resumed;
    const char *backend; /* what computed: of no influence on the output */
    char device[128];
    uint32_t n_devices;
    uint64_t piece_bytes;
    struct quantize_gain *gains; /* [plan->n_items], in the plan's arena */
    uint64_t n_clipped;          /* with scales_from: weights beyond what their scale reaches, in this run */
    uint32_t n_clipped_tensors;  /* those that have some */
    const char *worst_clipped;   /* the one with the largest share; of the plan; NULL: none */
    uint64_t worst_n_clipped, worst_n_elems;
    struct digest scales_digest; /* of the scales taken over */
};

/* `stats` may be NULL when the plan needs no data, and with scales_from, where they are not looked at. `m` is the
 * source that the plan was made from. */
MUST_CHECK bool quantize_run(struct plan *plan, const struct model *m, const struct stats *stats, const char *out_dir,
                             const struct quantize_options *opt, struct quantize_result *result,
                             const struct progress *pr, struct error *err);

/* The bytes that quantize would write of some items, as digests: nothing is written, and nothing else is read than
 * these items and the members of their groups. */
struct quantize_again {
    const bool *wanted;  /* [plan->n_items]; of items that need statistics only with them, see below */
    struct digest *made; /* [plan->n_outputs] out */
    bool *known;         /* [plan->n_outputs] out: false of items that are not wanted, and without statistics of the
                            scales of inputs and caches that only those know */
};
/* Items whose weights cannot be made without statistics: solved or folded ones, and those that share a maximum with
 * folded ones. needs[plan->n_items] out. */
MUST_CHECK bool quantize_needs_stats(const struct plan *p, bool *needs, struct error *err);
/* `stats` may be NULL. Of `opt` pool, isa and scales_model count. Errors as quantize_run's. */
MUST_CHECK bool quantize_digests(struct plan *plan, const struct model *m, const struct stats *stats,
                                 const struct quantize_options *opt, const struct quantize_again *again,
                                 struct quantize_result *result, const struct progress *pr, struct error *err);

#endif
