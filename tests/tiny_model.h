/* A tiny nemotron_h checkpoint with every kind of layer, written through the program's own writer, and ways to spoil it.
 * Values are pseudo-random bf16 numbers around 0.02. */
#ifndef TESTS_TINY_MODEL_H
#define TESTS_TINY_MODEL_H

#include "core/file.h"
#include "models/expected.h"
#include "models/inventory.h"
#include "tests/checks.h"

#define TINY_CONFIG                                                                                                    \
    "{\"architectures\":[\"NemotronHForCausalLM\"],\"model_type\":\"nemotron_h\",\"hidden_size\":32,\"vocab_size\":64,"  \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8,\"intermediate_size\":48,"                       \
    "\"mamba_num_heads\":4,\"mamba_head_dim\":8,\"ssm_state_size\":16,\"n_groups\":2,\"conv_kernel\":4,"                 \
    "\"n_routed_experts\":4,\"num_experts_per_tok\":2,\"n_shared_experts\":1,\"moe_intermediate_size\":16,"              \
    "\"moe_shared_expert_intermediate_size\":32,\"moe_latent_size\":16,\"n_group\":1,\"topk_group\":1,"                  \
    "\"norm_topk_prob\":true,\"routed_scaling_factor\":2.5,\"layer_norm_epsilon\":1e-05,"                                \
    "\"mlp_hidden_act\":\"relu2\",\"tie_word_embeddings\":false,\"time_step_limit\":[0.0,Infinity],"                     \
    "\"num_nextn_predict_layers\":1,\"mtp_hybrid_override_pattern\":\"*E\",\"hybrid_override_pattern\":\"ME*-\"}"

struct tiny_edit {
    const char *drop;                     /* a tensor to leave out */
    const char *add;                      /* a tensor to add, F32 [3] */
    const char *misshape;                 /* a tensor whose first dimension grows by one */
    const char *retype;                   /* a tensor stored as I32 */
    const char *poison; uint16_t bits;    /* a tensor whose element 5 is this bf16 */
    const char *zero;                     /* a tensor that is zero throughout */
    uint64_t shard_bytes;                 /* 0: one file */
    bool native;                          /* Mistral's layout: params.json and consolidated files */
    const char *shapes;                   /* the config that the tensors follow; NULL: TINY_CONFIG */
};

struct tiny_list { struct tensor_spec specs[256]; uint32_t n; const struct tiny_edit *edit; };

static bool tiny_collect(void *ctx, const struct expected_tensor *t, struct error *err)
{
    (void)err;
    struct tiny_list *l = ctx;
    if (l->edit->drop && strcmp(l->edit->drop, t->name) == 0) return true;
    struct tensor_spec *s = &l->specs[l->n++];
    *s = (struct tensor_spec){.name = t->name, .dtype = DTYPE_BF16, .n_dims = t->n_dims};
    memcpy(s->dims, t->dims, sizeof s->dims);
    if (l->edit->misshape && strcmp(l->edit->misshape, t->name) == 0) s->dims[0]++;
    if (l->edit->retype && strcmp(l->edit->retype, t->name) == 0) s->dtype = DTYPE_I32;
    return true;
}

static inline void tiny_fill(uint16_t *v, size_t n, const char *name, const struct tiny_edit *edit)
{
    uint64_t seed = 0;
    for (const char *p = name; *p; p++) seed = seed * 31 + (uint8_t)*p;
    for (size_t i = 0; i < n; i++) {
        uint64_t r = check_random(&seed);
        v[i] = (uint16_t)((r & 0x8000) | (0x3c00 + (r >> 20 & 0xff)));   /* magnitudes from 2^-7 to 2^-5 */
    }
    if (edit->zero && strcmp(edit->zero, name) == 0) memset(v, 0, n * sizeof *v);
    if (edit->poison && strcmp(edit->poison, name) == 0) v[5] = edit->bits;
}

/* Writes config.json (`config`; the tensors follow edit.shapes whatever it says) and the weights into an existing folder. */
static inline void tiny_model_write(const char *dir, const char *config, struct tiny_edit edit)
{
    struct arena *arena = arena_new();
    struct hf_config hf = {.name = edit.native ? "params.json" : NULL};
    struct model_config cfg;
    struct tiny_list list = {.edit = &edit};
    struct shard_layout l;
    char path[512];
    CHECK_OK(json_parse(bytes_text(edit.shapes ? edit.shapes : TINY_CONFIG), JSON_DIALECT_HF, "config", &hf.config, e_));
    CHECK_OK(model_config_read(&cfg, &hf, arena, e_));
    CHECK_OK(model_expect(&cfg, arena, tiny_collect, &list, e_));
    if (edit.add) list.specs[list.n++] = (struct tensor_spec){.name = edit.add, .dtype = DTYPE_F32, .n_dims = 1, .dims = {3}};
    CHECK_OK(shard_layout_make(&l, list.specs, list.n, edit.shard_bytes ? edit.shard_bytes : SHARD_BYTES_DEFAULT, e_));
    for (uint32_t s = 0; s < l.n_shards; s++) {
        struct shard_writer *w;
        CHECK_OK(shard_writer_open(&w, dir, list.specs, &l, s, e_));
        for (uint32_t i = l.first[s]; i < l.first[s + 1]; i++) {
            uint16_t *v = calloc(1, l.bytes[i] + 16);
            tiny_fill(v, l.bytes[i] / 2, list.specs[i].name, &edit);
            CHECK_OK(shard_writer_write(w, i, 0, v, l.bytes[i], e_));
            free(v);
        }
        CHECK_OK(shard_writer_commit(w, e_));
    }
    if (!edit.native) CHECK_OK(shard_index_write(dir, list.specs, &l, e_));
    for (uint32_t s = 0; edit.native && s < l.n_shards; s++) {
        char name[64], to[512];
        shard_name(name, s, l.n_shards);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        snprintf(to, sizeof to, "%s/consolidated%s", dir, name + strlen("model"));
        assert_int_equal(rename(path, to), 0);
    }
    snprintf(path, sizeof path, "%s/%s", dir, edit.native ? "params.json" : "config.json");
    CHECK_OK(file_save(path, bytes_text(config), 0666, e_));
    shard_layout_free(&l);
    json_decref(hf.config);
    arena_free(arena);
}

#endif
