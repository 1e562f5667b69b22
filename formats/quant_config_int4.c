/* Writing the quantization_config of AutoAWQ and GPTQ: one format for all linears but those that are listed. AWQ's
 * readers look for a listed text inside of names; GPTQ's match patterns, in vLLM against the names of fused modules. */
#include "formats/quant_config_impl.h"

#include "core/arena.h"
#include "core/text.h"
#include "formats/name_match.h"

struct writer {
    const struct quant_config *q;
    const struct quant_format *format;
    struct arena *texts;
    const char **quantized; /* sorted: of AWQ names, of GPTQ what follows "layers.N." */
    uint32_t n_quantized;
    const char **listed; /* each once */
    uint32_t n_listed;
    struct error *err;
};

/* What follows "layers.N.", or NULL. */
static const char *ending(const char *name)
{
    const char *p = strstr(name, ".layers.");
    if (!p) return NULL;
    p += strlen(".layers.");
    size_t n = strspn(p, "0123456789");
    return n && p[n] == '.' ? p + n + 1 : NULL;
}

static const char *asked(const struct quant_module *m)
{
    return m->container ? m->container : m->name;
}

static bool begins_quantized(const struct writer *w, const char *text)
{
    uint32_t i = texts_lower_bound(w->quantized, w->n_quantized, text);
    return i < w->n_quantized && strncmp(w->quantized[i], text, strlen(text)) == 0;
}

static bool is_quantized(const struct writer *w, const char *text)
{
    uint32_t i = texts_lower_bound(w->quantized, w->n_quantized, text);
    return i < w->n_quantized && strcmp(w->quantized[i], text) == 0;
}

/* The one format, and the names that have it. */
static bool collect(struct writer *w, bool endings)
{
    const struct quant_config *q = w->q;
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct quant_module *m = &q->modules[i];
        if (!m->format) continue;
        if (m->table)
            return error_set(w->err, ERR_UNSUPPORTED, "'%.256s' is no linear: %s quantizes only those", m->name,
                             q->layout);
        if (w->format && w->format != m->format)
            return error_set(w->err, ERR_UNSUPPORTED, "'%.256s' is %s and others are %s: %s has one format for all",
                             m->name, m->format->name, w->format->name, q->layout);
        w->format = m->format;
        const char *name = endings ? ending(asked(m)) : asked(m);
        w->quantized[w->n_quantized++] = name ? name : asked(m);
    }
    w->n_quantized = texts_sort(w->quantized, w->n_quantized);
    if (w->format) return true;
    return error_set(w->err, ERR_USAGE, "the recipe quantizes no linear of this model");
}

static bool put_list(struct writer *w, const char *text)
{
    if (!text) return error_memory(w->err, 0);
    w->listed[w->n_listed++] = text;
    return true;
}

static bool open(struct writer *w, const struct quant_config *q, bool endings, struct error *err)
{
    size_t room = (size_t)q->n_modules + q->n_excluded + 1;
    *w = (struct writer){.q = q, .err = err, .texts = arena_new()};
    w->quantized = malloc(room * sizeof *w->quantized);
    w->listed = malloc(room * sizeof *w->listed);
    if (!w->texts || !w->quantized || !w->listed) return error_memory(err, room);
    return collect(w, endings);
}

static void release(struct writer *w)
{
    arena_free(w->texts);
    free(w->quantized);
    free(w->listed);
}

static bool put_numbers(const struct writer *w, json_t *doc, const char *method)
{
    return json_put(doc, "quant_method", json_string(method), w->err) &&
           json_put(doc, "bits", json_integer(4), w->err) &&
           json_put(doc, "group_size", json_integer(w->format->block_cols), w->err);
}

/* ---- AWQ ---- */

/* Routers whose name begins that of a quantized module cannot be listed; engines leave them as they are. */
static bool awq_list(struct writer *w)
{
    const struct quant_config *q = w->q;
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct quant_module *m = &q->modules[i];
        if (m->format) continue;
        bool trap = begins_quantized(w, asked(m));
        if (trap && !m->table)
            return error_set(w->err, ERR_UNSUPPORTED,
                             "awq cannot say that '%.256s' is not quantized: the name begins that of one that is",
                             asked(m));
        if (!trap && !put_list(w, asked(m))) return false;
    }
    for (uint32_t k = 0; k < q->n_excluded; k++)
        if (!begins_quantized(w, q->excluded[k]) && !put_list(w, q->excluded[k])) return false;
    return true;
}

static bool awq_doc(struct writer *w, json_t *doc)
{
    json_t *list = json_array();
    if (!awq_list(w) || !put_numbers(w, doc, "awq") || !json_put(doc, "zero_point", json_true(), w->err) ||
        !json_put(doc, "version", json_string("gemm"), w->err) ||
        !json_put(doc, "modules_to_not_convert", list, w->err))
        return false;
    w->n_listed = texts_sort(w->listed, w->n_listed);
    for (uint32_t i = 0; i < w->n_listed; i++)
        if (json_array_append_new(list, json_string(w->listed[i])) != 0)
            return error_set(w->err, ERR_FORMAT, "module name '%.256s' is not valid UTF-8", w->listed[i]);
    return true;
}

bool quant_config_awq(const struct quant_config *q, json_t *doc, struct error *err)
{
    struct writer w;
    bool ok = open(&w, q, false, err) && awq_doc(&w, doc);
    release(&w);
    return ok;
}

/* ---- GPTQ ---- */

/* What engines fuse a module into: its last component may have either name. */
static const char *fused_with(const char *leaf)
{
    static const char *const fused[][2] = {{"q_proj", "qkv_proj"},
                                           {"k_proj", "qkv_proj"},
                                           {"v_proj", "qkv_proj"},
                                           {"gate_proj", "gate_up_proj"},
                                           {"up_proj", "gate_up_proj"}};
    for (size_t i = 0; i < sizeof fused / sizeof *fused; i++)
        if (strcmp(leaf, fused[i][0]) == 0) return fused[i][1];
    return NULL;
}

static void add_escaped(struct text *t, const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strchr(".^$*+?()[]{}|\\", name[i])) text_put(t, "\\", 1);
        text_put(t, name + i, 1);
    }
}

static const char *pattern(struct writer *w, const char *name, bool any_layer, bool below)
{
    struct text t = TEXT_INIT;
    const char *dot = strrchr(name, '.'), *leaf = dot ? dot + 1 : name, *other = below ? NULL : fused_with(leaf);
    text_add(&t, "-:%s", any_layer ? ".*\\.layers\\.\\d+\\." : "");
    add_escaped(&t, name, other ? (size_t)(leaf - name) : strlen(name));
    if (other) text_add(&t, "(%s|%s)", leaf, other);
    text_add(&t, "%s", below ? "(\\..*)?$" : "$");
    const char *kept = t.failed ? NULL : arena_text(w->texts, t.data);
    text_free(&t);
    return kept;
}

/* One pattern for all layers where none of them has such a module quantized. */
static bool gptq_list(struct writer *w)
{
    const struct quant_config *q = w->q;
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct quant_module *m = &q->modules[i];
        if (m->format) continue;
        const char *end = ending(asked(m));
        bool any = end && !is_quantized(w, end);
        const char *name = any ? end : asked(m);
        if (!put_list(w, pattern(w, name, any, m->container != NULL))) return false;
    }
    for (uint32_t k = 0; k < q->n_excluded; k++)
        if (!put_list(w, pattern(w, q->excluded[k], false, true))) return false;
    return true;
}

/* Names that end in "_zero_g128" have stored zero points. */
static bool is_symmetric(const struct quant_format *f)
{
    return !strstr(f->name, "_zero_");
}

static bool gptq_doc(struct writer *w, json_t *doc)
{
    json_t *dynamic = json_object();
    if (!gptq_list(w) || !put_numbers(w, doc, "gptq") ||
        !json_put(doc, "desc_act", json_boolean(w->q->act_order), w->err) ||
        !json_put(doc, "sym", json_boolean(is_symmetric(w->format)), w->err) ||
        !json_put(doc, "lm_head", json_false(), w->err) ||
        !json_put(doc, "checkpoint_format", json_string("gptq"), w->err) ||
        !json_put(doc, "pack_dtype", json_string("int32"), w->err) || !json_put(doc, "dynamic", dynamic, w->err))
        return false;
    w->n_listed = texts_sort(w->listed, w->n_listed);
    for (uint32_t i = 0; i < w->n_listed; i++)
        if (!json_put(dynamic, w->listed[i], json_object(), w->err)) return false;
    return true;
}

bool quant_config_gptq(const struct quant_config *q, json_t *doc, struct error *err)
{
    struct writer w;
    bool ok = open(&w, q, true, err) && gptq_doc(&w, doc);
    release(&w);
    return ok;
}
