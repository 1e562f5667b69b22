/* plan/search.h and calibrate/sensitivity.h: groups that engines want alike, bytes as plans say, exact choices, scores that do
 * not depend on how they were measured in turns, and files that say what is wrong with them. */
#include "tests/tiny_model.h"

#include "backends/cpu/kernel.h"
#include "calibrate/sensitivity.h"
#include "pack/search_target.h"

#include <math.h>
#include <sys/stat.h>

static const char *dir;
static struct model model;
static const char *const both[] = {"nvfp4", "fp8"};

static int setup(void **state)
{
    (void)state;
    dir = check_folder();
    tiny_model_write(dir, TINY_CONFIG, (struct tiny_edit){0});
    return model_open(&model, dir, check_error()) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    model_close(&model);
    check_folder_remove(dir);
    return 0;
}

static struct search_space *space_of(const struct inventory *inv, const char *const *types, uint32_t n)
{
    struct search_space *s;
    struct search_request req = {.types = types, .n_types = n};
    CHECK_OK(search_space_make(&s, inv, &req, e_));
    return s;
}

/* With the head beside what is searched anyway, or alone. */
static struct search_space *space_with_head(bool alone)
{
    static const char *const roles[] = {"lm_head", NULL};
    struct search_space *s;
    struct search_request req = {.types = both, .n_types = 2, .roles = roles, .add_roles = !alone};
    CHECK_OK(search_space_make(&s, model.inventory, &req, e_));
    return s;
}

/* Scores that a seed gives: "none" costs nothing, fp8 something, nvfp4 more. */
static void draw_scores(struct search_space *s, uint64_t seed)
{
    uint64_t r = seed * 31 + 7;
    for (uint32_t g = 0; g < s->n_groups; g++)
        for (uint32_t t = 1; t < s->n_types; t++) {
            struct search_choice *c = &s->groups[g].choices[t];
            c->kl = (double)(1 + check_random(&r) % 10000) * (t == 1 ? 1e-5 : 1e-6);
            c->known = true;
            c->error = (double)NAN;
        }
    s->method = "kl";
    s->n_texts = 1;
    s->n_tokens = 2;
}

/* The modules of the tiny model, from the family's table by hand: experts together, q k v together, the head, the router, the
 * latent projections and the multi-token-prediction head not at all. */
static void test_groups(void **state)
{
    (void)state;
    static const char *const want[] = {"backbone.layers.0.mixer.in_proj", "backbone.layers.0.mixer.out_proj", "backbone.layers.1.mixer.experts.*",
                                       "backbone.layers.1.mixer.shared_experts.up_proj", "backbone.layers.1.mixer.shared_experts.down_proj",
                                       "backbone.layers.2.mixer.{q_proj,k_proj,v_proj}", "backbone.layers.2.mixer.o_proj",
                                       "backbone.layers.3.mixer.up_proj", "backbone.layers.3.mixer.down_proj"};
    CLEANUP(search_space) struct search_space *s = space_of(model.inventory, both, 2);
    assert_int_equal(s->n_types, 3);
    assert_string_equal(s->types[0].word, "none");
    assert_int_equal(s->n_groups, sizeof want / sizeof *want);
    for (uint32_t g = 0; g < s->n_groups; g++) {
        bool found = false;
        for (size_t k = 0; k < sizeof want / sizeof *want; k++) found |= strcmp(s->groups[g].name, want[k]) == 0;
        if (!found) fail_msg("unexpected group '%s'", s->groups[g].name);
    }
    for (uint32_t g = 0; g < s->n_groups; g++)
        if (strstr(s->groups[g].name, "experts.*") && !strstr(s->groups[g].name, "shared")) assert_int_equal(s->groups[g].n_items, 8);
}

static bool has_group(const struct search_space *s, const char *name)
{
    for (uint32_t g = 0; g < s->n_groups; g++)
        if (strcmp(s->groups[g].name, name) == 0) return true;
    return false;
}

static void test_gated(void **state)
{
    (void)state;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    CHECK_OK(model_open(&m, "tests/vectors/engine/qwen3", e_));
    CLEANUP(search_space) struct search_space *s = space_of(m.inventory, both, 2);
    assert_true(has_group(s, "model.layers.0.mlp.{gate_proj,up_proj}") && has_group(s, "model.layers.0.mlp.down_proj"));
    assert_true(has_group(s, "model.layers.0.self_attn.{q_proj,k_proj,v_proj}"));
}

/* The head by name only, behind the last block, and only where it has weights of its own. */
static void test_head(void **state)
{
    (void)state;
    CLEANUP(search_space) struct search_space *s = space_of(model.inventory, both, 2);
    CLEANUP(search_space) struct search_space *with = space_with_head(false);
    CLEANUP(search_space) struct search_space *alone = space_with_head(true);
    assert_false(has_group(s, "lm_head"));
    assert_true(has_group(with, "lm_head"));
    assert_int_equal(with->n_groups, s->n_groups + 1);
    assert_int_equal(alone->n_groups, 1);
    assert_string_equal(alone->groups[0].name, "lm_head");
    assert_int_equal(alone->groups[0].block, 4);
    assert_int_equal(alone->groups[0].layer, -1);
    static const char *const roles[] = {"lm_head", NULL};
    __attribute__((cleanup(cleanup_model))) struct model tied = {0};
    CHECK_OK(model_open(&tied, "tests/vectors/engine/qwen3", e_));
    struct search_space *none;
    CHECK_FAILS(search_space_make(&none, tied.inventory, &(struct search_request){.types = both, .n_types = 2, .roles = roles, .add_roles = true}, e_), ERR_UNSUPPORTED, "it is the embedding's table");
}

/* Bytes of every group are those of plans: the sum is a plan's, for any assignment. */
static void test_bytes(void **state)
{
    (void)state;
    CLEANUP(search_space) struct search_space *s = space_with_head(false);
    for (uint64_t seed = 0; seed < 40; seed++) {
        uint64_t r = seed + 1, sum = s->other_bytes;
        json_t *json;
        struct recipe *recipe;
        struct plan *p;
        for (uint32_t g = 0; g < s->n_groups; g++) {
            s->groups[g].picked = (uint32_t)(check_random(&r) % 3);
            if (g == 0) s->groups[g].picked = 1 + (uint32_t)(seed % 2); /* a recipe that quantizes nothing is refused */
            sum += s->groups[g].choices[s->groups[g].picked].bytes;
        }
        CHECK_OK(search_recipe_json(s, "t", NAME_NONE, &json, e_));
        CHECK_OK(recipe_from_json(&recipe, json, "t", e_));
        CHECK_OK(plan_build(&p, model.inventory, recipe, e_));
        assert_int_equal(p->write_bytes, sum);
        assert_true(fabs(plan_effective_bits(p) - 8.0 * (double)sum / (double)s->total_elems) < 1e-12);
        plan_free(p);
        recipe_free(recipe);
        json_decref(json);
    }
}

/* Nine groups of three types: 19,683 assignments, all of them. */
static double least_cost(const struct search_space *s, uint64_t budget, uint64_t *fewest)
{
    double best = (double)INFINITY;
    *fewest = UINT64_MAX;
    uint32_t n = 1;
    for (uint32_t g = 0; g < s->n_groups; g++) n *= s->n_types;
    for (uint32_t code = 0; code < n * (s->cache.tokens ? 3 : 1); code++) {
        const struct search_choice *cache = &s->cache.choices[code / n];
        uint64_t bytes = s->other_bytes + cache->bytes;
        double kl = cache->why_not ? (double)INFINITY : cache->kl;
        uint32_t c = code % n;
        for (uint32_t g = 0; g < s->n_groups; g++, c /= s->n_types) {
            const struct search_choice *x = &s->groups[g].choices[c % s->n_types];
            if (x->why_not) kl = (double)INFINITY;
            bytes += x->bytes;
            kl += x->kl;
        }
        if (bytes > budget || isinf(kl)) continue;
        if (kl < best * (1 - 1e-12)) *fewest = UINT64_MAX;
        if (kl < best) best = kl;
        if (kl <= best * (1 + 1e-12) && bytes < *fewest) *fewest = bytes;
    }
    return best;
}

static void test_solve(void **state)
{
    (void)state;
    CLEANUP(search_space) struct search_space *s = space_of(model.inventory, both, 2);
    uint64_t least = s->other_bytes, most = s->other_bytes;
    for (uint32_t g = 0; g < s->n_groups; g++) {
        least += s->groups[g].choices[1].bytes;
        most += s->groups[g].choices[0].bytes;
    }
    for (uint64_t seed = 0; seed < 25; seed++) {
        draw_scores(s, seed);
        uint64_t budget = least + (most - least) * seed / 25;
        if (seed == 12) CHECK_OK(search_forbid(s, 2, 1, "for a reason", e_)); /* from here on */
        uint64_t fewest;
        double want = least_cost(s, budget, &fewest);
        if (isinf(want)) continue;
        CHECK_OK(search_solve(s, budget, false, e_));
        assert_true(s->write_bytes <= budget && s->solution.proven);
        if (fabs(s->kl - want) > 1e-12 * want) fail_msg("seed %llu: %g, expected %g", (unsigned long long)seed, s->kl, want);
        double mixed = s->kl;
        if (!search_solve(s, budget, true, check_error())) continue;
        uint32_t types = 0;
        for (uint32_t g = 0; g < s->n_groups; g++) types |= 1u << s->groups[g].picked;
        assert_true((types & 6u) != 6u && s->kl >= mixed * (1 - 1e-12));
    }
    CHECK_FAILS(search_solve(s, least - 1, false, e_), ERR_FORMAT, "the smallest types make");
    CHECK_OK(search_solve(s, most + 1000, false, e_));
    char *text;
    CHECK_FAILS(search_recipe(s, "t", &text, e_), ERR_FORMAT, "needs no quantization");
}

/* Budgets that an assignment meets to the byte, one byte less, and scores of which many are equal: the least sum, of
 * equal sums the fewest bytes, and always the same. */
static void test_exact_budgets(void **state)
{
    (void)state;
    CLEANUP(search_space) struct search_space *s = space_of(model.inventory, both, 2);
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t r = seed * 13, budget = s->other_bytes, fewest;
        draw_scores(s, seed);
        for (uint32_t g = 0; g < s->n_groups; g++) {
            struct search_choice *c = s->groups[g].choices;
            for (uint32_t t = 1; t < s->n_types && seed % 2; t++) c[t].kl = (double)(check_random(&r) % 3) * 0x1p-20;
            budget += c[check_random(&r) % 3].bytes;
        }
        for (uint64_t less = 0; less < 2; less++) {
            double want = least_cost(s, budget - less, &fewest);
            uint32_t first[64];
            if (isinf(want)) {
                CHECK_FAILS(search_solve(s, budget - less, false, e_), ERR_FORMAT, "the smallest types make");
                continue;
            }
            CHECK_OK(search_solve(s, budget - less, false, e_));
            bool ok = s->solution.proven && fabs(s->kl - want) <= 1e-12 * want && s->write_bytes == fewest;
            if (!ok) fail_msg("seed %llu: %.17g in %llu bytes, expected %.17g in %llu of %llu", (unsigned long long)seed, s->kl, (unsigned long long)s->write_bytes, want, (unsigned long long)fewest, (unsigned long long)(budget - less));
            for (uint32_t g = 0; g < s->n_groups; g++) first[g] = s->groups[g].picked;
            CHECK_OK(search_solve(s, budget - less, false, e_));
            for (uint32_t g = 0; g < s->n_groups; g++) assert_int_equal(first[g], s->groups[g].picked);
        }
    }
}

/* KL that grows with the root of squared errors, as routers make it: what adds up are its squares. */
static void test_power(void **state)
{
    (void)state;
    CLEANUP(search_space) struct search_space *s = space_of(model.inventory, both, 2);
    uint64_t budget = s->other_bytes;
    for (uint32_t g = 0; g < s->n_groups; g++) budget += (s->groups[g].choices[1].bytes + s->groups[g].choices[0].bytes) / 2;
    for (uint64_t seed = 0; seed < 12; seed++) {
        uint32_t first[64], same = 0;
        draw_scores(s, seed);
        CHECK_OK(search_solve(s, budget, false, e_)); /* without errors nothing is fitted */
        assert_true(s->power == 1);
        for (uint32_t g = 0; g < s->n_groups; g++)
            for (uint32_t t = 1; t < 3; t++) s->groups[g].choices[t].error = s->groups[g].choices[t].kl * s->groups[g].choices[t].kl;
        CHECK_OK(search_solve(s, budget, false, e_));
        if (fabs(s->power - 2) > 1e-9) fail_msg("seed %llu: power %.17g", (unsigned long long)seed, s->power);
        double sum = 0;
        for (uint32_t g = 0; g < s->n_groups; g++) {
            first[g] = s->groups[g].picked;
            sum += s->groups[g].choices[first[g]].error;
            for (uint32_t t = 1; t < 3; t++) s->groups[g].choices[t].kl = s->groups[g].choices[t].error;
        }
        uint64_t fewest;
        double want = least_cost(s, budget, &fewest);
        if (fabs(sum - want) > 1e-9 * want) fail_msg("seed %llu: %.17g, expected %.17g", (unsigned long long)seed, sum, want);
        s->method = "gain"; /* these are squared errors: taken as they are */
        CHECK_OK(search_solve(s, budget, false, e_));
        for (uint32_t g = 0; g < s->n_groups; g++) same += s->groups[g].picked == first[g];
        assert_true(s->power == 1 && same == s->n_groups);
    }
}

/* The tiny model with attention heads of 16, which an NVFP4 cache asks for. */
static void open_wide(struct model *m)
{
    char config[2048], folder[256];
    const char *at = strstr(TINY_CONFIG, "\"head_dim\":8");
    assert_non_null(at);
    snprintf(config, sizeof config, "%.*s\"head_dim\":16%s", (int)(at - TINY_CONFIG), TINY_CONFIG, at + strlen("\"head_dim\":8"));
    snprintf(folder, sizeof folder, "%s/wide", dir);
    assert_int_equal(mkdir(folder, 0777), 0);
    tiny_model_write(folder, config, (struct tiny_edit){.shapes = config});
    CHECK_OK(model_open(m, folder, e_));
}

/* One layer of attention with K and V of 2 heads of 16. */
static void test_cache(void **state)
{
    (void)state;
    __attribute__((cleanup(cleanup_model))) struct model wide = {0};
    open_wide(&wide);
    static const char *const some[] = {"fp8", "none", NULL}, *const wrong[] = {"int8", NULL};
    struct search_request req = {.types = both, .n_types = 2, .cache_tokens = 500};
    struct search_space *s;
    CHECK_OK(search_space_make(&s, wide.inventory, &req, e_));
    uint64_t numbers = 2 * 2 * 16 * 500, scales = 2 * sizeof(float);
    assert_int_equal(s->cache.choices[SEARCH_CACHE_NONE].bytes, 2 * numbers);
    assert_int_equal(s->cache.choices[SEARCH_CACHE_FP8].bytes, numbers + scales);
    assert_int_equal(s->cache.choices[SEARCH_CACHE_NVFP4].bytes, numbers / 2 + numbers / 16 + scales);
    uint64_t least = s->other_bytes + s->cache.choices[2].bytes, most = s->other_bytes + s->cache.choices[0].bytes;
    for (uint32_t g = 0; g < s->n_groups; g++) {
        least += s->groups[g].choices[1].bytes;
        most += s->groups[g].choices[0].bytes;
    }
    uint32_t seen = 0;
    for (uint64_t seed = 0; seed < 24; seed++) {
        uint64_t fewest, budget = least + (most - least) * (seed + 1) / 28, r = seed + 3;
        draw_scores(s, seed);
        for (uint32_t t = 1; t < 3; t++) {
            s->cache.choices[t].kl = (double)(1 + check_random(&r) % 10000) * (t == 2 ? 2e-5 : 2e-6);
            s->cache.choices[t].known = true;
        }
        if (seed == 20) CHECK_OK(search_forbid_cache(s, SEARCH_CACHE_FP8, "for a reason", e_)); /* from here on */
        double want = least_cost(s, budget, &fewest);
        CHECK_OK(search_solve(s, budget, false, e_));
        uint64_t bytes = s->write_bytes + s->cache_bytes;
        if (!s->solution.proven || fabs(s->kl - want) > 1e-12 * want || bytes != fewest || bytes > budget)
            fail_msg("seed %llu: %.17g in %llu bytes, expected %.17g in %llu", (unsigned long long)seed, s->kl, (unsigned long long)bytes, want, (unsigned long long)fewest);
        seen |= 1u << s->cache.picked;
        char *text, path[256];
        struct recipe *recipe;
        struct plan *p;
        uint32_t n = 0;
        for (uint32_t g = 0; g < s->n_groups; g++) n += s->groups[g].picked > 0;
        if (n == 0) { /* a smaller cache alone is enough */
            CHECK_FAILS(search_recipe(s, "t", &text, e_), ERR_FORMAT, "the cache included, needs no quantization of weights");
            continue;
        }
        CHECK_OK(search_recipe(s, "t", &text, e_));
        snprintf(path, sizeof path, "%s/c.yaml", dir);
        CHECK_OK(file_save(path, bytes_text(text), 0666, e_));
        CHECK_OK(search_check_recipe(s, path, e_)); /* the cache's scales are among the bytes */
        CHECK_OK(recipe_load(&recipe, path, e_));
        CHECK_OK(plan_build(&p, wide.inventory, recipe, e_));
        assert_int_equal(p->kv, s->cache.picked == SEARCH_CACHE_FP8 ? KV_FP8 : s->cache.picked ? KV_NVFP4 : KV_NONE);
        unlink(path);
        free(text);
        plan_free(p);
        recipe_free(recipe);
    }
    assert_int_equal(seen, 7); /* each was chosen once at least */
    CHECK_FAILS(search_solve(s, least - 1, false, e_), ERR_FORMAT, "the smallest types and the smallest cache of 500 tokens make");
    search_space_free(s);
    req.caches = some;
    CHECK_OK(search_space_make(&s, wide.inventory, &req, e_));
    assert_string_equal(s->cache.choices[SEARCH_CACHE_NVFP4].why_not, "not asked for");
    search_space_free(s);
    req.caches = wrong;
    CHECK_FAILS(search_space_make(&s, wide.inventory, &req, e_), ERR_USAGE, "'int8' is no type of cache");
    req.caches = NULL;
    req.cache_tokens = UINT64_MAX / 2;
    CHECK_FAILS(search_space_make(&s, wide.inventory, &req, e_), ERR_USAGE, "does not fit in 64 bits");
    req.cache_tokens = 3; /* heads of 8 */
    CHECK_OK(search_space_make(&s, model.inventory, &req, e_));
    assert_non_null(strstr(s->cache.choices[SEARCH_CACHE_NVFP4].why_not, "heads of 8 are no multiple of an NVFP4 cache's block of 16"));
    assert_null(s->cache.choices[SEARCH_CACHE_FP8].why_not);
    search_space_free(s);
}

static void test_recipe(void **state)
{
    (void)state;
    struct search_request req = {.types = both, .n_types = 2, .scales = "mse", .kv_cache = "fp8"};
    struct search_space *s;
    char path[256];
    CHECK_OK(search_space_make(&s, model.inventory, &req, e_));
    draw_scores(s, 3);
    uint64_t budget = s->other_bytes;
    for (uint32_t g = 0; g < s->n_groups; g++) budget += s->groups[g].choices[2].bytes;
    CHECK_OK(search_solve(s, budget, false, e_));
    char *text, *again;
    CHECK_OK(search_recipe(s, "a \"name\"", &text, e_));
    CHECK_OK(search_recipe(s, "a \"name\"", &again, e_));
    assert_string_equal(text, again);
    snprintf(path, sizeof path, "%s/r.yaml", dir);
    CHECK_OK(file_save(path, bytes_text(text), 0666, e_));
    CHECK_OK(search_check_recipe(s, path, e_));
    struct recipe *r;
    struct plan *p;
    CHECK_OK(recipe_load(&r, path, e_));
    assert_string_equal(r->name, "a \"name\"");
    CHECK_OK(plan_build(&p, model.inventory, r, e_));
    assert_int_equal(p->kv, KV_FP8);
    for (uint32_t g = 0; g < s->n_groups; g++)
        for (uint32_t i = 0; i < s->groups[g].n_items; i++) {
            const struct plan_item *item = &p->items[s->groups[g].items[i]];
            assert_ptr_equal(item->format, s->types[s->groups[g].picked].format);
            if (s->groups[g].picked == 1) assert_int_equal(item->scales, SCALES_MSE);
        }
    s->write_bytes++;
    CHECK_FAILS(search_check_recipe(s, path, e_), ERR_INTERNAL, "the search said");
    unlink(path);
    plan_free(p);
    recipe_free(r);
    free(text);
    free(again);
    search_space_free(s);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const unknown[] = {"nvfp5"}, *const twice[] = {"fp8", "fp8"}, *const none[] = {"none"}, *const odd[] = {"fp8/nvfp4"};
    static const char *const roles[] = {"nobody", NULL};
    struct search_space *s;
    CHECK_FAILS(search_space_make(&s, model.inventory, &(struct search_request){.types = unknown, .n_types = 1}, e_), ERR_USAGE, "'nvfp5' is no type of weights");
    CHECK_FAILS(search_space_make(&s, model.inventory, &(struct search_request){.types = twice, .n_types = 2}, e_), ERR_USAGE, "there twice");
    CHECK_FAILS(search_space_make(&s, model.inventory, &(struct search_request){.types = none, .n_types = 1}, e_), ERR_USAGE, "no type beside none");
    CHECK_FAILS(search_space_make(&s, model.inventory, &(struct search_request){.types = odd, .n_types = 1}, e_), ERR_UNSUPPORTED, "fp8 with inputs nvfp4");
    CHECK_FAILS(search_space_make(&s, model.inventory, &(struct search_request){.types = both, .n_types = 2, .roles = roles}, e_), ERR_USAGE, "role 'nobody'");
}

static void test_scores_file(void **state)
{
    (void)state;
    CLEANUP(search_space) struct search_space *a = space_of(model.inventory, both, 2);
    CLEANUP(search_space) struct search_space *b = space_of(model.inventory, both + 1, 1);
    json_t *json, *other;
    draw_scores(a, 9);
    CHECK_OK(search_scores_json(a, &json, e_));
    CHECK_OK(search_scores_read(b, json, "f", e_)); /* fewer types than were measured */
    for (uint32_t g = 0; g < b->n_groups; g++) assert_true(b->groups[g].choices[1].kl == a->groups[g].choices[2].kl && b->groups[g].choices[1].known);
    assert_string_equal(b->method, "kl");
    other = json_deep_copy(json);
    json_object_set_new(other, "schema", json_string("x"));
    CHECK_FAILS(search_scores_read(a, other, "f", e_), ERR_FORMAT, "f: it is not a file of sensitivities");
    json_decref(other);
    other = json_deep_copy(json);
    json_object_set_new(json_object_get(other, "source"), "config_sha256", json_string("0"));
    CHECK_FAILS(search_scores_read(a, other, "f", e_), ERR_FORMAT, "another checkpoint");
    json_decref(other);
    other = json_deep_copy(json);
    json_array_remove(json_object_get(other, "groups"), 4);
    CHECK_FAILS(search_scores_read(a, other, "f", e_), ERR_FORMAT, "it has no group 'backbone.");
    json_decref(other);
    other = json_deep_copy(json);
    json_t *types = json_object_get(json_array_get(json_object_get(other, "groups"), 1), "types");
    json_object_del(types, "fp8");
    CHECK_FAILS(search_scores_read(a, other, "f", e_), ERR_FORMAT, "has no score as fp8");
    static const double wrong[] = {-1e-9, 1e300};
    for (int i = 0; i < 2; i++) {
        json_object_set_new(types, "fp8", json_pack("{s:f}", "kl", wrong[i]));
        CHECK_FAILS(search_scores_read(a, other, "f", e_), ERR_FORMAT, "has no score as fp8");
    }
    json_decref(other);
    a->types[1].rounds_inputs = false;
    CHECK_FAILS(search_scores_read(a, json, "f", e_), ERR_FORMAT, "the target runs it with inputs as they are");
    json_decref(json);
}

/* ---- measuring ---- */

static uint32_t ids[2][5] = {{1, 5, 9, 40, 3}, {7, 7, 63, 2, 0}};
static struct text_ids texts[2] = {{ids[0], 5}, {ids[1], 4}};

static void measure(struct search_space *s, enum sensitivity_method method, uint64_t fork_bytes, struct pool *pool, uint64_t isa)
{
    struct corpus corpus = {.texts = texts, .n_texts = 2, .n_tokens = 9};
    struct sensitivity_options o = {.pool = pool, .isa = isa, .method = method, .fork_bytes = fork_bytes};
    CHECK_OK(sensitivity_measure(s, &corpus, &o, NULL, e_));
}

/* This model hardly moves (KL of 1e-17 and less, which may round to nothing): errors tell more. One wave or one fork at a time, one thread or three, any instruction set: the same bits. */
static void test_measure(void **state)
{
    (void)state;
    for (int method = SENSITIVITY_KL; method <= SENSITIVITY_GAIN; method++) {
        CLEANUP(search_space) struct search_space *a = space_of(model.inventory, both, 2);
        measure(a, (enum sensitivity_method)method, 0, NULL, isa_detected());
        for (uint32_t g = 0; g < a->n_groups; g++) {
            const struct search_choice *c = a->groups[g].choices;
            bool ok = c[0].kl == 0 && c[1].known && c[2].known && isfinite(c[1].kl) && c[1].kl >= 0 && c[2].kl >= 0 && c[1].error > c[2].error && c[2].error > 0;
            if (!ok) fail_msg("'%s': nvfp4 %g, %g, fp8 %g, %g", a->groups[g].name, c[1].kl, c[1].error, c[2].kl, c[2].error);
        }
        for (int k = 0; k < 3; k++) {
            CLEANUP(search_space) struct search_space *b = space_of(model.inventory, both, 2);
            struct pool *pool = NULL;
            if (k == 1) CHECK_OK(pool_open(&pool, 3, e_));
            measure(b, (enum sensitivity_method)method, k == 0 ? 1 : 4 * 9 * 32 * 4, pool, k == 2 ? 0 : isa_detected());
            for (uint32_t g = 0; g < a->n_groups; g++)
                for (uint32_t t = 1; t < 3; t++)
                    if (a->groups[g].choices[t].kl != b->groups[g].choices[t].kl || a->groups[g].choices[t].error != b->groups[g].choices[t].error)
                        fail_msg("'%s' as %s, case %d: %.17g and %.17g", a->groups[g].name, a->types[t].word, k, a->groups[g].choices[t].kl, b->groups[g].choices[t].kl);
            pool_close(pool);
        }
    }
}

/* The head costs the same whatever the method: there is nothing behind it to guess. */
static void test_measure_head(void **state)
{
    (void)state;
    CLEANUP(search_space) struct search_space *a = space_with_head(true);
    CLEANUP(search_space) struct search_space *b = space_with_head(false);
    struct pool *pool = NULL;
    CHECK_OK(pool_open(&pool, 3, e_));
    measure(a, SENSITIVITY_KL, 0, NULL, isa_detected());
    measure(b, SENSITIVITY_GAIN, 1, pool, 0);
    const struct search_choice *x = a->groups[0].choices, *y = b->groups[b->n_groups - 1].choices;
    assert_string_equal(b->groups[b->n_groups - 1].name, "lm_head");
    for (uint32_t t = 1; t < 3; t++) {
        assert_true(x[t].known && x[t].kl > 0 && isnan(x[t].error));
        if (x[t].kl != y[t].kl) fail_msg("%s: %.17g and %.17g", a->types[t].word, x[t].kl, y[t].kl);
    }
    assert_true(x[1].kl > x[2].kl);
    json_t *json;
    CHECK_OK(search_scores_json(a, &json, e_));
    CLEANUP(search_space) struct search_space *c = space_with_head(true);
    CHECK_OK(search_scores_read(c, json, "f", e_));
    assert_true(c->groups[0].choices[1].kl == x[1].kl);
    json_decref(json);
    pool_close(pool);
}

/* Scores of the cache: more for NVFP4, the same whatever waves and threads, and in the file of scores. */
static void test_measure_cache(void **state)
{
    (void)state;
    __attribute__((cleanup(cleanup_model))) struct model wide = {0};
    open_wide(&wide);
    struct search_request req = {.types = both + 1, .n_types = 1, .cache_tokens = 10};
    struct search_space *a, *b;
    struct pool *pool = NULL;
    json_t *json;
    CHECK_OK(search_space_make(&a, wide.inventory, &req, e_));
    CHECK_OK(search_space_make(&b, wide.inventory, &req, e_));
    CHECK_OK(pool_open(&pool, 3, e_));
    measure(a, SENSITIVITY_GAIN, 0, NULL, isa_detected());
    measure(b, SENSITIVITY_KL, 1, pool, 0);
    for (uint32_t t = 1; t < 3; t++) {
        const struct search_choice *x = &a->cache.choices[t], *y = &b->cache.choices[t];
        if (!x->known || !isfinite(x->kl) || x->kl < 0 || !isnan(x->error) || x->kl != y->kl) fail_msg("%s: %.17g and %.17g", search_cache_words[t], x->kl, y->kl);
    }
    a->cache.choices[2].kl = 0.25;
    CHECK_OK(search_scores_json(a, &json, e_));
    CHECK_OK(search_scores_read(b, json, "f", e_));
    assert_true(b->cache.choices[2].kl == 0.25 && b->cache.choices[1].kl == a->cache.choices[1].kl);
    json_object_del(json, "cache");
    CHECK_FAILS(search_scores_read(b, json, "f", e_), ERR_FORMAT, "group 'kv_cache' has no score as fp8");
    bool one_type;
    CHECK_OK(search_target(b, "vllm@0.17.1", "b200:1", &one_type, e_));
    assert_null(b->cache.choices[SEARCH_CACHE_FP8].why_not);
    assert_string_equal(b->cache.choices[SEARCH_CACHE_NVFP4].why_not, "vllm 0.17.1 takes no NVFP4 cache from a checkpoint");
    json_decref(json);
    pool_close(pool);
    search_space_free(a);
    search_space_free(b);
}

/* Every type that can be written, and inputs that stay as they are cost less than rounded ones. */
static void test_types(void **state)
{
    (void)state;
    static const char *const types[] = {"nvfp4/none", "fp8_channel/fp8_token", "fp8_block", "mxfp8", "nvfp4"};
    CLEANUP(search_space) struct search_space *s = space_of(model.inventory, types, 5);
    measure(s, SENSITIVITY_GAIN, 0, NULL, isa_detected());
    double weights = 0, inputs = 0;
    for (uint32_t g = 0; g < s->n_groups; g++) {
        for (uint32_t t = 1; t < s->n_types; t++)
            if (!s->groups[g].choices[t].why_not) assert_true(s->groups[g].choices[t].known && s->groups[g].choices[t].error > 0);
        weights += s->groups[g].choices[1].error;
        inputs += s->groups[g].choices[5].error;
    }
    assert_true(weights < inputs);
}

/* ---- targets ---- */

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *engine, *gpu;
        bool one_type, nvfp4, fp8, rounds;
    } rows[] = {{"vllm@0.17.1", "b200:1", false, true, true, true},
                {"vllm@0.17.1", "h200:1", false, true, true, false},   /* Marlin: 16-bit activations */
                {"vllm@0.17.1", "a100-80:1", true, true, false, false} /* FP8 needs 8.9, and so does a mixture */};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(search_space) struct search_space *s = space_of(model.inventory, both, 2);
        bool one_type;
        CHECK_OK(search_target(s, rows[i].engine, rows[i].gpu, &one_type, e_));
        assert_int_equal(one_type, rows[i].one_type);
        assert_int_equal(s->types[1].rounds_inputs, rows[i].rounds);
        for (uint32_t g = 0; g < s->n_groups; g++) {
            if (rows[i].nvfp4 != !s->groups[g].choices[1].why_not || rows[i].fp8 != !s->groups[g].choices[2].why_not)
                fail_msg("%s: '%s': nvfp4 %s, fp8 %s", rows[i].gpu, s->groups[g].name, s->groups[g].choices[1].why_not, s->groups[g].choices[2].why_not);
        }
    }
    CLEANUP(search_space) struct search_space *s = space_of(model.inventory, both, 2);
    bool one_type;
    CHECK_OK(search_target(s, "vllm@0.17.1", "b200:2", &one_type, e_));
    for (uint32_t g = 0; g < s->n_groups; g++) { /* 48 columns are three blocks: not for two; 32 are */
        bool down = strcmp(s->groups[g].name, "backbone.layers.3.mixer.down_proj") == 0;
        const char *why = s->groups[g].choices[1].why_not;
        if (down != (why != NULL) || (why && !strstr(why, "48 columns are no multiple of 16 for each of 2 GPUs"))) fail_msg("'%s': %s", s->groups[g].name, why);
        assert_null(s->groups[g].choices[2].why_not);
    }
    CLEANUP(search_space) struct search_space *head = space_with_head(false);
    CHECK_OK(search_target(head, "vllm@0.17.1", "b200:1", &one_type, e_));
    for (uint32_t t = 1; t < 3; t++) assert_string_equal(head->groups[head->n_groups - 1].choices[t].why_not, "vllm 0.17.1 loads the head only as plain numbers");
    static const char *const sixteen[] = {"nvfp4/none"};
    CLEANUP(search_space) struct search_space *w = space_of(model.inventory, sixteen, 1);
    CHECK_FAILS(search_target(w, "vllm@0.17.1", "b200:1", &one_type, e_), ERR_UNSUPPORTED, "does not take W4A16_NVFP4");
    CHECK_FAILS(search_target(w, "vllm@0.17.1", "abacus:1", &one_type, e_), ERR_UNSUPPORTED, "GPU 'abacus' is not known");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(test_groups), TEST(test_gated), TEST(test_head), TEST(test_bytes), TEST(test_solve), TEST(test_exact_budgets), TEST(test_power), TEST(test_cache), TEST(test_recipe), TEST(test_refused),
                                       TEST(test_scores_file), TEST(test_measure), TEST(test_measure_head), TEST(test_measure_cache), TEST(test_types), TEST(test_targets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
