/* Reading the configurations of AutoAWQ and GPTQ: 4-bit integers by groups, one format for all linears but those that
 * are listed. Keys: what AutoAWQ 0.2, AutoGPTQ 0.7 and GPTQModel write into config.json (docs/formats.md). */
#include "formats/quant_method_impl.h"

#include "core/text.h"
#include "formats/name_match.h"

static bool int4_format(const json_t *doc, const char *method, bool zero, const char *what,
                        const struct quant_format **out, struct error *err)
{
    uint64_t bits = 0, group = 0;
    const json_t *size = json_object_get(doc, "group_size");
    char name[32];
    if (!json_get_u64(doc, "bits", what, 1, 64, &bits, err)) return false;
    if (bits != 4)
        return error_set(err, ERR_UNSUPPORTED, "%s: bits %llu of %s is not read here; 4 is", what,
                         (unsigned long long)bits, method);
    if (!(json_is_integer(size) && json_integer_value(size) == -1) &&
        !json_get_u64(doc, "group_size", what, 1, UINT32_MAX, &group, err))
        return false;
    snprintf(name, sizeof name, "%s%s_g%llu", method, zero ? "_zero" : "", (unsigned long long)group);
    *out = quant_format_of(method, name);
    return *out ? true
                : error_set(err, ERR_UNSUPPORTED, "%s: group_size %s of %s is not read here; 32, 64 and 128 are", what,
                            json_brief(size), method);
}

/* ---- AWQ ---- */

/* An excluded name counts where it stands inside of a module's. */
bool quant_method_awq(struct quant_form *f, const json_t *doc, const char *what, struct error *err)
{
    const char *version = "gemm";
    bool zero = true;
    if (!json_opt_string(doc, "version", what, &version, err) || !json_opt_bool(doc, "zero_point", what, &zero, err))
        return false;
    if (strcasecmp(version, "gemm") != 0)
        return error_set(err, ERR_UNSUPPORTED, "%s: version '%.32s' of awq is not read here; gemm is", what, version);
    if (!zero) return error_set(err, ERR_UNSUPPORTED, "%s: awq without zero_point is not read here", what);
    if (!int4_format(doc, "awq", false, what, &f->uniform, err)) return false;
    f->experts_whole = true;
    json_t *list = json_object_get(doc, "modules_to_not_convert");
    if (!list || json_is_null(list)) return true;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > QUANT_NAMES_MAX)
        return error_set(err, ERR_FORMAT, "%s: key 'modules_to_not_convert': expected a list of at most %u, found %s",
                         what, QUANT_NAMES_MAX, json_brief(list));
    f->excluded = malloc((n + 1) * sizeof *f->excluded);
    if (!f->excluded) return error_memory(err, n * sizeof *f->excluded);
    for (size_t i = 0; i < n; i++) {
        f->excluded[i] = json_string_value(json_array_get(list, i));
        if (!f->excluded[i] || glob_is_pattern(f->excluded[i]))
            return error_set(err, ERR_FORMAT, "%s: key 'modules_to_not_convert': expected names, found %s", what,
                             json_brief(json_array_get(list, i)));
    }
    f->n_excluded = texts_sort(f->excluded, (uint32_t)n);
    return true;
}

/* ---- GPTQ ---- */

/* GPTQModel's `dynamic`: "-:pattern" is not quantized; other patterns would be stored otherwise. */
static bool read_dynamic(struct quant_form *f, const json_t *doc, const char *what, struct error *err)
{
    json_t *dynamic = json_object_get(doc, "dynamic"), *value;
    const char *key;
    if (!dynamic || json_is_null(dynamic)) return true;
    if (!json_is_object(dynamic))
        return error_set(err, ERR_FORMAT, "%s: key 'dynamic': expected an object, found %s", what, json_brief(dynamic));
    size_t n = json_object_size(dynamic);
    if (n > QUANT_PATTERNS_MAX)
        return error_set(err, ERR_UNSUPPORTED, "%s: key 'dynamic': more than %u patterns", what, QUANT_PATTERNS_MAX);
    CLEANUP(free) const char **patterns = malloc((n + 1) * sizeof *patterns);
    if (!patterns) return error_memory(err, n * sizeof *patterns);
    n = 0;
    json_object_foreach (dynamic, key, value) {
        if (strncmp(key, "-:", 2) != 0)
            return error_set(err, ERR_UNSUPPORTED, "%s: dynamic pattern '%.128s' is not read here; '-:' ones are", what,
                             key);
        patterns[n++] = key + 2;
    }
    return n == 0 || regex_list_make(&f->ignored, patterns, (uint32_t)n, what, err);
}

static bool add_target(struct quant_form *f, const struct quant_target *t, struct error *err)
{
    struct quant_target *p = realloc(f->targets, (f->n_targets + 1) * sizeof *p);
    if (!p) return error_memory(err, sizeof *p);
    f->targets = p;
    p[f->n_targets++] = *t;
    return true;
}

/* Names of linears as they end in every layer: "self_attn.q_proj"; a list of lists or a flat one. */
static bool add_ending(struct text *t, const json_t *v, const char *what, struct error *err)
{
    const char *s = json_string_value(v);
    if (!s || strlen(s) > 200)
        return error_set(err, ERR_FORMAT, "%s: key 'modules_in_block_to_quantize': expected names, found %s", what,
                         json_brief(v));
    if (t->size) text_put(t, "|", 1);
    for (; *s; s++) {
        if (*s == '.') text_put(t, "\\", 1);
        text_put(t, s, 1);
    }
    return true;
}

static bool read_endings(struct quant_form *f, const json_t *doc, const char *what, struct error *err)
{
    const json_t *list = json_object_get(doc, "modules_in_block_to_quantize"), *v, *w;
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    char pattern[4000];
    size_t i, k;
    if (!list || json_is_null(list)) return add_target(f, &(struct quant_target){f->uniform, NULL, NULL}, err);
    if (!json_is_array(list))
        return error_set(err, ERR_FORMAT, "%s: key 'modules_in_block_to_quantize': expected a list, found %s", what,
                         json_brief(list));
    json_array_foreach (list, i, v) {
        if (json_is_string(v) && !add_ending(&t, v, what, err)) return false;
        json_array_foreach (v, k, w)
            if (!add_ending(&t, w, what, err)) return false;
    }
    if (t.size == 0 || t.size + 32 > sizeof pattern)
        return error_set(err, ERR_UNSUPPORTED, "%s: key 'modules_in_block_to_quantize': too few or too many names",
                         what);
    snprintf(pattern, sizeof pattern, ".*\\.(%s)$", t.data);
    struct quant_target target = {f->uniform, NULL, NULL};
    const char *one = pattern;
    bool ok = regex_list_make(&target.patterns, &one, 1, what, err) && add_target(f, &target, err);
    if (!ok) regex_list_free(target.patterns);
    return ok;
}

bool quant_method_gptq(struct quant_form *f, const json_t *doc, const char *what, struct error *err)
{
    const char *container = "gptq";
    bool symmetric = true, head = false;
    if (!json_opt_bool(doc, "sym", what, &symmetric, err) ||
        !json_opt_bool(doc, "desc_act", what, &f->act_order, err) || !json_opt_bool(doc, "lm_head", what, &head, err) ||
        !json_opt_string(doc, "checkpoint_format", what, &container, err))
        return false;
    if (strcmp(container, "gptq") != 0)
        return error_set(err, ERR_UNSUPPORTED, "%s: checkpoint_format '%.32s' is not read here; gptq is", what,
                         container);
    if (!int4_format(doc, "gptq", !symmetric, what, &f->uniform, err)) return false;
    f->exact_names = true;
    return read_dynamic(f, doc, what, err) && read_endings(f, doc, what, err) &&
           (!head || add_target(f, &(struct quant_target){f->uniform, "lm_head", NULL}, err));
}
