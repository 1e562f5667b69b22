/* How an engine takes a module to be stored. The matching follows vLLM, the most permissive reader of these files: an
 * excluded name counts where it stands anywhere in a module's name, a pattern as Python's fnmatch has it, and all
 * experts of a layer are asked for once, as `….experts`. */
#include "formats/quant_config.h"
#include "formats/quant_form.h"
#include "formats/quant_method.h"

#include "core/arena.h"
#include "formats/name_match.h"

/* General patterns are tried one by one for every module; writers use only plain names and `prefix*`. */
#define GLOBS_MAX 256u
#define MODULE_NAME_MAX 1024u /* longer names have no experts in them */

struct quant_rules {
    struct quant_form form;
    json_t *docs[2]; /* hold the names */
    struct arena *texts;
    struct text_set plain, begins; /* names; `prefix*` without the star */
    const char **globs;
    uint32_t n_globs;
    const char **containers; /* sorted: containers of experts that an exclusion reaches into */
    uint32_t n_containers;
};

/* Bytes of `name` up to the end of its component "experts", 0 when it has none. */
static size_t container_size(const char *name)
{
    for (const char *p = name; (p = strstr(p, "experts")); p++)
        if ((p == name || p[-1] == '.') && (p[7] == '.' || !p[7])) return (size_t)(p - name) + 7;
    return 0;
}

static bool in_sorted(const char *const *texts, uint32_t n, const char *text)
{
    uint32_t i = texts_lower_bound(texts, n, text);
    return i < n && strcmp(texts[i], text) == 0;
}

static bool is_excluded(const struct quant_rules *r, const char *name)
{
    if (text_set_inside(&r->plain, name) || text_set_prefix(&r->begins, name)) return true;
    for (uint32_t i = 0; i < r->n_globs; i++)
        if (glob_match(r->globs[i], name)) return true;
    return false;
}

static const struct quant_format *exact(const struct quant_rules *r, const char *name, bool or_below)
{
    const struct quant_layer *l = r->form.layers;
    uint32_t lo = 0, hi = r->form.n_layers;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (strcmp(l[mid].name, name) < 0) lo = mid + 1;
        else hi = mid;
    }
    if (lo < r->form.n_layers && strcmp(l[lo].name, name) == 0) return l[lo].format;
    if (!or_below) return NULL;
    /* Names below "x" sort behind "x.", between them and "x" may be others such as "x-y". */
    size_t n = strlen(name);
    for (hi = r->form.n_layers; lo < hi;) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strncmp(l[mid].name, name, n);
        if (c < 0 || (c == 0 && (uint8_t)l[mid].name[n] < '.')) lo = mid + 1;
        else hi = mid;
    }
    bool below = lo < r->form.n_layers && strncmp(l[lo].name, name, n) == 0 && l[lo].name[n] == '.';
    return below ? l[lo].format : NULL;
}

const struct quant_format *quant_rules_resolve(const struct quant_rules *r, const char *module)
{
    char container[MODULE_NAME_MAX];
    size_t n = container_size(module);
    bool expert = n > 0 && n < sizeof container;
    if (r->form.exact_names) return quant_method_resolve(&r->form, module, false);
    bool by_container = expert && r->form.experts_whole;
    if ((!by_container && is_excluded(r, module)) || (r->form.experts_only && n == 0)) return NULL;
    if (expert) {
        memcpy(container, module, n);
        container[n] = '\0';
        if (in_sorted(r->containers, r->n_containers, container) || (module[n] && is_excluded(r, container)))
            return NULL;
    }
    if (!r->form.mixed) return r->form.uniform;
    const struct quant_format *f = exact(r, module, !expert);
    return f || !expert ? f : exact(r, container, true);
}

const struct quant_format *quant_rules_named(const struct quant_rules *r, const char *module)
{
    return r->form.exact_names ? quant_method_resolve(&r->form, module, true) : NULL;
}

uint32_t quant_rules_idle(const struct quant_rules *r, const char *const *names, uint32_t n, const char **first)
{
    return quant_form_idle(&r->form, names, n, first);
}

bool quant_rules_linears_only(const struct quant_rules *r)
{
    return r->form.linears_only;
}

bool quant_rules_act_order(const struct quant_rules *r)
{
    return r->form.act_order;
}

bool quant_rules_lists_layers(const struct quant_rules *r)
{
    return r->form.mixed && !r->form.exact_names;
}

bool quant_rules_pre_scaled(const struct quant_rules *r)
{
    return r->form.pre_scaled;
}

const char *quant_rules_kv_algo(const struct quant_rules *r)
{
    return r->form.kv_algo;
}

void quant_rules_close(struct quant_rules *r)
{
    if (!r) return;
    text_set_free(&r->plain);
    text_set_free(&r->begins);
    quant_form_free(&r->form);
    arena_free(r->texts);
    free(r->globs);
    free(r->containers);
    json_decref(r->docs[0]);
    json_decref(r->docs[1]);
    free(r);
}

/* Engines ask once for all experts of a layer and take what they find first. */
static bool check_containers(const struct quant_form *f, struct error *err)
{
    for (uint32_t i = 1; i < f->n_layers; i++) {
        const struct quant_layer *a = &f->layers[i - 1], *b = &f->layers[i];
        size_t n = container_size(a->name);
        if (n == 0 || n != container_size(b->name) || memcmp(a->name, b->name, n) != 0 || a->format == b->format)
            continue;
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: '%.256s' is %s and '%.256s' is %s, but engines load all experts of a layer alike",
                         f->what, a->name, a->format->algo, b->name, b->format->algo);
    }
    return true;
}

/* Sorts the excluded names into the sets. */
static bool sort_excluded(struct quant_rules *r, const char **plain, const char **begins, struct error *err)
{
    uint32_t n_plain = 0, n_begins = 0;
    for (uint32_t i = 0; i < r->form.n_excluded; i++) {
        const char *p = r->form.excluded[i];
        size_t first = strcspn(p, "*?["), n = strlen(p), c = container_size(p);
        if (c && p[c] == '.' && !(r->containers[r->n_containers++] = arena_copy(r->texts, p, c)))
            return error_memory(err, c);
        if (first == n) plain[n_plain++] = p;
        else if (first == n - 1 && p[first] == '*') {
            if (!(begins[n_begins++] = arena_copy(r->texts, p, first))) return error_memory(err, first);
        } else if (r->n_globs == GLOBS_MAX) {
            return error_set(err, ERR_UNSUPPORTED, "%s: more than %u patterns with wildcards in the middle",
                             r->form.what, GLOBS_MAX);
        } else r->globs[r->n_globs++] = p;
    }
    r->n_containers = texts_sort(r->containers, r->n_containers);
    return text_set_build(&r->plain, plain, n_plain, err) && text_set_build(&r->begins, begins, n_begins, err);
}

static bool prepare(struct quant_rules *r, struct error *err)
{
    size_t room = (size_t)r->form.n_excluded + 1;
    CLEANUP(free) const char **plain = malloc(room * sizeof *plain);
    CLEANUP(free) const char **begins = malloc(room * sizeof *begins);
    r->globs = malloc(room * sizeof *r->globs);
    r->containers = malloc(room * sizeof *r->containers);
    r->texts = arena_new();
    if (!plain || !begins || !r->globs || !r->containers || !r->texts) return error_memory(err, room * sizeof *plain);
    return sort_excluded(r, plain, begins, err);
}

/* ModelOpt's config.json names AWQ's types and nothing of their groups; the other file says their size. */
static void take_group_size(struct quant_form *f, const struct quant_form *other)
{
    if (!f->uniform || !other->uniform || f->group_size || !other->group_size) return;
    if (strcmp(f->uniform->algo, other->uniform->algo) == 0) f->uniform = other->uniform;
}

static bool read_forms(struct quant_rules *r, struct error *err)
{
    static const char *const whats[2] = {"config.json: quantization_config", "hf_quant_config.json"};
    struct quant_form other = {0};
    int first = r->docs[0] ? 0 : 1;
    if (!quant_form_read(&r->form, r->docs[first], whats[first], err) || !check_containers(&r->form, err)) return false;
    if (!r->docs[0] || !r->docs[1]) return true;
    if (!quant_form_read(&other, r->docs[1], whats[1], err)) return false;
    take_group_size(&r->form, &other);
    bool ok = quant_form_same(&r->form, &other, err);
    r->form.pre_scaled |= other.pre_scaled;
    quant_form_free(&other);
    return ok;
}

/* quantization_config of config.json; params.json calls it `quantization`; wrappers may keep it beside the language
 * model's own keys. */
static json_t *declared(const struct hf_config *c)
{
    static const char *const inside[] = {"text_config", "llm_config"};
    json_t *v = json_object_get(c->config, "quantization_config");
    if (!v && hf_config_is_native(c)) v = json_object_get(c->config, "quantization");
    for (size_t i = 0; !v && i < sizeof inside / sizeof *inside; i++)
        v = json_object_get(json_object_get(c->config, inside[i]), "quantization_config");
    return v;
}

bool quant_rules_open(struct quant_rules **out, const struct hf_config *c, struct error *err)
{
    *out = NULL;
    json_t *in_config = declared(c);
    if (json_is_null(in_config)) in_config = NULL;
    if (!in_config && !c->quant) return true;
    struct quant_rules *r = calloc(1, sizeof *r);
    if (!r) return error_memory(err, sizeof *r);
    r->docs[0] = json_incref(in_config);
    r->docs[1] = json_incref(c->quant);
    if (read_forms(r, err) && prepare(r, err)) {
        *out = r;
        return true;
    }
    quant_rules_close(r);
    return false;
}
