#include "formats/ct_scheme.h"

#include "core/text.h"

#define BLOCK 128

static const char *const type_words[] = {"float", "int", NULL};
static const char *const strategy_words[] = {"tensor", "channel", "group", "tensor_group", "block", "token", NULL};

#define E4M3_SCALES "torch.float8_e4m3fn"
#define E8M0_SCALES "torch.uint8"

static const struct scheme {
    const char *format, *word;
    struct ct_args weights, inputs;
} schemes[] = {
    {"nvfp4_ct",
     "nvfp4-pack-quantized",
     {4, CT_FLOAT, CT_TENSOR_GROUP, 16, false, CT_STATIC, E4M3_SCALES},
     {4, CT_FLOAT, CT_TENSOR_GROUP, 16, false, CT_LOCAL, E4M3_SCALES}},
    {"w4a16_nvfp4_ct", "nvfp4-pack-quantized", {4, CT_FLOAT, CT_TENSOR_GROUP, 16, false, CT_STATIC, E4M3_SCALES}, {0}},
    {"fp8_ct",
     "float-quantized",
     {8, CT_FLOAT, CT_TENSOR, 0, false, CT_STATIC, NULL},
     {8, CT_FLOAT, CT_TENSOR, 0, false, CT_STATIC, NULL}},
    {"fp8_channel_ct",
     "float-quantized",
     {8, CT_FLOAT, CT_CHANNEL, 0, false, CT_STATIC, NULL},
     {8, CT_FLOAT, CT_TOKEN, 0, false, CT_DYNAMIC, NULL}},
    {"fp8_block_ct",
     "float-quantized",
     {8, CT_FLOAT, CT_BLOCK, 0, false, CT_STATIC, NULL},
     {8, CT_FLOAT, CT_GROUP, 128, false, CT_DYNAMIC, NULL}},
    {"w8a16_fp8_block_ct", "float-quantized", {8, CT_FLOAT, CT_BLOCK, 0, false, CT_STATIC, NULL}, {0}},
    {"mxfp8_ct",
     "mxfp8-quantized",
     {8, CT_FLOAT, CT_GROUP, 32, false, CT_STATIC, E8M0_SCALES},
     {8, CT_FLOAT, CT_GROUP, 32, false, CT_DYNAMIC, E8M0_SCALES}},
    {"mxfp4_ct", "mxfp4-pack-quantized", {4, CT_FLOAT, CT_GROUP, 32, false, CT_STATIC, E8M0_SCALES}, {0}},
    {"int4_g32", "pack-quantized", {4, CT_INT, CT_GROUP, 32, false, CT_STATIC, NULL}, {0}},
    {"int4_g64", "pack-quantized", {4, CT_INT, CT_GROUP, 64, false, CT_STATIC, NULL}, {0}},
    {"int4_g128", "pack-quantized", {4, CT_INT, CT_GROUP, 128, false, CT_STATIC, NULL}, {0}},
    {"int4_zero_g32_ct", "pack-quantized", {4, CT_INT, CT_GROUP, 32, true, CT_STATIC, NULL}, {0}},
    {"int4_zero_g64_ct", "pack-quantized", {4, CT_INT, CT_GROUP, 64, true, CT_STATIC, NULL}, {0}},
    {"int4_zero_g128_ct", "pack-quantized", {4, CT_INT, CT_GROUP, 128, true, CT_STATIC, NULL}, {0}},
};

/* ---- writing ---- */

static const struct scheme *scheme_of(const struct quant_format *f)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strcmp(schemes[i].format, f->name) == 0) return &schemes[i];
    return NULL;
}

const char *ct_format_word(const struct quant_format *f)
{
    const struct scheme *s = scheme_of(f);
    return s ? s->word : NULL;
}

static json_t *dynamic_json(enum ct_dynamic d)
{
    return d == CT_LOCAL ? json_string("local") : json_boolean(d == CT_DYNAMIC);
}

static bool args_json(const struct ct_args *a, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *j = json_object();
    bool ok = j && json_put(j, "dynamic", dynamic_json(a->dynamic), err) &&
              json_put(j, "num_bits", json_integer(a->bits), err) &&
              json_put(j, "strategy", json_string(strategy_words[a->strategy]), err) &&
              json_put(j, "symmetric", json_boolean(!a->asymmetric), err) &&
              json_put(j, "type", json_string(type_words[a->type]), err) &&
              json_put(j, "group_size", a->group ? json_integer(a->group) : json_null(), err);
    if (ok && a->strategy == CT_BLOCK) ok = json_put(j, "block_structure", json_pack("[i,i]", BLOCK, BLOCK), err);
    if (ok && a->scale_dtype) ok = json_put(j, "scale_dtype", json_string(a->scale_dtype), err);
    if (!ok) return error_memory(err, 0);
    *out = take_ptr(&j);
    return true;
}

bool ct_group_json(const struct quant_format *f, json_t *targets, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *names = targets;
    CLEANUP(json) json_t *g = json_object();
    const struct scheme *s = scheme_of(f);
    json_t *weights, *inputs = NULL;
    if (!s) return error_set(err, ERR_INTERNAL, "compressed-tensors has no scheme for %s", f->name);
    if (!g || !names) return error_memory(err, 0);
    if (!json_put(g, "targets", json_incref(names), err) || !args_json(&s->weights, &weights, err) ||
        !json_put(g, "weights", weights, err) || (s->inputs.bits && !args_json(&s->inputs, &inputs, err)) ||
        !json_put(g, "input_activations", inputs ? inputs : json_null(), err) ||
        !json_put(g, "output_activations", json_null(), err) || !json_put(g, "format", json_string(s->word), err))
        return false;
    *out = take_ptr(&g);
    return true;
}

/* ---- reading ---- */

struct reading {
    const char *what, *name; /* the document, the group */
    struct error *err;
};

static bool find_word(const struct reading *r, const char *const *words, const char *key, const char *word, int *out)
{
    for (*out = 0; words[*out]; ++*out)
        if (strcasecmp(words[*out], word) == 0) return true;
    return error_set(r->err, ERR_UNSUPPORTED, "%s: %.64s: %s '%.64s' is not read here", r->what, r->name, key, word);
}

/* true, false, "local", or nothing */
static bool read_dynamic(const struct reading *r, const json_t *a, enum ct_dynamic *out)
{
    const json_t *v = json_object_get(a, "dynamic");
    *out = json_is_true(v) ? CT_DYNAMIC : CT_STATIC;
    if (!v || json_is_boolean(v) || json_is_null(v)) return true;
    *out = CT_LOCAL;
    if (json_is_string(v) && strcmp(json_string_value(v), "local") == 0) return true;
    return error_set(r->err, ERR_UNSUPPORTED, "%s: %.64s: dynamic %s is not read here", r->what, r->name,
                     json_brief(v));
}

/* [128, 128], or "128x128" of older files */
static bool is_block(const json_t *v)
{
    if (json_is_string(v)) return strcmp(json_string_value(v), "128x128") == 0;
    return json_array_size(v) == 2 && json_integer_value(json_array_get(v, 0)) == BLOCK &&
           json_integer_value(json_array_get(v, 1)) == BLOCK;
}

/* Order of activations while the weights were chosen says nothing of the result; by groups it does. */
static bool check_order(const struct reading *r, const json_t *a)
{
    const json_t *v = json_object_get(a, "actorder");
    const char *word = json_string_value(v);
    if (!v || json_is_null(v) || json_is_false(v) || (word && !strcmp(word, "weight")) ||
        (word && !strcmp(word, "static")))
        return true;
    return error_set(r->err, ERR_UNSUPPORTED,
                     "%s: %.64s: actorder %s is not read here: columns in another order; weight is", r->what, r->name,
                     json_brief(v));
}

static bool read_args(const struct reading *r, const json_t *a, struct ct_args *out)
{
    uint64_t bits = 0, group = 0;
    bool symmetric = true;
    const char *type = "int", *strategy = NULL;
    int word;
    bool channel =
        json_is_integer(json_object_get(a, "group_size")) && json_integer_value(json_object_get(a, "group_size")) == -1;
    if (!json_get_u64(a, "num_bits", r->what, 1, 64, &bits, r->err) ||
        !json_opt_string(a, "type", r->what, &type, r->err) ||
        !json_opt_string(a, "strategy", r->what, &strategy, r->err) ||
        (!channel && !json_opt_u64(a, "group_size", r->what, 0, UINT32_MAX, &group, r->err)) ||
        !json_opt_bool(a, "symmetric", r->what, &symmetric, r->err))
        return error_wrap(r->err, "%.64s", r->name);
    if (!strategy) strategy = channel ? "channel" : group ? "group" : "tensor";
    *out = (struct ct_args){.bits = (uint32_t)bits, .group = (uint32_t)group, .asymmetric = !symmetric};
    if (!find_word(r, type_words, "type", type, &word)) return false;
    out->type = (enum ct_type)word;
    if (!find_word(r, strategy_words, "strategy", strategy, &word)) return false;
    out->strategy = (enum ct_strategy)word;
    if (out->strategy == CT_BLOCK && !is_block(json_object_get(a, "block_structure")))
        return error_set(r->err, ERR_UNSUPPORTED, "%s: %.64s: block_structure %s is not read here; [128, 128] is",
                         r->what, r->name,
                         json_has(a, "block_structure") ? json_brief(json_object_get(a, "block_structure"))
                                                        : "is missing, and that");
    return read_dynamic(r, a, &out->dynamic) && check_order(r, a);
}

static bool same_args(const struct ct_args *a, const struct ct_args *b)
{
    return a->bits == b->bits &&
           (a->bits == 0 || (a->type == b->type && a->strategy == b->strategy && a->group == b->group &&
                             a->asymmetric == b->asymmetric && a->dynamic == b->dynamic));
}

static void describe(struct text *t, const struct ct_args *a)
{
    if (!a->bits) {
        text_add(t, "nothing");
        return;
    }
    text_add(t, "%s%u-bit %s by %s", a->asymmetric ? "asymmetric " : "", a->bits, type_words[a->type],
             strategy_words[a->strategy]);
    if (a->group) text_add(t, " of %u", a->group);
    if (a->dynamic != CT_STATIC) text_add(t, ", %s", a->dynamic == CT_LOCAL ? "dynamic within the tensor" : "dynamic");
}

static bool not_read(const struct reading *r, const struct ct_args *weights, const struct ct_args *inputs)
{
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    text_add(&t, "weights ");
    describe(&t, weights);
    text_add(&t, " with activations ");
    describe(&t, inputs);
    return error_set(r->err, ERR_UNSUPPORTED,
                     "%s: %.64s: %s are not read here; NVFP4, FP8 by tensor, channel and block of 128, MXFP8, MXFP4, "
                     "and INT4 by groups of 32, 64 and 128 are",
                     r->what, r->name, t.data);
}

bool ct_group_read(const json_t *group, const char *name, const char *what, const struct quant_format **out,
                   struct error *err)
{
    struct reading r = {what, name, err};
    struct ct_args weights, inputs = {0};
    json_t *w;
    const char *word = NULL;
    const json_t *in = json_object_get(group, "input_activations");
    if (!json_get_object(group, "weights", what, &w, err) || !json_opt_string(group, "format", what, &word, err))
        return error_wrap(err, "%.64s", name);
    if (json_has(group, "output_activations"))
        return error_set(err, ERR_UNSUPPORTED, "%s: %.64s: quantized output_activations are not read here", what, name);
    if (!read_args(&r, w, &weights) || (json_is_object(in) && !read_args(&r, in, &inputs))) return false;
    /* Engines take inputs of such weights 128 at a time, whatever else they are called. */
    if (weights.strategy == CT_BLOCK && inputs.bits == 8 && inputs.type == CT_FLOAT && inputs.dynamic == CT_DYNAMIC) {
        inputs.strategy = CT_GROUP;
        inputs.group = BLOCK;
    }
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        const struct scheme *s = &schemes[i];
        if (!same_args(&s->weights, &weights) || !same_args(&s->inputs, &inputs)) continue;
        if (word && strcmp(word, s->word) != 0 && strcmp(word, "naive-quantized") != 0)
            return error_set(err, ERR_UNSUPPORTED, "%s: %.64s: format '%.64s' is not read here; for such weights %s is",
                             what, name, word, s->word);
        *out = quant_format_of("compressed-tensors", s->format);
        return *out ? true : error_set(err, ERR_INTERNAL, "no format %s", s->format);
    }
    return not_read(&r, &weights, &inputs);
}
