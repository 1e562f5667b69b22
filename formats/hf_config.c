#include "formats/hf_config.h"

#include "formats/safetensors.h"

#include <math.h>

#define CONFIG_NAME "config.json"
#define PARAMS_NAME "params.json"

/* Where multimodal models keep the language model. */
static const char *const wrapped[] = {"text_config", "llm_config", NULL};

/* An absent file leaves *out NULL unless it is required. */
static bool load(const struct folder *f, const char *name, bool required, struct buffer *text, json_t **out,
                 struct error *err)
{
    if (!required && folder_find(f, name) == NAME_NONE) return true;
    if (!folder_load(f, name, CONFIG_BYTES_MAX, text, err) ||
        !json_parse(buffer_view(text), JSON_DIALECT_HF, name, out, err))
        return false;
    return json_is_object(*out)
               ? true
               : error_set(err, ERR_FORMAT, "%s: expected an object, found %s", name, json_brief(*out));
}

static bool load_quietly(const struct folder *f, const char *name, json_t **out, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    return load(f, name, false, &text, out, err);
}

bool hf_config_is_native(const struct hf_config *c)
{
    return c->name && strcmp(c->name, PARAMS_NAME) == 0;
}

bool hf_config_open(struct hf_config *out, const struct folder *f, struct error *err)
{
    *out = (struct hf_config){0};
    bool native =
        safetensors_native(f) || (folder_find(f, CONFIG_NAME) == NAME_NONE && folder_find(f, PARAMS_NAME) != NAME_NONE);
    out->name = native ? PARAMS_NAME : CONFIG_NAME;
    if (load(f, out->name, true, &out->config_text, &out->config, err) &&
        load_quietly(f, "generation_config.json", &out->generation, err) &&
        load_quietly(f, "tokenizer_config.json", &out->tokenizer_config, err) &&
        load_quietly(f, "hf_quant_config.json", &out->quant, err))
        return true;
    hf_config_close(out);
    return error_wrap(err, "folder '%.256s'", folder_path(f));
}

void hf_config_close(struct hf_config *c)
{
    json_decref(c->config);
    json_decref(c->generation);
    json_decref(c->tokenizer_config);
    json_decref(c->quant);
    buffer_free(&c->config_text);
    *c = (struct hf_config){0};
}

/* The first that says something: generation_config.json, config.json, the language model inside a wrapper. */
static const json_t *find_token(const struct hf_config *c, const char *key, const char **what)
{
    *what = "generation_config.json";
    if (json_has(c->generation, key)) return json_object_get(c->generation, key);
    *what = c->name ? c->name : CONFIG_NAME;
    if (json_has(c->config, key)) return json_object_get(c->config, key);
    for (const char *const *w = wrapped; *w; w++) {
        const json_t *inner = json_object_get(c->config, *w);
        if (json_has(inner, key)) return json_object_get(inner, key);
    }
    return NULL;
}

static bool token_id(const json_t *v, const char *what, const char *key, uint32_t *out, struct error *err)
{
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < 0 || i > INT32_MAX)
        return error_set(err, ERR_FORMAT, "%s: key '%s': expected a token id, found %s", what, key, json_brief(v));
    *out = (uint32_t)i;
    return true;
}

static bool add_id(const json_t *v, const char *what, uint32_t *ids, uint32_t max, uint32_t *n, struct error *err)
{
    uint32_t id = 0;
    if (!token_id(v, what, "eos_token_id", &id, err)) return false;
    for (uint32_t i = 0; i < *n; i++)
        if (ids[i] == id) return true;
    if (*n == max) return error_set(err, ERR_UNSUPPORTED, "%s: key 'eos_token_id' has more than %u ids", what, max);
    ids[(*n)++] = id;
    return true;
}

bool hf_config_eos(const struct hf_config *c, uint32_t *ids, uint32_t max, uint32_t *n, struct error *err)
{
    const char *what;
    const json_t *v = find_token(c, "eos_token_id", &what);
    *n = 0;
    if (!v) return true;
    if (!json_is_array(v)) return add_id(v, what, ids, max, n, err);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!add_id(json_array_get(v, i), what, ids, max, n, err)) return false;
    return true;
}

bool hf_config_bos(const struct hf_config *c, uint32_t *id, bool *has, struct error *err)
{
    const char *what;
    const json_t *v = find_token(c, "bos_token_id", &what);
    *has = v != NULL;
    return !v || token_id(v, what, "bos_token_id", id, err);
}

const char *hf_config_wrapper(const json_t *config)
{
    for (const char *const *w = wrapped; *w; w++)
        if (json_is_object(json_object_get(config, *w))) return *w;
    return NULL;
}

uint64_t hf_deci_width(double mult, uint64_t hidden)
{
    double width = floor(2 * mult * (double)hidden / 3);
    return width >= 1 && width <= INT32_MAX - 256 ? ((uint64_t)width + 255) / 256 * 256 : 0;
}
