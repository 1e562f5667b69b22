#include "formats/quant_method.h"

#include "formats/name_match.h"

#define BLOCK 128
#define NAMES_MAX 65536u
#define PATTERNS_MAX 256u

struct reading {
    struct quant_form *f;
    const char *what;
    struct error *err;
};

static const char *method_of(const json_t *doc)
{
    return json_string_value(json_object_get(doc, "quant_method"));
}

bool quant_method_known(const json_t *doc)
{
    const char *m = method_of(doc);
    return m && (strcmp(m, "fp8") == 0 || strcmp(m, "compressed-tensors") == 0 || strcmp(m, "mxfp4") == 0);
}

/* ---- lists of names ---- */

/* `list` apart: whole names, and what stands behind "re:". Both have room for all. */
static bool read_names(struct reading *r, const json_t *doc, const char *key, const char ***names, uint32_t *n_names,
                       const char ***patterns, uint32_t *n_patterns)
{
    json_t *list = json_object_get(doc, key);
    *n_names = *n_patterns = 0;
    if (list && !json_is_null(list) && !json_is_array(list))
        return error_set(r->err, ERR_FORMAT, "%s: key '%s': expected a list, found %s", r->what, key, json_brief(list));
    size_t n = json_array_size(list);
    if (n > NAMES_MAX)
        return error_set(r->err, ERR_UNSUPPORTED, "%s: key '%s': more than %u names", r->what, key, NAMES_MAX);
    *names = malloc((n + 1) * sizeof **names);
    *patterns = malloc((n + 1) * sizeof **patterns);
    if (!*names || !*patterns) return error_memory(r->err, n * sizeof **names);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text)
            return error_set(r->err, ERR_FORMAT, "%s: key '%s': expected strings, found %s", r->what, key,
                             json_brief(json_array_get(list, i)));
        if (strncmp(text, "re:", 3) == 0) (*patterns)[(*n_patterns)++] = text + 3;
        else (*names)[(*n_names)++] = text;
    }
    return *n_patterns <= PATTERNS_MAX
               ? true
               : error_set(r->err, ERR_UNSUPPORTED, "%s: key '%s': more than %u patterns", r->what, key, PATTERNS_MAX);
}

static bool read_ignored(struct reading *r, const json_t *doc, const char *key)
{
    CLEANUP(free) const char **patterns = NULL;
    uint32_t n_patterns;
    if (!read_names(r, doc, key, &r->f->excluded, &r->f->n_excluded, &patterns, &n_patterns)) return false;
    r->f->n_excluded = texts_sort(r->f->excluded, r->f->n_excluded);
    return n_patterns == 0 || regex_list_make(&r->f->ignored, patterns, n_patterns, r->what, r->err);
}

/* ---- DeepSeek's fp8 ---- */

/* [128, 128] */
static bool is_block(const json_t *v)
{
    return json_array_size(v) == 2 && json_integer_value(json_array_get(v, 0)) == BLOCK &&
           json_integer_value(json_array_get(v, 1)) == BLOCK;
}

static bool read_fp8(struct reading *r, const json_t *doc)
{
    const char *fmt = "e4m3", *scheme = "dynamic";
    const json_t *block = json_object_get(doc, "weight_block_size");
    if (!json_opt_string(doc, "fmt", r->what, &fmt, r->err) ||
        !json_opt_string(doc, "activation_scheme", r->what, &scheme, r->err))
        return false;
    if (strcmp(fmt, "e4m3") != 0 || strcmp(scheme, "dynamic") != 0)
        return error_set(r->err, ERR_UNSUPPORTED,
                         "%s: fmt '%.32s' with activation_scheme '%.32s' is not read here; e4m3 "
                         "with dynamic is",
                         r->what, fmt, scheme);
    if (!is_block(block))
        return error_set(r->err, ERR_UNSUPPORTED, "%s: weight_block_size %s is not read here; [128, 128] is", r->what,
                         block ? json_brief(block) : "is missing, and that");
    r->f->uniform = quant_format_of("fp8", "fp8_block");
    return read_ignored(r, doc, json_has(doc, "modules_to_not_convert") ? "modules_to_not_convert" : "ignored_layers");
}

/* ---- compressed-tensors ---- */

static bool int4_format(struct reading *r, const json_t *w, const char *group, const struct quant_format **out)
{
    uint64_t size = 0;
    bool symmetric = true;
    char name[32];
    if (!json_opt_u64(w, "group_size", r->what, 1, UINT32_MAX, &size, r->err) ||
        !json_opt_bool(w, "symmetric", r->what, &symmetric, r->err))
        return false;
    if (!symmetric)
        return error_set(r->err, ERR_UNSUPPORTED, "%s: %.64s: asymmetric weights are not read here", r->what, group);
    if (json_has(w, "actorder"))
        return error_set(r->err, ERR_UNSUPPORTED, "%s: %.64s: actorder is not read here", r->what, group);
    snprintf(name, sizeof name, "int4_g%llu", (unsigned long long)size);
    *out = quant_format_of("compressed-tensors", name);
    return *out ? true
                : error_set(r->err, ERR_UNSUPPORTED,
                            "%s: %.64s: group_size %llu of INT4 is not read here; 32, 64 and 128 are", r->what, group,
                            (unsigned long long)size);
}

static bool group_format(struct reading *r, const json_t *g, const char *group, const struct quant_format **out)
{
    json_t *w;
    uint64_t bits = 0;
    const char *type = "int", *strategy = "group", *format = NULL;
    if (!json_get_object(g, "weights", r->what, &w, r->err) ||
        !json_get_u64(w, "num_bits", r->what, 1, 64, &bits, r->err) ||
        !json_opt_string(w, "type", r->what, &type, r->err) ||
        !json_opt_string(w, "strategy", r->what, &strategy, r->err) ||
        !json_opt_string(g, "format", r->what, &format, r->err))
        return error_wrap(r->err, "%.64s", group);
    bool has_input = json_is_object(json_object_get(g, "input_activations")),
         dynamic = json_is_true(json_object_get(json_object_get(g, "input_activations"), "dynamic"));
    if (format && strcmp(format, "pack-quantized") != 0 && strcmp(format, "float-quantized") != 0)
        return error_set(r->err, ERR_UNSUPPORTED, "%s: %.64s: format '%.64s' is not read here", r->what, group, format);
    if (bits == 4 && strcmp(type, "int") == 0 && strcmp(strategy, "group") == 0 && !has_input)
        return int4_format(r, w, group, out);
    if (bits == 8 && strcmp(type, "float") == 0 && strcmp(strategy, "block") == 0 && (!has_input || dynamic) &&
        is_block(json_object_get(w, "block_structure"))) {
        *out = quant_format_of("compressed-tensors", "fp8_block_ct");
        return true;
    }
    return error_set(r->err, ERR_UNSUPPORTED,
                     "%s: %.64s: %llu-bit %.32s weights by %.32s%s are not read here; 4-bit int by group without "
                     "activations and 8-bit float by block of 128 are",
                     r->what, group, (unsigned long long)bits, type, strategy,
                     has_input ? " with quantized activations" : "");
}

static bool add_target(struct reading *r, const struct quant_target *t)
{
    struct quant_target *p = realloc(r->f->targets, (r->f->n_targets + 1) * sizeof *p);
    if (!p) return error_memory(r->err, sizeof *p);
    r->f->targets = p;
    p[r->f->n_targets++] = *t;
    return true;
}

/* "Linear" is every one; other words are names of modules. */
static bool read_targets(struct reading *r, const json_t *g, const struct quant_format *format)
{
    CLEANUP(free) const char **names = NULL;
    CLEANUP(free) const char **patterns = NULL;
    uint32_t n_names, n_patterns;
    if (!read_names(r, g, "targets", &names, &n_names, &patterns, &n_patterns)) return false;
    for (uint32_t i = 0; i < n_names; i++)
        if (!add_target(r, &(struct quant_target){format, strcmp(names[i], "Linear") == 0 ? NULL : names[i], NULL}))
            return false;
    if (n_patterns == 0) return true;
    struct quant_target t = {format, NULL, NULL};
    bool ok = regex_list_make(&t.patterns, patterns, n_patterns, r->what, r->err) && add_target(r, &t);
    if (!ok) regex_list_free(t.patterns);
    return ok;
}

static bool read_compressed(struct reading *r, const json_t *doc)
{
    json_t *groups, *group;
    const char *name, *status = "compressed";
    if (!json_opt_string(doc, "quantization_status", r->what, &status, r->err) ||
        !json_get_object(doc, "config_groups", r->what, &groups, r->err))
        return false;
    if (strcmp(status, "compressed") != 0)
        return error_set(r->err, ERR_UNSUPPORTED, "%s: quantization_status '%.64s' is not read here; compressed is",
                         r->what, status);
    if (json_has(doc, "kv_cache_scheme"))
        return error_set(r->err, ERR_UNSUPPORTED, "%s: a kv_cache_scheme of compressed-tensors is not read here",
                         r->what);
    json_object_foreach (groups, name, group) {
        const struct quant_format *format = NULL;
        if (!group_format(r, group, name, &format) || !read_targets(r, group, format)) return false;
    }
    if (r->f->n_targets == 0) return error_set(r->err, ERR_FORMAT, "%s: config_groups select nothing", r->what);
    r->f->exact_names = true;
    return read_ignored(r, doc, "ignore");
}

bool quant_method_read(struct quant_form *f, const json_t *doc, const char *what, struct error *err)
{
    struct reading r = {f, what, err};
    f->linears_only = true;
    if (strcmp(method_of(doc), "mxfp4") == 0) { /* modules_to_not_convert adds nothing: only experts are ever packed */
        f->experts_only = true;
        f->uniform = quant_format_of("mxfp4", "mxfp4");
        return true;
    }
    return strcmp(method_of(doc), "fp8") == 0 ? read_fp8(&r, doc) : read_compressed(&r, doc);
}

void quant_method_free(struct quant_form *f)
{
    for (uint32_t i = 0; i < f->n_targets; i++) regex_list_free(f->targets[i].patterns);
    free(f->targets);
    regex_list_free(f->ignored);
}

const struct quant_format *quant_method_resolve(const struct quant_form *f, const char *module)
{
    uint32_t i = texts_lower_bound(f->excluded, f->n_excluded, module);
    if ((i < f->n_excluded && strcmp(f->excluded[i], module) == 0) || regex_list_fits(f->ignored, module)) return NULL;
    for (i = 0; i < f->n_targets; i++) {
        const struct quant_target *t = &f->targets[i];
        bool all = !t->name && !t->patterns;
        if (all || (t->name && strcmp(t->name, module) == 0) || regex_list_fits(t->patterns, module)) return t->format;
    }
    return NULL;
}
