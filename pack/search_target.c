#include "pack/search_target.h"

#include "pack/profile_lint_rules.h"
#include "pack/profile_parts.h"

#define REASON_BYTES 256

/* False, with a reason, when the target does not run a type at all. */
static bool runs(const struct profile_facts *f, const struct search_type *t, bool mixed, char why[REASON_BYTES])
{
    const struct engine_row *e = f->engine;
    const char *algo = t->format->algo;
    *why = '\0';
    if (!row_lists(mixed ? e->mixed_algos : e->quant_algos, algo))
        snprintf(why, REASON_BYTES, "%s %s does not take %s%s", e->name, e->version, algo,
                 mixed ? " among the layers of a " ALGO_MIXED " checkpoint" : "");
    else if (!engine_compute(e, algo, f->gpu))
        snprintf(why, REASON_BYTES, "%s %s cannot multiply %s weights on %s", e->name, e->version, algo, f->gpu->id);
    return *why == '\0';
}

static bool is_head(const struct search_space *s, const struct search_group *x)
{
    return s->inventory->tensors[x->items[0]].place.role == ROLE_LM_HEAD;
}

static bool takes_head(const struct profile_facts *f, char why[REASON_BYTES])
{
    snprintf(why, REASON_BYTES, "%s %s loads the head only as plain numbers", f->engine->name, f->engine->version);
    return f->engine->quantized_tables;
}

static bool can_be_cut(const struct search_space *s, const struct search_group *x, const struct search_type *t,
                       const struct profile_facts *f, char why[REASON_BYTES])
{
    for (uint32_t i = 0; i < x->n_items && t->format->block_cols > 1; i++) {
        const struct model_tensor *m = &s->inventory->tensors[x->items[i]];
        /* Experts are kept whole, each on one GPU, where they cannot be cut. */
        uint32_t ranks = role_input_is_cut(m->place.role, true) ? f->tp : 1;
        if (m->dims[1] % ((uint64_t)t->format->block_cols * ranks) == 0) continue;
        snprintf(why, REASON_BYTES, "%llu columns are no multiple of %u for each of %u GPUs",
                 (unsigned long long)m->dims[1], t->format->block_cols, f->tp);
        return false;
    }
    return true;
}

static bool apply(struct search_space *s, const struct profile_facts *f, bool mixed, struct error *err)
{
    bool any = false;
    char why[REASON_BYTES], first[REASON_BYTES] = "";
    for (uint32_t t = 1; t < s->n_types; t++) {
        struct search_type *type = &s->types[t];
        bool runs_it = runs(f, type, mixed, why);
        if (!runs_it && !*first) snprintf(first, sizeof first, "%s", why);
        const struct compute_row *c = runs_it ? engine_compute(f->engine, type->format->algo, f->gpu) : NULL;
        type->rounds_inputs = c && strncmp(c->path, "w4a16", 5) != 0;
        for (uint32_t g = 0; g < s->n_groups; g++) {
            const struct search_group *x = &s->groups[g];
            bool allowed = runs_it && (!is_head(s, x) || takes_head(f, why)) && can_be_cut(s, x, type, f, why);
            if (!allowed && !search_forbid(s, g, t, why, err)) return false;
            any = any || !s->groups[g].choices[t].why_not;
        }
    }
    return any || error_set(err, ERR_UNSUPPORTED, "no type is left to choose from: %s", *first ? first : why);
}

/* Where the cache is searched: the types that the engine takes from a checkpoint. */
static bool apply_cache(struct search_space *s, const struct profile_facts *f, struct error *err)
{
    static const char *const algos[SEARCH_CACHE_COUNT] = {NULL, "FP8", "NVFP4"};
    char why[REASON_BYTES];
    for (uint32_t t = 1; t < SEARCH_CACHE_COUNT; t++) {
        snprintf(why, sizeof why, "%s %s takes no %s cache from a checkpoint", f->engine->name, f->engine->version,
                 algos[t]);
        if (!row_lists(f->engine->kv_algos, algos[t]) && !search_forbid_cache(s, (enum search_cache_type)t, why, err))
            return false;
    }
    return true;
}

bool search_target(struct search_space *s, const char *engine, const char *gpu, bool *one_type, struct error *err)
{
    CLEANUP(profile_rows) struct profile_rows *rows = NULL;
    struct profile_request req = {.engine = engine, .gpu = gpu};
    if (!profile_rows_open(&rows, err)) return false;
    struct profile_draft d = {.req = &req, .rows = rows, .arena = s->arena};
    if (!target_read(&d, err)) return false;
    bool mixed = row_lists(d.facts.engine->quant_algos, ALGO_MIXED) &&
                 d.facts.gpu->capability >= d.facts.engine->mixed_capability;
    *one_type = !mixed;
    return apply(s, &d.facts, mixed, err) && (!s->cache.tokens || apply_cache(s, &d.facts, err));
}
