/* Inside of quantize: one run's state. */
#ifndef QUANTIZE_JOB_H
#define QUANTIZE_JOB_H

#include "backends/cpu/kernel.h"
#include "core/staging.h"
#include "quantize/quantize.h"

/* What ingot.json says of one written tensor. `source` is all zero for tensors that have none (scales). */
struct tensor_digests {
    struct digest written, source;
    bool has_source;
};

struct job {
    struct plan *plan;
    const struct model *model;
    const struct stats *stats;
    const struct quantize_options *opt;
    const struct progress *pr;
    struct staging *staging;
    struct shard_layout layout;
    struct shard_writer **writers;  /* [n_shards], NULL when not open */
    bool *shard_done;               /* [n_shards] found complete from an earlier run */
    struct tensor_digests *digests; /* [n_outputs] */
    float *input_amax;              /* [n_items] */
    float *group_amax;              /* [n_groups], NaN until known */
    uint8_t *hold;                  /* workspace: source bytes; PLAN_HOLD_BYTES or one piece */
    uint64_t hold_bytes;
    uint8_t *weight, *scales; /* workspace: encoded bytes of one piece */
    float *block_amax;        /* workspace of the search, or NULL */
    struct quantize_result *result;
};

/* quantize/encode.c: item i, whole; its outputs go to job_write. */
MUST_CHECK bool job_quantize_item(struct job *j, uint32_t i, struct error *err);
MUST_CHECK bool job_copy_item(struct job *j, uint32_t i, struct error *err);
/* quantize/files.c: config.json, hf_quant_config.json, ingot.json, and every other file of the source byte for byte. */
MUST_CHECK bool job_write_files(struct job *j, struct error *err);
/* quantize/shards.c: bytes of output o from `offset` on; ignored when its shard is done already. */
MUST_CHECK bool job_write(struct job *j, uint32_t output, uint64_t offset, const void *data, size_t n,
                          struct error *err);
bool job_needs_item(const struct job *j, uint32_t i); /* false when all its outputs are in finished shards */
MUST_CHECK bool job_shards_open(struct job *j, struct error *err); /* layout; what an earlier run finished */
MUST_CHECK bool job_shards_done_before(struct job *j, uint32_t output,
                                       struct error *err); /* commits shards that end before output */
void job_shards_close(struct job *j);

#endif
