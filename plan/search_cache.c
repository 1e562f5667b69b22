/* The K/V cache as one more choice of a search: its types, their bytes for so many tokens, and what forbids them. */
#include "core/bytes.h"
#include "plan/search.h"

#include <math.h>

#define CACHE_BYTES_MAX ((uint64_t)1 << 58)

const char *const search_cache_words[SEARCH_CACHE_COUNT] = {"none", "fp8", "nvfp4"};

/* Half bits of one element: 16 bits, E4M3, E2M1 with an E4M3 scale for 16. */
static const uint64_t half_bits[SEARCH_CACHE_COUNT] = {32, 16, 9};

const char *search_cache_word(const struct search_space *s)
{
    return s->cache.tokens ? search_cache_words[s->cache.picked] : s->kv_cache;
}

bool search_forbid_cache(struct search_space *s, enum search_cache_type type, const char *why, struct error *err)
{
    struct search_choice *c = &s->cache.choices[type];
    if (c->why_not) return true;
    c->why_not = arena_text(s->arena, why);
    return c->why_not ? true : error_memory(err, strlen(why));
}

/* Numbers that the cache holds of so many tokens, in all layers of the trunk. */
static bool cached_elems(const struct model_config *cfg, uint64_t tokens, uint64_t *out)
{
    *out = 0;
    for (uint32_t i = 0; i < cfg->n_blocks; i++) {
        const struct block_config *b = &cfg->blocks[i];
        if (b->kind != BLOCK_ATTENTION && b->kind != BLOCK_MLA) continue;
        const struct attention_config *a = block_attention_config(cfg, b);
        bool latent = b->kind == BLOCK_MLA;
        uint64_t width = latent ? (uint64_t)cfg->mla.kv_rank + cfg->mla.rope_dim
                                : 2 * (uint64_t)a->n_kv_heads * a->head_dim,
                 held = !latent && a->window ? u64_min(a->window, tokens) : tokens, n;
        if (!u64_mul(width, held, &n) || !u64_add(*out, n, out)) return false;
    }
    return *out <= CACHE_BYTES_MAX / 32;
}

static bool is_asked(const struct search_request *req, const char *word)
{
    if (!req->caches) return true;
    for (const char *const *w = req->caches; *w; w++)
        if (strcmp(*w, word) == 0) return true;
    return false;
}

/* The scales that a checkpoint with this cache has more than one without: of two plans. */
static bool scale_bytes(struct search_space *s, uint32_t type, struct error *err)
{
    struct search_cache *c = &s->cache;
    struct error e = ERROR_INIT;
    CLEANUP(json) json_t *json = NULL;
    CLEANUP(recipe) struct recipe *r = NULL;
    CLEANUP(plan) struct plan *p = NULL;
    c->picked = type;
    bool ok = search_recipe_json(s, "search", 1, &json, err);
    c->picked = SEARCH_CACHE_NONE;
    if (!ok) return false;
    if (recipe_from_json(&r, json, "--kv-cache", &e) && plan_build(&p, s->inventory, r, &e)) {
        c->scale_bytes[type] = p->write_bytes - s->types[1].plan->write_bytes;
        return true;
    }
    if (e.code == ERR_UNSUPPORTED) return search_forbid_cache(s, (enum search_cache_type)type, e.text, err);
    if (err) *err = e;
    return false;
}

static bool check_words(const struct search_request *req, struct error *err)
{
    for (const char *const *w = req->caches; w && *w; w++) {
        bool known = false;
        for (uint32_t i = 0; i < SEARCH_CACHE_COUNT; i++) known |= strcmp(*w, search_cache_words[i]) == 0;
        if (!known)
            return error_set(err, ERR_USAGE, "'%.64s' is no type of cache that is searched: none, fp8, nvfp4", *w);
    }
    return true;
}

bool search_cache_make(struct search_space *s, const struct search_request *req, struct error *err)
{
    struct search_cache *c = &s->cache;
    const struct model_config *cfg = &s->inventory->config;
    uint64_t n;
    if (!req->cache_tokens) return true;
    if (!check_words(req, err)) return false;
    if (!cached_elems(cfg, req->cache_tokens, &n))
        return error_set(err, ERR_USAGE, "a cache of %llu tokens does not fit in 64 bits of address",
                         (unsigned long long)req->cache_tokens);
    if (n == 0 || cfg->bidirectional)
        return error_set(err, ERR_UNSUPPORTED, "the model keeps no keys and values: there is no cache to search");
    c->tokens = req->cache_tokens;
    for (uint32_t t = 0; t < SEARCH_CACHE_COUNT; t++) {
        if (t && !scale_bytes(s, t, err)) return false;
        if (!is_asked(req, search_cache_words[t]) &&
            !search_forbid_cache(s, (enum search_cache_type)t, "not asked for", err))
            return false;
        c->choices[t].bytes = u64_div_up(n * half_bits[t], 16) + c->scale_bytes[t];
        c->choices[t].error = (double)NAN;
        c->choices[t].known = t == SEARCH_CACHE_NONE;
    }
    return true;
}
