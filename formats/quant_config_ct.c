/* Writing the quantization_config of compressed-tensors. One format is that of "Linear": what most experts have,
 * because engines ask for all experts of a layer at once and by their class, else what most linears have. Other
 * formats' modules are listed by name, and what is not quantized is ignored by name; experts by a pattern for their
 * layer, because a layer may have thousands. */
#include "formats/quant_config_impl.h"

#include "core/arena.h"
#include "core/text.h"
#include "formats/ct_scheme.h"

struct writer {
    const struct quant_config *q;
    const struct quant_format *common; /* the format of "Linear" */
    bool several;                      /* there are others */
    const char *last;                  /* the container that was listed last */
    struct error *err;
};

static uint64_t weight_of(const struct quant_module *m)
{
    return m->container ? UINT32_MAX : 1;
}

static void find_common(struct writer *w)
{
    uint64_t most = 0;
    for (const struct quant_format *const *f = quant_formats; *f; f++) {
        uint64_t n = 0;
        for (uint32_t i = 0; i < w->q->n_modules; i++)
            if (w->q->modules[i].format == *f && !w->q->modules[i].table) n += weight_of(&w->q->modules[i]);
        w->several = w->several || (w->common && n > 0);
        if (n <= most) continue;
        most = n;
        w->common = *f;
    }
}

static void add_escaped(struct text *t, const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strchr(".^$*+?()[]{}|\\", name[i])) text_put(t, "\\", 1);
        text_put(t, name + i, 1);
    }
}

/* The length of what stands before a module's layers, if engines may call it something else: transformers has
 * `backbone` as `model`, and either order of `language_model.model`, which vLLM turns the other way. 0: they do not. */
static size_t renamed_root(const char *name)
{
    const char *layers = strstr(name, ".layers.");
    size_t n = layers ? (size_t)(layers - name) : 0;
    return strncmp(name, "mtp", 3) == 0 || (n == 5 && strncmp(name, "model", 5) == 0) ? 0 : n;
}

/* A pattern for this name under every root. vLLM maps plain names to its own and leaves patterns as they are. */
static void add_pattern(struct text *t, const char *name)
{
    static const char *const roots[] = {"model", "model.language_model", "language_model.model"};
    size_t n = renamed_root(name);
    text_add(t, "re:");
    if (n) {
        text_add(t, "(?:");
        add_escaped(t, name, n);
        for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
            if (strlen(roots[i]) == n && strncmp(name, roots[i], n) == 0) continue;
            text_add(t, "|");
            add_escaped(t, roots[i], strlen(roots[i]));
        }
        text_add(t, ")");
        name += n;
    }
    add_escaped(t, name, strlen(name));
}

static bool append(struct writer *w, json_t *list, const char *text)
{
    if (json_array_append_new(list, json_string(text)) == 0) return true;
    return error_set(w->err, ERR_FORMAT, "module name '%.256s' is not valid UTF-8", text);
}

/* What follows a container's name: an expert's number, which keeps out the activation function that transformers has in
 * there and cannot quantize; or in a stack no number. */
static const char *below(const struct quant_module *m)
{
    const char *rest = m->name + strlen(m->container);
    return rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9' ? "\\.\\d+\\..*" : "\\..*";
}

/* A module by its name and, where engines have another, a pattern; or once for all its experts their container. */
static bool list_module(struct writer *w, json_t *list, const struct quant_module *m)
{
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    if (!m->container && !append(w, list, m->name)) return false;
    if (!m->container && !renamed_root(m->name)) return true;
    if (m->container && w->last && strcmp(w->last, m->container) == 0) return true;
    if (m->container) w->last = m->container;
    add_pattern(&t, m->container ? m->container : m->name);
    const char *rest = m->container ? below(m) : "$";
    text_put(&t, rest, strlen(rest));
    return t.data ? append(w, list, t.data) : error_memory(w->err, 0);
}

static bool covered(const struct quant_config *q, const char *name)
{
    for (uint32_t k = 0; k < q->n_excluded; k++)
        if (strncmp(name, q->excluded[k], strlen(q->excluded[k])) == 0) return true;
    return false;
}

static bool all_experts_plain(const struct quant_config *q)
{
    bool any = false;
    for (uint32_t i = 0; i < q->n_modules; i++) {
        if (q->modules[i].container && q->modules[i].format) return false;
        any |= q->modules[i].container != NULL;
    }
    return any;
}

/* A head tied to the table is no module of ours, but a Linear of transformers, which would look for its scales. */
static bool head_is_tied(const struct quant_config *q)
{
    for (uint32_t i = 0; i < q->n_modules; i++)
        if (text_ends_with(q->modules[i].name, "lm_head")) return false;
    return true;
}

static bool put_ignored(struct writer *w, json_t *doc)
{
    const struct quant_config *q = w->q;
    json_t *list = json_array();
    bool experts = all_experts_plain(q);
    if (!json_put(doc, "ignore", list, w->err)) return false;
    for (uint32_t i = 0; i < q->n_modules; i++) {
        const struct quant_module *m = &q->modules[i];
        if (m->format || covered(q, m->name) || (experts && m->container)) continue;
        if (!list_module(w, list, m)) return false;
    }
    if (head_is_tied(q) && !append(w, list, "lm_head")) return false;
    if (experts && !append(w, list, "re:.*\\.experts\\..*")) return false;
    for (uint32_t k = 0; k < q->n_excluded; k++) {
        __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
        text_add(&t, "re:");
        add_escaped(&t, q->excluded[k], strlen(q->excluded[k]));
        text_add(&t, ".*");
        if (!t.data || !append(w, list, t.data)) return error_memory(w->err, 0);
    }
    return true;
}

static const struct quant_module *expert_of(const struct quant_config *q, const struct quant_format *f)
{
    for (uint32_t i = 0; i < q->n_modules; i++)
        if (q->modules[i].container && q->modules[i].format == f) return &q->modules[i];
    return NULL;
}

/* "Linear" means neither tables nor heads: they are named. */
static bool put_targets(struct writer *w, const struct quant_format *f, json_t *list)
{
    bool common = f == w->common;
    if (common && !append(w, list, "Linear")) return false;
    /* Transformers has one format for experts and one for all other linears, and wants to be told which is which. */
    const struct quant_module *expert = common && w->several ? expert_of(w->q, f) : NULL;
    if (expert) {
        char all[64];
        snprintf(all, sizeof all, "re:.*\\.experts%s", below(expert));
        if (!append(w, list, all)) return false;
    }
    for (uint32_t i = 0; i < w->q->n_modules; i++) {
        const struct quant_module *m = &w->q->modules[i];
        if (m->format == f && (m->table || !common) && !list_module(w, list, m)) return false;
    }
    return true;
}

static bool put_group(struct writer *w, json_t *groups, const struct quant_format *f)
{
    CLEANUP(json) json_t *targets = json_array();
    json_t *group;
    char name[32];
    if (!targets) return error_memory(w->err, 0);
    if (!ct_format_word(f))
        return error_set(w->err, ERR_UNSUPPORTED, "compressed-tensors cannot describe %s weights", f->algo);
    w->last = NULL;
    if (!put_targets(w, f, targets)) return false;
    if (json_array_size(targets) == 0) return true;
    snprintf(name, sizeof name, "group_%zu", json_object_size(groups));
    return ct_group_json(f, json_incref(targets), &group, w->err) && json_put(groups, name, group, w->err);
}

static bool put_groups(struct writer *w, json_t *doc)
{
    json_t *groups = json_object();
    const char *word = NULL;
    if (!json_put(doc, "config_groups", groups, w->err)) return false;
    if (w->common && !put_group(w, groups, w->common)) return false; /* none: a head alone, say */
    for (const struct quant_format *const *f = quant_formats; *f; f++) {
        bool used = false;
        for (uint32_t i = 0; i < w->q->n_modules && !used; i++) used = w->q->modules[i].format == *f;
        if (!used) continue;
        if (*f != w->common && !put_group(w, groups, *f)) return false;
        const char *own = ct_format_word(*f);
        word = word && strcmp(word, own) != 0 ? "mixed-precision" : own;
    }
    return json_put(doc, "format", json_string(word), w->err);
}

static bool put_cache(struct writer *w, json_t *doc)
{
    const char *kv = w->q->kv_algo;
    if (!kv) return json_put(doc, "kv_cache_scheme", json_null(), w->err);
    if (strcmp(kv, "FP8") != 0)
        return error_set(w->err, ERR_UNSUPPORTED,
                         "compressed-tensors cannot describe a cache of %.32s that engines load; FP8 it can", kv);
    return json_put(doc, "kv_cache_scheme",
                    json_pack("{s:b,s:i,s:s,s:b,s:s,s:n}", "dynamic", 0, "num_bits", 8, "strategy", "tensor",
                              "symmetric", 1, "type", "float", "group_size"),
                    w->err);
}

bool quant_config_ct(const struct quant_config *q, json_t *doc, struct error *err)
{
    struct writer w = {.q = q, .err = err};
    find_common(&w);
    bool any = false;
    for (uint32_t i = 0; i < q->n_modules; i++) any |= q->modules[i].format != NULL;
    if (!any) return error_set(err, ERR_USAGE, "the recipe quantizes no linear of this model");
    if (!json_put(doc, "quant_method", json_string("compressed-tensors"), err) ||
        !json_put(doc, "quantization_status", json_string("compressed"), err) || !put_groups(&w, doc) ||
        !put_cache(&w, doc))
        return false;
    w.last = NULL;
    return put_ignored(&w, doc) && json_put(doc, "global_compression_ratio", json_null(), err);
}
