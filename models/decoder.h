/* What the families that descend from Llama have in common: a layer is attention and then an MLP or a mixture of
 * experts, each with a norm before it; rotary positions; names model.layers.N.self_attn.*, .mlp.*. A family says what
 * it has beside this. */
#ifndef MODELS_DECODER_H
#define MODELS_DECODER_H

#include "models/arch.h"
#include "models/rope.h"

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

#define WHEN(name, expression)                                                                                         \
    static bool name(const struct model_config *cfg, const struct block_config *block)                                 \
    {                                                                                                                  \
        (void)cfg, (void)block;                                                                                        \
        return expression;                                                                                             \
    }

#define KIND_BIT(kind) (1u << (kind))
#define IN_ATTENTION KIND_BIT(BLOCK_ATTENTION)
#define IN_MLP KIND_BIT(BLOCK_MLP)
#define IN_MLA KIND_BIT(BLOCK_MLA)
#define IN_MOE KIND_BIT(BLOCK_MOE)

/* Rows of rules, in the order of the model. */
#define RULES_EMBED                                                                                                    \
    {                                                                                                                  \
        "{R}embed_tokens.weight", ROLE_EMBED, SCOPE_MODEL, 0, "vocab,hidden", NULL                                     \
    }
#define RULES_ATTENTION_NORM                                                                                           \
    {                                                                                                                  \
        "{B}.input_layernorm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_ATTENTION, "hidden", NULL                       \
    }
#define RULES_ATTENTION                                                                                                \
    {"{B}.self_attn.q_proj.weight", ROLE_ATTN_Q, SCOPE_BLOCK, IN_ATTENTION, "attn_q,hidden", NULL},                    \
        {"{B}.self_attn.k_proj.weight", ROLE_ATTN_K, SCOPE_BLOCK, IN_ATTENTION, "attn_kv,hidden", NULL},               \
        {"{B}.self_attn.v_proj.weight", ROLE_ATTN_V, SCOPE_BLOCK, IN_ATTENTION, "attn_kv,hidden", NULL},               \
    {                                                                                                                  \
        "{B}.self_attn.o_proj.weight", ROLE_ATTN_O, SCOPE_BLOCK, IN_ATTENTION, "hidden,attn_q", NULL                   \
    }
#define RULES_ATTENTION_BIAS                                                                                           \
    {"{B}.self_attn.q_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, IN_ATTENTION, "attn_q", decoder_attention_bias},        \
        {"{B}.self_attn.k_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, IN_ATTENTION, "attn_kv", decoder_attention_bias},   \
        {"{B}.self_attn.v_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, IN_ATTENTION, "attn_kv", decoder_attention_bias},   \
    {                                                                                                                  \
        "{B}.self_attn.o_proj.bias", ROLE_ATTN_BIAS, SCOPE_BLOCK, IN_ATTENTION, "hidden", decoder_attention_bias       \
    }
#define RULES_QK_NORM                                                                                                  \
    {"{B}.self_attn.q_norm.weight", ROLE_ATTN_Q_NORM, SCOPE_BLOCK, IN_ATTENTION, "attn_head", NULL},                   \
    {                                                                                                                  \
        "{B}.self_attn.k_norm.weight", ROLE_ATTN_K_NORM, SCOPE_BLOCK, IN_ATTENTION, "attn_head", NULL                  \
    }
#define RULES_MLP_NORM                                                                                                 \
    {                                                                                                                  \
        "{B}.post_attention_layernorm.weight", ROLE_BLOCK_NORM, SCOPE_BLOCK, IN_MLP | IN_MOE, "hidden", NULL           \
    }
#define RULES_GATED_MLP                                                                                                \
    {"{B}.mlp.gate_proj.weight", ROLE_MLP_GATE, SCOPE_BLOCK, IN_MLP, "mlp,hidden", NULL},                              \
        {"{B}.mlp.up_proj.weight", ROLE_MLP_UP, SCOPE_BLOCK, IN_MLP, "mlp,hidden", NULL},                              \
    {                                                                                                                  \
        "{B}.mlp.down_proj.weight", ROLE_MLP_DOWN, SCOPE_BLOCK, IN_MLP, "hidden,mlp", NULL                             \
    }
#define RULES_GATED_MLP_BIAS                                                                                           \
    {"{B}.mlp.gate_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, IN_MLP, "mlp", decoder_mlp_bias},                           \
        {"{B}.mlp.up_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, IN_MLP, "mlp", decoder_mlp_bias},                         \
    {                                                                                                                  \
        "{B}.mlp.down_proj.bias", ROLE_MLP_BIAS, SCOPE_BLOCK, IN_MLP, "hidden", decoder_mlp_bias                       \
    }
#define RULES_GATED_EXPERTS                                                                                            \
    {"{B}.mlp.experts.{E}.gate_proj.weight", ROLE_EXPERT_GATE, SCOPE_EXPERT, IN_MOE, "expert_mlp,expert_in", NULL},    \
        {"{B}.mlp.experts.{E}.up_proj.weight", ROLE_EXPERT_UP, SCOPE_EXPERT, IN_MOE, "expert_mlp,expert_in", NULL},    \
    {                                                                                                                  \
        "{B}.mlp.experts.{E}.down_proj.weight", ROLE_EXPERT_DOWN, SCOPE_EXPERT, IN_MOE, "expert_in,expert_mlp", NULL   \
    }
#define RULES_FINAL                                                                                                    \
    {"{R}norm.weight", ROLE_FINAL_NORM, SCOPE_MODEL, 0, "hidden", NULL},                                               \
    {                                                                                                                  \
        "{H}lm_head.weight", ROLE_LM_HEAD, SCOPE_MODEL, 0, "vocab,hidden", NULL                                        \
    }

bool decoder_attention_bias(const struct model_config *cfg, const struct block_config *block);
bool decoder_mlp_bias(const struct model_config *cfg, const struct block_config *block);

/* The language model's part of a configuration: `text_config` or `llm_config` of a wrapper, else the whole. */
const json_t *decoder_text_config(const json_t *json);

/* Where a family differs from the readings below; NULL or 0: as Llama. */
struct decoder_defaults {
    double norm_eps, rope_theta, rotary_part;  /* class defaults; 0: 1e-6, 10000, 1 */
    const char *activation;                    /* what hidden_act must be; NULL: "silu" */
    bool tied;                                 /* tie_word_embeddings when absent */
    uint64_t vocab, heads, kv_heads, head_dim; /* sizes that some published configurations leave to the class */
};

/* Sizes, norm, heads, rope, biases, window-free attention, gated MLP; every layer attention + MLP in cfg->blocks, which
 * the family may change. `text` is the language model's object. */
MUST_CHECK bool decoder_read(struct model_config *cfg, const json_t *text, const struct decoder_defaults *d,
                             struct arena *arena, struct error *err);

/* Steps of decoder_read, for families that need some of them. */
MUST_CHECK bool decoder_read_sizes(struct model_config *cfg, const json_t *text, const struct decoder_defaults *d,
                                   struct error *err);
MUST_CHECK bool decoder_read_heads(struct model_config *cfg, const json_t *text, const struct decoder_defaults *d,
                                   struct error *err);
MUST_CHECK bool decoder_read_rope(struct model_config *cfg, const json_t *text, const struct decoder_defaults *d,
                                  const char *layer_type, struct arena *arena, struct rope_config *out,
                                  struct error *err);
/* num_hidden_layers layers of two blocks each. */
MUST_CHECK bool decoder_make_blocks(struct model_config *cfg, const json_t *text, enum block_kind first,
                                    enum block_kind second, struct arena *arena, struct error *err);
/* What layer_types says of a layer; without it every nth layer is full. */
MUST_CHECK bool decoder_is_sliding(const json_t *text, uint32_t layer, uint32_t n_layers, uint64_t every, bool *out,
                                   struct error *err);
/* A key that must have one value (activation functions and the like). */
MUST_CHECK bool config_expect_word(const json_t *json, const char *key, const char *word, struct error *err);
/* A switch that must be off. */
MUST_CHECK bool config_expect_off(const json_t *json, const char *key, struct error *err);

/* num_experts (under any of `names`), experts per token, their width; fills cfg->moe's counts and dims. */
MUST_CHECK bool decoder_read_experts(struct model_config *cfg, const json_t *text, const char *const *names,
                                     struct error *err);
/* Qwen: layer i has experts when (i + 1) is a multiple of decoder_sparse_step and mlp_only_layers does not name it. */
MUST_CHECK bool decoder_place_experts(struct model_config *cfg, const json_t *json, struct error *err);

#endif
