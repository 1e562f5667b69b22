/* exp and what is made of it, from additions, multiplications and divisions alone, each rounded to nearest.
 *
 * e^x = 2^n * e^r with n the integer nearest to x/ln 2 and r = x - n ln 2, |r| <= 0.3466. ln 2 is subtracted in two
 * parts: the first has 16 bits, so that n times it is exact. e^r = 1 + r + r^2 q(r); q is the polynomial of degree 4
 * with the smallest relative error of e^r on that interval (Remez exchange; 2^-28.2), its coefficients rounded to fp32.
 * Errors over all arguments, measured by tests/kernels/test_math, stand in math.h. */
#include "backends/cpu/math_sum_body.h"

#define EXP_LOW -120.0f          /* below it even x e^x is less than half of the smallest denormal */
#define EXP_HIGH 89.0f           /* above it e^x is larger than every float */
#define EXP_BIG_BITS 0x4b400000u /* 1.5 * 2^23: added to a small number, it rounds that to an integer in the low bits  \
                                  */

/* e^x = fraction * half1 * half2, the latter two powers of 2 and normal numbers: a result that is not a normal number
 * is rounded once, in the last product. For x below EXP_LOW half1 is 0. */
struct exp_factors {
    vec fraction, half1, half2;
};

INLINE struct exp_factors exp_factor(vec x)
{
    const vec low = vec_fill(EXP_LOW), high = vec_fill(EXP_HIGH), big = (vec)((uvec){0} + EXP_BIG_BITS);
    vec t = vec_min(high, vec_max(low, x)); /* in this order of arguments a NaN stays */
    vec shifted = t * 0x1.715476p+0f + big; /* 1/ln 2 */
    vec n = shifted - big;
    vec r = (t - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
    vec q = r * 0x1.6a2352p-10f + 0x1.123a6ap-7f;
    q = q * r + 0x1.5558f4p-5f;
    q = q * r + 0x1.555490p-3f;
    q = q * r + 0x1.fffffcp-2f;
    uvec e = (uvec)shifted - (EXP_BIG_BITS - 256u); /* n + 256: positive */
    uvec e1 = e >> 1, e2 = e - e1;                  /* n1 + 128 and n2 + 128 with n1 + n2 = n */
    vec half1 = (vec)((e1 - 1u) << 23), half2 = (vec)((e2 - 1u) << 23);
    return (struct exp_factors){(r * r * q + r) + 1.0f, vec_pick_less(x, low, (vec){0}, half1), half2};
}

INLINE vec vec_exp(vec x)
{
    struct exp_factors e = exp_factor(x);
    return e.fraction * e.half1 * e.half2;
}

/* max(x, 0), where a NaN stays. */
INLINE vec vec_relu(vec x)
{
    return vec_max((vec){0}, x);
}

INLINE vec vec_minus_magnitude(vec x)
{
    return (vec)((uvec)x | 0x80000000u);
}

/* With e = e^-|x|: 1 / (1 + e) for positive x, e / (1 + e) for negative x. The power of 2 of the second numerator is
 * multiplied last, so that results near and below the smallest normal number keep their digits. */
INLINE vec vec_gate(vec x, vec times)
{
    struct exp_factors e = exp_factor(vec_minus_magnitude(x));
    const vec zero = {0}, one = vec_fill(1.0f);
    vec quotient = vec_pick_less(x, zero, times * e.fraction, times) / (e.fraction * e.half1 * e.half2 + 1.0f);
    return quotient * vec_pick_less(x, zero, e.half1, one) * vec_pick_less(x, zero, e.half2, one);
}

INLINE vec vec_sigmoid(vec x)
{
    return vec_gate(x, vec_fill(1.0f));
}

/* -inf gives NaN, as x / (1 + e^-x) does; +inf gives +inf. */
INLINE vec vec_silu(vec x)
{
    return vec_gate(x, x);
}

/* log(1 + e) = 2 atanh(e / (2 + e)) = t + t z p(z) with t = e / (1 + e/2) and z = (t/2)^2 <= 1/9. p is the polynomial
 * of degree 4 nearest to (atanh(s)/s - 1)/s^2 in z = s^2 (Remez exchange, error of the sum 2^-33), rounded to fp32. */
INLINE vec vec_softplus(vec x)
{
    vec e = vec_exp(vec_minus_magnitude(x));
    vec t = e / (e * 0.5f + 1.0f);
    vec z = t * 0.25f * t;
    vec p = z * 0x1.f1d562p-4f + 0x1.b6cd3cp-4f;
    p = p * z + 0x1.2509d6p-3f;
    p = p * z + 0x1.9996a6p-3f;
    p = p * z + 0x1.555558p-2f;
    return vec_relu(x) + (t * (z * p) + t);
}

static void exp_each(float *y, const float *x, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += LANES) vec_store_upto(y + i, vec_exp(vec_load_upto(x + i, n - i)), n - i);
}
