#include "plan/recipe.h"

#include "core/yaml.h"
#include "formats/quant_method.h"
#include "plan/recipe_foreign.h"
#include "plan/recipe_words.h"
#include "plan/scale_method.h"

static bool copy_strings(struct recipe *r, const json_t *v, const char *what, const char *const **out,
                         struct error *err)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    const char **list = arena_alloc(r->arena, n + 1, sizeof *list);
    if (!list) return error_memory(err, 0);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        if (!s)
            return error_set(err, ERR_FORMAT, "%s: expected a name or a list of names, found %s", what, json_brief(v));
        if (!(list[i] = arena_text(r->arena, s))) return error_memory(err, 0);
    }
    *out = list;
    return n ? true : error_set(err, ERR_FORMAT, "%s: the list is empty", what);
}

static bool read_roles(struct recipe *r, struct recipe_line *l, const json_t *v, const char *what, struct error *err)
{
    if (!copy_strings(r, v, what, &l->roles, err)) return false;
    for (const char *const *w = l->roles; *w; w++) {
        if (!role_word_known(*w))
            return error_set(err, ERR_FORMAT, "%s: role '%s' is not known (`ingot list roles`)", what, *w);
        for (int role = 0; role < ROLE_COUNT; role++) {
            enum role_kind kind = role_info((enum tensor_role)role)->kind;
            if (!role_is((enum tensor_role)role, *w) || kind == KIND_LINEAR || kind == KIND_TABLE) continue;
            return error_set(err, ERR_FORMAT, "%s: role '%s' is never quantized%s", what, *w,
                             kind == KIND_SSM ? ": the SSM state path stays as it is" : "");
        }
    }
    return true;
}

static bool read_layers(struct recipe *r, struct recipe_line *l, const json_t *v, const char *what, struct error *err)
{
    size_t n = json_array_size(v);
    uint32_t *list = arena_alloc(r->arena, n + 1, sizeof *list);
    if (!list) return error_memory(err, 0);
    if (n == 0)
        return error_set(err, ERR_FORMAT, "%s: key 'layers': expected a list of layer numbers, found %s", what,
                         json_brief(v));
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(v, i);
        json_int_t k = json_integer_value(e);
        if (!json_is_integer(e) || k < 0 || k >= MODEL_LAYERS_MAX)
            return error_set(err, ERR_FORMAT, "%s: key 'layers': expected layer numbers, found %s", what,
                             json_brief(e));
        list[i] = (uint32_t)k;
    }
    l->layers = list;
    l->n_layers = (uint32_t)n;
    return true;
}

/* The kind of the block that must follow. */
static bool read_before(struct recipe_line *l, const json_t *json, const char *what, struct error *err)
{
    const char *word = NULL;
    l->before = -1;
    if (!json_opt_string(json, "before", what, &word, err)) return false;
    if (!word) return true;
    for (int k = 0; k < BLOCK_KIND_COUNT; k++)
        if (strcmp(block_kind_name((enum block_kind)k), word) == 0) l->before = k;
    if (l->before >= 0) return true;
    return error_set(err, ERR_FORMAT,
                     "%s: key 'before': '%.64s' is no kind of block (mamba2, attention, mlp, moe, ...)", what, word);
}

static bool read_inputs(struct recipe_line *l, const json_t *json, const char *what, struct error *err)
{
    const json_t *v = json_object_get(json, "inputs");
    if (!json_is_object(v)) return word_of_type(json, "inputs", what, USE_INPUTS, &l->inputs, err);
    static const char *const keys[] = {"type", "amax", "observer", "percentile", NULL};
    if (!json_known_keys(v, what, keys, err) || !word_of_type(v, "type", what, USE_INPUTS, &l->inputs, err) ||
        !json_opt_number(v, "amax", what, &l->input_amax, err) || !observer_read(v, what, &l->observer, err))
        return false;
    if (json_has(v, "amax") && l->observer.method != OBSERVER_MAX)
        return error_set(err, ERR_FORMAT, "%s: inputs with an amax are not observed", what);
    if (json_has(v, "amax") && !(l->input_amax > 0 && l->input_amax < 1e30))
        return error_set(err, ERR_FORMAT, "%s: inputs.amax: expected a positive number, found %g", what, l->input_amax);
    return true;
}

/* A quantizer line carries one `type` for whichever half its pattern names. */
static bool read_quantizer_actions(struct recipe_line *l, const json_t *json, const char *what, struct error *err)
{
    const struct quant_type *type = NULL;
    if (!json_opt_bool(json, "enable", what, &l->enable, err)) return false;
    if (json_has(json, "type") + json_has(json, "refuse") + l->enable > 1)
        return error_set(err, ERR_FORMAT, "%s: 'type', 'refuse' and 'enable: true' exclude each other", what);
    if (l->refuse || l->enable) return true;
    if (!json_has(json, "type")) return error_set(err, ERR_FORMAT, "%s: key 'type' is missing", what);
    if (!word_of_type(json, "type", what, USE_WEIGHTS | USE_INPUTS | USE_CACHE, &type, err) ||
        !json_opt_number(json, "amax", what, &l->input_amax, err) ||
        !json_opt_bool(json, "constant", what, &l->kv_constant, err))
        return false;
    l->weights = l->inputs = l->kv = type;
    return true;
}

#define REGEX_LINES_MAX 4096u

static bool read_regex(struct recipe *r, struct recipe_line *l, const char *what, struct error *err)
{
    if (strncmp(l->module, "re:", 3) != 0) return true;
    const char *text = l->module + 3;
    if (r->n_regexes++ == REGEX_LINES_MAX)
        return error_set(err, ERR_FORMAT, "%s: more than %u regular expressions", what, REGEX_LINES_MAX);
    return regex_list_make(&l->regex, &text, 1, what, err);
}

/* Patterns apart: those with "re:" are compiled, the others stay in l->except. */
static bool read_except(struct recipe *r, struct recipe_line *l, const json_t *v, const char *what, struct error *err)
{
    const char *const *all = NULL;
    uint32_t n = 0, n_plain = 0, n_regexes = 0;
    if (!copy_strings(r, v, what, &all, err)) return false;
    while (all[n]) n++;
    const char **plain = arena_alloc(r->arena, n + 1, sizeof *plain);
    const char **regexes = arena_alloc(r->arena, n + 1, sizeof *regexes);
    if (!plain || !regexes) return error_memory(err, n * sizeof *plain);
    for (uint32_t i = 0; i < n; i++) {
        bool is_regex = strncmp(all[i], "re:", 3) == 0;
        if (is_regex) regexes[n_regexes++] = all[i] + 3;
        else plain[n_plain++] = all[i];
    }
    l->except = plain;
    r->n_regexes += n_regexes;
    if (r->n_regexes > REGEX_LINES_MAX)
        return error_set(err, ERR_FORMAT, "%s: more than %u regular expressions", what, REGEX_LINES_MAX);
    return !n_regexes || regex_list_make(&l->except_regex, regexes, n_regexes, what, err);
}

/* What stands beside a type in groups. */
static bool read_groups(struct recipe_line *l, const json_t *json, const char *what, struct error *err)
{
    uint64_t group = 0;
    if (!json_has(json, "group") && !json_has(json, "zero")) return true;
    if (!l->weights || !l->weights->groups)
        return error_set(err, ERR_FORMAT, "%s: 'group' and 'zero' need weights: int4", what);
    if (!json_opt_u64(json, "group", what, 1, 1u << 20, &group, err) ||
        !json_opt_bool(json, "zero", what, &l->zero, err))
        return false;
    l->group = (uint32_t)group;
    return true;
}

/* Counts rules, not lines of the file: the text is part of the plan, which must come out the same from the recipe's
 * JSON. */
static const char *line_text(struct recipe *r, const struct recipe_line *l, size_t i)
{
    if (l->quantizer) return arena_printf(r->arena, "rule %zu: %s", i + 1, l->quantizer);
    if (l->roles) return arena_printf(r->arena, "rule %zu: role %s%s", i + 1, l->roles[0], l->roles[1] ? ", ..." : "");
    return arena_printf(r->arena, "rule %zu: %s", i + 1, l->module);
}

static bool read_line(struct recipe *r, struct recipe_line *l, const json_t *json, const struct yaml *doc, size_t i,
                      const char *file, struct error *err)
{
    static const char *const keys[] = {
        "role",   "module",   "quantizer", "class",  "layers", "mtp",  "weights", "inputs", "type", "amax",  "constant",
        "scales", "optional", "before",    "enable", "refuse", "note", "except",  "group",  "zero", "solve", NULL};
    l->line = doc ? yaml_line(doc, json) : 0;
    if (!l->line) l->line = (uint32_t)i + 1;
    const char *what = arena_printf(r->arena, doc ? "%s: line %u" : "%s: rule %u", file, l->line);
    if (!what) return error_memory(err, 0);
    if (!json_known_keys(json, what, keys, err)) return false;
    const char *text[5] = {NULL, NULL, NULL, NULL, NULL};
    if (!json_opt_string(json, "module", what, &text[0], err) ||
        !json_opt_string(json, "quantizer", what, &text[1], err) ||
        !json_opt_string(json, "class", what, &text[2], err) || !json_opt_string(json, "refuse", what, &text[3], err) ||
        !json_opt_string(json, "note", what, &text[4], err) || !read_before(l, json, what, err) ||
        !json_opt_bool(json, "mtp", what, &l->mtp, err) || !json_opt_bool(json, "optional", what, &l->optional, err) ||
        !scales_read(json, what, &l->scales, &l->range, err) || !solve_read(json, what, &l->solve, err))
        return false;
    const char **slots[5] = {&l->module, &l->quantizer, &l->module_class, &l->refuse, &l->note};
    for (int k = 0; k < 5; k++)
        if (text[k] && !(*slots[k] = arena_text(r->arena, text[k]))) return error_memory(err, 0);
    if (l->module && !read_regex(r, l, what, err)) return false;
    if (json_has(json, "except") && !read_except(r, l, json_object_get(json, "except"), what, err)) return false;
    if (json_has(json, "role") && !read_roles(r, l, json_object_get(json, "role"), what, err)) return false;
    if (json_has(json, "layers") && !read_layers(r, l, json_object_get(json, "layers"), what, err)) return false;
    int n_selectors = (l->roles != NULL) + (l->module != NULL) + (l->quantizer != NULL);
    if (n_selectors != 1) return error_set(err, ERR_FORMAT, "%s: expected one of 'role', 'module', 'quantizer'", what);
    if (l->quantizer) {
        if (json_has(json, "weights") || json_has(json, "inputs"))
            return error_set(err, ERR_FORMAT, "%s: a quantizer line has 'type', not 'weights' and 'inputs'", what);
        if (!read_quantizer_actions(l, json, what, err)) return false;
    } else if (!l->refuse) {
        if (!json_has(json, "weights") && !json_has(json, "inputs"))
            return error_set(err, ERR_FORMAT, "%s: says neither 'weights' nor 'inputs'", what);
        if (!word_of_type(json, "weights", what, USE_WEIGHTS, &l->weights, err) || !read_inputs(l, json, what, err))
            return false;
    }
    if (!read_groups(l, json, what, err)) return false;
    bool also_fp8 = l->scales == SCALES_RANGE; /* mse over multiples of the maximum: of the tensor's */
    if (l->scales != SCALES_MAX && !quant_type_is(l->weights, "nvfp4") &&
        !(also_fp8 && quant_type_is(l->weights, "fp8")))
        return error_set(err, ERR_FORMAT, "%s: scales: %s needs weights: nvfp4%s", what, scales_name(l->scales),
                         also_fp8 ? " or fp8" : "");
    if (l->solve.method != SOLVE_NONE && (!l->weights || l->weights == QUANT_TYPE_NONE))
        return error_set(err, ERR_FORMAT, "%s: solve: %s needs quantized weights", what, solve_name(l->solve.method));
    if (l->solve.fold.method != FOLD_NONE && !l->weights)
        return error_set(err, ERR_FORMAT, "%s: solve: %s needs 'weights', if only weights: none", what,
                         solve_label(&l->solve));
    l->text = l->label = line_text(r, l, i);
    if (l->text && l->note) l->label = arena_printf(r->arena, "%s (%s)", l->text, l->note);
    else if (l->text && doc) l->label = arena_printf(r->arena, "%s (line %u)", l->text, l->line);
    return l->label ? true : error_memory(err, 0);
}

/* `kv_cache: fp8` is short for the quantizer line that a published recipe would have. */
static bool read_kv(struct recipe *r, const json_t *json, const char *file, struct error *err)
{
    const char *word = NULL;
    enum kv_choice kv;
    if (!json_opt_string(json, "kv_cache", file, &word, err)) return false;
    if (!word) return true;
    if (!word_of_kv(word, file, &kv, err)) return false;
    if (kv == KV_NONE) return true;
    struct recipe_line *l = &r->lines[r->n_lines++];
    const struct quant_type *type = quant_type_find(kv == KV_FP8 || kv == KV_FP8_CAST ? "fp8" : "nvfp4");
    *l = (struct recipe_line){.quantizer = "*[kv]_bmm_quantizer",
                              .text = "kv_cache",
                              .label = "kv_cache",
                              .before = -1,
                              .weights = type,
                              .inputs = type,
                              .kv = type,
                              .kv_constant = kv == KV_FP8_CAST || kv == KV_NVFP4_CAST,
                              .optional = true};
    return true;
}

static bool read_lines(struct recipe *r, const json_t *json, const struct yaml *doc, const char *file,
                       struct error *err)
{
    const json_t *rules = json_object_get(json, "rules");
    size_t n = json_array_size(rules);
    if (rules && !json_is_array(rules)) return error_set(err, ERR_FORMAT, "%s: key 'rules': expected a list", file);
    if (n > RECIPE_LINES_MAX) return error_set(err, ERR_FORMAT, "%s: more than %u rules", file, RECIPE_LINES_MAX);
    r->lines = arena_alloc(r->arena, n + 1, sizeof *r->lines);
    if (!r->lines) return error_memory(err, 0);
    for (size_t i = 0; i < n; i++)
        if (!read_line(r, &r->lines[r->n_lines++], json_array_get(rules, i), doc, i, file, err)) return false;
    return read_kv(r, json, file, err);
}

static bool unknown_layout(const char *layout, const char *file, enum error_code code, struct error *err)
{
    return error_set(err, code,
                     "%s: layout '%.64s' is not written; modelopt, compressed-tensors, awq, gptq, fp8 and mxfp4 are",
                     file, layout);
}

static bool digest_recipe(struct recipe *r, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n;
    return json_canonical(r->json, &text, &n, err) && sha256_of(bytes_of(text, n), &r->digest, err);
}

bool recipe_set_layout(struct recipe *r, const char *layout, struct error *err)
{
    if (!quant_layout_known(layout)) return unknown_layout(layout, "option --layout", ERR_USAGE, err);
    if (strcmp(r->layout, layout) == 0) return true;
    r->layout = arena_text(r->arena, layout);
    return r->layout ? json_put(r->json, "layout", json_string(layout), err) && digest_recipe(r, err)
                     : error_memory(err, 0);
}

bool recipe_allow_requantize(struct recipe *r, struct error *err)
{
    r->requantize = true;
    return json_put(r->json, "requantize", json_true(), err) && digest_recipe(r, err);
}

static bool read_recipe(struct recipe *r, const json_t *json, const struct yaml *doc, const char *file,
                        struct error *err)
{
    static const char *const keys[] = {"name",      "aliases",      "summary",        "source",   "published",
                                       "copy",      "fp8_rounding", "unseen_experts", "kv_cache", "rules",
                                       "allow_ssm", "layout",       "requantize",     NULL};
    const char *name = NULL, *summary = "", *source = "", *layout = "modelopt";
    if (!json_known_keys(json, file, keys, err) || !json_get_string(json, "name", file, &name, err) ||
        !json_opt_string(json, "summary", file, &summary, err) ||
        !json_opt_string(json, "source", file, &source, err) || !json_opt_string(json, "layout", file, &layout, err) ||
        !json_opt_bool(json, "published", file, &r->published, err) ||
        !json_opt_bool(json, "copy", file, &r->copies, err) ||
        !json_opt_bool(json, "allow_ssm", file, &r->allow_ssm, err) ||
        !json_opt_bool(json, "requantize", file, &r->requantize, err) ||
        !word_of_rounding(json, "fp8_rounding", file, &r->rounding, err) ||
        !word_of_unseen(json, "unseen_experts", file, &r->unseen, err))
        return false;
    r->name = arena_text(r->arena, name);
    r->summary = arena_text(r->arena, summary);
    r->source = arena_text(r->arena, source);
    if (!quant_layout_known(layout)) return unknown_layout(layout, file, ERR_FORMAT, err);
    r->layout = arena_text(r->arena, layout);
    r->json = json_deep_copy(json);
    if (!r->layout || !r->name || !r->summary || !r->source || !r->json) return error_memory(err, 0);
    if (!read_lines(r, json, doc, file, err)) return false;
    if (r->copies && r->n_lines)
        return error_set(err, ERR_FORMAT, "%s: 'copy: true' quantizes nothing, but there are rules", file);
    if (!r->copies && !r->n_lines) return error_set(err, ERR_FORMAT, "%s: no rules: nothing would be quantized", file);
    return digest_recipe(r, err);
}

bool recipe_make(struct recipe **out, const json_t *json, const struct yaml *doc, const char *file, struct error *err)
{
    struct recipe *r = calloc(1, sizeof *r);
    *out = NULL;
    if (r) r->arena = arena_new();
    if (!r || !r->arena) {
        free(r);
        return error_memory(err, sizeof *r);
    }
    struct error local = ERROR_INIT;
    if (!read_recipe(r, json, doc, file, &local)) {
        recipe_free(r);
        if (err) *err = local;
        return false;
    }
    *out = r;
    return true;
}

bool recipe_from_json(struct recipe **out, const json_t *json, const char *what, struct error *err)
{
    return recipe_make(out, json, NULL, what, err);
}

void recipe_free(struct recipe *r)
{
    if (!r) return;
    for (uint32_t i = 0; i < r->n_lines; i++) {
        regex_list_free(r->lines[i].regex);
        regex_list_free(r->lines[i].except_regex);
    }
    json_decref(r->json);
    arena_free(r->arena);
    free(r);
}
