/* Inside of the engine: linears, blocks and their state. A block kind is one file with a struct block_kind_ops and a
 * line in block_kinds[] (engine/block.c). */
#ifndef ENGINE_BLOCK_H
#define ENGINE_BLOCK_H

#include "backends/cpu/gemm.h"
#include "backends/cpu/kernel.h"
#include "engine/engine.h"
#include "engine/scan.h"
#include "engine/scratch.h"

/* A norm's weights as they multiply (1 added where they are stored around zero), owned. */
struct norm {
    enum norm_kind kind;
    float *weight, *bias; /* [cols]; bias NULL: none */
    float eps;
};

/* One piece of memory for the panels of many linears: in large pages, which small ones of their own would not fill. */
struct panel_store {
    uint8_t *memory;
    uint64_t size, used;
};

struct engine {
    const struct inventory *inv;
    struct pool *pool;
    const struct math_ops *math;
    const struct gemm_ops *gemm;
    uint64_t isa;
    enum compute compute;
    kernel_fn widen, input_nvfp4, input_fp8;
    bool quantize_inputs;
    const struct weight_source *weights; /* or NULL */
    uint64_t residual_bytes, keep_bytes;
    struct norm final_norm;
    struct panel_store *store; /* where linear_keep puts panels, while there is room; NULL: each in memory of its own */
    struct scratch *scratch;   /* [1 + threads]: of the calling thread outside of its items, then of every worker */
};

static inline struct scratch *worker_scratch(const struct engine *e, uint32_t worker)
{
    return &e->scratch[1 + worker];
}

/* ---- what things take, in bytes ----
 * Beside each piece of code that allocates stands the function that says how much; engine/footprint.c adds these up. */

/* The rows that a block runs over at a time. */
struct call_shape {
    uint64_t n_rows, n_segments; /* segments at most */
    uint64_t longest;            /* tokens of the longest text, those of earlier calls included */
    bool kept;                   /* weights stay packed in memory, else panels are made at each use */
};
struct need {
    uint64_t loaded;  /* as long as the block is open: norms, biases, tables */
    uint64_t kept;    /* packed weights, if they are kept */
    uint64_t calling; /* scratch of the calling thread, at most */
    uint64_t worker;  /* scratch of every worker, at most */
};
static inline void need_most(uint64_t *most, uint64_t bytes)
{
    if (bytes > *most) *most = bytes;
}

/* ---- linears: y = x W^T + bias ---- */

struct linear {
    const struct model_tensor *tensor;
    uint64_t rows, cols;                 /* outputs, inputs */
    float *bias;                         /* [rows], owned, or NULL */
    float *pre;                          /* [cols], owned: inputs times this are what goes on; or NULL */
    bool scaled;                         /* that there is one, also where only sizes are asked for */
    float weight_scale, input_scale;     /* of the format; input_scale 0: inputs are not quantized */
    const struct quant_format *stand_in; /* weights come from e->weights, in this format; or NULL */
    bool dynamic_input;                  /* inputs are quantized with scales of their own, made as they come */
    bool bf16;                           /* computes in bf16 (backends/cpu/gemm.h) */
    bool decoded;                        /* the format has no packed form: panels hold its values */
    struct packed packed;                /* how panels hold the weight */
    uint8_t *panels;                     /* all of them, or NULL: made from the file at each use */
    bool in_store;                       /* panels belong to a panel_store; else they are owned */
};

/* In which form the weight is computed with; NULL: plain numbers. */
static inline const struct quant_format *linear_format(const struct linear *l)
{
    return l->stand_in ? l->stand_in : l->tensor->format;
}

/* `bias_name` may be NULL. */
MUST_CHECK bool linear_open(struct linear *l, const struct engine *e, const struct model_tensor *t,
                            const char *bias_name, struct error *err);
/* The same without a look into the file, and with no bias: sizes only, nothing to close. */
MUST_CHECK bool linear_shape(struct linear *l, const struct engine *e, const struct model_tensor *t, struct error *err);
void linear_close(struct linear *l);
MUST_CHECK bool linear_keep(struct linear *l, const struct engine *e, struct error *err); /* fills `panels` */
/* x: [m, cols] with row stride ldx; y: [m, rows] with row stride ldy. The parallel form uses the engine's pool. */
MUST_CHECK bool linear_run(const struct linear *l, const struct engine *e, const float *x, uint64_t ldx, uint64_t m,
                           float *y, uint64_t ldy, const struct observer *ob, struct error *err);
/* The same on this thread alone, for callers that are items of a parallel-for: rows side by side, and room for copies
 * of them. */
MUST_CHECK bool linear_run_here(const struct linear *l, const struct engine *e, uint32_t worker, void *room,
                                const float *x, uint64_t m, float *y, const struct observer *ob, struct error *err);
/* Several linears of the same rows x, [m, cols] side by side as y is: what they share is done once, and their panels
 * are one parallel-for. Takes no more scratch than the one that takes most. */
struct linear_out {
    const struct linear *l;
    float *y; /* [m, rows] */
};
MUST_CHECK bool linear_run_all(const struct linear_out *outs, uint32_t n, const struct engine *e, const float *x,
                               uint64_t m, const struct observer *ob, struct error *err);
/* Bytes of that room for each of m rows: inputs that are quantized, rounded to bf16, or moved apart. */
uint64_t linear_room(const struct linear *l, const struct engine *e, uint64_t m, uint64_t ldx);
/* Adds a linear of the block to what it needs: it runs over m rows, no other one at the same time. `t` NULL: it is
 * absent. `n` loses nothing by a failure. */
MUST_CHECK bool linear_need(struct need *n, const struct engine *e, const struct model_tensor *t, bool has_bias,
                            uint64_t m, bool kept, struct error *err);
MUST_CHECK bool linear_need_role(struct need *n, const struct engine *e, enum tensor_role role,
                                 const struct block_config *b, bool has_bias, const struct call_shape *c,
                                 struct error *err);

/* Weight rows [first, first + n) as fp32, [n, cols], with the scratch of the thread that calls. */
MUST_CHECK bool linear_rows(const struct linear *l, const struct engine *e, struct scratch *scratch, uint64_t first,
                            uint64_t n, float *out, struct error *err);
/* What that takes of it. */
uint64_t linear_rows_need(const struct linear *l, const struct engine *e);
/* What the linear would make of its inputs before it multiplies, in place on rows [m, cols] of stride ldx: nothing, or
 * their quantized form. */
MUST_CHECK bool linear_round_input(const struct linear *l, const struct engine *e, float *x, uint64_t ldx, uint64_t m,
                                   struct error *err);

/* A plain tensor as fp32; caller frees. */
MUST_CHECK bool weights_load(const struct engine *e, const struct model_tensor *t, float **out, struct error *err);
/* The tensor of that role in this block; ERR_INTERNAL when the inventory lacks it. */
MUST_CHECK bool weights_load_role(const struct engine *e, enum tensor_role role, const struct block_config *b,
                                  float **out, struct error *err);
/* The norm of that role, of the model's kind and eps; `bias_role` is looked for when that kind has a bias. */
MUST_CHECK bool norm_open(struct norm *n, const struct engine *e, enum tensor_role role, enum tensor_role bias_role,
                          const struct block_config *b, struct error *err);
void norm_close(struct norm *n);
/* Adds what weights_load of this role takes; 0 when the model has none of that role here. */
void weights_need(struct need *n, const struct engine *e, enum tensor_role role, const struct block_config *b);
MUST_CHECK bool linear_open_role(struct linear *l, const struct engine *e, enum tensor_role role,
                                 const struct block_config *b, bool has_bias, struct error *err);
/* One scale of a quantized linear; must be positive and finite. */
MUST_CHECK bool weights_scalar(const struct engine *e, const struct model_tensor *t, enum tensor_part part, float *out,
                               struct error *err);

/* ---- blocks ---- */

/* What one text carries through one block; a kind uses what it needs. */
struct block_state {
    struct scan_state scan; /* recurrent state */
    float *conv;            /* [conv_taps, channels]: the last inputs, oldest first */
    uint64_t conv_floats;   /* how long that is */
    float *k, *v; /* [capacity, kv heads * head_dim]; of latent attention k alone: [capacity, latent + rope] */
    uint32_t n_past, capacity; /* tokens in k and v */
};
void block_state_close(struct block_state *s);
/* A copy of what cannot be cut back: recurrent state and convolution, and how many tokens k and v hold. */
MUST_CHECK bool block_state_save(const struct block_state *s, struct block_state *copy, struct error *err);
/* Makes s what it was when the copy was made; the copy stays. */
MUST_CHECK bool block_state_restore(struct block_state *s, const struct block_state *copy, struct error *err);
/* Room for n_new more rows of k and v; a width of 0: that one is not used. `total`: rows that there will be in all, or
 * 0 when nobody knows. */
MUST_CHECK bool block_state_grow(struct block_state *s, uint64_t n_new, uint64_t total, uint64_t k_width,
                                 uint64_t v_width, struct error *err);

/* A run of one text's tokens inside the rows of a call. */
struct segment {
    uint64_t row; /* of the call */
    uint32_t n;
    uint32_t text, first; /* tokens first .. first + n of that text */
    uint32_t total;       /* tokens of the whole text; 0: not known */
    bool last;            /* the text ends here */
    struct block_state *state;
};

struct block {
    const struct block_config *config;
    const struct block_kind_ops *ops;
    struct norm norm, post_norm; /* post_norm.weight NULL: none */
    void *kind;                  /* the kind's own weights */
};

struct block_call {
    const struct engine *engine;
    const struct block *block;
    const float *x; /* [n_rows, hidden], normed */
    float *y;       /* [n_rows, hidden], result: what is added to the residual stream */
    uint64_t n_rows;
    const struct segment *segments;
    uint32_t n_segments;
    const struct observer *observer; /* or NULL */
};

struct block_kind_ops {
    bool (*open)(void **kind, const struct engine *e, const struct block_config *b, struct error *err);
    void (*close)(void *kind);
    bool (*keep)(void *kind, const struct engine *e, struct error *err); /* keeps packed weights in memory */
    bool (*run)(const struct block_call *c, struct error *err);
    /* What `open`, `keep` and `run` take. */
    bool (*need)(struct need *n, const struct engine *e, const struct block_config *b, const struct call_shape *c,
                 struct error *err);
    /* What texts leave behind: n_tokens tokens in n_texts texts, of which n_open go on in another call. */
    uint64_t (*state)(const struct engine *e, const struct block_config *b, uint64_t n_tokens, uint64_t n_texts,
                      uint64_t n_open);
};
extern const struct block_kind_ops block_mamba2, block_attention, block_mlp, block_moe, block_delta, block_mla,
    block_linear;

MUST_CHECK bool block_open(struct block *b, const struct engine *e, const struct block_config *config,
                           struct error *err);
void block_close(struct block *b);
/* What block_open, keeping and block_run take. */
MUST_CHECK bool block_need(struct need *n, const struct engine *e, const struct block_config *config,
                           const struct call_shape *c, struct error *err);
uint64_t block_state_need(const struct engine *e, const struct block_config *config, uint64_t n_tokens,
                          uint64_t n_texts, uint64_t n_open);
/* x <- x + mixer(norm(x)) on rows [n_rows, hidden]. */
MUST_CHECK bool block_run(const struct block *b, const struct engine *e, float *x, uint64_t n_rows,
                          const struct segment *segments, uint32_t n_segments, const struct observer *ob,
                          struct error *err);
/* Sends rows x [n_rows, hidden] through experts of a MoE block, whatever the router says, for the observer alone; x
 * stays. */
MUST_CHECK bool block_visit_experts(const struct block *b, const struct engine *e, const float *x, uint64_t n_rows,
                                    const uint32_t *experts, uint32_t n_experts, const struct observer *ob,
                                    struct error *err);
/* The part of it behind the norm (engine/moe.c). */
MUST_CHECK bool moe_visit(const struct block_call *c, const uint32_t *experts, uint32_t n_experts, struct error *err);
/* out = norm(x), per row of `cols`; parallel; out may be x. */
void rows_norm(const struct engine *e, const struct norm *n, const float *x, uint64_t n_rows, uint64_t cols,
               float *out);
/* The same for runs of `cols` inside rows, one after the other `heads` times, in place; row stride `stride`. */
void heads_norm(const struct engine *e, const struct norm *n, float *x, uint64_t n_rows, uint64_t stride,
                uint64_t heads, uint64_t cols);
/* h = activation(h), times up when that is not NULL; [n_rows, cols] each, packed. */
MUST_CHECK bool rows_activate(const struct engine *e, const struct mlp_config *mlp, float *h, const float *up,
                              uint64_t n_rows, uint64_t cols, struct error *err);
/* The same on this thread alone, for items of a parallel-for. */
MUST_CHECK bool rows_activate_here(const struct engine *e, uint32_t worker, const struct mlp_config *mlp, float *h,
                                   const float *up, uint64_t n_rows, uint64_t cols, struct error *err);
/* Scratch of every worker. */
uint64_t rows_activate_need(const struct mlp_config *mlp, uint64_t cols);
/* Softmax of scale * scores [from, to) of a row of n_all, in place; the rest, which causality or a window hides,
 * becomes zero. A sink (or NULL) is one more logit, which only the sum sees. */
void softmax_scores(const struct math_ops *math, float *row, uint64_t from, uint64_t to, uint64_t n_all, float scale,
                    const float *sink);
/* Embedding rows of ids, and the head. */
MUST_CHECK bool engine_embed(const struct engine *e, const uint32_t *ids, uint64_t n, float *out, struct error *err);
/* The same from another table of that kind. */
MUST_CHECK bool engine_embed_from(const struct engine *e, const struct model_tensor *table, const uint32_t *ids,
                                  uint64_t n, float *out, struct error *err);
MUST_CHECK bool engine_head_open(const struct engine *e, struct linear *head, struct error *err);
const struct model_tensor *engine_head(const struct engine *e); /* its weight; the embedding's when these are tied */
/* Adds what an embedding table takes while it is looked into. */
MUST_CHECK bool engine_embed_need(struct need *n, const struct engine *e, const struct model_tensor *table,
                                  struct error *err);

#endif
