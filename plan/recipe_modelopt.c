/* ModelOpt's PTQ recipes as our rules, one for one, in their order. */
#include "plan/recipe_foreign.h"

#include "core/text.h"
#include "plan/recipe.h"

struct translation {
    const char *file;
    bool folder; /* the recipe is the folder that the file lies in */
    json_t *rules;
    struct foreign_algorithm algorithm;
    struct error *err;
};

bool modelopt_is_recipe(const json_t *doc)
{
    return json_object_get(doc, "quantize") || json_object_get(doc, "ptq_cfg") || json_object_get(doc, "quant_cfg") ||
           json_object_get(json_object_get(doc, "metadata"), "recipe_type");
}

/* "nvfp4-mse" of ".../ptq/nvfp4-mse.yaml"; of the folder's name when the recipe is a folder. */
static json_t *name_of(const char *file, bool folder)
{
    const char *end = file + strlen(file), *slash = strrchr(file, '/');
    if (folder && slash) end = slash;
    const char *begin = end;
    while (begin > file && begin[-1] != '/') begin--;
    const char *dot = folder ? NULL : strrchr(begin, '.');
    if (dot && dot != begin) end = dot;
    return end > begin ? json_stringn(begin, (size_t)(end - begin)) : json_string("recipe");
}

/* Where it stands, without the folders: the text is part of the recipe, which must not depend on where its file lies.
 */
static json_t *note_of(const char *at)
{
    const char *slash = strrchr(at, '/');
    return json_string(slash ? slash + 1 : at);
}

/* False when the pattern names other quantizers than those of weights. */
static bool may_be_weights(const char *pattern)
{
    return !text_ends_with(pattern, "input_quantizer") && !text_ends_with(pattern, "output_quantizer") &&
           !text_ends_with(pattern, "bmm_quantizer") && !text_ends_with(pattern, "softmax_quantizer");
}

static bool put(struct translation *t, json_t *rule, const char *key, json_t *value)
{
    return json_put(rule, key, value, t->err);
}

/* In place of whatever the rule said. */
static bool refuse(struct translation *t, json_t *rule, const char *why)
{
    return foreign_rule_refuse(rule, why, t->err);
}

/* What the algorithm adds to a rule for weights. */
static bool put_algorithm(struct translation *t, json_t *rule, const struct foreign_type *type)
{
    const struct foreign_algorithm *a = &t->algorithm;
    if (type->four_over_six) {
        if (!a->four_over_six_ok)
            return refuse(t, rule,
                          "four_over_six with an algorithm other than mse over the "
                          "multipliers 1 and 1.5 is not supported");
        return put(t, rule, "scales", json_string("four_over_six"));
    }
    if (type->searched && a->scales_searched && !put(t, rule, "scales", json_incref(a->scales_searched))) return false;
    if (type->weights_searchable && a->scales_others && !put(t, rule, "scales", json_incref(a->scales_others)))
        return false;
    return !a->solve || put(t, rule, "solve", json_incref(a->solve));
}

static bool put_type(struct translation *t, json_t *rule, const char *pattern, const struct foreign_type *type)
{
    bool weights = may_be_weights(pattern);
    const char *why = type->word ? t->algorithm.refuse : type->refuse;
    if (*why && (weights || !type->word)) return refuse(t, rule, why);
    if (weights && type->amax > 0 && text_ends_with(pattern, "weight_quantizer"))
        return refuse(t, rule, "constant_amax of weights is not supported");
    if (!put(t, rule, "type", json_string(type->word)) ||
        (type->group && !put(t, rule, "group", json_integer(type->group))) ||
        (type->amax > 0 && !put(t, rule, "amax", json_real(type->amax))) ||
        (type->constant && !put(t, rule, "constant", json_true())))
        return false;
    return !weights || put_algorithm(t, rule, type);
}

/* One quantizer pattern with what is said of it. enable: 1, 0, or -1 when nothing says so. */
static bool add_rule(struct translation *t, const char *pattern, const char *parent, const json_t *cfg, int enable,
                     const char *at)
{
    struct foreign_type type = {0};
    /* Attributes of a quantizer that is off count when a later entry only switches it on. */
    if (cfg && enable == 0)
        return add_rule(t, pattern, parent, cfg, 1, at) && add_rule(t, pattern, parent, NULL, 0, at);
    json_t *rule = json_pack("{s:s}", "quantizer", pattern);
    if (!rule || json_array_append_new(t->rules, rule) != 0) return error_memory(t->err, 0);
    if (parent && !put(t, rule, "class", json_string(strncmp(parent, "nn.", 3) == 0 ? parent + 3 : parent)))
        return false;
    bool sequence = json_is_array(cfg) && json_array_size(cfg) > 1;
    if (json_is_array(cfg) && json_array_size(cfg) == 1) cfg = json_array_get(cfg, 0);
    if (cfg && !sequence && !modelopt_type(cfg, modelopt_at(cfg, at), &type, t->err)) return false;
    if (sequence) snprintf(type.refuse, sizeof type.refuse, "one type after another is not supported");
    if (cfg) {
        if (!put_type(t, rule, pattern, &type)) return false;
    } else if (enable > 0) {
        if (!put(t, rule, "enable", json_true())) return false;
    } else if (!put(t, rule, "type", json_string("off"))) {
        return false;
    }
    return put(t, rule, "note", note_of(at));
}

/* {quantizer_name, parent_class, cfg, enable}. */
static bool add_entry(struct translation *t, const json_t *entry, const char *at)
{
    static const char *const keys[] = {"quantizer_name", "parent_class", "cfg", "enable", "$at", NULL};
    const char *pattern, *parent = NULL;
    bool enable = true;
    if (!json_known_keys(entry, at, keys, t->err) || !json_get_string(entry, "quantizer_name", at, &pattern, t->err) ||
        !json_opt_string(entry, "parent_class", at, &parent, t->err) ||
        !json_opt_bool(entry, "enable", at, &enable, t->err))
        return false;
    const json_t *cfg = json_object_get(entry, "cfg");
    if (json_is_null(cfg)) cfg = NULL;
    if (!cfg && !json_has(entry, "enable"))
        return error_set(t->err, ERR_FORMAT, "%s: quantizer '%.128s': expected cfg, enable or both", at, pattern);
    if (cfg && !json_is_object(cfg) && !json_is_array(cfg))
        return error_set(t->err, ERR_FORMAT, "%s: key 'cfg': expected a mapping or a list of them, found %s", at,
                         json_brief(cfg));
    size_t n =
        json_is_array(cfg) ? json_array_size(cfg) : json_object_size(cfg) - (json_object_get(cfg, "$at") != NULL);
    if (cfg && n == 0) {
        if (enable) return error_set(t->err, ERR_FORMAT, "%s: quantizer '%.128s': cfg is empty", at, pattern);
        cfg = NULL;
    }
    return add_rule(t, pattern, parent, cfg, enable, at);
}

/* The older form, pattern: attributes; `enable` among them. */
static bool add_member(struct translation *t, const char *pattern, const char *parent, const json_t *value,
                       const char *at)
{
    at = modelopt_at(value, at);
    if (strncmp(pattern, "nn.", 3) == 0 && !parent) {
        const char *inner;
        json_t *v;
        if (!json_is_object(value))
            return error_set(t->err, ERR_FORMAT, "%s: key '%.128s': expected a mapping, found %s", at, pattern,
                             json_brief(value));
        json_object_foreach ((json_t *)(uintptr_t)value, inner, v)
            if (strcmp(inner, "$at") != 0 && !add_member(t, inner, pattern, v, at)) return false;
        return true;
    }
    if (strcmp(pattern, "default") == 0) pattern = "*";
    if (json_is_array(value) && json_array_size(value) > 0) return add_rule(t, pattern, parent, value, -1, at);
    if (!json_is_object(value))
        return error_set(t->err, ERR_FORMAT, "%s: key '%.128s': expected a mapping, found %s", at, pattern,
                         json_brief(value));
    CLEANUP(json) json_t *cfg = json_copy((json_t *)(uintptr_t)value);
    bool enable = true;
    if (!cfg) return error_memory(t->err, 0);
    if (!json_opt_bool(value, "enable", at, &enable, t->err)) return false;
    json_object_del(cfg, "enable");
    bool has_cfg = json_object_size(cfg) > (json_object_get(cfg, "$at") ? 1u : 0u);
    if (!has_cfg && !json_has(value, "enable"))
        return error_set(t->err, ERR_FORMAT, "%s: quantizer '%.128s': says nothing", at, pattern);
    return add_rule(t, pattern, parent, has_cfg ? cfg : NULL, json_has(value, "enable") ? enable : -1, at);
}

static bool add_members(struct translation *t, const json_t *map, bool defaults, const char *at)
{
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)(uintptr_t)map, key, v) {
        if (strcmp(key, "$at") == 0 || (strcmp(key, "default") == 0) != defaults) continue;
        if (!add_member(t, key, NULL, v, at)) return false;
    }
    return true;
}

static bool add_all(struct translation *t, const json_t *cfg, const char *at)
{
    /* One mapping: in the revisions that had it, "default" was applied before all others, wherever it stood. */
    if (json_is_object(cfg)) return add_members(t, cfg, true, at) && add_members(t, cfg, false, at);
    if (!json_is_array(cfg))
        return error_set(t->err, ERR_FORMAT, "%s: key 'quant_cfg': expected a list, found %s", at, json_brief(cfg));
    if (json_array_size(cfg) > RECIPE_LINES_MAX)
        return error_set(t->err, ERR_FORMAT, "%s: more than %u entries", at, RECIPE_LINES_MAX);
    for (size_t i = 0; i < json_array_size(cfg); i++) {
        const json_t *entry = json_array_get(cfg, i);
        const char *where = modelopt_at(entry, at);
        if (!json_is_object(entry))
            return error_set(t->err, ERR_FORMAT, "%s: expected a mapping with quantizer_name, found %s", where,
                             json_brief(entry));
        bool ok = json_object_get(entry, "quantizer_name")
                      ? add_entry(t, entry, where)
                      : add_members(t, entry, true, where) && add_members(t, entry, false, where);
        if (!ok) return false;
    }
    return true;
}

/* Quantizers that no entry speaks of are INT8 there: a list that does not begin by switching all off says so of every
 * linear that it forgets. */
static bool add_defaults(struct translation *t)
{
    static const char *const patterns[] = {"*weight_quantizer", "*input_quantizer", "*[kv]_bmm_quantizer"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        json_t *rule = json_pack("{s:s,s:s,s:b}", "quantizer", patterns[i], "refuse",
                                 "no entry speaks of it, and ModelOpt's default is INT8; begin the list with "
                                 "{quantizer_name: '*', enable: false}",
                                 "optional", 1);
        if (json_array_append_new(t->rules, rule) != 0) return error_memory(t->err, 0);
    }
    return true;
}

static const json_t *first_entry(const json_t *cfg)
{
    if (json_is_array(cfg)) return json_array_get(cfg, 0);
    return json_object_get(cfg, "default") ? NULL : cfg;
}

static bool switches_all_off(const json_t *cfg)
{
    const json_t *first = first_entry(cfg), *old = json_object_get(first ? first : cfg, "default");
    if (!old && first) old = json_object_get(first, "*");
    if (old) return json_is_false(json_object_get(old, "enable"));
    const char *name = json_string_value(json_object_get(first, "quantizer_name"));
    return name && strcmp(name, "*") == 0 && !json_has(first, "parent_class") &&
           json_is_false(json_object_get(first, "enable"));
}

static bool check_metadata(const json_t *root, const char *file, const char **summary, struct error *err)
{
    static const char *const keys[] = {"recipe_type", "description", "$at", NULL};
    const json_t *m = json_object_get(root, "metadata");
    const char *type = "ptq", *at = modelopt_at(m, file);
    if (!m) return true;
    if (!json_known_keys(m, at, keys, err) || !json_opt_string(m, "recipe_type", at, &type, err) ||
        !json_opt_string(m, "description", at, summary, err))
        return false;
    if (strcmp(type, "ptq") == 0) return true;
    return error_set(err, ERR_UNSUPPORTED,
                     "%s: recipe_type '%.64s': only ptq is read here, recipes that say what each quantizer is", at,
                     type);
}

static bool body_of(const json_t *root, const char *file, const json_t **body, struct error *err)
{
    static const char *const outer[] = {"metadata", "quantize", "ptq_cfg", "$at", NULL},
                             *const inner[] = {"algorithm", "quant_cfg", "effective_bits", "$at", NULL},
                             *const both[] = {"metadata", "algorithm", "quant_cfg", "effective_bits", "$at", NULL};
    *body = json_object_get(root, "quantize");
    if (!*body) *body = json_object_get(root, "ptq_cfg");
    if (!*body && !json_object_get(root, "quant_cfg"))
        return error_set(err, ERR_FORMAT, "%s: key 'quantize' is missing", file);
    if (!*body) *body = root;
    const char *at = modelopt_at(*body, file);
    if (!json_known_keys(root, file, *body == root ? both : outer, err) ||
        (*body != root && !json_known_keys(*body, at, inner, err)))
        return false;
    return json_object_get(*body, "quant_cfg") ? true
                                               : error_set(err, ERR_FORMAT, "%s: key 'quant_cfg' is missing", at);
}

static bool translate(struct translation *t, const json_t *root, json_t **out)
{
    const json_t *body = NULL;
    const char *summary = "";
    if (!json_is_object(root))
        return error_set(t->err, ERR_FORMAT, "%s: expected a recipe, found %s", t->file, json_brief(root));
    if (!check_metadata(root, t->file, &summary, t->err) || !body_of(root, t->file, &body, t->err)) return false;
    const char *at = modelopt_at(body, t->file);
    const json_t *cfg = json_object_get(body, "quant_cfg");
    if (!modelopt_algorithm(json_object_get(body, "algorithm"), at, &t->algorithm, t->err)) return false;
    if (!(t->rules = json_array())) return error_memory(t->err, 0);
    if ((!switches_all_off(cfg) && !add_defaults(t)) || !add_all(t, cfg, at)) return false;
    *out = json_pack("{s:o,s:s,s:s,s:b,s:s,s:s,s:O}", "name", name_of(t->file, t->folder), "summary", summary, "source",
                     "a recipe of ModelOpt", "published", 1, "fp8_rounding", "modelopt-cpu", "unseen_experts",
                     "layer_max", "rules", t->rules);
    return *out ? true : error_memory(t->err, 0);
}

bool modelopt_recipe(const struct yaml *docs, const json_t *metadata, const char *file, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *root = NULL;
    *out = NULL;
    if (!modelopt_resolve(docs, file, &root, err)) return false;
    if (metadata) {
        json_t *both = json_pack("{s:O,s:O}", "metadata", metadata, "quantize", root);
        json_decref(root);
        if (!(root = both)) return error_memory(err, 0);
    }
    struct error local = ERROR_INIT;
    struct translation t = {.file = file, .folder = metadata != NULL, .err = &local};
    bool ok = translate(&t, root, out);
    json_decref(t.rules);
    foreign_algorithm_free(&t.algorithm);
    if (!ok && err) *err = local;
    return ok;
}
