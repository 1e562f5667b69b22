/* config.json from the metadata of a GGUF file. */
#include "formats/gguf_arch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The shortest decimal number that gives the same fp32: 1e-05 and not 9.9999997473787516e-06, which is what a person
 * has written before somebody stored it in fp32. */
bool gguf_put_number(json_t *config, const char *key, double value, struct error *err)
{
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if ((float)strtod(text, NULL) == (float)value) break;
    }
    return json_put(config, key, json_real((double)(float)value == value ? strtod(text, NULL) : value), err);
}

bool gguf_per_layer(const struct gguf *g, const char *key, uint64_t n_layers, uint64_t i, uint64_t *out,
                    struct error *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return error_set(err, ERR_FORMAT, "key '%s' is missing", key + 3);
    if (v->is_array && v->n != n_layers)
        return error_set(err, ERR_FORMAT, "key '%s' has %llu elements for %llu layers", key + 3,
                         (unsigned long long)v->n, (unsigned long long)n_layers);
    return gguf_u64_at(v, v->is_array ? i : 0, UINT32_MAX, out, err);
}

static bool read_key(const struct gguf *g, const struct gguf_key *k, json_t *config, struct error *err)
{
    char key[GGUF_KEY_MAX];
    bool has = false, truth = false;
    uint64_t n = 0;
    double x = 0;
    snprintf(key, sizeof key, "%%s.%s", k->key);
    bool ok = k->kind == GGUF_KEY_U32   ? gguf_opt_u64(g, key, UINT32_MAX, &n, &has, err)
              : k->kind == GGUF_KEY_F32 ? gguf_opt_number(g, key, &x, &has, err)
                                        : gguf_opt_bool(g, key, &truth, &has, err);
    if (!ok) return false;
    if (!has) return !k->required || error_set(err, ERR_FORMAT, "key '%s' is missing", k->key);
    if (k->kind == GGUF_KEY_F32) return gguf_put_number(config, k->hf[0], x, err);
    return json_put(config, k->hf[0], k->kind == GGUF_KEY_U32 ? json_integer((json_int_t)n) : json_boolean(truth), err);
}

static bool read_tokens(const struct gguf *g, json_t *config, struct error *err)
{
    static const struct {
        const char *key, *hf;
    } ids[] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
               {"tokenizer.ggml.eos_token_id", "eos_token_id"},
               {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        uint64_t id;
        bool has;
        if (!gguf_opt_u64(g, ids[i].key, INT32_MAX, &id, &has, err)) return false;
        if (has && !json_put(config, ids[i].hf, json_integer((json_int_t)id), err)) return false;
    }
    return true;
}

static bool read_common(const struct gguf *g, const struct gguf_arch *a, json_t *config, struct error *err)
{
    uint64_t trunk, mtp;
    const struct gguf_tensor *embed = gguf_find_tensor(g, "token_embd.weight");
    if (!embed || embed->n_dims != 2)
        return error_set(err, ERR_FORMAT, "tensor 'token_embd.weight' is missing or has not two dimensions");
    if (!gguf_layers(g, &trunk, &mtp, err)) return false;
    return json_put(config, "architectures", json_pack("[s]", a->hf_name), err) &&
           json_put(config, "model_type", json_string(a->model_type), err) &&
           json_put(config, "vocab_size", json_integer((json_int_t)embed->dims[0]), err) &&
           json_put(config, "num_hidden_layers", json_integer((json_int_t)trunk), err) &&
           json_put(config, "tie_word_embeddings", json_boolean(!gguf_find_tensor(g, "output.weight")), err);
}

bool gguf_config(const struct gguf *g, const struct gguf_arch *a, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *config = json_object();
    *out = NULL;
    if (!config) return error_memory(err, 0);
    if (!read_common(g, a, config, err)) return false;
    for (uint32_t i = 0; i < a->n_keys; i++)
        if (!read_key(g, &a->keys[i], config, err)) return false;
    if ((a->read && !a->read(g, config, err)) || !read_tokens(g, config, err)) return false;
    *out = take_ptr(&config);
    return true;
}
