#include "formats/quant_form.h"

#include "formats/name_match.h"
#include "formats/quant_method.h"

#include <strings.h>

struct reading {
    struct quant_form *f;
    const char *what;
    struct error *err;
};

/* Both documents say the same with different keys. */
struct keys {
    const char *excluded, *kv;
};
static const struct keys nested_keys = {"exclude_modules", "kv_cache_quant_algo"},
                         flat_keys = {"ignore", "kv_cache_scheme"};

static bool check_method(struct reading *r, const json_t *doc)
{
    const char *method = NULL;
    if (!json_opt_string(doc, "quant_method", r->what, &method, r->err)) return false;
    if (method && strncasecmp(method, "modelopt", 8) != 0)
        return error_set(r->err, ERR_UNSUPPORTED,
                         "%s: quant_method '%.64s' is not read here; modelopt, compressed-tensors, fp8, mxfp4, awq "
                         "and gptq are",
                         r->what, method);
    if (method || json_object_get(doc, "quantization") || json_object_get(doc, "quant_algo")) return true;
    return error_set(r->err, ERR_UNSUPPORTED, "%s: says neither quant_method nor quant_algo", r->what);
}

static bool find_format(struct reading *r, const json_t *obj, const char *algo, const char *layer,
                        const struct quant_format **out)
{
    uint64_t group_size = 0;
    if (!json_opt_u64(obj, "group_size", r->what, 0, UINT32_MAX, &group_size, r->err)) return false;
    bool awq = strcasecmp(algo, "NVFP4_AWQ") == 0; /* NVFP4 beside which pre_quant_scale may stand */
    r->f->pre_scaled |= awq;
    *out = quant_format_by_algo(awq ? "NVFP4" : algo, group_size);
    if (*out) return true;
    if (layer)
        return error_set(r->err, ERR_UNSUPPORTED, "%s: layer '%.256s': quant_algo '%.64s' is not known here", r->what,
                         layer, algo);
    return error_set(r->err, ERR_UNSUPPORTED, "%s: quant_algo '%.64s' is not known here", r->what, algo);
}

/* Options that change what the bytes mean, of the whole checkpoint or of one layer. */
static bool check_options(struct reading *r, const json_t *obj, const struct quant_format *f, uint64_t *group_size)
{
    bool scaled = f && strcasecmp(f->algo, "W4A16_AWQ") == 0; /* config.json says no more of it than the name */
    *group_size = 0;
    if (!json_opt_u64(obj, "group_size", r->what, 0, UINT32_MAX, group_size, r->err) ||
        !json_opt_bool(obj, "pre_quant_scale", r->what, &scaled, r->err))
        return false;
    r->f->pre_scaled |= scaled;
    if (!f || f->block_cols == 1 || *group_size == 0 || *group_size == f->block_cols) return true;
    return error_set(r->err, ERR_UNSUPPORTED, "%s: group_size %llu of %s is not read here; %u is", r->what,
                     (unsigned long long)*group_size, f->algo, f->block_cols);
}

/* A word, or {"type": "float", "num_bits": 8}, which stands for FP8 (4: NVFP4). */
static bool read_kv(struct reading *r, const json_t *doc, const char *key)
{
    static const char *const known[] = {"FP8", "NVFP4"};
    const json_t *v = json_object_get(doc, key);
    if (!v || json_is_null(v)) return true;
    const char *word = json_string_value(v), *type = json_string_value(json_object_get(v, "type"));
    json_int_t bits = json_integer_value(json_object_get(v, "num_bits"));
    if (!word && !json_is_object(v))
        return error_set(r->err, ERR_FORMAT, "%s: key '%s': expected a string or an object, found %s", r->what, key,
                         json_brief(v));
    if (!word && type && strcmp(type, "float") == 0) word = bits == 8 ? "FP8" : bits == 4 ? "NVFP4" : NULL;
    for (size_t i = 0; word && i < sizeof known / sizeof *known; i++)
        if (strcasecmp(word, known[i]) == 0) r->f->kv_algo = known[i];
    if (r->f->kv_algo) return true;
    return error_set(r->err, ERR_UNSUPPORTED, "%s: key '%s': only FP8 and NVFP4 caches are read here, found %.64s",
                     r->what, key, json_brief(v));
}

static bool read_excluded(struct reading *r, const json_t *doc, const char *key)
{
    json_t *list;
    if (!json_has(doc, key)) return true;
    if (!json_get_array(doc, key, r->what, &list, r->err)) return false;
    uint32_t n = (uint32_t)json_array_size(list);
    r->f->excluded = malloc((n ? n : 1) * sizeof *r->f->excluded);
    if (!r->f->excluded) return error_memory(r->err, n * sizeof *r->f->excluded);
    for (uint32_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v))
            return error_set(r->err, ERR_FORMAT, "%s: key '%s': expected strings, found %s", r->what, key,
                             json_brief(v));
        r->f->excluded[i] = json_string_value(v);
    }
    r->f->n_excluded = texts_sort(r->f->excluded, n);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct quant_layer *)a)->name, ((const struct quant_layer *)b)->name);
}

static bool read_layers(struct reading *r, const json_t *doc)
{
    json_t *layers, *value;
    const char *name, *algo;
    if (!json_get_object(doc, "quantized_layers", r->what, &layers, r->err)) return false;
    size_t n = json_object_size(layers);
    if (n == 0) return error_set(r->err, ERR_FORMAT, "%s: MIXED_PRECISION with no quantized_layers", r->what);
    r->f->layers = malloc(n * sizeof *r->f->layers);
    if (!r->f->layers) return error_memory(r->err, n * sizeof *r->f->layers);
    json_object_foreach (layers, name, value) {
        struct quant_layer *l = &r->f->layers[r->f->n_layers++];
        uint64_t group_size;
        l->name = name;
        if (!json_get_string(value, "quant_algo", "quantized_layers", &algo, r->err))
            return error_wrap(r->err, "%s: layer '%.256s'", r->what, name);
        if (!find_format(r, value, algo, name, &l->format)) return false;
        if (!check_options(r, value, l->format, &group_size)) return error_wrap(r->err, "layer '%.256s'", name);
    }
    qsort(r->f->layers, n, sizeof *r->f->layers, by_name);
    return true;
}

/* One side of a group, where it says its type. `bits` 16: not quantized. */
static bool check_side(struct reading *r, const json_t *group, const char *name, const char *side, uint32_t bits,
                       const char *type, const struct quant_format *f)
{
    const json_t *args = json_object_get(group, side);
    uint64_t said = bits;
    const char *word = type;
    if (!json_is_object(args)) return true;
    if (!json_opt_u64(args, "num_bits", r->what, 0, 64, &said, r->err) ||
        !json_opt_string(args, "type", r->what, &word, r->err))
        return error_wrap(r->err, "%.64s", name);
    if (said == bits && (bits == 16 || strcmp(word, type) == 0)) return true;
    return error_set(r->err, ERR_FORMAT, "%s: %.64s: %s of %s have %u bits (%s), found %llu (%.32s)", r->what, name,
                     side, f->algo, bits, bits == 16 ? "not quantized" : type, (unsigned long long)said, word);
}

/* What a group says must be what quant_algo and quantized_layers say: readers take either. */
static bool check_group(struct reading *r, const json_t *group, const char *name)
{
    const struct quant_format *f = r->f->uniform;
    const json_t *targets = json_object_get(group, "targets");
    for (size_t i = 0; r->f->mixed && !f && i < json_array_size(targets); i++) {
        const char *target = json_string_value(json_array_get(targets, i));
        for (uint32_t k = 0; target && k < r->f->n_layers; k++)
            if (strcmp(r->f->layers[k].name, target) == 0) f = r->f->layers[k].format;
    }
    if (!f) return true;
    bool int4 = f->decode_op == OP_DECODE_INT4 || f->decode_op == OP_DECODE_INT4_ZERO;
    return check_side(r, group, name, "weights", f->weight_bits, int4 ? "int" : "float", f) &&
           check_side(r, group, name, "input_activations", f->input_bits, "float", f);
}

/* The flat form says the group size only inside its config_groups. */
static bool read_groups(struct reading *r, const json_t *doc)
{
    json_t *groups, *group;
    const char *name;
    if (!json_has(doc, "config_groups")) return true;
    if (!json_get_object(doc, "config_groups", r->what, &groups, r->err)) return false;
    json_object_foreach (groups, name, group) {
        uint64_t size = 0;
        const json_t *weights = json_object_get(group, "weights");
        if (!check_group(r, group, name)) return false;
        if (!json_is_object(weights)) continue;
        if (!json_opt_u64(weights, "group_size", r->what, 0, UINT32_MAX, &size, r->err)) return false;
        if (!r->f->uniform || size == 0) continue;
        r->f->uniform = quant_format_by_algo(r->f->uniform->algo, size);
        if (!check_options(r, weights, r->f->uniform, &size)) return error_wrap(r->err, "%.64s", name);
        if (r->f->group_size && r->f->group_size != size)
            return error_set(r->err, ERR_FORMAT, "%s: group_size is %llu and, in %.64s, %llu", r->what,
                             (unsigned long long)r->f->group_size, name, (unsigned long long)size);
        r->f->group_size = size;
    }
    return true;
}

static bool read_algo(struct reading *r, const json_t *doc)
{
    const char *algo = NULL;
    if (!json_opt_string(doc, "quant_algo", r->what, &algo, r->err)) return false;
    r->f->mixed = algo && strcasecmp(algo, "MIXED_PRECISION") == 0;
    if (r->f->mixed) return read_layers(r, doc);
    if (algo && !find_format(r, doc, algo, NULL, &r->f->uniform)) return false;
    return check_options(r, doc, r->f->uniform, &r->f->group_size);
}

static bool read_form(struct reading *r, const json_t *doc)
{
    json_t *inner = NULL;
    if (!json_is_object(doc))
        return error_set(r->err, ERR_FORMAT, "%s: expected an object, found %s", r->what, json_brief(doc));
    if (quant_method_known(doc)) return quant_method_read(r->f, doc, r->what, r->err);
    if (!check_method(r, doc)) return false;
    bool nested = json_has(doc, "quantization");
    if (nested && !json_get_object(doc, "quantization", r->what, &inner, r->err)) return false;
    const json_t *body = nested ? inner : doc;
    const struct keys *k = nested ? &nested_keys : &flat_keys;
    return read_algo(r, body) && read_groups(r, body) && read_kv(r, body, k->kv) && read_excluded(r, body, k->excluded);
}

bool quant_form_read(struct quant_form *out, const json_t *doc, const char *what, struct error *err)
{
    *out = (struct quant_form){.what = what};
    struct reading r = {.f = out, .what = what, .err = err};
    if (read_form(&r, doc)) return true;
    quant_form_free(out);
    return false;
}

void quant_form_free(struct quant_form *f)
{
    free(f->excluded);
    free(f->layers);
    quant_method_free(f);
    *f = (struct quant_form){0};
}

static bool differ(const struct quant_form *a, const struct quant_form *b, const char *key, const char *x,
                   const char *y, struct error *err)
{
    return error_set(err, ERR_FORMAT, "%s and %s disagree: key '%s' is %.128s in one and %.128s in the other", a->what,
                     b->what, key, x ? x : "absent", y ? y : "absent");
}

static bool same_excluded(const struct quant_form *a, const struct quant_form *b, struct error *err)
{
    for (uint32_t i = 0; i < a->n_excluded || i < b->n_excluded; i++) {
        const char *x = i < a->n_excluded ? a->excluded[i] : NULL, *y = i < b->n_excluded ? b->excluded[i] : NULL;
        if (x && y && strcmp(x, y) == 0) continue;
        /* Sorted: the smaller of the two is the one that the other list lacks. */
        bool in_a = x && (!y || strcmp(x, y) < 0);
        return error_set(err, ERR_FORMAT, "%s and %s disagree: only the %s excludes '%.256s'", a->what, b->what,
                         in_a ? "first" : "second", in_a ? x : y);
    }
    return true;
}

static bool same_layers(const struct quant_form *a, const struct quant_form *b, struct error *err)
{
    for (uint32_t i = 0; i < a->n_layers || i < b->n_layers; i++) {
        const struct quant_layer *x = i < a->n_layers ? &a->layers[i] : NULL,
                                 *y = i < b->n_layers ? &b->layers[i] : NULL;
        int c = !x ? 1 : !y ? -1 : strcmp(x->name, y->name);
        if (c == 0 && x->format == y->format) continue;
        const char *xf = c <= 0 ? x->format->algo : "absent", *yf = c >= 0 ? y->format->algo : "absent";
        return error_set(err, ERR_FORMAT,
                         "%s and %s disagree: key 'quantized_layers', layer '%.256s' is %s in one and %s in the other",
                         a->what, b->what, c <= 0 ? x->name : y->name, xf, yf);
    }
    return true;
}

bool quant_form_same(const struct quant_form *a, const struct quant_form *b, struct error *err)
{
    if (a->mixed != b->mixed || a->uniform != b->uniform)
        return differ(a, b, "quant_algo",
                      a->mixed     ? "MIXED_PRECISION"
                      : a->uniform ? a->uniform->algo
                                   : NULL,
                      b->mixed     ? "MIXED_PRECISION"
                      : b->uniform ? b->uniform->algo
                                   : NULL,
                      err);
    if (!a->kv_algo != !b->kv_algo || (a->kv_algo && strcmp(a->kv_algo, b->kv_algo) != 0))
        return differ(a, b, "kv_cache_quant_algo", a->kv_algo, b->kv_algo, err);
    return same_excluded(a, b, err) && same_layers(a, b, err);
}
