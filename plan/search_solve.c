/* The assignment of least cost, and its recipe. */
#include "core/memory.h"
#include "core/text.h"
#include "core/version.h"
#include "plan/search.h"

#include <math.h>

/* ---- solving ---- */

#define LAW_LEAST 0.25 /* of exponents that are believed */

/* Where routers follow, a small error costs more alone than among others: it flips a choice, which can be flipped once.
 * KL then grows with a power p < 1 of the squared error, and what adds up is KL to the power of 1/p. Fitted over the
 * types of each group, dear ones first. Scores of the method "gain" are squared errors already. */
static double fit_power(const struct search_space *s)
{
    double up = 0, down = 0;
    if (!s->method || strcmp(s->method, "kl") != 0) return 1;
    for (uint32_t g = 0; g < s->n_groups; g++)
        for (uint32_t a = 1; a < s->n_types; a++)
            for (uint32_t b = 1; b < s->n_types; b++) {
                const struct search_choice *x = &s->groups[g].choices[a], *y = &s->groups[g].choices[b];
                if (!x->known || !y->known || !(x->error > y->error) || !(y->error > 0) || !(x->kl > 0 && y->kl > 0))
                    continue;
                up += x->kl * log(x->kl / y->kl);
                down += x->kl * log(x->error / y->error);
            }
    return down > 0 ? 1 / fmin(fmax(up / down, LAW_LEAST), 1) : 1;
}

/* Costs as integers, so that sums are exact and the proof is one: the dearest assignment is 2^51 to 2^52 units, its
 * rounding a part in 10^15. A power of two, so that equal sums stay equal. */
struct scale {
    double power, top, units; /* of scores; the largest; units in one nat */
};

static double powered(const struct scale *c, double kl)
{
    return c->power > 1 && kl > 0 ? c->top * pow(kl / c->top, c->power) : kl;
}

static double largest(const struct search_choice *c, uint32_t n)
{
    double top = 0;
    for (uint32_t t = 0; t < n; t++)
        if (c[t].known) top = fmax(top, c[t].kl);
    return top;
}

static struct scale scale_of(const struct search_space *s)
{
    struct scale c = {.power = fit_power(s), .top = largest(s->cache.choices, SEARCH_CACHE_COUNT)};
    for (uint32_t g = 0; g < s->n_groups; g++) c.top = fmax(c.top, largest(s->groups[g].choices, s->n_types));
    double most = powered(&c, largest(s->cache.choices, SEARCH_CACHE_COUNT));
    for (uint32_t g = 0; g < s->n_groups; g++) most += powered(&c, largest(s->groups[g].choices, s->n_types));
    int exponent = 0;
    frexp(most, &exponent);
    c.units = most > 0 ? ldexp(1, 52 - exponent) : 1;
    return c;
}

/* The cache is a group behind the others, where it is searched; a row has room for the types of either. */
static uint32_t n_rows(const struct search_space *s)
{
    return s->n_groups + (s->cache.tokens > 0);
}

static uint32_t n_columns(const struct search_space *s)
{
    return s->n_types > SEARCH_CACHE_COUNT ? s->n_types : SEARCH_CACHE_COUNT;
}

static struct knapsack_choice as_integers(const struct search_choice *c, bool allowed, const struct scale *scale)
{
    return (struct knapsack_choice){
        .bytes = c->bytes,
        .cost = allowed && c->kl > 0 ? (uint64_t)llround(powered(scale, c->kl) * scale->units) : 0,
        .allowed = allowed};
}

static bool fill_cache(const struct search_space *s, const struct scale *scale, struct knapsack_choice *row,
                       struct error *err)
{
    for (uint32_t t = 0; s->cache.tokens && t < SEARCH_CACHE_COUNT; t++) {
        const struct search_choice *c = &s->cache.choices[t];
        if (!c->why_not && !c->known)
            return error_set(err, ERR_INTERNAL, "the cache as %s has no score", search_cache_words[t]);
        row[t] = as_integers(c, !c->why_not, scale);
    }
    return true;
}

static bool fill(const struct search_space *s, const struct scale *scale, uint32_t only, struct knapsack_choice *out,
                 struct error *err)
{
    for (uint64_t i = 0; i < (uint64_t)n_rows(s) * n_columns(s); i++) out[i] = (struct knapsack_choice){0};
    if (!fill_cache(s, scale, out + (uint64_t)s->n_groups * n_columns(s), err)) return false;
    for (uint32_t g = 0; g < s->n_groups; g++)
        for (uint32_t t = 0; t < s->n_types; t++) {
            const struct search_choice *c = &s->groups[g].choices[t];
            bool allowed = !c->why_not && (t == 0 || only == 0 || only == t);
            if (allowed && !c->known)
                return error_set(err, ERR_INTERNAL, "'%.256s' as %s has no score", s->groups[g].name, s->types[t].word);
            out[(uint64_t)g * n_columns(s) + t] = as_integers(c, allowed, scale);
        }
    return true;
}

static void adopt(struct search_space *s, const uint32_t *picked, const struct knapsack_result *r)
{
    s->solution = *r;
    s->write_bytes = s->other_bytes + r->bytes;
    s->cache_bytes = 0;
    s->kl = 0;
    if (s->cache.tokens) {
        struct search_cache *c = &s->cache;
        c->picked = picked[s->n_groups];
        s->cache_bytes = c->choices[c->picked].bytes - c->scale_bytes[c->picked];
        s->write_bytes -= s->cache_bytes;
        s->kl = c->choices[c->picked].kl;
    }
    for (uint32_t g = 0; g < s->n_groups; g++) {
        s->groups[g].picked = picked[g];
        s->kl += s->groups[g].choices[picked[g]].kl;
    }
}

static bool too_small(const struct search_space *s, uint64_t smallest, uint64_t budget, struct error *err)
{
    double bits = 8.0 / (double)s->total_elems;
    if (s->cache.tokens)
        return error_set(err, ERR_FORMAT,
                         "the smallest types and the smallest cache of %llu tokens make %llu bytes, the budget is %llu",
                         (unsigned long long)s->cache.tokens, (unsigned long long)(s->other_bytes + smallest),
                         (unsigned long long)budget);
    return error_set(err, ERR_FORMAT,
                     "the smallest types make %.4f bits per weight (%llu bytes), the budget is %.4f (%llu bytes)",
                     (double)(s->other_bytes + smallest) * bits, (unsigned long long)(s->other_bytes + smallest),
                     (double)budget * bits, (unsigned long long)budget);
}

bool search_solve(struct search_space *s, uint64_t budget, bool one_type, struct error *err)
{
    CLEANUP(free) struct knapsack_choice *choices = NULL;
    CLEANUP(free) uint32_t *picked = NULL;
    const struct scale scale = scale_of(s);
    bool found = false;
    uint64_t smallest = UINT64_MAX;
    if (!memory_alloc(&choices, (uint64_t)n_rows(s) * n_columns(s), sizeof *choices, err) ||
        !memory_alloc(&picked, n_rows(s), sizeof *picked, err))
        return false;
    s->budget = budget;
    s->power = scale.power;
    for (uint32_t only = one_type ? 1 : 0; only < (one_type ? s->n_types : 1); only++) {
        struct knapsack k = {choices, n_rows(s), n_columns(s), budget > s->other_bytes ? budget - s->other_bytes : 0,
                             0};
        struct knapsack_result r;
        struct error e = ERROR_INIT;
        if (!fill(s, &scale, only, choices, err)) return false;
        if (!knapsack_solve(&k, picked, &r, &e)) {
            if (e.code == ERR_FORMAT && r.bytes > k.budget) {
                if (r.bytes < smallest) smallest = r.bytes;
                continue;
            }
            if (err) *err = e;
            return false;
        }
        if (!found || r.cost < s->solution.cost) adopt(s, picked, &r);
        found = true;
    }
    return found || too_small(s, smallest, budget, err);
}

/* ---- the recipe ---- */

static bool add_rules(json_t *rules, const struct search_space *s, const struct search_group *x,
                      const struct search_type *t)
{
    for (uint32_t i = 0; i < x->n_patterns; i++) {
        json_t *rule = json_pack("{s:s,s:s,s:s}", "module", x->patterns[i], "weights", t->weights, "inputs", t->inputs);
        if (rule && strcmp(t->weights, "nvfp4") == 0 && strcmp(s->scales, "max") != 0)
            json_object_set_new(rule, "scales", json_string(s->scales));
        if (json_array_append_new(rules, rule) != 0) return false;
    }
    return true;
}

bool search_recipe_json(const struct search_space *s, const char *name, uint32_t type, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *rules = json_array();
    if (!rules) return error_memory(err, 0);
    for (uint32_t g = 0; g < s->n_groups; g++) {
        const struct search_group *x = &s->groups[g];
        uint32_t t = type == NAME_NONE ? x->picked : x->choices[type].why_not ? 0 : type;
        if (t && !add_rules(rules, s, x, &s->types[t])) return error_memory(err, 0);
    }
    *out = json_pack("{s:s,s:s,s:s,s:O}", "name", name, "unseen_experts", "layer_max", "kv_cache", search_cache_word(s),
                     "rules", rules);
    return *out ? true : error_memory(err, 0);
}

/* A name as YAML's double quotes hold it, on one line whatever it is. */
static void put_quoted(struct text *t, const char *name)
{
    text_add(t, "\"");
    for (const char *c = name; *c; c++) {
        bool plain = (unsigned char)*c >= ' ' && *c != '"' && *c != '\\' && *c != 127;
        if (plain) text_add(t, "%c", *c);
        else text_add(t, "\\x%02x", (unsigned)(unsigned char)*c);
    }
    text_add(t, "\"");
}

static double bits_of(const struct search_space *s, uint64_t bytes)
{
    return 8.0 * (double)bytes / (double)s->total_elems;
}

static void put_head(struct text *t, const struct search_space *s)
{
    char data[DIGEST_HEX_SIZE];
    digest_hex(&s->data_digest, data);
    text_add(t, "# Made by ingot search %s for one checkpoint: its names, sizes and sensitivities.\n", INGOT_VERSION);
    if (s->cache.tokens)
        text_add(t,
                 "# Budget: %llu bytes, with a cache of %llu tokens. This takes %llu bytes, %.4f bits per weight,\n"
                 "# and the cache %llu.\n",
                 (unsigned long long)s->budget, (unsigned long long)s->cache.tokens, (unsigned long long)s->write_bytes,
                 bits_of(s, s->write_bytes), (unsigned long long)s->cache_bytes);
    else
        text_add(t, "# Budget: %llu bytes, %.4f bits per weight. This takes %llu bytes, %.4f bits.\n",
                 (unsigned long long)s->budget, bits_of(s, s->budget), (unsigned long long)s->write_bytes,
                 bits_of(s, s->write_bytes));
    text_add(t, "# Scores: KL(original || the same with this group alone quantized), nats per token, on %llu texts,\n",
             (unsigned long long)s->n_texts);
    text_add(t, "# %llu tokens (sha256 %.16s...), method %s. Types:", (unsigned long long)s->n_tokens, data, s->method);
    for (uint32_t k = 0; k < s->n_types; k++)
        text_add(t, " %s%s", s->types[k].word,
                 k == 0 || s->types[k].rounds_inputs || strcmp(s->types[k].inputs, "none") == 0
                     ? ""
                     : " (inputs as they are)");
    if (s->power > 1)
        text_add(t,
                 ".\n# Small errors cost more alone than among others here: what adds up are scores to the power %.3f",
                 s->power);
    if (s->solution.proven)
        text_add(t, ".\n# No other assignment within the budget has a smaller sum of scores than this one, %.4g.\n",
                 s->kl);
    else
        text_add(t, ".\n# The sum of scores, %.4g, was not proven to be the smallest: at most %.2g %% more than it.\n",
                 s->kl, 100.0 * (double)(s->solution.cost - s->solution.bound) / (double)s->solution.cost);
    text_add(t, "# A line per group: weights, bytes and score of each type, and the one it got.\n");
}

static void put_group(struct text *t, const struct search_space *s, const struct search_group *x)
{
    text_add(t, "  # ");
    put_quoted(t, x->name);
    text_add(t, " (%s), %llu weights:", x->role_class, (unsigned long long)x->n_elems);
    for (uint32_t k = 0; k < s->n_types; k++) {
        const struct search_choice *c = &x->choices[k];
        text_add(t, "%s %s ", k ? "," : "", s->types[k].word);
        if (c->why_not) text_add(t, "not: %s", c->why_not);
        else text_add(t, "%llu B %.3g", (unsigned long long)c->bytes, c->kl);
    }
    text_add(t, x->picked ? " -> %s\n" : " -> %s: it stays\n", s->types[x->picked].word);
    const struct search_type *type = &s->types[x->picked];
    for (uint32_t i = 0; x->picked && i < x->n_patterns; i++) {
        text_add(t, "  - {module: ");
        put_quoted(t, x->patterns[i]);
        text_add(t, ", weights: %s, inputs: %s", type->weights, type->inputs);
        if (strcmp(type->weights, "nvfp4") == 0 && strcmp(s->scales, "max") != 0)
            text_add(t, ", scales: %s", s->scales);
        text_add(t, "}\n");
    }
}

static void put_cache(struct text *t, const struct search_space *s)
{
    if (s->cache.tokens) text_add(t, "# The cache, bytes of %llu tokens:", (unsigned long long)s->cache.tokens);
    for (uint32_t k = 0; s->cache.tokens && k < SEARCH_CACHE_COUNT; k++) {
        const struct search_choice *c = &s->cache.choices[k];
        text_add(t, "%s %s ", k ? "," : "", search_cache_words[k]);
        if (c->why_not) text_add(t, "not: %s", c->why_not);
        else text_add(t, "%llu B %.3g", (unsigned long long)(c->bytes - s->cache.scale_bytes[k]), c->kl);
    }
    text_add(t, "%skv_cache: %s\n", s->cache.tokens ? "\n" : "", search_cache_word(s));
}

bool search_recipe(const struct search_space *s, const char *name, char **out, struct error *err)
{
    struct text t = TEXT_INIT;
    uint32_t n = 0;
    for (uint32_t g = 0; g < s->n_groups; g++) n += s->groups[g].picked != 0;
    if (n == 0)
        return error_set(err, ERR_FORMAT, "a budget of %llu bytes%s needs no quantization%s: nothing to write",
                         (unsigned long long)s->budget, s->cache.tokens ? ", the cache included," : "",
                         s->cache.tokens && s->cache.picked ? " of weights" : "");
    put_head(&t, s);
    text_add(&t, "name: ");
    put_quoted(&t, name);
    text_add(&t, "\nsummary: \"searched: %.4f bits per weight", bits_of(s, s->write_bytes));
    if (!s->cache.tokens) text_add(&t, ", at most %.4f", bits_of(s, s->budget));
    text_add(&t, "; sum of scores %.4g\"\nunseen_experts: layer_max\n", s->kl);
    put_cache(&t, s);
    text_add(&t, "rules:\n");
    for (uint32_t g = 0; g < s->n_groups; g++) put_group(&t, s, &s->groups[g]);
    return text_take(&t, out, NULL, err);
}

bool search_check_recipe(const struct search_space *s, const char *path, struct error *err)
{
    CLEANUP(recipe) struct recipe *r = NULL;
    CLEANUP(plan) struct plan *p = NULL;
    if (!recipe_load(&r, path, err) || !plan_build(&p, s->inventory, r, err)) return false;
    if (p->write_bytes == s->write_bytes) return true;
    return error_set(err, ERR_INTERNAL, "the recipe's plan takes %llu bytes, the search said %llu",
                     (unsigned long long)p->write_bytes, (unsigned long long)s->write_bytes);
}
