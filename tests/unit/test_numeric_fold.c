/* The arithmetic of folding (numeric/fold_scale.h) against values worked out by hand. */
#include "tests/checks.h"

#include "numeric/fold_scale.h"

#include <math.h>

static void same(float is, float want)
{
    assert_int_equal(f32_bits(is), f32_bits(want));
}

static void columns_are_multiplied_and_rows_divided(void **state)
{
    (void)state;
    same(fold_weight(0.75f, 2.0f, 1.0f), 1.5f);
    same(fold_weight(0.75f, 1.0f, 3.0f), 0.25f);
    same(fold_weight(-3.0f, 0.5f, 4.0f), -0.375f);
    same(fold_weight(-0.0f, 2.0f, 4.0f), -0.0f);
    /* (2^24 - 1) / 3 * 3: 5592405 * 3 is 16777215, which fp32 holds */
    same(fold_weight(5592405.0f, 3.0f, 1.0f), 16777215.0f);
    /* Two roundings: (1 + 2^-23)^2 = 1 + 2^-22 + 2^-46, which rounds to 1 + 2^-22 before it is divided. */
    float u = 1.0f + 0x1p-23f;
    same(fold_weight(u, u, 1.0f), 1.0f + 0x1p-22f);
    same(fold_weight(u, u, u), u);
    /* Too large on the way, though the quotient is not: the product comes first. */
    assert_true(isinf(fold_weight(0x1p127f, 2.0f, 4.0f)));
    /* 1 / 3 rounds up to 0x3EAAAAAB, and times 3 that is 1 + 2^-25, which rounds to 1. */
    same(fold_weight(1.0f, 1.0f, 3.0f), f32_from_bits(0x3EAAAAABu));
    same(fold_weight(f32_from_bits(0x3EAAAAABu), 3.0f, 1.0f), 1.0f);
}

static void norms_are_divided(void **state)
{
    (void)state;
    same(fold_norm(1.5f, 2.0f), 0.75f);
    same(fold_norm(-1.0f, 0.25f), -4.0f);
    same(fold_norm_one(0.5f, 2.0f), -0.25f); /* 1.5 / 2 - 1 */
    same(fold_norm_one(0.0f, 4.0f), -0.75f);
    same(fold_norm_one(-0.5f, 0.5f), 0.0f); /* 0.5 / 0.5 - 1 */
    same(fold_norm_one(3.0f, 0.5f), 7.0f);
    /* 1 + 2^-30 rounds to 1: by 1 nothing happens, by 2 the small part is gone. */
    same(fold_norm_one(0x1p-30f, 1.0f), 0x1p-30f);
    same(fold_norm_one(0x1p-30f, 2.0f), -0.5f);
}

/* What is left of a scale when the new weight has been rounded to bf16 (eight bits). */
static void readers_get_what_the_norm_was_divided_by(void **state)
{
    (void)state;
    float half = fold_norm(1.0f, 2.0f), third = bf16_decode(bf16_encode(fold_norm(1.0f, 3.0f)));
    same(fold_norm_effect(1.0f, half), 2.0f);
    same(third, 171.0f / 512.0f); /* 1/3 = 170.67 / 512 */
    same(fold_norm_effect(1.0f, third), 512.0f / 171.0f);
    /* 1 + w: 1.5 / 3 = 0.5, which is -0.5 + 1 and has no rounding; 1.25 / 3 - 1 = -0.58333 is -149 / 256 in bf16 */
    same(fold_norm_one_effect(0.5f, -0.5f), 3.0f);
    float w = bf16_decode(bf16_encode(fold_norm_one(0.25f, 3.0f)));
    same(w, -149.0f / 256.0f);
    same(fold_norm_one_effect(0.25f, w), 1.25f / (107.0f / 256.0f));
    /* Divided by nothing, or by less: the caller sees it. */
    assert_true(isinf(fold_norm_effect(1.0f, 0.0f)));
    assert_true(isnan(fold_norm_effect(0.0f, 0.0f)));
    assert_true(fold_norm_effect(1.0f, -1.0f) < 0);
    assert_true(isinf(fold_norm_one_effect(0.5f, -1.0f)));
}

static void powers_are_the_nearest(void **state)
{
    (void)state;
    static const struct {
        float x, two, four;
    } rows[] = {
        {1.0f, 1.0f, 1.0f},          {1.25f, 1.0f, 1.0f},         {0x1.7ffffep0f, 1.0f, 1.0f}, {1.5f, 2.0f, 1.0f},
        {0x1.fffffep0f, 2.0f, 1.0f}, {2.0f, 2.0f, 4.0f},          {2.99f, 2.0f, 4.0f},         {3.0f, 4.0f, 4.0f},
        {4.0f, 4.0f, 4.0f},          {7.9f, 8.0f, 4.0f},          {8.0f, 8.0f, 16.0f},         {0.5f, 0.5f, 1.0f},
        {0.75f, 1.0f, 1.0f},         {0.49f, 0.5f, 0.25f},        {0.125f, 0.125f, 0.25f},     {0.1f, 0.125f, 0.0625f},
        {1e4f, 8192.0f, 16384.0f},   {1e-4f, 0x1p-13f, 0x1p-14f},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        same(fold_power_of_two(rows[i].x), rows[i].two);
        same(fold_power_of_four(rows[i].x), rows[i].four);
        float root = sqrtf(rows[i].four);
        same(fold_power_of_two(root), root); /* the root is a power of two, so it divides without rounding */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_multiplied_and_rows_divided),
        cmocka_unit_test(norms_are_divided),
        cmocka_unit_test(readers_get_what_the_norm_was_divided_by),
        cmocka_unit_test(powers_are_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
