/* The configuration of GPT-OSS's own MXFP4 (quant_method mxfp4). Experts are converted, all of them; what is not stands
 * in modules_to_not_convert as gpt-oss publishes it: with a `*` for the layer, and by the module around it where
 * nothing in that is converted ("model.layers.*.self_attn"). */
#include "formats/quant_config_impl.h"

#include "core/arena.h"

#include <string.h>

/* "model.layers.3.mlp.router" to "model.layers.*.mlp.router": the first component that is a number. *end: where what
 * follows the `*` begins; 0 without one. */
static char *with_star(struct arena *a, const char *name, size_t *end)
{
    *end = 0;
    for (const char *p = name; *p; p += strcspn(p, "."), p += *p == '.') {
        size_t digits = strspn(p, "0123456789");
        if (digits == 0 || (p[digits] && p[digits] != '.')) continue;
        *end = (size_t)(p - name) + 1;
        return arena_printf(a, "%.*s*%s", (int)(p - name), name, p + digits);
    }
    return arena_printf(a, "%s", name);
}

struct lists {
    struct arena *texts;
    json_t *converted; /* patterns, as keys */
    json_t *seen;
    struct error *err;
};

static bool add_key(struct lists *l, json_t *set, const char *name)
{
    return json_object_set_new(set, name, json_true()) == 0
               ? true
               : error_set(l->err, ERR_FORMAT, "module name '%.256s' is not valid UTF-8", name);
}

static bool find_converted(struct lists *l, const struct quant_config *q)
{
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct quant_module *m = &q->modules[i];
        bool again = i > 0 && m->container && q->modules[i - 1].format && q->modules[i - 1].container &&
                     strcmp(m->container, q->modules[i - 1].container) == 0;
        size_t end;
        if (!m->format || again) continue;
        const char *name = with_star(l->texts, m->container ? m->container : m->name, &end);
        if (!name) return error_memory(l->err, 0);
        if (!add_key(l, l->converted, name)) return false;
    }
    return true;
}

/* True when a converted module lies in the module that the pattern's first n letters name. */
static bool has_converted(const struct lists *l, const char *pattern, size_t n)
{
    const char *name;
    json_t *value;
    json_object_foreach (l->converted, name, value)
        if (strncmp(name, pattern, n) == 0 && name[n] == '.') return true;
    return false;
}

static bool put_unconverted(struct lists *l, const struct quant_config *q, json_t *doc)
{
    json_t *list = json_array();
    if (!json_put(doc, "modules_to_not_convert", list, l->err)) return false;
    for (uint32_t i = 0; i < q->n_modules; i++) {
        size_t end;
        if (q->modules[i].format) continue;
        char *name = with_star(l->texts, q->modules[i].name, &end), *dot = name ? strrchr(name, '.') : NULL;
        if (!name) return error_memory(l->err, 0);
        if (end && dot > name + end && !has_converted(l, name, (size_t)(dot - name))) *dot = '\0';
        if (json_object_get(l->seen, name)) continue;
        if (!add_key(l, l->seen, name)) return false;
        if (json_array_append_new(list, json_string(name)) != 0) return error_memory(l->err, 0);
    }
    return true;
}

bool quant_config_mxfp4(const struct quant_config *q, json_t *doc, struct error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->n_modules; i++) n += q->modules[i].format != NULL;
    if (n == 0) return error_set(err, ERR_USAGE, "the recipe quantizes no linear of this model");
    for (uint32_t i = 0; i < q->n_modules; i++)
        if (q->modules[i].container && !q->modules[i].format)
            return error_set(err, ERR_UNSUPPORTED,
                             "the layout mxfp4 has the experts of all layers; '%.256s' would stay as it is",
                             q->modules[i].name);
    if (q->kv_algo)
        return error_set(err, ERR_UNSUPPORTED,
                         "the layout mxfp4 says nothing of caches; an %.16s cache cannot be described", q->kv_algo);
    CLEANUP(json) json_t *converted = json_object();
    CLEANUP(json) json_t *seen = json_object();
    struct lists l = {arena_new(), converted, seen, err};
    if (!l.texts || !converted || !seen) {
        arena_free(l.texts);
        return error_memory(err, 0);
    }
    bool ok = find_converted(&l, q) && put_unconverted(&l, q, doc) &&
              json_put(doc, "quant_method", json_string("mxfp4"), err);
    arena_free(l.texts);
    return ok;
}
