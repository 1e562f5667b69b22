/* Does a model fit on a GPU, with how much context for how many sequences? A pure calculation over plain numbers: bytes
 * from the tensor headers and geometry from config.json, never a parameter count. Everything is per GPU ("rank").
 *
 *   kv_token   = 2 * head_dim * kv_bytes * max(1, kv_heads / tp) per attention layer (with drafts, the MTP head's too)
 *                layers that differ count with their own heads; one with a window holds no more tokens than that
 *                of latent attention: (latent + rotary part) * kv_bytes per layer, whatever tp
 *   state_slot = per Mamba-2 layer: heads/tp * head_dim * state * ssm_bytes
 *                                 + (heads*head_dim + 2*groups'*state)/tp * (taps - 1 + drafts) * conv_bytes
 *                groups' = groups, padded to a multiple of tp
 *   slots      = 1 + drafts                                (vLLM and TensorRT-LLM)
 *   budget     = memory * utilisation - weights - overhead
 *   fits when  budget >= sequences * slots * state_slot + sequences * context * kv_token
 *
 * An engine that hands memory out in blocks fits less: fit_blocks counts as vLLM does. Source of both: vLLM's cache
 * configuration (docs/profiles.md), checked against its 0.17.1 release. */
#ifndef PACK_FIT_H
#define PACK_FIT_H

#include "core/error.h"
#include "models/inventory.h"

#define FIT_CONTEXT_MAX ((uint64_t)1 << 32) /* tokens; published contexts end at 2^20 */
#define FIT_SEQUENCES_MAX ((uint64_t)1 << 20)
#define FIT_DRAFTS_MAX 64u
#define FIT_RANKS_MAX 4096u
#define FIT_UNBOUNDED UINT64_MAX /* "as many as you like": nothing grows with it */

/* What runtime, CUDA graphs, activations and communication take beside weights and caches: an estimate for the engines'
 * default batch sizes, smaller on small cards because their defaults are. */
#define FIT_OVERHEAD_BYTES ((uint64_t)4 << 30)
#define FIT_OVERHEAD_SMALL_BYTES ((uint64_t)2 << 30)
#define FIT_SMALL_CARD_BYTES ((uint64_t)32 << 30)

/* Attention layers that cache alike. */
#define FIT_KINDS_MAX 32u /* published models have at most 3 */
struct fit_kind {
    uint32_t n_layers, n_kv_heads, head_dim, window; /* window 0: all tokens are kept */
};

/* Of one model. weight_bytes is what one rank holds (fit_weights). */
struct fit_model {
    uint64_t weight_bytes;
    uint32_t n_attention, n_mamba; /* layers of the trunk */
    uint32_t n_draft_attention;    /* attention layers of the MTP head; count only with drafts */
    uint32_t latent_width;         /* of latent attention: numbers cached per token and layer, on every rank; or 0 */
    struct attention_config attention;    /* used when there is an attention layer */
    struct ssm_config ssm;                /* used when there is a Mamba layer */
    struct fit_kind kinds[FIT_KINDS_MAX]; /* of the trunk's attention layers; n_kinds 0: all are as `attention` says */
    uint32_t n_kinds;
};

struct fit_request {
    uint64_t memory_bytes;         /* usable, of one GPU */
    uint32_t utilisation_permille; /* 1..1000: the engine's share of it */
    uint64_t overhead_bytes;
    uint32_t tp; /* ranks that share every layer */
    uint64_t context, sequences;
    uint32_t drafts;                /* speculative tokens per step */
    uint32_t kv_bits_x2;            /* bits of a cached number, twice: 32 bf16, 16 fp8, 9 NVFP4 with scales */
    uint32_t ssm_bytes, conv_bytes; /* of one number of the recurrent state, of the convolution's */
    uint32_t group_stretch_percent; /* with blocks: kinds of layers whose counts differ by less share one group size */
    uint32_t step_tokens;           /* computed at once: a layer with a window holds so many more while it does */
    uint32_t block_tokens;          /* blocks hold a multiple of this many tokens; 0: do not count blocks */
};

/* What an engine that allocates in equal blocks does with the budget. Layers form groups of equal size, one block
 * serves one group; a state slot takes a block of its own, so blocks are made as large as a state. */
struct fit_blocks {
    uint64_t block_tokens, page_bytes; /* of one layer's share of a block */
    uint32_t group_layers, n_attention_groups, n_state_groups;
    uint64_t total, per_sequence; /* blocks: in the budget, for one sequence of `context` */
    uint64_t max_context, max_sequences;
};

struct fit {
    uint64_t allowed_bytes;         /* memory * utilisation */
    int64_t budget_bytes;           /* may be negative */
    uint64_t kv_token_bytes;        /* of a token that every layer still holds */
    uint64_t kv_sequence_bytes;     /* of one sequence of `context` tokens */
    uint64_t ssm_bytes, conv_bytes; /* of one slot, all layers */
    uint64_t slots;                 /* per sequence */
    uint64_t state_bytes, kv_bytes; /* for all sequences at full context */
    uint64_t max_context;           /* for the asked number of sequences; FIT_UNBOUNDED without attention layers */
    uint64_t max_sequences;         /* of the asked context */
    struct fit_blocks blocks;       /* zeros when not asked for */
    bool fits;                      /* by the formula and, when asked for, in blocks */
};

uint64_t fit_overhead(uint64_t memory_bytes);
/* ERR_USAGE for a request beyond the limits above or a number that does not fit in 64 bits. */
MUST_CHECK bool fit_compute(const struct fit_model *m, const struct fit_request *r, struct fit *out, struct error *err);
/* The smaller of formula and blocks. */
uint64_t fit_max_context(const struct fit *f);
uint64_t fit_max_sequences(const struct fit *f);

/* Geometry of a model; weight_bytes is left 0. */
void fit_model_from(const struct model_config *cfg, struct fit_model *out);

/* How a tensor lies on the ranks. */
enum fit_share { SHARE_SPLIT, SHARE_REPLICATED, SHARE_KV_HEADS, SHARE_GROUPS };
/* Split: embedding and head (by vocabulary), every linear of attention, MLP and Mamba and what belongs to its heads,
 * routed experts (whole ones with expert parallelism, slices without: the same bytes), shared experts, the MTP
 * projection. Replicated: norms, biases, router, latent projections, of latent attention the matrices into the latents.
 * k and v: replicated as far as there are fewer heads than ranks. Mamba's input projection and convolution: their
 * groups are padded to a multiple of the ranks. */
enum fit_share fit_share_of(enum tensor_role role);
/* Bytes that one rank holds of `bytes` of a tensor of that role (of one part of it: scalars are replicated). */
uint64_t fit_rank_bytes(const struct model_config *cfg, enum tensor_role role, uint64_t bytes, uint32_t tp);
/* Bytes of all tensors on one rank. The MTP head counts only when `drafts`: engines do not load it otherwise. */
uint64_t fit_weights(const struct inventory *inv, uint32_t tp, bool drafts);

#endif
