/* llm-compressor's stages of modifiers as our rules. Modifiers work in the order of the file, each on what it targets
 * and does not ignore; of several targets that fit one linear an exact name counts before a pattern, a pattern before a
 * class, and among their kind the alphabetically first. */
#include "plan/llmcompressor.h"

#include "core/text.h"

#define GROUPS_MAX 1024u

struct target {
    const char *text;
    const struct scheme *scheme;
};

struct lc {
    const char *file;
    const struct yaml *doc;
    json_t *rules, *transform; /* `solve` that a modifier before says of all quantization after it, or NULL */
    const char *kv;
    struct error *err;
    char at[512];
};

/* "quant_stage", or "quant_stage_0" when recipes were put together. */
static bool is_stage(const char *key)
{
    const char *p = strstr(key, "_stage");
    if (!p) return false;
    p += 6;
    if (*p == '_') p += 1 + strspn(p + 1, "0123456789");
    return *p == '\0';
}

bool llmcompressor_is_recipe(const json_t *doc)
{
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)(uintptr_t)doc, key, v)
        if (json_is_object(v) &&
            (is_stage(key) || text_ends_with(key, "_modifiers") || text_ends_with(key, "Modifier")))
            return true;
    return false;
}

static const char *at_of(struct lc *c, const json_t *node)
{
    return llm_at(c->doc, c->file, node, c->at);
}

/* ---- targets ---- */

static int rank_of(const char *target)
{
    if (strncmp(target, "re:", 3) == 0) return 1;
    for (const char *p = target; *p; p++)
        if (*p == '.' || *p == '_' || (*p >= '0' && *p <= '9')) return 2;
    return target[0] >= 'A' && target[0] <= 'Z' ? 0 : 2; /* a class: Linear, LlamaDecoderLayer */
}

/* What wins comes last; what cannot be told apart keeps its order. */
static int by_rank(const void *a, const void *b)
{
    const struct target *x = a, *y = b;
    int rx = rank_of(x->text), ry = rank_of(y->text);
    return rx != ry ? rx - ry : strcmp(y->text, x->text);
}

static bool add_targets(struct lc *c, const json_t *list, const struct scheme *s, struct target *targets, uint32_t *n)
{
    size_t count = json_is_array(list) ? json_array_size(list) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_is_array(list) ? json_array_get(list, i) : list;
        const char *text = json_string_value(v);
        if (!text)
            return error_set(c->err, ERR_FORMAT, "%s: key 'targets': expected names, found %s", at_of(c, list),
                             json_brief(v));
        uint32_t k = 0;
        while (k < *n && strcmp(targets[k].text, text) != 0) k++;
        if (k == GROUPS_MAX)
            return error_set(c->err, ERR_FORMAT, "%s: more than %u targets", at_of(c, list), GROUPS_MAX);
        targets[k] = (struct target){text, s};
        *n += k == *n;
    }
    return true;
}

/* ---- rules ---- */

static bool put(struct lc *c, json_t *rule, const char *key, json_t *value)
{
    return json_put(rule, key, value, c->err);
}

static json_t *pattern_of(const char *target)
{
    if (strcmp(target, "Linear") == 0) return json_string("*");
    return json_string(target);
}

/* What a modifier ignores its rules do not select: what an earlier one said of it stands. */
static json_t *except_of(const json_t *ignore)
{
    json_t *out = json_array();
    size_t n = json_is_array(ignore) ? json_array_size(ignore) : ignore && !json_is_null(ignore);
    for (size_t i = 0; out && i < n; i++) {
        const char *text = json_string_value(json_is_array(ignore) ? json_array_get(ignore, i) : ignore);
        if (!text || json_array_append_new(out, pattern_of(text)) != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

/* Least squares in place of each block's maximum: the range that llm-compressor's observer walks. */
static bool put_observer(struct lc *c, json_t *rule, const char *observer)
{
    if (!observer || strstr(observer, "minmax")) return true;
    if (strcmp(observer, "mse") == 0 || strcmp(observer, "memoryless_mse") == 0)
        return put(c, rule, "scales",
                   json_pack("{s:s,s:f,s:f,s:f}", "method", "mse", "start", 0.81, "stop", 1.0, "step", 0.01));
    char why[96];
    snprintf(why, sizeof why, "observer %.48s of weights is not supported", observer);
    return put(c, rule, "refuse", json_string(why));
}

static bool add_rule(struct lc *c, const struct target *t, const json_t *ignore, json_t *solve, const char *note)
{
    const struct scheme *s = t->scheme;
    int rank = rank_of(t->text);
    CLEANUP(json) json_t *except = except_of(ignore);
    CLEANUP(json) json_t *rule = json_object();
    if (!except) return error_set(c->err, ERR_FORMAT, "%s: key 'ignore': expected names", c->file);
    if (!put(c, rule, "module", json_string(rank == 0 ? "*" : t->text)) ||
        !put(c, rule, "class", json_string(rank == 0 ? t->text : "Linear")))
        return false;
    if (rank == 0 && strcmp(t->text, "Linear") != 0 && !put(c, rule, "optional", json_true())) return false;
    if (json_array_size(except) && !put(c, rule, "except", json_incref(except))) return false;
    if (s->refuse[0]) {
        if (!put(c, rule, "refuse", json_string(s->refuse))) return false;
    } else {
        if (!put(c, rule, "weights", json_string(s->weights)) || !put(c, rule, "inputs", json_string(s->inputs)) ||
            (s->group && !put(c, rule, "group", json_integer(s->group))) ||
            (s->zero && !put(c, rule, "zero", json_true())) ||
            (solve && strcmp(s->weights, "none") != 0 && !put(c, rule, "solve", json_incref(solve))) ||
            !put_observer(c, rule, s->observer))
            return false;
        const json_t *why = json_object_get(rule, "refuse"); /* of the observer */
        if (why && !foreign_rule_refuse(rule, json_string_value(why), c->err)) return false;
    }
    if (!put(c, rule, "note", json_string(note))) return false;
    return json_array_append(c->rules, rule) == 0 || error_memory(c->err, 0);
}

static bool read_kv(struct lc *c, const json_t *json)
{
    if (!json || json_is_null(json)) return true;
    c->kv = "fp8";
    return llm_kv_scheme(c->doc, c->file, json, c->err);
}

/* `scheme`: a preset's name, {preset: targets} or a scheme written out; or `config_groups`. */
static bool read_groups(struct lc *c, const json_t *m, struct scheme *schemes, uint32_t *n_schemes,
                        struct target *targets, uint32_t *n)
{
    json_t *scheme = json_object_get(m, "scheme"), *groups = json_object_get(m, "config_groups"), *v;
    CLEANUP(json) json_t *linear = json_string("Linear");
    const json_t *own = json_has(m, "targets") ? json_object_get(m, "targets") : linear;
    const char *key;
    if (!linear) return error_memory(c->err, 0);
    if (json_has(m, "scheme") && json_has(m, "config_groups"))
        return error_set(c->err, ERR_FORMAT, "%s: scheme and config_groups exclude each other", at_of(c, m));
    if (json_is_string(scheme) || (json_is_object(scheme) && !json_object_get(scheme, "weights"))) {
        CLEANUP(json) json_t *one = json_is_string(scheme) ? json_object() : json_incref(scheme);
        if (!one || (one != scheme && json_object_set(one, json_string_value(scheme), (json_t *)(uintptr_t)own) != 0))
            return error_memory(c->err, 0);
        json_object_foreach (one, key, v) {
            if (*n_schemes == GROUPS_MAX) return error_set(c->err, ERR_FORMAT, "%s: too many schemes", at_of(c, m));
            struct scheme *s = &schemes[(*n_schemes)++];
            if (!llm_preset(key, s))
                return error_set(c->err, ERR_FORMAT, "%s: scheme '%.64s' is not known", at_of(c, m), key);
            if (!add_targets(c, v, s, targets, n)) return false;
        }
        for (uint32_t i = 0; i < *n; i++) /* the default's text goes when this function ends */
            if (strcmp(targets[i].text, "Linear") == 0) targets[i].text = "Linear";
        return true;
    }
    if (json_is_object(scheme)) {
        static const char *const name = "Linear";
        struct scheme *s = &schemes[(*n_schemes)++];
        if (!llm_scheme(c->doc, c->file, scheme, s, c->err)) return false;
        if (own != linear) return add_targets(c, own, s, targets, n);
        targets[(*n)++] = (struct target){name, s};
        return true;
    }
    json_object_foreach (groups, key, v) {
        if (*n_schemes == GROUPS_MAX) return error_set(c->err, ERR_FORMAT, "%s: too many groups", at_of(c, m));
        struct scheme *s = &schemes[(*n_schemes)++];
        if (!llm_scheme(c->doc, c->file, v, s, c->err)) return false;
        if (!json_has(v, "targets"))
            return error_set(c->err, ERR_FORMAT, "%s: config_groups.%.64s: key 'targets' is missing", at_of(c, v), key);
        if (!add_targets(c, json_object_get(v, "targets"), s, targets, n)) return false;
    }
    return true;
}

static bool override_observers(struct lc *c, const json_t *m, struct scheme *schemes, uint32_t n)
{
    const char *weights = NULL, *inputs = NULL, *at = at_of(c, m);
    const json_t *both = json_object_get(m, "observer");
    if (!json_opt_string(m, "weight_observer", at, &weights, c->err) ||
        !json_opt_string(m, "input_observer", at, &inputs, c->err))
        return false;
    if (json_is_object(both) && (!json_opt_string(both, "weights", at, &weights, c->err) ||
                                 !json_opt_string(both, "input", at, &inputs, c->err)))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (weights) schemes[i].observer = weights;
        if (inputs && strstr(inputs, "mse") && !schemes[i].refuse[0])
            snprintf(schemes[i].refuse, sizeof schemes[i].refuse, "observer %.32s of activations is not supported",
                     inputs);
    }
    return true;
}

/* GPTQModifier's own options; *out is a new reference. */
static bool gptq_options(struct lc *c, const json_t *m, json_t **out)
{
    const char *at = at_of(c, m), *order = "weight";
    double damp = 0.01;
    uint64_t block = 128;
    const json_t *v = json_object_get(m, "actorder");
    if (!json_opt_number(m, "dampening_frac", at, &damp, c->err) ||
        !json_opt_u64(m, "block_size", at, 1, 1u << 20, &block, c->err))
        return false;
    if (v && (json_is_null(v) || json_is_false(v))) order = NULL;
    if (json_is_string(v)) order = json_string_value(v);
    if (order && (strcmp(order, "group") == 0 || strcmp(order, "dynamic") == 0))
        return error_set(c->err, ERR_UNSUPPORTED,
                         "%s: actorder %s stores columns in another order, which is not "
                         "supported; static keeps them where they are",
                         at, order);
    if (order && strcmp(order, "weight") != 0 && strcmp(order, "static") != 0)
        return error_set(c->err, ERR_FORMAT,
                         "%s: key 'actorder': expected static, weight, group, dynamic or nothing, "
                         "found '%.32s'",
                         at, order);
    *out = json_pack("{s:s,s:f,s:I,s:b}", "method", "gptq", "damp", damp, "block", (json_int_t)block, "act_order",
                     order != NULL);
    return *out ? true : error_memory(c->err, 0);
}

static bool quantization(struct lc *c, const json_t *m, json_t *solve, const char *note)
{
    struct scheme *schemes = calloc(GROUPS_MAX + 1, sizeof *schemes);
    struct target *targets = calloc(GROUPS_MAX + 1, sizeof *targets);
    uint32_t n_schemes = 0, n = 0;
    bool ok = schemes && targets;
    if (!ok) error_memory(c->err, GROUPS_MAX * sizeof *schemes);
    ok = ok && read_kv(c, json_object_get(m, "kv_cache_scheme")) &&
         read_groups(c, m, schemes, &n_schemes, targets, &n) && override_observers(c, m, schemes, n_schemes);
    for (uint32_t i = 0; ok && i < n_schemes; i++) llm_scheme_finish(&schemes[i]);
    if (ok && n) qsort(targets, n, sizeof *targets, by_rank);
    for (uint32_t i = 0; ok && i < n; i++) ok = add_rule(c, &targets[i], json_object_get(m, "ignore"), solve, note);
    free(schemes);
    free(targets);
    return ok;
}

/* GPTQModifier without a scheme solves what modifiers before it asked for. */
static bool solve_earlier(struct lc *c, json_t *solve)
{
    size_t i;
    json_t *rule;
    json_array_foreach (c->rules, i, rule) {
        const char *w = json_string_value(json_object_get(rule, "weights"));
        if (w && strcmp(w, "none") != 0 && !put(c, rule, "solve", json_incref(solve))) return false;
    }
    return true;
}

static bool has_config(const json_t *m)
{
    return json_has(m, "scheme") || json_has(m, "config_groups") || json_has(m, "kv_cache_scheme") ||
           json_has(m, "targets") || json_array_size(json_object_get(m, "ignore")) > 0;
}

/* ---- modifiers ---- */

static bool set_transform(struct lc *c, json_t *solve, const json_t *m)
{
    if (!solve) return error_memory(c->err, 0);
    if (!c->transform) {
        c->transform = solve;
        return true;
    }
    json_decref(solve);
    return error_set(c->err, ERR_UNSUPPORTED, "%s: two transforms before one quantization are not supported",
                     at_of(c, m));
}

static bool modifier(struct lc *c, const char *type, const json_t *m, const char *note)
{
    static const char *const keys[] = {"config_groups",
                                       "targets",
                                       "ignore",
                                       "scheme",
                                       "kv_cache_scheme",
                                       "weight_observer",
                                       "input_observer",
                                       "output_observer",
                                       "observer",
                                       "bypass_divisibility_checks",
                                       "batched_quantization",
                                       "group",
                                       "index",
                                       "start",
                                       "end",
                                       "update",
                                       "block_size",
                                       "dampening_frac",
                                       "actorder",
                                       "offload_hessians",
                                       "sequential_update",
                                       "mappings",
                                       "offload_device",
                                       "duo_scaling",
                                       "n_grid",
                                       "smoothing_strength",
                                       "num_calibration_steps",
                                       "calibration_function",
                                       "algorithm",
                                       "requires_calibration_data",
                                       "sequential_targets",
                                       "max_chunk_memory",
                                       NULL};
    if (!json_is_object(m) && !json_is_null(m))
        return error_set(c->err, ERR_FORMAT, "%s: %.64s: expected a mapping, found %s", c->file, type, json_brief(m));
    static const char *const known[] = {"QuantizationModifier", "GPTQModifier", "AWQModifier", "SmoothQuantModifier"};
    const char *at = at_of(c, m);
    bool is_known = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) is_known |= strcmp(known[i], type) == 0;
    if (!is_known) return error_set(c->err, ERR_UNSUPPORTED, "%s: modifier '%.64s' is not read here", at, type);
    if (json_is_object(m) && !json_known_keys(m, at, keys, c->err)) return false;
    if (strcmp(type, "QuantizationModifier") == 0) return quantization(c, m, c->transform, note);
    if (strcmp(type, "GPTQModifier") == 0) {
        CLEANUP(json) json_t *solve = NULL;
        if (!gptq_options(c, m, &solve)) return false;
        if (c->transform)
            return error_set(c->err, ERR_UNSUPPORTED, "%s: GPTQModifier behind a transform (%s) is not supported",
                             at_of(c, m), json_brief(c->transform));
        return has_config(m) ? quantization(c, m, solve, note) : solve_earlier(c, solve);
    }
    if (strcmp(type, "AWQModifier") == 0) {
        bool off = json_is_false(json_object_get(m, "duo_scaling"));
        CLEANUP(json) json_t *solve = off ? json_pack("{s:s,s:b}", "method", "awq", "duo", false) : json_string("awq");
        if (json_has(m, "scheme") || json_has(m, "config_groups")) return solve && quantization(c, m, solve, note);
        return set_transform(c, json_incref(solve), m);
    }
    double alpha = 0.5;
    const char *algorithm = "smoothquant";
    if (!json_opt_number(m, "smoothing_strength", at, &alpha, c->err) ||
        !json_opt_string(m, "algorithm", at, &algorithm, c->err))
        return false;
    if (!(alpha >= 0 && alpha <= 1))
        return error_set(c->err, ERR_FORMAT, "%s: smoothing_strength: expected a number from 0 to 1, found %g", at,
                         alpha);
    if (strcmp(algorithm, "smoothquant") != 0)
        return error_set(c->err, ERR_UNSUPPORTED, "%s: algorithm '%.64s' is not supported", at, algorithm);
    return set_transform(c, json_pack("{s:s,s:f}", "method", "smoothquant", "alpha", alpha), m);
}

static bool modifiers(struct lc *c, const char *where, const json_t *list)
{
    const char *type;
    json_t *m;
    json_object_foreach ((json_t *)(uintptr_t)list, type, m) {
        char note[256];
        uint32_t line = yaml_line(c->doc, m);
        snprintf(note, sizeof note, line ? "%.120s.%.64s, line %u" : "%.120s.%.64s", where, type, line);
        if (!modifier(c, type, m, note)) return false;
    }
    return true;
}

static bool stages(struct lc *c, const json_t *root)
{
    const char *key, *inner;
    json_t *v, *list;
    bool plain = false;
    json_object_foreach ((json_t *)(uintptr_t)root, key, v) {
        if (text_ends_with(key, "_modifiers") && json_is_object(v)) {
            if (!modifiers(c, key, v)) return false;
        } else if (is_stage(key) && json_is_object(v)) {
            json_object_foreach (v, inner, list) {
                char where[160];
                snprintf(where, sizeof where, "%.64s.%.64s", key, inner);
                if (text_ends_with(inner, "_modifiers") && json_is_object(list) && !modifiers(c, where, list))
                    return false;
            }
        } else if (text_ends_with(key, "Modifier")) {
            plain = true;
        } else if (strcmp(key, "args") != 0 && strcmp(key, "version") != 0 && strcmp(key, "metadata") != 0) {
            return error_set(c->err, ERR_FORMAT, "%s: unknown key '%.64s'", c->file, key);
        }
    }
    return !plain || modifiers(c, "recipe", root);
}

static json_t *base_name(const char *file)
{
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file, *dot = strrchr(base, '.');
    size_t n = dot && dot != base ? (size_t)(dot - base) : strlen(base);
    return n ? json_stringn(base, n) : json_string("recipe");
}

bool llmcompressor_recipe(const struct yaml *docs, const char *file, json_t **out, struct error *err)
{
    struct error local = ERROR_INIT;
    struct lc c = {.file = file, .doc = docs, .err = &local, .rules = json_array()};
    *out = NULL;
    bool ok = c.rules &&
              (json_array_size(yaml_root(docs)) == 1 ||
               error_set(&local, ERR_FORMAT, "%s: a second document in one file", file)) &&
              stages(&c, json_array_get(yaml_root(docs), 0));
    if (ok) {
        *out = json_pack("{s:o,s:s,s:s,s:s,s:O}", "name", base_name(file), "source", "a recipe of llm-compressor",
                         "layout", "compressed-tensors", "unseen_experts", "layer_max", "rules", c.rules);
        ok = *out && (!c.kv || json_put(*out, "kv_cache", json_string(c.kv), &local));
    }
    json_decref(c.rules);
    json_decref(c.transform);
    if (ok) return true;
    if (local.code == ERR_NONE) error_memory(&local, 0);
    json_decref(*out);
    *out = NULL;
    if (err) *err = local;
    return false;
}
