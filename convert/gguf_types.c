#include "convert/gguf_types.h"

#include <stdio.h>
#include <string.h>

/* File types: llama.h's enum llama_ftype. */
const struct gguf_mix gguf_mixes[] = {
    {"f32", DTYPE_F32, 0, GGUF_PURE},
    {"f16", DTYPE_F16, 1, GGUF_PURE},
    {"bf16", DTYPE_BF16, 32, GGUF_PURE},
    {"q8_0", DTYPE_Q8_0, 7, GGUF_LLAMA},
    {"q4_0", DTYPE_Q4_0, 2, GGUF_LLAMA},
    {"q4_k", DTYPE_Q4_K, 14, GGUF_PURE},
    {"q4_k_s", DTYPE_Q4_K, 14, GGUF_SMALL},
    {"q4_k_m", DTYPE_Q4_K, 15, GGUF_MEDIUM},
    {"q5_k", DTYPE_Q5_K, 16, GGUF_PURE},
    {"q5_k_s", DTYPE_Q5_K, 16, GGUF_LLAMA},
    {"q5_k_m", DTYPE_Q5_K, 17, GGUF_MEDIUM},
    {"q6_k", DTYPE_Q6_K, 18, GGUF_LLAMA},
    {"mxfp4", DTYPE_GGML_MXFP4, 38, GGUF_EXPERTS},
    {"nvfp4", DTYPE_GGML_NVFP4, 39, GGUF_SCALED},
    {NULL, DTYPE_COUNT, 0, GGUF_PURE},
};

const struct gguf_mix *gguf_mix_find(const char *word)
{
    for (const struct gguf_mix *m = gguf_mixes; m->word; m++)
        if (strcmp(m->word, word) == 0) return m;
    return NULL;
}

const struct gguf_mix *gguf_mix_of(enum dtype plain)
{
    for (const struct gguf_mix *m = gguf_mixes; m->word; m++)
        if (m->base == plain) return m;
    return NULL;
}

static bool has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

bool gguf_is_attn_v(const char *name)
{
    return has(name, "attn_v.weight") || has(name, "attn_qkv.weight") || has(name, "attn_kv_b.weight");
}

/* An eighth of the layers at either end, and every third between. */
static bool more_bits(uint32_t i, uint32_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static uint32_t layer_of(const char *name)
{
    unsigned n = 0;
    return sscanf(name, "blk.%u.", &n) == 1 ? n : 0;
}

static enum dtype attn_v_type(const struct gguf_mix *mix, struct gguf_model_facts *f)
{
    enum dtype t = mix->base;
    uint32_t i = f->attn_v++;
    if (mix->rule == GGUF_MEDIUM && more_bits(i, f->n_attn_v)) t = DTYPE_Q6_K;
    if (mix->rule == GGUF_SMALL && i < 4) t = DTYPE_Q5_K;
    if (f->is_70b && t == DTYPE_Q4_K) t = DTYPE_Q5_K;
    return f->n_experts == 8 ? DTYPE_Q8_0 : t;
}

static enum dtype ffn_down_type(const struct gguf_mix *mix, struct gguf_model_facts *f, const char *name)
{
    uint32_t i = f->n_experts > 1 ? layer_of(name) : f->ffn_down;
    f->ffn_down++;
    if (mix->rule == GGUF_MEDIUM && more_bits(i, f->n_layers)) return DTYPE_Q6_K;
    return mix->rule == GGUF_SMALL && i < f->n_layers / 8 ? DTYPE_Q5_K : mix->base;
}

static enum dtype llama_type(const struct gguf_mix *mix, struct gguf_model_facts *f, const char *name, uint64_t cols)
{
    bool k_mix = mix->rule == GGUF_SMALL || (mix->rule == GGUF_MEDIUM && mix->base == DTYPE_Q4_K);
    if (strcmp(name, "output.weight") == 0 || (f->tied && strcmp(name, "token_embd.weight") == 0)) {
        if (cols % dtype_block_elems(mix->base) != 0 || mix->base == DTYPE_Q8_0) return DTYPE_Q8_0;
        return DTYPE_Q6_K;
    }
    if (strcmp(name, "token_embd.weight") == 0) return mix->base;
    if (gguf_is_attn_v(name)) return attn_v_type(mix, f);
    if (has(name, "attn_k.weight") && f->n_experts == 8) return DTYPE_Q8_0;
    if (has(name, "attn_output.weight") && f->n_experts == 8 && k_mix) return DTYPE_Q5_K;
    return has(name, "ffn_down") ? ffn_down_type(mix, f, name) : mix->base;
}

static enum dtype wanted(const struct gguf_mix *mix, struct gguf_model_facts *f, const char *name, uint64_t cols,
                         uint32_t n_stack, bool scaled)
{
    switch (mix->rule) {
    case GGUF_PURE: return mix->base;
    case GGUF_EXPERTS: return n_stack > 1 ? mix->base : DTYPE_Q8_0;
    case GGUF_SCALED: return scaled ? mix->base : DTYPE_Q8_0;
    default: return llama_type(mix, f, name, cols);
    }
}

/* llama.cpp's tensor_type_fallback. */
static enum dtype smaller_blocks(enum dtype t)
{
    switch (t) {
    case DTYPE_Q4_K: return DTYPE_Q5_0;
    case DTYPE_Q5_K: return DTYPE_Q5_1;
    case DTYPE_Q6_K:
    case DTYPE_GGML_NVFP4: return DTYPE_Q8_0;
    default: return t;
    }
}

enum dtype gguf_mix_type(const struct gguf_mix *mix, struct gguf_model_facts *facts, const char *name, uint64_t cols,
                         uint32_t n_stack, bool scaled, bool *fallback)
{
    enum dtype t = wanted(mix, facts, name, cols, n_stack, scaled);
    bool whole = cols % dtype_block_elems(t) == 0, llama = mix->rule >= GGUF_LLAMA && mix->rule <= GGUF_MEDIUM;
    /* llama.cpp's own rule for a head whose rows are no blocks is Q8_0. */
    *fallback = !whole || (llama && t == DTYPE_Q8_0 && cols % dtype_block_elems(mix->base) != 0);
    if (whole) return t;
    t = smaller_blocks(t);
    return cols % dtype_block_elems(t) == 0 ? t : DTYPE_F16;
}
