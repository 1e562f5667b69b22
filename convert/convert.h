/* From one container to another: a Hugging Face folder to one GGUF file that llama.cpp runs, a GGUF model to a Hugging
 * Face folder, and a folder to one with other shards or another type. Streamed: what is in memory is a few pieces of
 * CONVERT_PIECE_BYTES per thread, whatever the model's size. Output bytes depend on the source and the options alone.
 */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H

#include "core/pool.h"
#include "core/progress.h"
#include "models/inventory.h"

#define CONVERT_PIECE_BYTES ((uint64_t)4 << 20)

struct convert_options {
    struct pool *pool;
    uint64_t isa;
    enum dtype type;      /* of the matrices; DTYPE_COUNT: as the source has them */
    uint64_t shard_bytes; /* of safetensors */
    bool replace;         /* an output that exists */
    bool no_tokenizer;    /* GGUF */
    const char *lora;     /* safetensors: the folder of an adapter that is merged (convert/lora.h), or NULL */
};

struct convert_result {
    uint32_t n_tensors, n_files, n_merged; /* merged: changed by the adapter */
    uint64_t read_bytes, bytes;
};

/* `output` is a file that appears when it is complete. ERR_UNSUPPORTED for what GGUF, or llama.cpp's form of the
 * family, cannot say. */
MUST_CHECK bool convert_to_gguf(const struct model *m, const char *output, const struct convert_options *opt,
                                struct convert_result *out, const struct progress *pr, struct error *err);
/* `output` is a folder; a run that was killed goes on with the shards that were complete. */
MUST_CHECK bool convert_to_safetensors(const struct model *m, const char *output, const struct convert_options *opt,
                                       struct convert_result *out, const struct progress *pr, struct error *err);

/* ---- shared by both: one tensor's way ---- */

/* Where the rows of an output tensor come from: `n_parts` source tensors stacked (experts), each `part_rows` rows. */
struct convert_item {
    const uint32_t *parts; /* of the checkpoint */
    uint32_t n_parts;
    uint64_t part_rows, rows, cols; /* rows = n_parts * part_rows; a tensor of one dimension is one row */
    uint64_t interleave;            /* rows of a head whose halves become neighbours; 0: as they are */
    enum dtype from, to;
    int change; /* enum cast_change */
    const char *name;
    /* Rows that are made rather than stored, as F32; then parts, part_rows and interleave say nothing. May be NULL. */
    bool (*read)(void *ctx, uint32_t worker, uint64_t first, uint64_t n, float *out, struct error *err);
    void *read_ctx;
};
typedef bool (*convert_write_fn)(void *ctx, uint32_t item, uint64_t offset, const void *data, size_t n,
                                 struct error *err);
/* Reads, casts and writes all items in pieces, in parallel. `stage` for progress. */
MUST_CHECK bool convert_items(const struct checkpoint *ck, const struct convert_item *items, uint32_t n,
                              const struct convert_options *opt, convert_write_fn write, void *ctx,
                              const struct progress *pr, struct error *err);

#endif
