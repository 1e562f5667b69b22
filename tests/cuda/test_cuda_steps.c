/* The thresholds that replace divisions in backends/cuda/nvfp4_steps_body.h: on both sides of each of them the code is
 * that of the rounded quotient. For block scales of every exponent they are used for, random and extreme ones. The same
 * for 16-bit elements, two at a time: every element of both types that is no NaN, beside others. */
#include "tests/cuda/emulate.h"

#include "numeric/half.h"

#include "backends/cuda/load_body.h"

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

/* All 65,536 elements in both places, each beside another one. */
static void check_pairs(float e, enum dtype dtype)
{
    const struct nvfp4_pairs p = nvfp4_pairs_of(e, dtype);
    uint32_t shift = f32_bits(e) >> 16 | 1u, codes[8], words[8];
    for (uint32_t h = 0; h < 65536; h++) {
        uint32_t other = (h * 40503u + shift) & 0xFFFFu, k = h % 8u;
        float w[2] = {widen_16bit(h, dtype), widen_16bit(other, dtype)};
        if (f32_is_nan(w[0])) w[0] = 0, words[k] = other << 16;
        else words[k] = h | other << 16;
        if (f32_is_nan(w[1])) w[1] = 0, words[k] &= 0xFFFFu;
        codes[k] = nvfp4_code(w[0] / e) | (uint32_t)nvfp4_code(w[1] / e) << 4;
        if (k < 7) continue;
        uint32_t x[8], got[2], want[2];
        for (int i = 0; i < 8; i++) x[i] = nvfp4_codes_by(&p, words[i]);
        for (int i = 0; i < 2; i++) {
            got[i] = nvfp4_codes_pack(x + 4 * i);
            want[i] = codes[4 * i] | codes[4 * i + 1] << 8 | codes[4 * i + 2] << 16 | codes[4 * i + 3] << 24;
            if (got[i] != want[i] && failures++ < 20)
                printf("FAIL %s words up to %08x / %a: codes %08x, expected %08x\n",
                       dtype == DTYPE_BF16 ? "BF16" : "F16", words[4 * i + 3], (double)e, got[i], want[i]);
        }
        n_checked += 16;
    }
}

/* The largest magnitude among eight words, wherever it stands, NaN above infinity above all. */
static void check_amax(enum dtype dtype)
{
    for (uint32_t h = 0; h < 65536; h++)
        for (uint32_t at = h % 3; at < 16; at += 3) {
            uint32_t v[8], most = h & 0x7FFFu;
            for (uint32_t k = 0; k < 8; k++) {
                uint32_t lo = (h * 2654435761u + k * 40503u) >> 13 & 0xFFFFu, hi = (lo * 31u + h) & 0xFFFFu;
                if (k % 2) lo &= 0x83FFu, hi &= 0x83FFu; /* small ones too */
                if (at == 2 * k) lo = h;
                if (at == 2 * k + 1) hi = h;
                if ((lo & 0x7FFFu) > most) most = lo & 0x7FFFu;
                if ((hi & 0x7FFFu) > most) most = hi & 0x7FFFu;
                v[k] = lo | hi << 16;
            }
            n_checked++;
            if (f32_bits(pairs_amax(v, dtype)) != f32_bits(widen_16bit(most, dtype)) && failures++ < 20)
                printf("FAIL amax of eight words with %04x at %u\n", h, at);
        }
}

int main(void)
{
    uint64_t z = 1;
    check_amax(DTYPE_BF16), check_amax(DTYPE_F16);
    for (uint32_t exponent = 127 - 90; exponent <= 127 + 100; exponent++)
        for (int i = 0; i < 600; i++) {
            z = z * 6364136223846793005u + 1442695040888963407u;
            uint32_t mantissa = i == 0 ? 0 : i == 1 ? 0x7FFFFFu : i == 2 ? 1 : (uint32_t)(z >> 41);
            if (i % 7 == 3) mantissa &= 0x7F0000u; /* few bits, as the scales of bf16 tensors may have */
            if (exponent == 127 + 100 && mantissa != 0) continue;
            check_scale(f32_from_bits(exponent << 23 | mantissa));
            float e = f32_from_bits(exponent << 23 | mantissa);
            bool usual = exponent > 97 && exponent < 147;
            if (i == 3 || (i < 3 && usual)) check_pairs(e, DTYPE_BF16), check_pairs(e, DTYPE_F16);
        }
    if (failures == 0) printf("ok thresholds of NVFP4: %llu quotients\n", (unsigned long long)n_checked);
    return failures != 0;
}
