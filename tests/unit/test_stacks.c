/* Experts in stacks: every range of every view is what the stack has at the places that the formats say, worked out
 * here element by element from the whole stack. The models are tests/vectors/engine/gpt_oss and gpt_oss_mxfp4; that
 * these places are the right ones is shown by their goldens (tests/golden/engine.py). */
#include "tests/checks.h"

#include "models/inventory.h"

static uint8_t *whole(const struct checkpoint *ck, uint32_t i)
{
    const struct tensor_info *t = checkpoint_tensor(ck, i);
    uint8_t *p = malloc(t->bytes);
    assert_non_null(p);
    CHECK_OK(checkpoint_read(ck, i, 0, p, t->bytes, e_));
    return p;
}

/* Element k of expert e's gate or up matrix, [outputs, inputs], inside the stack; -1: another tensor. */
static int64_t place(const struct tensor_info *base, const struct tensor_info *t, uint64_t e, uint64_t k)
{
    bool up = strstr(t->name, "up_proj") != NULL, joined = strstr(base->name, "gate_up") != NULL;
    uint64_t cols = t->n_dims > 1 ? t->dims[1] : 1, row = k / cols, col = k % cols;
    uint64_t out = joined ? 2 * row + up : row, per_expert = base->n_elems / base->dims[0];
    if (strstr(base->name, "_blocks") || strstr(base->name, "_scales") || t->n_dims == 1)
        return (int64_t)(e * per_expert + out * cols + col);
    return (int64_t)(e * per_expert + col * base->dims[2] + out); /* inputs by outputs */
}

static uint64_t check_view(const struct checkpoint *ck, uint32_t i, uint64_t *seed)
{
    const struct tensor_info *t = checkpoint_tensor(ck, i), *base = checkpoint_tensor(ck, t->view->base);
    uint64_t elem = t->bytes / t->n_elems, e = strtoull(strstr(t->name, ".experts.") + 9, NULL, 10);
    uint8_t *stack = whole(ck, t->view->base), *got = malloc(t->bytes);
    assert_non_null(got);
    for (int round = 0; round < 8; round++) {
        uint64_t first = round ? check_random(seed) % t->n_elems : 0,
                 n = round ? check_random(seed) % (t->n_elems - first + 1) : t->n_elems;
        CHECK_OK(checkpoint_read(ck, i, first * elem, got, n * elem, e_));
        for (uint64_t k = 0; k < n; k++)
            if (memcmp(got + k * elem, stack + (uint64_t)place(base, t, e, first + k) * elem, elem) != 0)
                fail_msg("%s: element %llu of %llu read from %llu on is another", t->name, (unsigned long long)k,
                         (unsigned long long)n, (unsigned long long)first);
    }
    if (elem > 1) CHECK_FAILS(checkpoint_read(ck, i, 1, got, elem, e_), ERR_INTERNAL, "whole elements");
    CHECK_FAILS(checkpoint_read(ck, i, t->bytes, got, elem, e_), ERR_INTERNAL, "were asked for");
    free(got);
    free(stack);
    return t->bytes;
}

static void test_views(void **state)
{
    (void)state;
    static const char *const folders[] = {"tests/vectors/engine/gpt_oss", "tests/vectors/engine/gpt_oss_mxfp4"};
    uint64_t seed = 5;
    for (size_t f = 0; f < 2; f++) {
        struct model m;
        CHECK_OK(model_open(&m, folders[f], e_));
        uint32_t n = checkpoint_count(m.checkpoint), all = checkpoint_count_all(m.checkpoint);
        uint64_t views = 0, stacks = 0, sum = 0;
        assert_true(all > n);
        for (uint32_t i = n; i < all; i++) views += check_view(m.checkpoint, i, &seed);
        for (uint32_t i = 0; i < n; i++) {
            const struct tensor_info *t = checkpoint_tensor(m.checkpoint, i);
            if (strstr(t->name, ".experts.")) stacks += t->bytes;
            assert_null(t->view);
        }
        assert_int_equal(views, stacks); /* every byte belongs to one expert */
        for (uint32_t i = 0; i < m.inventory->n_tensors; i++)
            for (int part = 0; part < PART_COUNT; part++)
                if (m.inventory->tensors[i].parts[part] != NAME_NONE)
                    sum += checkpoint_tensor(m.checkpoint, m.inventory->tensors[i].parts[part])->bytes;
        assert_int_equal(sum, checkpoint_bytes(m.checkpoint));
        model_close(&m);
    }
}

/* A view must lie inside its stack. */
static void test_bounds(void **state)
{
    (void)state;
    struct model m;
    CHECK_OK(model_open(&m, "tests/vectors/engine/gpt_oss", e_));
    uint32_t base = checkpoint_find(m.checkpoint, "model.layers.0.mlp.experts.gate_up_proj"); /* [4, 32, 64] BF16 */
    assert_true(base != NAME_NONE);
    static const struct {
        uint64_t rows, cols, row_step, col_step, first;
        bool ok;
    } rows[] = {
        {32, 32, 4, 128, 0, true},
        {32, 32, 4, 128, 3 * 4096 + 2, true},
        {32, 32, 4, 128, 3 * 4096 + 4, false},
        {33, 32, 4, 128, 3 * 4096, false},
        {1, 1, 0, 0, 16382, true},
        {1, 1, 0, 0, 16383, false},
        {2, 2, 1ull << 63, 2, 0, false},
        {1ull << 40, 1, 1ull << 40, 2, 0, false},
        {1, 1, 0, 0, 1ull << 63, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[32];
        snprintf(name, sizeof name, "v%zu", i);
        struct tensor_info t = {.name = name, .dtype = DTYPE_BF16, .n_dims = 2, .dims = {rows[i].rows, rows[i].cols}};
        struct tensor_view v = {.base = base, .row_step = rows[i].row_step, .col_step = rows[i].col_step};
        struct error e = ERROR_INIT;
        bool ok = checkpoint_add_view(m.checkpoint, &t, &v, rows[i].first, &e);
        if (ok != rows[i].ok) fail_msg("row %zu: %s", i, ok ? "was taken" : e.text);
    }
    model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_views), cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
