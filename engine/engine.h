/* The forward pass, for calibration and parity: fp32 throughout, weights widened from what the files hold (quantized
 * ones decoded from their bytes, never from a source), activations of quantized linears quantized as an engine would.
 *
 * Three ways to run, one arithmetic: `stream` takes a batch of texts through one block at a time, so that a model
 * larger than memory works (weights are read once per block and dropped); `session` keeps every block and its state and
 * decodes token by token. All give the same bits: sums have one order (backends/cpu/math.h; recurrent layers,
 * engine/scan.h), whatever the batch, the pieces it is cut into, the threads, the CPU. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "core/pool.h"
#include "core/progress.h"
#include "models/inventory.h"

struct engine;

/* In which arithmetic linears multiply (backends/cpu/gemm.h); all else is fp32, and so are routers. */
enum compute {
    COMPUTE_FP32, /* exact weights, fp32 activations */
    COMPUTE_BF16  /* weights as bf16 (exact for bf16 and all quantized types), activations rounded to bf16, sums fp32 */
};

/* What a K/V cache keeps: FP8 numbers, or blocks of NVFP4. */
struct cache_type {
    bool nvfp4;
    float scale; /* 0: it is not quantized */
};

/* Weights that stand in for those of the file, where calibration asks what quantized ones would do. Asked when a block
 * is opened and when weights are read; from several threads. */
struct weight_source {
    void *ctx;
    /* The format that the tensor is computed in, or NULL: as the file has it. *input_scale > 0: its inputs are
     * quantized as that format says. */
    const struct quant_format *(*format)(void *ctx, const struct model_tensor *t, float *input_scale);
    /* Rows [first, first + n) of such a tensor, decoded: [n, cols]. */
    bool (*rows)(void *ctx, const struct model_tensor *t, uint64_t first, uint64_t n, float *out, struct error *err);
    /* The cache of what attn_k, attn_v, or for a latent kv_a gives; false, or NULL: as the file declares. */
    bool (*cache)(void *ctx, const struct model_tensor *t, struct cache_type *out);
    /* What the inputs of such a tensor are multiplied with before all else, [cols]; false: nothing. out NULL: only
     * asks. The member may be NULL. */
    bool (*input_factors)(void *ctx, const struct model_tensor *t, float *out);
    /* Of any tensor of one dimension: values [n] as the file has them, to be changed. The member may be NULL. */
    bool (*vector)(void *ctx, const struct model_tensor *t, float *values, struct error *err);
};

struct engine_options {
    struct pool *pool;    /* borrowed; NULL: one thread */
    uint64_t isa;         /* backends/cpu/kernel.h; isa_detected() */
    enum compute compute; /* calibration and parity: COMPUTE_FP32 */
    bool quantize_inputs; /* false: W4A16 reading of a W4A4 file (weights as stored, activations as they are) */
    const struct weight_source *weights; /* borrowed; NULL: none stands in */
    uint64_t residual_bytes; /* a stream's activations beyond this go to its spill file; 0: a quarter of the memory */
    uint64_t keep_bytes; /* a stream that needs a block's weights several times keeps up to so many; 0: a quarter too */
};

MUST_CHECK bool engine_open(struct engine **out, const struct inventory *inv, const struct engine_options *opt,
                            struct error *err);
void engine_close(struct engine *e); /* NULL is fine */
CLEANUP_DEFINE(engine, struct engine, engine_close)
const struct model_config *engine_config(const struct engine *e);

/* What a run may watch. Any member may be NULL. Calls about one tensor or one text never overlap, but calls about
 * different experts may come from different threads. Rows: n_rows of `tensor`'s columns (or outputs), row stride in
 * floats. */
struct observer {
    void *ctx;
    void (*input)(void *ctx, const struct model_tensor *linear, const float *x, uint64_t n_rows, uint64_t stride);
    /* K and V as they go into the cache, before any cache quantization; `linear` is attn_k or attn_v. */
    void (*kv)(void *ctx, const struct model_tensor *linear, const float *x, uint64_t n_rows, uint64_t n_cols,
               uint64_t stride);
    /* Chosen experts (ascending) and their final weights: [n_tokens, top_k]; tokens first .. first + n_tokens of a
     * text. */
    void (*route)(void *ctx, uint32_t layer, uint32_t text, uint32_t first, uint32_t n_tokens, const uint32_t *experts,
                  const float *weights);
    /* After the last token of a text: recurrent state, of Mamba-2 [heads, head_dim, state_size], of DeltaNet
     * [value heads, key size, value size]; the last conv_taps inputs of the
     * convolution, oldest first, [conv_taps, channels]. */
    void (*state)(void *ctx, uint32_t layer, uint32_t text, const float *ssm, const float *conv);
};

/* ---- a batch of texts, block by block ---- */

struct text_ids {
    const uint32_t *ids;
    uint32_t n;
};

struct stream;
/* Embeds all tokens. Fails on an id outside the vocabulary (ERR_FORMAT naming text and position), an empty text, or
 * none. `spill_dir`: where the residual stream goes when it is larger than a quarter of the memory; NULL: it must fit.
 */
MUST_CHECK bool stream_open(struct stream **out, struct engine *e, const struct text_ids *texts, uint32_t n_texts,
                            const char *spill_dir, struct error *err);
void stream_close(struct stream *s); /* NULL is fine */
CLEANUP_DEFINE(stream, struct stream, stream_close)
uint64_t stream_rows(const struct stream *s); /* tokens of all texts */
uint64_t stream_first_row(const struct stream *s, uint32_t text);
/* Runs block b (0 .. n_blocks - 1, in order) over every text. */
MUST_CHECK bool stream_block(struct stream *s, uint32_t b, const struct observer *ob, const struct progress *pr,
                             struct error *err);
/* The same without a trace: the rows stay what they were, and the block can be run again. */
MUST_CHECK bool stream_observe(struct stream *s, uint32_t b, const struct observer *ob, const struct progress *pr,
                               struct error *err);
/* From the next block on, also keeps what entered the block: twice the room. */
MUST_CHECK bool stream_keep_inputs(struct stream *s, const char *spill_dir, struct error *err);
/* Sends all tokens through these experts of block b, whatever the router says, for the observer alone. b is the block
 * that ran last, a BLOCK_MOE, with its inputs kept. */
MUST_CHECK bool stream_visit_experts(struct stream *s, uint32_t b, const uint32_t *experts, uint32_t n_experts,
                                     const struct observer *ob, const struct progress *pr, struct error *err);
/* A second stream over the same texts, which it borrows; it holds nothing before stream_cross. */
MUST_CHECK bool stream_fork(struct stream **out, const struct stream *s, const char *spill_dir, struct error *err);
/* Runs block b, the one that ran last in `from`, whose inputs are kept, once more with the weights of engine `with`;
 * the fork `to` then is where `from` would be with these weights. */
MUST_CHECK bool stream_cross(struct stream *to, const struct stream *from, struct engine *with, uint32_t b,
                             const struct progress *pr, struct error *err);
/* As stream_block, with the weights and caches of engine `with`. */
MUST_CHECK bool stream_block_with(struct stream *s, struct engine *with, uint32_t b, const struct progress *pr,
                                  struct error *err);
/* The residual stream as it is now: rows [first, first + n) into out [n, hidden]. */
MUST_CHECK bool stream_read(const struct stream *s, uint64_t first, uint64_t n, float *out, struct error *err);
/* How many of n_rows to ask stream_logits for at a time: 64 MiB of logits. When that is fewer than all, the head's
 * weights stay in memory if they are not too many. */
uint64_t stream_logit_rows(const struct engine *e, uint64_t n_rows);
/* Final norm and head of rows [first, first + n): `normed` [n, hidden], what enters the head, and `logits` [n, vocab];
 * either may be NULL. */
MUST_CHECK bool stream_logits(struct stream *s, uint64_t first, uint64_t n, float *normed, float *logits,
                              struct error *err);
/* The logits that these rows would have with the head of engine `with`, which is read for each call. */
MUST_CHECK bool stream_logits_with(struct stream *s, struct engine *with, uint64_t first, uint64_t n, float *logits,
                                   struct error *err);

/* ---- token by token ---- */

struct session;
MUST_CHECK bool session_open(struct session **out, struct engine *e, struct error *err);
void session_close(struct session *s); /* NULL is fine */
CLEANUP_DEFINE(session, struct session, session_close)
/* Feeds tokens and gives the logits [vocab] behind the last one. */
MUST_CHECK bool session_feed(struct session *s, const uint32_t *ids, uint32_t n, float *logits, struct error *err);
#define SESSION_ROWS_MAX 512u
/* Feeds up to SESSION_ROWS_MAX tokens and gives, of each, what enters the head, `normed` [n, hidden], and the logits of
 * the last n_logits, [n_logits, vocab]. */
MUST_CHECK bool session_feed_rows(struct session *s, const uint32_t *ids, uint32_t n, float *normed, float *logits,
                                  uint32_t n_logits, struct error *err);
/* Remembers where the text is. */
MUST_CHECK bool session_mark(struct session *s, struct error *err);
/* Takes back the tokens fed since the mark but the first n, which are `ids`: the state is, to the bit, as if no others
 * had been fed. Recurrent layers go back to the mark and are fed these again. */
MUST_CHECK bool session_rewind(struct session *s, const uint32_t *ids, uint32_t n, struct error *err);

#endif
