/* llm-compressor's schemes: presets, and what compressed-tensors calls quantization arguments. */
#include "plan/llmcompressor.h"

#include <strings.h>

struct reader {
    const struct yaml *doc;
    const char *file;
    struct error *err;
    char at[512];
};

const char *llm_at(const struct yaml *doc, const char *file, const json_t *node, char out[512])
{
    uint32_t line = yaml_line(doc, node);
    snprintf(out, 512, line ? "%.400s: line %u" : "%.400s", file, line);
    return out;
}

bool llm_preset(const char *name, struct scheme *out)
{
    static const struct {
        const char *name, *weights, *inputs;
        uint32_t group;
        bool zero;
    } rows[] = {
        {"NVFP4", "nvfp4", "nvfp4", 0, false},
        {"NVFP4A16", "nvfp4", "none", 0, false},
        {"FP8", "fp8", "fp8", 0, false},
        {"FP8_DYNAMIC", "fp8_channel", "fp8_token", 0, false},
        {"FP8_BLOCK", "fp8_block", "fp8_group", 0, false},
        {"MXFP4", "mxfp4_ocp", "mxfp4_ocp", 0, false},
        {"MXFP4A16", "mxfp4_ocp", "none", 0, false},
        {"MXFP8", "mxfp8", "mxfp8", 0, false},
        {"MXFP8A16", "mxfp8", "none", 0, false},
        {"W4A16", "int4", "none", 128, false},
        {"W4A16_ASYM", "int4", "none", 128, true},
        {"UNQUANTIZED", "none", "none", 0, false},
    };
    /* Known there, without a type here. */
    static const char *const others[] = {"W8A8",    "INT8", "W4A8",  "W8A16", "W4AFP8", "MXFP4XFP8", "MXFP6A16",
                                         "MXFP6A8", "W2A4", "W2A8",  "W2A16", "W3A4",   "W3A8",      "W3A16",
                                         "W4A4",    "W5A8", "W5A16", "W6A8",  "W6A16",  "W7A8",      "W7A16"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcasecmp(rows[i].name, name) == 0) {
            *out = (struct scheme){
                .weights = rows[i].weights, .inputs = rows[i].inputs, .group = rows[i].group, .zero = rows[i].zero};
            return true;
        }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcasecmp(others[i], name) == 0) {
            *out = (struct scheme){.weights = NULL};
            snprintf(out->refuse, sizeof out->refuse, "scheme %s is no type that this program writes", others[i]);
            return true;
        }
    return false;
}

struct args {
    uint64_t bits;
    const char *type, *strategy, *dynamic; /* dynamic: "true", "false" or "local" */
    bool symmetric;
    int64_t group;
    bool block_128;
};

static bool read_dynamic(struct reader *c, const json_t *v, const char *at, struct args *a)
{
    a->dynamic = "false";
    if (!v || json_is_null(v) || json_is_false(v)) return true;
    if (json_is_true(v)) a->dynamic = "true";
    else if (json_is_string(v) && strcmp(json_string_value(v), "local") == 0) a->dynamic = "local";
    else
        return error_set(c->err, ERR_FORMAT, "%s: key 'dynamic': expected true, false or local, found %s", at,
                         json_brief(v));
    return true;
}

static bool read_args(struct reader *c, const json_t *json, struct args *a, struct scheme *s, bool weights)
{
    static const char *const keys[] = {
        "num_bits",        "type",     "symmetric",       "group_size", "strategy",    "dynamic", "actorder",
        "block_structure", "observer", "observer_kwargs", "zp_dtype",   "scale_dtype", NULL};
    const char *at = llm_at(c->doc, c->file, json, c->at), *observer = NULL;
    *a = (struct args){.bits = 8, .type = "int", .symmetric = true};
    if (!json_known_keys(json, at, keys, c->err) || !json_opt_u64(json, "num_bits", at, 1, 16, &a->bits, c->err) ||
        !json_opt_string(json, "type", at, &a->type, c->err) ||
        !json_opt_string(json, "strategy", at, &a->strategy, c->err) ||
        !json_opt_bool(json, "symmetric", at, &a->symmetric, c->err) ||
        !json_opt_string(json, "observer", at, &observer, c->err) ||
        !read_dynamic(c, json_object_get(json, "dynamic"), at, a))
        return false;
    if (strcmp(a->type, "int") != 0 && strcmp(a->type, "float") != 0)
        return error_set(c->err, ERR_FORMAT, "%s: key 'type': expected int or float, found '%.64s'", at, a->type);
    const json_t *group = json_object_get(json, "group_size"), *block = json_object_get(json, "block_structure");
    if (json_has(json, "group_size") && (!json_is_integer(group) || json_integer_value(group) < -1))
        return error_set(c->err, ERR_FORMAT, "%s: key 'group_size': expected a number, found %s", at,
                         json_brief(group));
    a->group = json_has(json, "group_size") ? json_integer_value(group) : 0;
    a->block_128 =
        json_integer_value(json_array_get(block, 0)) == 128 && json_integer_value(json_array_get(block, 1)) == 128;
    if (json_is_string(block)) a->block_128 = strcmp(json_string_value(block), "128x128") == 0;
    if (!a->strategy) a->strategy = a->group > 0 ? "group" : a->group == -1 ? "channel" : "tensor";
    if (weights) {
        s->observer = observer;
    } else if (observer && strstr(observer, "mse")) {
        snprintf(s->refuse, sizeof s->refuse, "observer %.32s of activations is not supported", observer);
    }
    return true;
}

static bool strategy_is(const struct args *a, const char *word)
{
    return strcmp(a->strategy, word) == 0;
}

static const char *word_of_weights(const struct args *a, struct scheme *s)
{
    bool is_float = strcmp(a->type, "float") == 0, is_static = strcmp(a->dynamic, "false") == 0;
    if (!is_static) return NULL;
    if (is_float && a->symmetric && a->bits == 4 && strategy_is(a, "tensor_group") && a->group == 16) return "nvfp4";
    if (is_float && a->symmetric && a->bits == 4 && strategy_is(a, "group") && a->group == 32) return "mxfp4_ocp";
    if (is_float && a->symmetric && a->bits == 8) {
        if (strategy_is(a, "tensor")) return "fp8";
        if (strategy_is(a, "channel")) return "fp8_channel";
        if (strategy_is(a, "block") && a->block_128) return "fp8_block";
        return strategy_is(a, "group") && a->group == 32 ? "mxfp8" : NULL;
    }
    if (!is_float && a->bits == 4 && strategy_is(a, "group") && (a->group == 32 || a->group == 64 || a->group == 128)) {
        s->group = (uint32_t)a->group;
        s->zero = !a->symmetric;
        return "int4";
    }
    return NULL;
}

static const char *word_of_inputs(const struct args *a)
{
    if (strcmp(a->type, "float") != 0 || !a->symmetric) return NULL;
    bool is_static = strcmp(a->dynamic, "false") == 0, local = strcmp(a->dynamic, "local") == 0;
    if (a->bits == 4 && strategy_is(a, "tensor_group") && a->group == 16) return local ? "nvfp4" : NULL;
    if (a->bits == 4 && strategy_is(a, "group") && a->group == 32) return is_static ? NULL : "mxfp4_ocp";
    if (a->bits != 8) return NULL;
    if (strategy_is(a, "tensor")) return is_static ? "fp8" : NULL;
    if (is_static) return NULL;
    if (strategy_is(a, "token")) return "fp8_token";
    if (strategy_is(a, "group") && a->group == 128) return "fp8_group";
    return strategy_is(a, "group") && a->group == 32 ? "mxfp8" : NULL;
}

static void refuse_args(struct scheme *s, const char *half, const struct args *a)
{
    if (s->refuse[0]) return;
    snprintf(s->refuse, sizeof s->refuse, "%s of %llu bits (%.16s, %.16s, %s%s) are no type that this program writes",
             half, (unsigned long long)a->bits, a->type, a->strategy, a->symmetric ? "symmetric" : "asymmetric",
             strcmp(a->dynamic, "false") == 0 ? "" : ", dynamic");
}

/* One of config_groups, or a scheme written out. */
static bool read_scheme(struct reader *c, const json_t *json, struct scheme *s)
{
    static const char *const keys[] = {"targets", "weights", "input_activations", "output_activations", "format", NULL};
    struct args a;
    *s = (struct scheme){.weights = "none", .inputs = "none"};
    if (!json_known_keys(json, llm_at(c->doc, c->file, json, c->at), keys, c->err)) return false;
    if (json_has(json, "weights")) {
        if (!read_args(c, json_object_get(json, "weights"), &a, s, true)) return false;
        if (!(s->weights = word_of_weights(&a, s))) refuse_args(s, "weights", &a);
    }
    if (json_has(json, "input_activations")) {
        if (!read_args(c, json_object_get(json, "input_activations"), &a, s, false)) return false;
        if (!(s->inputs = word_of_inputs(&a))) refuse_args(s, "activations", &a);
    }
    if (json_has(json, "output_activations"))
        snprintf(s->refuse, sizeof s->refuse, "quantized outputs of linears are not supported");
    return true;
}

bool llm_scheme(const struct yaml *doc, const char *file, const json_t *json, struct scheme *out, struct error *err)
{
    struct reader c = {.doc = doc, .file = file, .err = err};
    return read_scheme(&c, json, out);
}

bool llm_kv_scheme(const struct yaml *doc, const char *file, const json_t *json, struct error *err)
{
    struct reader c = {.doc = doc, .file = file, .err = err};
    struct args a;
    struct scheme s = {0};
    if (!read_args(&c, json, &a, &s, false)) return false;
    const char *word = word_of_inputs(&a);
    if (word && strcmp(word, "fp8") == 0) return true;
    return error_set(err, ERR_UNSUPPORTED,
                     "%s: kv_cache_scheme: only 8 bits, float, symmetric, tensor, static (FP8) is read here",
                     llm_at(doc, file, json, c.at));
}

void llm_scheme_finish(struct scheme *s)
{
    const struct quant_type *w = s->weights ? quant_type_find(s->weights) : NULL,
                            *in = s->inputs ? quant_type_find(s->inputs) : NULL;
    if (s->refuse[0] || (w && in && (w->uses & USE_WEIGHTS) && (in->uses & USE_INPUTS))) return;
    snprintf(s->refuse, sizeof s->refuse, "weights %.32s with inputs %.32s are not supported", s->weights, s->inputs);
}
