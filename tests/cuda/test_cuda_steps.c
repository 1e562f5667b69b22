/* The thresholds that replace divisions in backends/cuda/nvfp4_steps_body.h: on both sides of each of them the code is
 * that of the rounded quotient. For block scales of every exponent they are used for, random and extreme ones. */
#include "tests/cuda/emulate.h"

#include "backends/cuda/nvfp4_steps_body.h"

static int failures;
static uint64_t n_checked;

static void check(float e, float w)
{
    struct nvfp4_steps s = nvfp4_steps_of(e);
    uint32_t got = nvfp4_code_by(&s, w), want = nvfp4_code(w / e);
    n_checked++;
    if (got != want && failures++ < 20) printf("FAIL %a / %a: code %u, expected %u\n", (double)w, (double)e, got, want);
}

/* The fp32 numbers around x, of both signs. */
static void check_around(float e, float x)
{
    for (uint32_t d = 0; d < 5; d++) {
        uint32_t u = f32_bits(x) + d;
        if (u < 2 || u - 2 > F32_INFINITY_BITS) continue;
        check(e, f32_from_bits(u - 2));
        check(e, f32_from_bits((u - 2) | F32_SIGN_BIT));
    }
}

static void check_scale(float e)
{
    static const float mids[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f, 1.0f, 6.0f};
    static const uint32_t special[] = {0, 1, 2, F32_INFINITY_BITS, F32_NAN_BITS, 0x7F7FFFFFu, 0x00800000u};
    struct nvfp4_steps s = nvfp4_steps_of(e);
    for (int k = 0; k < 9; k++) check_around(e, mids[k] * e);
    for (int k = 0; k < 7; k++) check_around(e, s.at[k]);
    check_around(e, s.zero);
    for (size_t k = 0; k < sizeof special / sizeof *special; k++) {
        check(e, f32_from_bits(special[k]));
        check(e, f32_from_bits(special[k] | F32_SIGN_BIT));
    }
}

int main(void)
{
    uint64_t z = 1;
    for (uint32_t exponent = 127 - 90; exponent <= 127 + 100; exponent++)
        for (int i = 0; i < 600; i++) {
            z = z * 6364136223846793005u + 1442695040888963407u;
            uint32_t mantissa = i == 0 ? 0 : i == 1 ? 0x7FFFFFu : i == 2 ? 1 : (uint32_t)(z >> 41);
            if (i % 7 == 3) mantissa &= 0x7F0000u; /* few bits, as the scales of bf16 tensors may have */
            if (exponent == 127 + 100 && mantissa != 0) continue;
            check_scale(f32_from_bits(exponent << 23 | mantissa));
        }
    if (failures == 0) printf("ok thresholds of NVFP4: %llu quotients\n", (unsigned long long)n_checked);
    return failures != 0;
}
