#include "models/adapter_config.h"

#include "formats/quant_method.h"

#include <math.h>

#define WHAT ADAPTER_CONFIG_FILE
#define BYTES_MAX ((size_t)8 << 20)
#define KEY_BYTES_MAX 2048u

static bool is_true(const json_t *v)
{
    return json_is_true(v) || (json_is_array(v) && json_array_size(v) > 0) ||
           (json_is_object(v) && json_object_size(v) > 0);
}

/* Settings under which the result is not W + s B A. */
static const struct {
    const char *key, *why;
} unusual[] = {
    {"fan_in_fan_out", "weights that lie on their side are not read here"},
    {"lora_bias", "a bias inside of the adapter has no place in the merged model"},
    {"alora_invocation_tokens", "an adapter that acts behind some tokens only cannot be merged"},
    {"trainable_token_indices", "single trained tokens are not merged here"},
    {"target_parameters", "adapters of stacks of experts are not merged here"},
    {"use_qalora", "QALoRA is not merged here"},
    {"arrow_config", "Arrow routes between adapters and cannot be merged"},
};
enum { N_UNUSUAL = sizeof unusual / sizeof *unusual };

bool adapter_config_mergeable(const struct adapter_config *c, struct error *err)
{
    for (size_t i = 0; i < N_UNUSUAL; i++)
        if (is_true(json_object_get(c->doc, unusual[i].key)))
            return error_set(err, ERR_UNSUPPORTED, WHAT ": %s: %s", unusual[i].key, unusual[i].why);
    return true;
}

const char *adapter_config_not_served(const struct adapter_config *c)
{
    static const char *const keys[] = {"use_dora",   "modules_to_save", "layer_replication",
                                       "use_bdlora", "rank_pattern",    "alpha_pattern"};
    for (size_t i = 0; i < N_UNUSUAL; i++)
        if (is_true(json_object_get(c->doc, unusual[i].key))) return unusual[i].key;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (is_true(json_object_get(c->doc, keys[i]))) return keys[i];
    const char *bias = json_string_value(json_object_get(c->doc, "bias"));
    return bias && strcmp(bias, "none") != 0 ? "bias" : NULL;
}

/* Adapters to weights that training moved first. */
static bool check_base(const json_t *doc, struct error *err)
{
    static const char *const changing[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *init = json_string_value(json_object_get(doc, "init_lora_weights"));
    for (size_t i = 0; init && i < sizeof changing / sizeof *changing; i++)
        if (strncmp(init, changing[i], strlen(changing[i])) == 0)
            return error_set(err, ERR_UNSUPPORTED,
                             WHAT ": init_lora_weights: '%.64s' changed the base model's weights when training began: "
                                  "the adapter does not fit the published ones",
                             init);
    return true;
}

bool adapter_config_open(struct adapter_config *out, const struct folder *f, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    const char *type = NULL;
    *out = (struct adapter_config){0};
    bool ok = folder_load(f, ADAPTER_CONFIG_FILE, BYTES_MAX, &text, err) &&
              json_parse(buffer_view(&text), JSON_DIALECT_HF, WHAT, &out->doc, err) &&
              json_get_string(out->doc, "peft_type", WHAT, &type, err);
    if (ok && strcmp(type, "LORA") != 0)
        ok = error_set(err, ERR_UNSUPPORTED, WHAT ": an adapter of type %.64s; only LORA is read", type);
    ok = ok && json_opt_bool(out->doc, "use_rslora", WHAT, &out->rslora, err) &&
         json_opt_bool(out->doc, "use_dora", WHAT, &out->dora, err) && check_base(out->doc, err);
    if (!ok) adapter_config_close(out);
    return ok;
}

void adapter_config_close(struct adapter_config *c)
{
    json_decref(c->doc);
    *c = (struct adapter_config){0};
}

/* PEFT: the first key of the pattern that matches the end of the module's name counts (get_pattern_key). */
static bool by_pattern(const json_t *doc, const char *pattern, const char *module, const json_t **out,
                       struct error *err)
{
    const char *key;
    json_t *v, *map = json_object_get(doc, pattern);
    if (map && !json_is_null(map) && !json_is_object(map))
        return error_set(err, ERR_FORMAT, WHAT ": key '%s': expected an object", pattern);
    json_object_foreach (map, key, v) {
        char text[KEY_BYTES_MAX + 16];
        const char *texts[] = {text};
        struct regex_list *l;
        if (strlen(key) > KEY_BYTES_MAX)
            return error_set(err, ERR_FORMAT, WHAT ": key '%s': a pattern of %zu bytes", pattern, strlen(key));
        snprintf(text, sizeof text, "(.*\\.)?(%s)$", key);
        if (!regex_list_make(&l, texts, 1, WHAT, err)) return false;
        bool fits = regex_list_fits(l, module);
        regex_list_free(l);
        if (!fits) continue;
        *out = v;
        return true;
    }
    return true;
}

bool adapter_config_module(const struct adapter_config *c, const char *module, uint64_t *rank, double *scale,
                           struct error *err)
{
    const json_t *r = json_object_get(c->doc, "r"), *a = json_object_get(c->doc, "lora_alpha");
    double alpha;
    if (!by_pattern(c->doc, "rank_pattern", module, &r, err) || !by_pattern(c->doc, "alpha_pattern", module, &a, err))
        return false;
    if (!json_is_integer(r) || json_integer_value(r) < 1 || json_integer_value(r) > ADAPTER_RANK_MAX)
        return error_set(err, ERR_FORMAT, WHAT ": the rank of '%.256s': expected an integer from 1 to %u, found %s",
                         module, ADAPTER_RANK_MAX, json_brief(r));
    if (!a || !json_number(a, &alpha) || !isfinite(alpha))
        return error_set(err, ERR_FORMAT, WHAT ": the alpha of '%.256s': expected a number, found %s", module,
                         json_brief(a));
    *rank = (uint64_t)json_integer_value(r);
    *scale = c->rslora ? alpha / sqrt((double)*rank) : alpha / (double)*rank;
    return true;
}
