/* numeric/nvfp4_cast.h: MXFP4 that becomes NVFP4 decodes to the same numbers while the scales are at most 2^17 apart, and
 * within NVFP4's bound below. The bytes of the first case follow from the definitions by hand. */
#include "tests/checks.h"

#include "numeric/nvfp4_cast.h"

#include <math.h>

static void test_by_hand(void **state)
{
    (void)state;
    /* 1 and -6 in the first half, 0.5 in the second, scale 2^0; k_max = 0, so weight_scale_2 = 2^-8 and both scale bytes
     * are 256 = 0x78. */
    uint8_t in[16] = {0xF2, 0x88, 0, 0, 0, 0, 0, 0, 0x01}, scales[2], out[16];
    float g = nvfp4_cast_g(in, 127);
    assert_true(g == 10.5f && nvfp4_tensor_scale(g) == 0x1p-8f);
    nvfp4_cast_block(in, 127, g, scales, out);
    const uint8_t want[16] = {0xF2, 0, 0, 0, 0, 0, 0, 0, 0x01}; /* code 8 becomes 0 */
    check_bytes(out, want, 16, "codes");
    assert_true(scales[0] == 0x78 && scales[1] == 0x78);
    /* 17 octaves below the largest: 2^-9 = 0x01, still exact. */
    nvfp4_cast_block(in, 127 - 17, g, scales, out);
    check_bytes(out, want, 16, "codes far below");
    assert_true(scales[0] == 0x01 && scales[1] == 0x01);
    /* Zeros say nothing about g, and get the byte of nvfp4_scale_static. */
    uint8_t zero[16] = {0x80, 0x08};
    assert_true(nvfp4_cast_g(zero, 250) == 0);
    nvfp4_cast_block(zero, 250, g, scales, out);
    assert_true(scales[0] == nvfp4_scale_static(0, g, 448) && out[0] == 0 && out[1] == 0);
}

static void test_exact(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (int n = 0; n < 20000; n++) {
        uint8_t in[16], scales[2], out[16];
        float mx[32], nv[32];
        for (int i = 0; i < 16; i++) in[i] = (uint8_t)check_random(&seed);
        int k_max = (int)(check_random(&seed) % 200) - 100, down = (int)(check_random(&seed) % 24);
        float g = NVFP4_CAST_G * ldexpf(1, k_max), s2 = nvfp4_tensor_scale(g);
        uint8_t b = (uint8_t)(k_max - down + 127);
        nvfp4_cast_block(in, b, g, scales, out);
        mxfp4_decode_block(in, b, mx);
        for (int h = 0; h < 2; h++) nvfp4_decode_block(out + 8 * h, scales[h], s2, nv + 16 * h);
        for (int i = 0; i < 32; i++) {
            double off = fabs((double)nv[i] - (double)mx[i]);
            /* below: at most the half step next to 6 smallest scales, or everything */
            double bound = down <= 17 ? 0 : fmax((double)nvfp4_block_amax(mx + i / 16 * 16) / 4, 0x1p-10 * (double)s2);
            if (off > bound || (mx[i] == 0 && signbit(nv[i])))
                fail_msg("2^%d below 2^%d: %a comes back as %a", -down, k_max, (double)mx[i], (double)nv[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_hand), cmocka_unit_test(test_exact)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
