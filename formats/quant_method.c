#include "formats/quant_method_impl.h"

#include "formats/ct_scheme.h"
#include "formats/name_match.h"

#define BLOCK 128

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
    static const char *const methods[] = {"fp8", "compressed-tensors", "mxfp4", "awq", "gptq"};
    const char *m = method_of(doc);
    for (size_t i = 0; m && i < sizeof methods / sizeof *methods; i++)
        if (strcmp(m, methods[i]) == 0) return true;
    return false;
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
    if (n > QUANT_NAMES_MAX)
        return error_set(r->err, ERR_UNSUPPORTED, "%s: key '%s': more than %u names", r->what, key, QUANT_NAMES_MAX);
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
    return *n_patterns <= QUANT_PATTERNS_MAX ? true
                                             : error_set(r->err, ERR_UNSUPPORTED, "%s: key '%s': more than %u patterns",
                                                         r->what, key, QUANT_PATTERNS_MAX);
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

/* {"num_bits": 8, "type": "float", "strategy": "tensor"}: FP8, one scale for K and one for V of a layer. */
static bool read_cache(struct reading *r, const json_t *scheme)
{
    if (!scheme || json_is_null(scheme)) return true;
    const char *type = json_string_value(json_object_get(scheme, "type")),
               *strategy = json_string_value(json_object_get(scheme, "strategy"));
    bool fp8 = type && strcmp(type, "float") == 0 && json_integer_value(json_object_get(scheme, "num_bits")) == 8,
         plain =
             !json_is_false(json_object_get(scheme, "symmetric")) && !json_is_true(json_object_get(scheme, "dynamic"));
    if (!fp8 || !plain || (strategy && strcmp(strategy, "tensor") != 0))
        return error_set(r->err, ERR_UNSUPPORTED,
                         "%s: kv_cache_scheme %s is not read here; 8-bit float by tensor, static, is", r->what,
                         json_brief(scheme));
    r->f->kv_algo = "FP8";
    return true;
}

/* The word for all groups, by which engines choose how to load them. */
static bool check_format(const struct reading *r, const json_t *doc)
{
    const char *word = NULL;
    if (!json_opt_string(doc, "format", r->what, &word, r->err)) return false;
    if (!word || strcmp(word, "mixed-precision") == 0 || strcmp(word, "naive-quantized") == 0) return true;
    for (uint32_t i = 0; i < r->f->n_targets; i++) {
        const char *want = ct_format_word(r->f->targets[i].format);
        if (want && strcmp(word, want) != 0)
            return error_set(r->err, ERR_FORMAT, "%s: format '%.64s' does not fit its config_groups; expected %s",
                             r->what, word, r->f->n_targets > 1 ? "mixed-precision or that of every group" : want);
    }
    return true;
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
    if (!read_cache(r, json_object_get(doc, "kv_cache_scheme"))) return false;
    json_object_foreach (groups, name, group) {
        const struct quant_format *format = NULL;
        if (!ct_group_read(group, name, r->what, &format, r->err) || !read_targets(r, group, format)) return false;
    }
    if (r->f->n_targets == 0) return error_set(r->err, ERR_FORMAT, "%s: config_groups select nothing", r->what);
    if (!check_format(r, doc)) return false;
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
    if (strcmp(method_of(doc), "awq") == 0) return quant_method_awq(f, doc, what, err);
    if (strcmp(method_of(doc), "gptq") == 0) return quant_method_gptq(f, doc, what, err);
    return strcmp(method_of(doc), "fp8") == 0 ? read_fp8(&r, doc) : read_compressed(&r, doc);
}

void quant_method_free(struct quant_form *f)
{
    for (uint32_t i = 0; i < f->n_targets; i++) regex_list_free(f->targets[i].patterns);
    free(f->targets);
    regex_list_free(f->ignored);
}

/* Names count before patterns, patterns before "Linear". */
const struct quant_format *quant_method_resolve(const struct quant_form *f, const char *module, bool named)
{
    uint32_t i = texts_lower_bound(f->excluded, f->n_excluded, module);
    if ((i < f->n_excluded && strcmp(f->excluded[i], module) == 0) || regex_list_fits(f->ignored, module)) return NULL;
    const struct quant_target *fits = NULL;
    int best = 0;
    for (i = 0; i < f->n_targets; i++) {
        const struct quant_target *t = &f->targets[i];
        int rank = t->name ? 3 * (strcmp(t->name, module) == 0) : t->patterns ? 2 : 1;
        if (rank <= best || (rank == 2 && !regex_list_fits(t->patterns, module))) continue;
        best = rank;
        fits = t;
    }
    return fits && (best == 3 || !named) ? fits->format : NULL;
}
