/* One step of a bf16 product, to the bit: what VDPBF16PS does to one of its lanes, in portable arithmetic.
 *
 * Intel describes the instruction as two fused multiply-adds per pair, the odd element first, each rounded to nearest
 * even, with denormal inputs read as zeros of their sign, denormal results replaced by zeros of their sign, and MXCSR
 * neither read nor written (Intel 64 and IA-32 Architectures Software Developer's Manual, VDPBF16PS). AMD's Zen 4 gives
 * the same bits; tests/kernels/test_gemm.c compares this file with the instruction of the machine it runs on. A result
 * is small ("denormal") when it is below 2^-126 after rounding to 24 bits with an unbounded exponent. */
#ifndef BACKENDS_CPU_DOT_BF16_H
#define BACKENDS_CPU_DOT_BF16_H

#include "numeric/half.h"

static inline float flush_input(float x)
{
    return f32_magnitude_bits(x) < 0x00800000u ? f32_from_bits(f32_bits(x) & F32_SIGN_BIT) : x;
}

/* acc + x * w; x, w and acc hold no denormals. */
static inline float dot_step(float acc, float x, float w)
{
    float sum = __builtin_fmaf(x, w, acc);
    if (f32_magnitude_bits(sum) > 0x00800000u) return sum;
    /* At most 2^-126: again 2^60 times larger, where rounding knows no denormals. (Where that overflows, the sum is an
     * exact zero, and `large` is no number below.) */
    float large = __builtin_fmaf(x * 0x1p60f, w, acc * 0x1p60f);
    if (large == 0.0f || !(f32_abs(large) < 0x1p-66f)) return sum;
    return f32_from_bits(f32_bits(large) & F32_SIGN_BIT);
}

/* A pair: odd element first. */
static inline float dot_pair(float acc, const uint16_t x[2], const uint16_t w[2])
{
    acc = dot_step(acc, flush_input(bf16_decode(x[1])), flush_input(bf16_decode(w[1])));
    return dot_step(acc, flush_input(bf16_decode(x[0])), flush_input(bf16_decode(w[0])));
}

#endif
