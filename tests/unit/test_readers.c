/* What errors in the residual stream are worth (calibrate/readers.h), held against its definition in double: the
 * example model, block by block and with blocks left out, with one thread and with three. */
#include "tests/checks.h"

#include "backends/cpu/kernel.h"
#include "calibrate/readers.h"
#include "numeric/half.h"

#include <math.h>

static struct model model;
static struct recipe *recipe;
static struct plan *plan;

static int setup(void **state)
{
    (void)state;
    return model_open(&model, "examples/nano-hybrid/model", check_error()) &&
                   recipe_load(&recipe, "super-nvfp4-max-calib", check_error()) &&
                   plan_build(&plan, model.inventory, recipe, check_error())
               ? 0
               : -1;
}

static int teardown(void **state)
{
    (void)state;
    plan_free(plan);
    recipe_free(recipe);
    model_close(&model);
    return 0;
}

static double *plain(const struct model_tensor *t)
{
    const struct checkpoint *ck = model.inventory->checkpoint;
    uint16_t *raw = calloc(t->n_elems, sizeof *raw);
    double *x = calloc(t->n_elems, sizeof *x);
    assert_int_equal(checkpoint_tensor(ck, t->parts[PART_WEIGHT])->dtype, DTYPE_BF16);
    CHECK_OK(checkpoint_read(ck, t->parts[PART_WEIGHT], 0, raw, t->n_elems * sizeof *raw, e_));
    for (uint64_t i = 0; i < t->n_elems; i++) x[i] = (double)bf16_decode(raw[i]);
    free(raw);
    return x;
}

/* R' R / m of one reader onto g. */
static bool add(double *g, const struct block_config *b, enum tensor_role role)
{
    const struct model_tensor *t = inventory_find_block(model.inventory, role, b, -1);
    if (!t) return false;
    uint64_t n = t->dims[0], hidden = t->dims[1];
    double *w = plain(t), *gain = plain(inventory_find_block(model.inventory, ROLE_BLOCK_NORM, b, -1)), trace = 0;
    for (uint64_t i = 0; i < n * hidden; i++) w[i] *= gain[i % hidden], trace += w[i] * w[i];
    for (uint64_t i = 0; i < hidden; i++)
        for (uint64_t j = 0; j < hidden; j++)
            for (uint64_t k = 0; k < n; k++)
                g[i * hidden + j] += w[k * hidden + i] * w[k * hidden + j] / (trace / (double)hidden);
    free(w);
    free(gain);
    return true;
}

/* Of the roles that the example has. */
static uint32_t add_block(double *g, const struct block_config *b)
{
    static const enum tensor_role roles[] = {ROLE_ATTN_Q, ROLE_ATTN_K,    ROLE_ATTN_V,    ROLE_SSM_IN,
                                             ROLE_MLP_UP, ROLE_SHARED_UP, ROLE_LATENT_IN, ROLE_ROUTER};
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) n += add(g, b, roles[i]);
    return n;
}

static void test_behind(void **state)
{
    (void)state;
    const struct model_config *cfg = &model.inventory->config;
    uint64_t hidden = cfg->dims[DIM_HIDDEN];
    struct pool *pool;
    struct readers all, some;
    CHECK_OK(pool_open(&pool, 3, e_));
    readers_open(&all, plan, pool, isa_detected());
    readers_open(&some, plan, NULL, isa_detected());
    double *behind = calloc(hidden * hidden, sizeof *behind);
    uint32_t n = 0;
    float **found = calloc(cfg->n_blocks, sizeof *found);
    for (uint32_t b = 0; b < cfg->n_blocks; b++) CHECK_OK(readers_behind(&all, b, &found[b], e_));
    for (uint32_t b = cfg->n_blocks; b-- > 0;) { /* what stands behind grows from the last block on */
        assert_true((found[b] != NULL) == (n > 0));
        for (uint64_t i = 0; found[b] && i < hidden * hidden; i++) {
            double expected = (i % (hidden + 1) == 0 ? 1 : 0) + READERS_WEIGHT / n * behind[i];
            if (fabs((double)found[b][i] - expected) > 2e-4)
                fail_msg("block %u, element %u: %g, not %g", (unsigned)b, (unsigned)i, (double)found[b][i], expected);
        }
        n += add_block(behind, &cfg->blocks[b]);
    }
    assert_true(n > cfg->n_blocks);
    for (uint32_t b = 1; b < cfg->n_blocks; b += 3) {
        float *g;
        CHECK_OK(readers_behind(&some, b, &g, e_));
        assert_true((g != NULL) == (found[b] != NULL));
        if (g) check_bytes(g, found[b], hidden * hidden * sizeof *g, "other blocks asked for, one thread");
        free(g);
    }
    for (uint32_t b = 0; b < cfg->n_blocks; b++) free(found[b]);
    free(found);
    free(behind);
    readers_close(&all);
    readers_close(&some);
    pool_close(pool);
}

/* Linears that write into the stream, and no others. */
static void test_apply(void **state)
{
    (void)state;
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_items; i++) {
        const char *name = plan->items[i].tensor->name;
        bool expected = !plan->items[i].tensor->place.mtp &&
                        (strstr(name, "mixer.out_proj.weight") || strstr(name, "mixer.o_proj.weight") ||
                         strstr(name, "mixer.down_proj.weight") || strstr(name, "shared_experts.down_proj.weight") ||
                         strstr(name, "fc2_latent_proj.weight"));
        if (readers_apply(plan, i) != expected) fail_msg("%s", name);
        n += expected;
    }
    assert_true(n >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_behind),
        cmocka_unit_test(test_apply),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
