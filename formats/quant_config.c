/* Writing the two configurations of a quantized checkpoint. Both come from one structure, and what an engine will make
 * of them is read back before they are handed out: for every module the answer must be the format it really has. */
#include "core/arena.h"
#include "formats/name_match.h"
#include "formats/quant_config_impl.h"
#include "formats/quant_exclude.h"

/* Engines recognise the layout by its producer: the readers that fall back on hf_quant_config.json look for this name,
 * and some compare versions. It says whose layout this is, not which program wrote it (that stands in ingot.json). */
#define PRODUCER_NAME "modelopt"
#define PRODUCER_VERSION "0.47.0"

/* One row of quantized_layers: a linear, or all experts of a layer under the name that engines ask for. */
struct entry {
    const char *name;
    const struct quant_format *format;
    bool pre_scaled; /* or one of the linears in it is */
};

struct builder {
    const struct quant_config *q;
    struct arena *texts;
    struct entry *entries; /* sorted by name, one per linear or container; unquantized ones too */
    uint32_t n_entries;
    const struct quant_format *uniform; /* NULL: several formats */
    bool pre_scaled;                    /* any linear */
    const char **excluded;              /* what exclude_modules holds */
    uint32_t n_excluded;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* "a.b" lies in "a.b" and in "a". */
static bool lies_in(const char *name, const char *container)
{
    size_t n = strlen(container);
    return strncmp(name, container, n) == 0 && (name[n] == '\0' || name[n] == '.');
}

static bool make_entries(struct builder *b, struct error *err)
{
    const struct quant_config *q = b->q;
    b->entries = malloc((q->n_modules ? q->n_modules : 1) * sizeof *b->entries);
    if (!b->entries) return error_memory(err, q->n_modules * sizeof *b->entries);
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct quant_module *m = &q->modules[i];
        if (glob_is_pattern(m->name))
            return error_set(err, ERR_UNSUPPORTED, "module '%.256s' has a wildcard in its name and cannot be described",
                             m->name);
        if (m->container && !lies_in(m->name, m->container))
            return error_set(err, ERR_INTERNAL, "module '%.256s' does not lie in '%.256s'", m->name, m->container);
        b->entries[i] = (struct entry){m->container ? m->container : m->name, m->format, m->pre_scaled};
        b->pre_scaled |= m->pre_scaled;
    }
    if (q->n_modules) qsort(b->entries, q->n_modules, sizeof *b->entries, by_name);
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct entry *e = &b->entries[i], *last = b->n_entries ? &b->entries[b->n_entries - 1] : NULL;
        bool same = last && strcmp(last->name, e->name) == 0;
        if (same && last->format != e->format)
            return error_set(err, ERR_UNSUPPORTED,
                             "the linears of '%.256s' would be stored as %s and as %s, but engines load them alike",
                             e->name, last->format ? last->format->algo : "plain numbers",
                             e->format ? e->format->algo : "plain numbers");
        if (!same) b->entries[b->n_entries++] = *e;
        else b->entries[b->n_entries - 1].pre_scaled |= e->pre_scaled;
    }
    return true;
}

static bool find_formats(struct builder *b, struct error *err)
{
    uint32_t n_quantized = 0;
    bool several = false;
    for (uint32_t i = 0; i < b->n_entries; i++) {
        const struct quant_format *f = b->entries[i].format;
        if (!f) continue;
        if (n_quantized++ && f != b->uniform) several = true;
        b->uniform = f;
    }
    if (n_quantized == 0) return error_set(err, ERR_USAGE, "the recipe quantizes no linear of this model");
    if (several) b->uniform = NULL;
    if (b->q->kv_algo && strcmp(b->q->kv_algo, "FP8") != 0 && strcmp(b->q->kv_algo, "NVFP4") != 0)
        return error_set(err, ERR_UNSUPPORTED, "a %.64s cache cannot be described; FP8 and NVFP4 can", b->q->kv_algo);
    return true;
}

/* MIXED_PRECISION excludes only what is excluded whole: a layer that is not in its map is not quantized. */
static bool make_excluded(struct builder *b, struct error *err)
{
    const struct quant_config *q = b->q;
    uint32_t n_plain = 0, n_quantized = 0;
    size_t room = (size_t)q->n_modules + q->n_excluded + 1;
    CLEANUP(free) const char **plain = malloc(room * sizeof *plain);
    CLEANUP(free) const char **quantized = malloc(room * sizeof *quantized);
    b->excluded = malloc(room * sizeof *b->excluded);
    if (!plain || !quantized || !b->excluded) return error_memory(err, room * sizeof *plain);
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct quant_module *m = &q->modules[i];
        bool covered = false;
        for (uint32_t k = 0; k < q->n_excluded; k++)
            covered = covered || strncmp(m->name, q->excluded[k], strlen(q->excluded[k])) == 0;
        if (covered && m->format)
            return error_set(err, ERR_INTERNAL, "module '%.256s' is quantized, but its whole branch is excluded",
                             m->name);
        if (m->format) quantized[n_quantized++] = m->name;
        else if (b->uniform && !covered) plain[n_plain++] = m->name;
    }
    if (!quant_exclude(b->texts, plain, n_plain, quantized, n_quantized, b->excluded, &b->n_excluded, err))
        return false;
    for (uint32_t k = 0; k < q->n_excluded; k++)
        if (!(b->excluded[b->n_excluded++] = arena_printf(b->texts, "%s*", q->excluded[k])))
            return error_memory(err, 0);
    return true;
}

static bool build(struct builder *b, struct error *err)
{
    b->texts = arena_new();
    if (!b->texts) return error_memory(err, 0);
    return make_entries(b, err) && find_formats(b, err) && make_excluded(b, err);
}

static void release(struct builder *b)
{
    arena_free(b->texts);
    free(b->entries);
    free(b->excluded);
}

static bool put_producer(json_t *doc, struct error *err)
{
    return json_put(doc, "producer", json_pack("{s:s,s:s}", "name", PRODUCER_NAME, "version", PRODUCER_VERSION), err);
}

static bool put_names(json_t *obj, const char *key, const char *const *names, uint32_t n, struct error *err)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, json_string(names[i])) != 0) {
            json_decref(list);
            return error_set(err, ERR_FORMAT, "module name '%.256s' is not valid UTF-8", names[i]);
        }
    return json_put(obj, key, list, err);
}

static bool is_int4(const struct quant_format *f)
{
    return f->encode_op == OP_ENCODE_INT4 || f->encode_op == OP_ENCODE_INT4_ZERO;
}

/* NVFP4 has a name of its own where a pre_quant_scale may stand beside it. */
static const char *algo_of(const struct quant_format *f, bool pre_scaled)
{
    return pre_scaled && f->encode_op == OP_ENCODE_NVFP4 ? "NVFP4_AWQ" : f->algo;
}

/* What stands beside an algorithm's name. */
static bool put_options(const struct quant_format *f, bool pre_scaled, json_t *obj, struct error *err)
{
    if (f->block_cols == 1 || f->algo_only) return true;
    return json_put(obj, "group_size", json_integer(f->block_cols), err) &&
           ((!is_int4(f) && !pre_scaled) || (json_put(obj, "has_zero_point", json_false(), err) &&
                                             json_put(obj, "pre_quant_scale", json_boolean(pre_scaled), err)));
}

static bool put_layers(const struct builder *b, json_t *obj, struct error *err)
{
    json_t *layers = json_object();
    if (!json_put(obj, "quantized_layers", layers, err)) return false;
    for (uint32_t i = 0; i < b->n_entries; i++) {
        const struct quant_format *f = b->entries[i].format;
        if (!f) continue;
        bool pre_scaled = b->entries[i].pre_scaled;
        json_t *row = json_pack("{s:s}", "quant_algo", algo_of(f, pre_scaled));
        if (!json_put(layers, b->entries[i].name, row, err) || !put_options(f, pre_scaled, row, err)) return false;
    }
    return true;
}

static bool file_body(const struct builder *b, json_t *body, struct error *err)
{
    const char *algo = b->uniform ? algo_of(b->uniform, b->pre_scaled) : "MIXED_PRECISION";
    json_t *kv = b->q->kv_algo ? json_string(b->q->kv_algo) : json_null();
    if (!json_put(body, "quant_algo", json_string(algo), err) || !json_put(body, "kv_cache_quant_algo", kv, err))
        return false;
    if (!b->uniform && !put_layers(b, body, err)) return false;
    if (b->uniform && !put_options(b->uniform, b->pre_scaled, body, err)) return false;
    return (!b->uniform && b->n_excluded == 0) || put_names(body, "exclude_modules", b->excluded, b->n_excluded, err);
}

static json_t *tensor_group(uint32_t bits, uint32_t group_size, const char *type)
{
    if (group_size == 1) return json_pack("{s:b,s:i,s:s}", "dynamic", 0, "num_bits", (int)bits, "type", type);
    return json_pack("{s:b,s:i,s:s,s:i}", "dynamic", 0, "num_bits", (int)bits, "type", type, "group_size",
                     (int)group_size);
}

/* Compressed-tensors' way of saying it, for readers that know only that. Activations are cut into groups like the
 * weights when both are of the same width. */
static bool put_group(json_t *groups, uint32_t number, const struct quant_format *f, const char *const *targets,
                      uint32_t n, struct error *err)
{
    char name[32];
    snprintf(name, sizeof name, "group_%u", number);
    json_t *g = json_object();
    if (!json_put(groups, name, g, err)) return false;
    uint32_t input_group = f->input_bits == f->weight_bits ? f->block_cols : 1;
    if (f->input_bits < 16 && !json_put(g, "input_activations", tensor_group(f->input_bits, input_group, "float"), err))
        return false;
    return json_put(g, "weights", tensor_group(f->weight_bits, f->block_cols, is_int4(f) ? "int" : "float"), err) &&
           put_names(g, "targets", targets, n, err);
}

/* Groups are in the order of the algorithms' names, then of their blocks' sizes. */
static int group_order(const struct quant_format *a, const struct quant_format *b)
{
    if (!b) return 1;
    int c = strcmp(a->algo, b->algo);
    return c ? c : (a->block_cols > b->block_cols) - (a->block_cols < b->block_cols);
}

/* Of one type for all, ModelOpt's flat form describes these alone. INT4's group goes without saying if it is the usual
 * one; others must stand somewhere. */
static bool described(const struct quant_format *f)
{
    static const char *const algos[] = {"FP8", "NVFP4", "W4A16_NVFP4"};
    for (size_t i = 0; i < sizeof algos / sizeof *algos; i++)
        if (strcmp(f->algo, algos[i]) == 0) return true;
    return is_int4(f) && f->block_cols != 128;
}

static bool put_groups(const struct builder *b, json_t *doc, struct error *err)
{
    static const char *const linear[] = {"Linear"};
    /* NVFP4 with pre_quant_scale: ModelOpt says no more of it. */
    if (b->uniform && (!described(b->uniform) || (b->pre_scaled && !is_int4(b->uniform)))) return true;
    json_t *groups = json_object();
    if (!json_put(doc, "config_groups", groups, err)) return false;
    if (b->uniform) return put_group(groups, 0, b->uniform, linear, 1, err);
    CLEANUP(free) const char **targets = malloc(b->n_entries * sizeof *targets);
    if (!targets) return error_memory(err, b->n_entries * sizeof *targets);
    const struct quant_format *last = NULL;
    for (uint32_t number = 0;;) {
        const struct quant_format *next = NULL;
        for (const struct quant_format *const *f = quant_formats; *f; f++)
            if (group_order(*f, last) > 0 && (!next || group_order(*f, next) < 0)) next = *f;
        if (!next) return true;
        last = next;
        if (next->algo_only) continue;
        uint32_t n = 0;
        for (uint32_t i = 0; i < b->n_entries; i++)
            if (b->entries[i].format == next) targets[n++] = b->entries[i].name;
        if (n && !put_group(groups, number++, next, targets, n, err)) return false;
    }
}

/* ModelOpt says NVFP4 with a word, which vLLM overlooks here and finds in hf_quant_config.json. */
static json_t *cache_scheme(const char *kv_algo)
{
    return strcmp(kv_algo, "FP8") == 0 ? tensor_group(8, 1, "float") : json_string(kv_algo);
}

static bool inline_body(const struct builder *b, json_t *doc, struct error *err)
{
    const char *algo = b->uniform ? algo_of(b->uniform, b->pre_scaled) : "MIXED_PRECISION";
    if (!put_groups(b, doc, err) || (!b->uniform && !put_layers(b, doc, err))) return false;
    if (!put_names(doc, "ignore", b->excluded, b->n_excluded, err) ||
        !json_put(doc, "quant_algo", json_string(algo), err))
        return false;
    if (b->q->kv_algo && !json_put(doc, "kv_cache_scheme", cache_scheme(b->q->kv_algo), err)) return false;
    return put_producer(doc, err) && json_put(doc, "quant_method", json_string("modelopt"), err);
}

/* Asks about every module as an engine would. */
static bool check_meaning(const struct quant_config *q, json_t *doc, bool is_file, struct error *err)
{
    CLEANUP(json) json_t *config = is_file ? json_object() : json_pack("{s:O}", "quantization_config", doc);
    CLEANUP(quant_rules) struct quant_rules *rules = NULL;
    struct hf_config c = {.config = config, .quant = is_file ? doc : NULL};
    if (!config) return error_memory(err, 0);
    if (!quant_rules_open(&rules, &c, err)) return error_wrap(err, "the configuration that was just made");
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct quant_module *m = &q->modules[i];
        bool named = quant_rules_linears_only(rules) && m->table;
        const struct quant_format *f = named ? quant_rules_named(rules, m->name) : quant_rules_resolve(rules, m->name);
        if (f == m->format) continue;
        return error_set(err, ERR_INTERNAL, "the configuration would make engines take '%.256s' for %s, it is %s",
                         m->name, f ? f->algo : "not quantized", m->format ? m->format->algo : "not quantized");
    }
    return true;
}

static bool modelopt_doc(const struct quant_config *q, bool is_file, json_t *doc, struct error *err)
{
    struct builder b = {.q = q};
    bool ok = build(&b, err);
    if (ok && is_file) {
        json_t *body = json_object();
        ok = put_producer(doc, err) && json_put(doc, "quantization", body, err) && file_body(&b, body, err);
    } else if (ok) {
        ok = inline_body(&b, doc, err);
    }
    release(&b);
    return ok;
}

static const struct {
    const char *layout;
    bool (*make)(const struct quant_config *q, json_t *doc, struct error *err);
} layouts[] = {{"compressed-tensors", quant_config_ct},
               {"awq", quant_config_awq},
               {"gptq", quant_config_gptq},
               {"fp8", quant_config_fp8},
               {"mxfp4", quant_config_mxfp4}};

static bool other_doc(const struct quant_config *q, json_t *doc, struct error *err)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (strcmp(layouts[i].layout, q->layout) == 0) return layouts[i].make(q, doc, err);
    return error_set(err, ERR_INTERNAL, "no configuration is written in the layout %.64s", q->layout);
}

static bool make(const struct quant_config *q, bool is_file, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *doc = json_object();
    *out = NULL;
    bool modelopt = !q->layout || strcmp(q->layout, "modelopt") == 0;
    if (is_file && !modelopt) return true;
    if (!doc) return error_memory(err, 0);
    if (!(modelopt ? modelopt_doc(q, is_file, doc, err) : other_doc(q, doc, err)) ||
        !check_meaning(q, doc, is_file, err))
        return false;
    *out = take_ptr(&doc);
    return true;
}

bool quant_config_file(const struct quant_config *q, json_t **out, struct error *err)
{
    return make(q, true, out, err);
}

bool quant_config_inline(const struct quant_config *q, json_t **out, struct error *err)
{
    return make(q, false, out, err);
}
