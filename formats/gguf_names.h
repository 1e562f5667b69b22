/* Rows that several architectures share (formats/gguf_llama.c, formats/gguf_nemotron.c). */
#ifndef FORMATS_GGUF_NAMES_H
#define FORMATS_GGUF_NAMES_H

#include "formats/gguf_arch.h"

#define GGUF_HF(...) ((const char *const[]){__VA_ARGS__, NULL})
#define GGUF_COUNT(table) ((uint32_t)(sizeof(table) / sizeof *(table)))

/* Decoders in Llama's spelling: embedding, head, attention without its q and k, which differ. */
#define GGUF_NAMES_DECODER                                                                                             \
    {"token_embd.weight", "model.embed_tokens.weight", GGUF_SAME, false, false},                                       \
        {"output_norm.weight", "model.norm.weight", GGUF_SAME, false, false},                                          \
        {"output.weight", "lm_head.weight", GGUF_SAME, false, false},                                                  \
        {"blk.{B}.attn_norm.weight", "model.layers.{B}.input_layernorm.weight", GGUF_SAME, false, false},              \
        {"blk.{B}.ffn_norm.weight", "model.layers.{B}.post_attention_layernorm.weight", GGUF_SAME, false, false},      \
        GGUF_NAMES_VALUE_OUT
#define GGUF_NAMES_VALUE_OUT                                                                                           \
    {"blk.{B}.attn_v.weight", "model.layers.{B}.self_attn.v_proj.weight", GGUF_SAME, false, false},                    \
        {"blk.{B}.attn_v.bias", "model.layers.{B}.self_attn.v_proj.bias", GGUF_SAME, false, false},                    \
        {"blk.{B}.attn_output.weight", "model.layers.{B}.self_attn.o_proj.weight", GGUF_SAME, false, false},           \
    {                                                                                                                  \
        "blk.{B}.attn_output.bias", "model.layers.{B}.self_attn.o_proj.bias", GGUF_SAME, false, false                  \
    }
#define GGUF_NAMES_QK(q, k)                                                                                            \
    {"blk.{B}.attn_q.weight", "model.layers.{B}.self_attn.q_proj.weight", q, false, false},                            \
        {"blk.{B}.attn_q.bias", "model.layers.{B}.self_attn.q_proj.bias", q, false, false},                            \
        {"blk.{B}.attn_k.weight", "model.layers.{B}.self_attn.k_proj.weight", k, false, false},                        \
    {                                                                                                                  \
        "blk.{B}.attn_k.bias", "model.layers.{B}.self_attn.k_proj.bias", k, false, false                               \
    }
#define GGUF_NAMES_QK_NORM                                                                                             \
    {"blk.{B}.attn_q_norm.weight", "model.layers.{B}.self_attn.q_norm.weight", GGUF_SAME, false, false},               \
    {                                                                                                                  \
        "blk.{B}.attn_k_norm.weight", "model.layers.{B}.self_attn.k_norm.weight", GGUF_SAME, false, false              \
    }
#define GGUF_NAMES_UP_DOWN                                                                                             \
    {"blk.{B}.ffn_up.weight", "model.layers.{B}.mlp.up_proj.weight", GGUF_SAME, false, false},                         \
        {"blk.{B}.ffn_up.bias", "model.layers.{B}.mlp.up_proj.bias", GGUF_SAME, false, false},                         \
        {"blk.{B}.ffn_down.weight", "model.layers.{B}.mlp.down_proj.weight", GGUF_SAME, false, false},                 \
    {                                                                                                                  \
        "blk.{B}.ffn_down.bias", "model.layers.{B}.mlp.down_proj.bias", GGUF_SAME, false, false                        \
    }
#define GGUF_NAMES_GATE                                                                                                \
    {"blk.{B}.ffn_gate.weight", "model.layers.{B}.mlp.gate_proj.weight", GGUF_SAME, false, false},                     \
    {                                                                                                                  \
        "blk.{B}.ffn_gate.bias", "model.layers.{B}.mlp.gate_proj.bias", GGUF_SAME, false, false                        \
    }
#define GGUF_NAME_ROPE_FREQS                                                                                           \
    {                                                                                                                  \
        "rope_freqs.weight", NULL, GGUF_MADE, true, false                                                              \
    }

#define GGUF_KEYS_SIZES                                                                                                \
    {"context_length", GGUF_HF("max_position_embeddings"), GGUF_KEY_U32, false},                                       \
        {"embedding_length", GGUF_HF("hidden_size"), GGUF_KEY_U32, true},                                              \
        {"attention.head_count", GGUF_HF("num_attention_heads"), GGUF_KEY_U32, true},                                  \
    {                                                                                                                  \
        "attention.key_length", GGUF_HF("head_dim", "attention_head_dim"), GGUF_KEY_U32, false                         \
    }
#define GGUF_KEYS_DECODER                                                                                              \
    GGUF_KEYS_SIZES, {"feed_forward_length", GGUF_HF("intermediate_size"), GGUF_KEY_U32, true},                        \
    {                                                                                                                  \
        "attention.head_count_kv", GGUF_HF("num_key_value_heads"), GGUF_KEY_U32, false                                 \
    }
#define GGUF_KEY_RMS_EPS                                                                                               \
    {                                                                                                                  \
        "attention.layer_norm_rms_epsilon", GGUF_HF("rms_norm_eps"), GGUF_KEY_F32, true                                \
    }

#endif
