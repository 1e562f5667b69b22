/* What tensors are for. A family is data: how to read its configuration, and rules that say which tensor is expected
 * where, with which shape. No arithmetic on weights here.
 *
 * Roles are the only vocabulary that recipes and the engine use; nobody guesses a purpose from a substring of a name.
 */
#ifndef MODELS_ARCH_H
#define MODELS_ARCH_H

#include "core/arena.h"
#include "core/error.h"
#include "core/json.h"
#include "formats/hf_config.h"

#include <stdint.h>

/* A new role is one line here and one in role_table[] (models/role.c). */
enum tensor_role {
    ROLE_EMBED,
    ROLE_FINAL_NORM,
    ROLE_LM_HEAD,
    ROLE_FINAL_NORM_BIAS,
    ROLE_BLOCK_NORM,
    ROLE_BLOCK_NORM_BIAS,
    ROLE_BLOCK_POST_NORM,
    ROLE_ATTN_Q,
    ROLE_ATTN_K,
    ROLE_ATTN_V,
    ROLE_ATTN_O,
    ROLE_ATTN_BIAS,
    ROLE_ATTN_Q_NORM,
    ROLE_ATTN_K_NORM,
    ROLE_ATTN_SINKS,
    ROLE_ATTN_LINEAR,
    ROLE_MLA_Q_A, /* latent attention: x to the queries' latent, that to the heads; the same for keys and values */
    ROLE_MLA_Q_A_NORM,
    ROLE_MLA_Q_B,
    ROLE_MLA_KV_A,
    ROLE_MLA_KV_A_NORM,
    ROLE_MLA_KV_B,
    ROLE_MLP_GATE,
    ROLE_MLP_UP,
    ROLE_MLP_DOWN,
    ROLE_MLP_BIAS,
    ROLE_MLP_LINEAR,
    ROLE_ROUTER,
    ROLE_ROUTER_BIAS,
    ROLE_EXPERT_GATE,
    ROLE_EXPERT_UP,
    ROLE_EXPERT_DOWN,
    ROLE_EXPERT_BIAS,
    ROLE_SHARED_GATE,
    ROLE_SHARED_UP,
    ROLE_SHARED_DOWN,
    ROLE_SHARED_MIX, /* one output: how much of the shared expert a token takes, before a sigmoid */
    ROLE_LATENT_IN,
    ROLE_LATENT_OUT,
    ROLE_SSM_IN,
    ROLE_SSM_OUT,
    ROLE_SSM_PROJ_BIAS,
    ROLE_SSM_CONV,
    ROLE_SSM_CONV_BIAS,
    ROLE_SSM_A_LOG,
    ROLE_SSM_D,
    ROLE_SSM_DT_BIAS,
    ROLE_SSM_NORM,
    ROLE_DELTA_QKVZ, /* DeltaNet; its convolution, A_log and dt_bias have the roles ROLE_SSM_* */
    ROLE_DELTA_BA,
    ROLE_DELTA_QKV,
    ROLE_DELTA_Z,
    ROLE_DELTA_B,
    ROLE_DELTA_A,
    ROLE_DELTA_NORM,
    ROLE_DELTA_OUT,
    ROLE_MTP_EMBED_NORM,
    ROLE_MTP_HIDDEN_NORM,
    ROLE_MTP_PROJ,
    ROLE_MTP_FINAL_NORM,
    ROLE_MTP_EMBED, /* copies that some heads have of their own */
    ROLE_MTP_HEAD,
    ROLE_SCORE,   /* a reranker's head: what is pooled to one number per label */
    ROLE_CARRIED, /* of a part that is not the language model: goes along as it is */
    ROLE_COUNT
};

/* How a role may be treated. */
enum role_kind {
    KIND_LINEAR, /* y = x W^T; may be quantized */
    KIND_TABLE,  /* embeddings and the output head: linear in form, quantized only by recipes that name them */
    KIND_ROUTER, /* decides, in fp32: never quantized */
    KIND_SSM,    /* the state path of a recurrent layer: never quantized, fp32 from end to end */
    KIND_SMALL   /* norms, biases: never quantized */
};

struct role_info {
    const char *name;       /* "expert_up" */
    const char *role_class; /* several roles under one name for recipes: "routed_experts"; or the same as name */
    enum role_kind kind;
};
const struct role_info *role_info(enum tensor_role role);
/* True when `word` is the name or the class of `role`. */
bool role_is(enum tensor_role role, const char *word);
bool role_word_known(const char *word);

enum block_kind {
    BLOCK_MAMBA2,
    BLOCK_ATTENTION,
    BLOCK_MLP,
    BLOCK_MOE,
    BLOCK_DELTA,  /* gated DeltaNet */
    BLOCK_MLA,    /* attention over a latent that all heads share */
    BLOCK_LINEAR, /* a matrix in place of attention or of an MLP */
    BLOCK_KIND_COUNT
};
const char *block_kind_name(enum block_kind kind);

#define MODEL_LAYERS_MAX 4096u
#define MODEL_EXPERTS_MAX 65536u
#define MODEL_DIM_MAX (1u << 24)

/* Sizes that shapes are made of; resolved from names in rules ("ssm_proj,hidden"). A family fills those it uses. */
enum model_dim {
    DIM_ONE,
    DIM_HIDDEN,
    DIM_TWO_HIDDEN,
    DIM_VOCAB,
    DIM_ATTN_Q,
    DIM_ATTN_Q_GATE, /* with a gate for every query: twice DIM_ATTN_Q */
    DIM_ATTN_KV,
    DIM_ATTN_HEAD,
    DIM_ATTN_HEADS,
    DIM_ATTN_OUT,    /* columns of the output projection, where these are not DIM_ATTN_Q */
    DIM_MLA_Q_RANK,  /* the queries' latent */
    DIM_MLA_KV_RANK, /* the latent of keys and values */
    DIM_MLA_KV_A,    /* that and the key's rotary part */
    DIM_MLA_KV_B,    /* heads * (keys without position + values) */
    DIM_MLP,
    DIM_EXPERTS,
    DIM_EXPERT_IN,
    DIM_EXPERT_MLP,
    DIM_SHARED_MLP,
    DIM_LATENT,
    DIM_SSM_PROJ,
    DIM_SSM_INNER,
    DIM_SSM_CONV,
    DIM_SSM_HEADS,
    DIM_SSM_HEAD,
    DIM_DELTA_QKVZ,
    DIM_DELTA_BA,
    DIM_CONV_TAPS,
    DIM_LABELS, /* of a reranker */
    DIM_COUNT
};

/* What a norm computes from x and its weight w. */
enum norm_kind {
    NORM_RMS,      /* x / sqrt(mean(x^2) + eps) * w */
    NORM_RMS_ONE,  /* the same times (1 + w): weights are stored around zero */
    NORM_LAYER_ONE /* (x - mean) / sqrt(variance + eps) * (1 + w) + bias */
};

/* Rotary position embedding: the first `dim` elements of a head turn by position * inv_freq[i], pair by pair. */
enum rope_style {
    ROPE_NONE,
    ROPE_HALF,       /* pairs (i, i + dim / 2) */
    ROPE_INTERLEAVED /* pairs (2i, 2i + 1) */
};
struct rope_config {
    enum rope_style style;
    uint32_t dim;          /* even */
    const float *inv_freq; /* [dim / 2], every scaling rule applied */
    double factor;         /* multiplies cosine and sine (yarn); 1 */
};

struct attention_config {
    uint32_t n_heads, n_kv_heads, head_dim;
    struct rope_config rope;
    double scale;      /* of q k; 0: head_dim^-0.5 */
    uint32_t window;   /* a query sees so many keys, itself included; 0: all before it */
    bool qk_norm;      /* each head of q and k has a norm before it turns */
    bool sinks;        /* one more logit per head in the softmax's denominator */
    bool gate;         /* q_proj holds [q, gate] head by head; the result is multiplied by sigmoid(gate) */
    double query_beta; /* queries are multiplied by 1 + beta log(1 + floor(position / original)); 0: not */
    uint64_t query_original;
};

/* Multi-head latent attention, beside attention_config: head_dim there is nope_dim + rope_dim, rope.dim is rope_dim,
 * and n_kv_heads is 1, since all heads read one latent. */
struct mla_config {
    uint32_t q_rank;  /* 0: queries come from x directly */
    uint32_t kv_rank; /* the latent of keys and values, which the cache holds beside the rotary part */
    uint32_t nope_dim, rope_dim, v_dim; /* of one head */
    double norm_eps;                    /* of the norms on the latents, whatever the model's */
};

/* What stands between the matrices of an MLP. Gated: activation(gate(x)) * up(x); else activation(up(x)). */
enum activation {
    ACT_RELU2,
    ACT_SILU,
    ACT_GELU_TANH,
    ACT_CLAMPED /* gated: g = min(gate, limit), u = up kept in [-limit, limit]: (u + 1) g sigmoid(alpha g) */
};
struct mlp_config {
    bool gated;
    enum activation activation;
    float limit, alpha; /* of ACT_CLAMPED */
};

/* Recurrent layers. DeltaNet: value heads and their size, the keys' size, key heads. */
struct ssm_config {
    uint32_t n_heads, head_dim, state_size, n_groups, conv_taps;
    double dt_min, dt_max;  /* time_step_limit: dt is clamped to it after softplus */
    bool delta_by_key_head; /* DeltaNet's projections are laid out per key head: in_proj_qkvz, in_proj_ba */
};
enum route_kind {
    ROUTE_SIGMOID,      /* sigmoid scores; a correction bias counts for the choice only */
    ROUTE_SOFTMAX,      /* softmax over all experts, then the best */
    ROUTE_TOP_K_SOFTMAX /* the best, then softmax over these */
};
struct moe_config {
    enum route_kind route;
    struct mlp_config mlp; /* of the experts */
    uint32_t n_experts, top_k, n_groups, top_k_groups;
    bool normalize; /* divide the chosen weights by their sum */
    double scale;   /* routed_scaling_factor */
    bool has_latent, has_shared, has_shared_mix;
    bool linear_bias; /* the router's and the routed experts' matrices have biases */
};

/* One residual step: x <- x + mixer(norm(x)). A layer of most families is two of them. */
struct block_config {
    enum block_kind kind;
    uint32_t layer;
    bool mtp;
    bool replaces_mlp; /* BLOCK_LINEAR: what it stands for */
    /* What this block has of its own; NULL: the model's. In the arena. */
    const struct attention_config *attention;
    const uint64_t *dims; /* [DIM_COUNT] */
};

/* What comes out behind the last block. */
enum model_output {
    OUTPUT_LOGITS,    /* of the next token, at every token */
    OUTPUT_EMBEDDING, /* one vector a text: its rows behind the final norm, pooled */
    OUTPUT_SCORES     /* that through the score head, one number per label */
};
enum pooling { POOL_MEAN, POOL_SUM, POOL_FIRST, POOL_LAST };
struct encoder_config {
    enum model_output output;
    enum pooling pooling;
    double temperature; /* scores are divided by it */
};

struct model_arch;

struct model_config {
    const struct model_arch *arch;
    const char *hf_name; /* the value of "architectures" that was met */
    uint64_t dims[DIM_COUNT];
    enum norm_kind norm;
    double norm_eps;
    bool post_norm;        /* what a mixer gives has a norm of its own before it is added */
    double embed_scale;    /* multiplies the embedding; 1 */
    uint64_t max_position; /* 0: not said */
    bool bidirectional;    /* attention sees the whole text: it must come in one call, and no cache serves it */
    struct encoder_config encoder;
    bool tied_head; /* lm_head may be absent: then the embedding serves */
    bool attention_bias, mlp_bias, ssm_proj_bias, ssm_conv_bias;
    struct attention_config attention;
    struct mla_config mla;
    struct mlp_config mlp;
    struct ssm_config ssm;
    struct moe_config moe;
    const char *ssm_cache_dtype; /* mamba_ssm_cache_dtype as config.json has it, or NULL */
    struct block_config *blocks; /* the trunk, in order */
    uint32_t n_blocks, n_layers;
    struct block_config *mtp_blocks; /* the multi-token-prediction head; carried, not part of the trunk */
    uint32_t n_mtp_blocks;
    const struct name_root *root; /* which of the family's names the checkpoint has; the inventory finds out */
};
const struct attention_config *block_attention_config(const struct model_config *cfg, const struct block_config *b);
/* For a model that gives no logits: ERR_UNSUPPORTED, `what` being who asked. */
MUST_CHECK bool model_gives_logits(const struct model_config *cfg, const char *what, struct error *err);
/* One number of a block; b may be NULL: of the model. */
uint64_t block_dim(const struct model_config *cfg, const struct block_config *b, enum model_dim dim);

/* Where a rule applies. */
enum rule_scope { SCOPE_MODEL, SCOPE_BLOCK, SCOPE_EXPERT };

/* What stands before the names of the body ("language_model.model.") and of the head ("language_model."). */
struct name_root {
    const char *body, *head;
};

/* One expected tensor per place. `pattern`: {R} and {H} are the root's body and head, {B} the block's prefix
 * ("backbone.layers.3"), {E} the expert's number. */
struct role_rule {
    const char *pattern;
    enum tensor_role role;
    enum rule_scope scope;
    uint32_t kinds;   /* SCOPE_BLOCK, SCOPE_EXPERT: bit mask of 1 << block_kind; 0: every block */
    const char *dims; /* names of enum model_dim, outermost first */
    bool (*when)(const struct model_config *cfg, const struct block_config *block); /* NULL: always */
};

/* Where experts lie in a stack (models/stacks.h). One row per projection, bias and part of a packed projection. */
enum stack_order {
    STACK_OUT_IN,       /* [experts, outputs, inputs], or [experts, outputs] for a bias */
    STACK_IN_OUT,       /* [experts, inputs, outputs] */
    STACK_MXFP4_BLOCKS, /* U8 [experts, outputs, inputs / 32, 16] */
    STACK_MXFP4_SCALES  /* U8 [experts, outputs, inputs / 32] */
};
struct stack_rule {
    const char *stack;       /* "{B}.mlp.experts.gate_up_proj" */
    const char *member;      /* the name that one expert's tensor gets: "{B}.mlp.experts.{E}.gate_proj.weight" */
    const char *rows, *cols; /* names of enum model_dim, of one expert's projection; cols "" for a bias */
    enum stack_order order;
    uint32_t n_parts, part; /* so many projections share the outputs, and which this is */
    bool interleaved;       /* they take turns output by output, else follow one another */
};

/* One per family: models/<family>.c and a line in model_archs[]. */
struct model_arch {
    const char *name;               /* "nemotron_h" */
    const char *const *hf_names;    /* values of "architectures" it answers to, NULL-terminated */
    bool native;                    /* of Mistral's params.json, which names none: the first that fits counts */
    const char *native_key;         /* the key by which such a file is this family's; NULL: any */
    const char *const *model_types; /* values of "model_type", for configurations without architectures */
    bool (*read_config)(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err);
    const struct name_root *roots;         /* ended by a NULL body; the first whose embedding is there counts */
    const char *block_prefix, *mtp_prefix; /* "{R}layers.%u", "mtp.layers.%u" */
    const char *mtp_root; /* "mtp": what quantization configs exclude whole; NULL when the family has no such head */
    const char *const *carried; /* prefixes of tensors that go along untouched (ROLE_CARRIED), or NULL */
    /* What quantization configurations call a module, where that is not its name: in the arena. NULL: its name. */
    char *(*config_name)(const char *module, struct arena *arena);
    const struct role_rule *rules;
    uint32_t n_rules;
    const struct stack_rule *stacks; /* ended by a NULL stack; NULL: experts are always separate */
};
extern const struct model_arch *const model_archs[]; /* NULL-terminated; models/arch.c */

/* Reads config.json by the family that it names; ERR_UNSUPPORTED names the architecture when there is none for it.
 * Everything in cfg lives in the arena. */
MUST_CHECK bool model_config_read(struct model_config *cfg, const struct hf_config *hf, struct arena *arena,
                                  struct error *err);
/* The dims of a rule as numbers. Returns how many. */
uint32_t model_dims(const struct model_config *cfg, const struct block_config *b, const char *names, uint64_t *out,
                    uint32_t max);

/* For families: a required or optional count in [1, max] under any of the NULL-terminated names; `fallback` when
 * absent, or an error when fallback is 0. */
MUST_CHECK bool config_count(const json_t *json, const char *const *names, uint64_t max, uint64_t fallback,
                             uint64_t *out, struct error *err);

#endif
