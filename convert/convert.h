/* From one container to another: a Hugging Face folder to one GGUF file that llama.cpp runs, a GGUF model to a Hugging
 * Face folder, and a folder to one with other shards or another type. Streamed: what is in memory is a few pieces of
 * CONVERT_PIECE_BYTES per thread, whatever the model's size. Output bytes depend on the source and the options alone.
 */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H

#include "convert/gguf_types.h"
#include "core/pool.h"
#include "core/progress.h"
#include "models/inventory.h"

#define CONVERT_PIECE_BYTES ((uint64_t)4 << 20)

struct convert_options {
    struct pool *pool;
    uint64_t isa;
    enum dtype type;            /* of the matrices in safetensors; DTYPE_COUNT: as the source has them */
    const struct gguf_mix *mix; /* the same for GGUF; NULL: as the source has them */
    bool requantize;            /* a source with few bits becomes another type with few bits */
    bool verify;                /* read the output back: convert_verify */
    uint64_t shard_bytes;       /* of safetensors */
    bool replace;               /* an output that exists */
    bool no_tokenizer;          /* GGUF */
    bool hf;                    /* safetensors: Mistral's own layout becomes Hugging Face's (convert/native_hf.h) */
    const char *lora;           /* safetensors: the folder of an adapter that is merged (convert/lora.h), or NULL */
};

#define CONVERT_FALLBACKS_TOLD 256u /* by name; the others are counted */

struct convert_fallback {
    char name[96];
    enum dtype to;
};

struct convert_result {
    uint32_t n_tensors, n_files, n_merged; /* merged: changed by the adapter */
    uint64_t read_bytes, bytes;
    /* GGUF: tensors that are not of the type that was asked for, because their rows are not whole blocks of it or
     * llama.cpp has no place for their scales; the first of them by name. */
    uint32_t n_fallback;
    struct convert_fallback fallback[CONVERT_FALLBACKS_TOLD];
    uint32_t n_left_out; /* GGUF: tensors of a multi-token-prediction head that llama.cpp has no place for */
    char renamed_as[64]; /* the class of a Hugging Face folder made of Mistral's own layout; else empty */
    bool assumed_length; /* of that one: its longest position is not the source's */
    bool no_tokenizer;   /* and it has no tokenizer.json */
    uint32_t n_verified; /* tensors that were read back */
    double worst_error;  /* of these, over the type's bound; 0 when all are exact */
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
    uint64_t separate;              /* rows of a head whose neighbours become its halves: the way back; 0 */
    enum dtype from, to;
    int change; /* enum cast_change */
    const char *name;
    /* Rows that are made rather than stored, as F32; then parts, part_rows and interleave say nothing. May be NULL. */
    bool (*read)(void *ctx, uint32_t worker, uint64_t first, uint64_t n, float *out, struct error *err);
    void *read_ctx;
    /* Of a source whose codes have scales beside them, and of NVFP4 that is made: the tensors of the parts; or NULL. */
    const struct model_tensor *const *tensors;
    const float *scales; /* [n_parts] of NVFP4 that is made from numbers; NULL: codes stay as they are */
};
/* Rows [first, first + n) of an item as they belong into the output, `bytes` of them. */
MUST_CHECK bool convert_rows(const struct checkpoint *ck, const struct convert_item *item, uint64_t isa,
                             uint32_t worker, uint64_t first, uint64_t n, void *dst, struct error *err);
/* The same rows as fp32 numbers, before they are rounded to the item's type. */
MUST_CHECK bool convert_values(const struct checkpoint *ck, const struct convert_item *item, uint64_t isa,
                               uint64_t first, uint64_t n, float *dst, struct error *err);
/* The largest magnitude of each part of an item, to out[n_parts]. */
MUST_CHECK bool convert_amax(const struct checkpoint *ck, const struct convert_item *item,
                             const struct convert_options *opt, float *out, struct error *err);
typedef bool (*convert_write_fn)(void *ctx, uint32_t item, uint64_t offset, const void *data, size_t n,
                                 struct error *err);
/* Reads a GGUF file of ours back: every item must be there, with its type and shape, and hold what it should: the same
 * bytes where nothing is rounded twice, numbers within the type's bound where it is. Fills n_verified and worst_error.
 */
struct gguf_writer;
MUST_CHECK bool convert_read_back(const char *output, const struct gguf_writer *w, const struct checkpoint *ck,
                                  const struct convert_item *items, uint32_t n, const struct convert_options *opt,
                                  struct convert_result *out, const struct progress *pr, struct error *err);
/* Reads, casts and writes all items in pieces, in parallel. `stage` for progress. */
MUST_CHECK bool convert_items(const struct checkpoint *ck, const struct convert_item *items, uint32_t n,
                              const struct convert_options *opt, convert_write_fn write, void *ctx,
                              const struct progress *pr, struct error *err);

#endif
