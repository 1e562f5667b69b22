/* Model folders made on the spot: real geometry, real names and shapes, no values (the data is a hole in the file).
 * Enough for everything that reads headers and configuration only. */
#ifndef TESTS_PROFILE_MODEL_H
#define TESTS_PROFILE_MODEL_H

#include "tests/checks.h"

#include "core/file.h"
#include "core/text.h"

#include <fcntl.h>

struct geometry {
    const char *pattern, *mtp; /* mtp NULL: no such head */
    uint64_t hidden, vocab, heads, kv_heads, head_dim, mamba_heads, mamba_dim, state, groups, taps, mlp, experts,
        expert_mlp, shared_mlp, latent;
    uint64_t max_position;
};

/* Nemotron 3 Nano 30B-A3B, from its config.json. */
static const struct geometry nano = {"MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
                                     NULL,
                                     2688,
                                     131072,
                                     32,
                                     2,
                                     128,
                                     64,
                                     64,
                                     128,
                                     8,
                                     4,
                                     0,
                                     128,
                                     1856,
                                     3712,
                                     0,
                                     262144};
/* Small, with everything: LatentMoE, an MLP, an MTP head. */
static const struct geometry tiny = {"M*E-M", "*E", 512, 1024, 8, 2,   64,  16,  64,
                                     32,      4,    4,   1024, 8, 256, 512, 128, 8192};

enum precision { AS_BF16, AS_NVFP4, AS_FP8, AS_W4A16 };

struct maker {
    const struct geometry *g;
    struct text header, layers, ignored; /* JSON members so far */
    uint64_t offset;
    enum precision experts,
        linears; /* routed experts; Mamba, shared and MLP linears. Attention, latent and tables stay plain */
    bool kv_scales;
};

static inline void add_tensor(struct maker *m, const char *name, const char *suffix, const char *dtype,
                              uint64_t bytes_each, uint32_t n_dims, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t n = (n_dims > 0 ? a : 1) * (n_dims > 1 ? b : 1) * (n_dims > 2 ? c : 1) * bytes_each;
    char shape[96] = "";
    const uint64_t dims[3] = {a, b, c};
    for (uint32_t i = 0; i < n_dims; i++)
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%llu", i ? "," : "",
                 (unsigned long long)dims[i]);
    text_add(&m->header, "%s\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}",
             m->header.size ? "," : "{", name, suffix, dtype, shape, (unsigned long long)m->offset,
             (unsigned long long)(m->offset + n));
    m->offset += n;
}

static inline void add_plain(struct maker *m, const char *name, uint32_t n_dims, uint64_t a, uint64_t b, uint64_t c)
{
    add_tensor(m, name, "", "BF16", 2, n_dims, a, b, c);
}

static inline void add_linear(struct maker *m, const char *module, uint64_t rows, uint64_t cols, enum precision p)
{
    static const char *const algos[] = {NULL, "NVFP4", "FP8", "W4A16_NVFP4"};
    bool four = p == AS_NVFP4 || p == AS_W4A16;
    if (p == AS_BF16) add_tensor(m, module, ".weight", "BF16", 2, 2, rows, cols, 0);
    if (p == AS_FP8) add_tensor(m, module, ".weight", "F8_E4M3", 1, 2, rows, cols, 0);
    if (four) add_tensor(m, module, ".weight", "U8", 1, 2, rows, cols / 2, 0);
    if (p == AS_FP8) add_tensor(m, module, ".weight_scale", "F32", 4, 0, 0, 0, 0);
    if (four) add_tensor(m, module, ".weight_scale", "F8_E4M3", 1, 2, rows, cols / 16, 0);
    if (four) add_tensor(m, module, ".weight_scale_2", "F32", 4, 0, 0, 0, 0);
    if (p == AS_FP8 || p == AS_NVFP4) add_tensor(m, module, ".input_scale", "F32", 4, 0, 0, 0, 0);
    if (!algos[p]) text_add(&m->ignored, "\"%s\",", module);
    else
        text_add(&m->layers, "%s\"%s\":{\"quant_algo\":\"%s\"%s}", m->layers.size ? "," : "", module, algos[p],
                 four ? ",\"group_size\":16" : "");
}

#define NAME(...) (snprintf(name, sizeof name, __VA_ARGS__), name)

static inline void add_block(struct maker *m, const char *prefix, char kind, bool mtp)
{
    const struct geometry *g = m->g;
    uint64_t inner = g->mamba_heads * g->mamba_dim, conv = inner + 2 * g->groups * g->state,
             width = g->latent ? g->latent : g->hidden;
    enum precision linears = mtp ? AS_BF16 : m->linears, experts = mtp ? AS_BF16 : m->experts;
    char name[160];
    add_plain(m, NAME("%s.norm.weight", prefix), 1, g->hidden, 0, 0);
    switch (kind) {
    case 'M':
        add_plain(m, NAME("%s.mixer.A_log", prefix), 1, g->mamba_heads, 0, 0);
        add_plain(m, NAME("%s.mixer.D", prefix), 1, g->mamba_heads, 0, 0);
        add_plain(m, NAME("%s.mixer.dt_bias", prefix), 1, g->mamba_heads, 0, 0);
        add_plain(m, NAME("%s.mixer.conv1d.weight", prefix), 3, conv, 1, g->taps);
        add_plain(m, NAME("%s.mixer.conv1d.bias", prefix), 1, conv, 0, 0);
        add_plain(m, NAME("%s.mixer.norm.weight", prefix), 1, inner, 0, 0);
        add_linear(m, NAME("%s.mixer.in_proj", prefix), inner + conv + g->mamba_heads, g->hidden, linears);
        add_linear(m, NAME("%s.mixer.out_proj", prefix), g->hidden, inner, linears);
        return;
    case '*':
        add_linear(m, NAME("%s.mixer.q_proj", prefix), g->heads * g->head_dim, g->hidden, AS_BF16);
        add_linear(m, NAME("%s.mixer.k_proj", prefix), g->kv_heads * g->head_dim, g->hidden, AS_BF16);
        add_linear(m, NAME("%s.mixer.v_proj", prefix), g->kv_heads * g->head_dim, g->hidden, AS_BF16);
        add_linear(m, NAME("%s.mixer.o_proj", prefix), g->hidden, g->heads * g->head_dim, AS_BF16);
        if (m->kv_scales && !mtp) {
            add_tensor(m, NAME("%s.mixer.k_proj", prefix), ".k_scale", "F32", 4, 0, 0, 0, 0);
            add_tensor(m, NAME("%s.mixer.v_proj", prefix), ".v_scale", "F32", 4, 0, 0, 0, 0);
        }
        return;
    case '-':
        add_linear(m, NAME("%s.mixer.up_proj", prefix), g->mlp, g->hidden, linears);
        add_linear(m, NAME("%s.mixer.down_proj", prefix), g->hidden, g->mlp, linears);
        return;
    default:
        add_plain(m, NAME("%s.mixer.gate.weight", prefix), 2, g->experts, g->hidden, 0);
        add_tensor(m, NAME("%s.mixer.gate.e_score_correction_bias", prefix), "", "F32", 4, 1, g->experts, 0, 0);
        if (g->latent) add_linear(m, NAME("%s.mixer.fc1_latent_proj", prefix), g->latent, g->hidden, AS_BF16);
        if (g->latent) add_linear(m, NAME("%s.mixer.fc2_latent_proj", prefix), g->hidden, g->latent, AS_BF16);
        add_linear(m, NAME("%s.mixer.shared_experts.up_proj", prefix), g->shared_mlp, g->hidden, linears);
        add_linear(m, NAME("%s.mixer.shared_experts.down_proj", prefix), g->hidden, g->shared_mlp, linears);
        for (uint64_t e = 0; e < g->experts; e++) {
            add_linear(m, NAME("%s.mixer.experts.%llu.up_proj", prefix, (unsigned long long)e), g->expert_mlp, width,
                       experts);
            add_linear(m, NAME("%s.mixer.experts.%llu.down_proj", prefix, (unsigned long long)e), width, g->expert_mlp,
                       experts);
        }
    }
}

static inline void add_all(struct maker *m)
{
    const struct geometry *g = m->g;
    char name[64];
    add_plain(m, "backbone.embeddings.weight", 2, g->vocab, g->hidden, 0);
    for (size_t i = 0; g->pattern[i]; i++) add_block(m, NAME("backbone.layers.%zu", i), g->pattern[i], false);
    add_plain(m, "backbone.norm_f.weight", 1, g->hidden, 0, 0);
    add_plain(m, "lm_head.weight", 2, g->vocab, g->hidden, 0);
    if (!g->mtp) return;
    for (size_t i = 0; g->mtp[i]; i++) add_block(m, NAME("mtp.layers.%zu", i), g->mtp[i], true);
    add_plain(m, "mtp.layers.0.enorm.weight", 1, g->hidden, 0, 0);
    add_plain(m, "mtp.layers.0.hnorm.weight", 1, g->hidden, 0, 0);
    add_plain(m, "mtp.layers.0.eh_proj.weight", 2, g->hidden, 2 * g->hidden, 0);
    add_plain(m, NAME("mtp.layers.%zu.final_layernorm.weight", strlen(g->mtp) - 1), 1, g->hidden, 0, 0);
}
#undef NAME

static inline void save_text(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_OK(file_save(path, bytes_text(text), 0644, e_));
}

static inline void save_config(const struct maker *m, const char *folder, const char *ssm_dtype, const char *more)
{
    const struct geometry *g = m->g;
    struct text t = TEXT_INIT;
    text_add(
        &t,
        "{\"architectures\":[\"NemotronHForCausalLM\"],\"model_type\":\"nemotron_h\",\"torch_dtype\":\"bfloat16\","
        "\"hybrid_override_pattern\":\"%s\",\"hidden_size\":%llu,\"vocab_size\":%llu,\"num_attention_heads\":%llu,"
        "\"num_key_value_heads\":%llu,"
        "\"head_dim\":%llu,\"mamba_num_heads\":%llu,\"mamba_head_dim\":%llu,\"ssm_state_size\":%llu,\"n_groups\":%llu,"
        "\"conv_kernel\":%llu,"
        "\"intermediate_size\":%llu,\"n_routed_experts\":%llu,\"num_experts_per_tok\":2,\"moe_intermediate_size\":%llu,"
        "\"moe_shared_expert_intermediate_size\":%llu,\"max_position_embeddings\":%llu",
        g->pattern, (unsigned long long)g->hidden, (unsigned long long)g->vocab, (unsigned long long)g->heads,
        (unsigned long long)g->kv_heads, (unsigned long long)g->head_dim, (unsigned long long)g->mamba_heads,
        (unsigned long long)g->mamba_dim, (unsigned long long)g->state, (unsigned long long)g->groups,
        (unsigned long long)g->taps, (unsigned long long)(g->mlp ? g->mlp : 1), (unsigned long long)g->experts,
        (unsigned long long)g->expert_mlp, (unsigned long long)g->shared_mlp, (unsigned long long)g->max_position);
    if (g->latent) text_add(&t, ",\"moe_latent_size\":%llu", (unsigned long long)g->latent);
    if (g->mtp) text_add(&t, ",\"num_nextn_predict_layers\":1,\"mtp_hybrid_override_pattern\":\"%s\"", g->mtp);
    if (ssm_dtype) text_add(&t, ",\"mamba_ssm_cache_dtype\":\"%s\"", ssm_dtype);
    if (m->layers.size) {
        static const char *const algos[] = {NULL, "NVFP4", "FP8", "W4A16_NVFP4"};
        bool uniform = m->experts == m->linears || m->linears == AS_BF16;
        text_add(&t, ",\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"%s\",",
                 uniform ? algos[m->experts] : "MIXED_PRECISION");
        if (m->kv_scales) text_add(&t, "\"kv_cache_scheme\":{\"type\":\"float\",\"num_bits\":8},");
        if (uniform)
            text_add(&t,
                     "\"group_size\":16,\"ignore\":[%s\"*.conv1d\",\"*.gate\",\"backbone.embeddings\",\"lm_head\","
                     "\"mtp*\"]}",
                     m->ignored.data);
        else text_add(&t, "\"ignore\":[\"mtp*\"],\"quantized_layers\":{%s}}", m->layers.data);
    }
    text_add(&t, "%s}\n", more);
    save_text(folder, "config.json", t.data);
    text_free(&t);
}

/* False when the file system takes no file with a hole of that size. */
static inline bool save_weights(const struct maker *m, const char *folder)
{
    char path[256];
    uint8_t length[8];
    uint64_t n = (m->header.size + 1 + 7) / 8 * 8;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    store_le64(length, n);
    fwrite(length, 1, 8, f);
    fwrite(m->header.data, 1, m->header.size, f);
    fputc('}', f);
    for (uint64_t i = m->header.size + 1; i < n; i++) fputc(' ', f);
    bool ok = fflush(f) == 0 && ftruncate(fileno(f), (off_t)(8 + n + m->offset)) == 0;
    fclose(f);
    return ok;
}

/* A whole folder; `ssm_dtype` NULL leaves config.json silent; `more` is JSON members with a comma in front. */
static inline bool make_model(const char *folder, const struct geometry *g, enum precision experts,
                              enum precision linears, bool kv_scales, const char *ssm_dtype, const char *more)
{
    struct maker m = {.g = g, .experts = experts, .linears = linears, .kv_scales = kv_scales};
    add_all(&m);
    save_config(&m, folder, ssm_dtype, more);
    bool ok = save_weights(&m, folder);
    text_free(&m.header);
    text_free(&m.layers);
    text_free(&m.ignored);
    return ok;
}

#endif
