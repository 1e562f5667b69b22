/* What every header of this folder stands on: how its functions are declared, and the bits of a float.
 *
 * numeric/ is the specification of every number that ingot writes (docs/numerics.md says it in words). Its functions
 * are plain fp32 arithmetic in the common subset of C11, C++17 and CUDA: the scalar CPU kernels, the CUDA kernels and
 * the tests compile the same text, so a test on a machine without a GPU covers the arithmetic that a GPU will execute.
 *
 * All of it assumes IEEE 754 binary32 with one rounding per operation: round to nearest, ties to even; no contraction
 * of a*b+c (-ffp-contract=off, -fmad=false); correctly rounded division; denormals neither flushed nor read as zero; no
 * library functions. The checks below refuse what a compiler lets us see of the opposite; nvcc shows nothing of its
 * --use_fast_math, so for CUDA the PTX is read instead (make check-cuda-host).
 *
 * One rule for NaN: a conversion to a smaller type gives that type's one NaN (the pattern NVIDIA's conversions give,
 * all bits set but the sign), whatever sign and payload came in. Callers refuse NaN before anything is written. */
#ifndef NUMERIC_NUMERIC_H
#define NUMERIC_NUMERIC_H

#include <stdint.h>
#include <string.h>

#ifdef __FAST_MATH__
#error "fast-math changes quantized bytes: compile without it"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "float must be evaluated as float: compile for SSE2 or newer"
#endif

/* `static`, not only `inline`: a file compiled for a newer instruction set must keep its copy to itself. */
#ifdef __CUDACC__
#define NUM_FN static __host__ __device__ inline
#else
#define NUM_FN static inline
#endif

#define F32_SIGN_BIT 0x80000000u
#define F32_INFINITY_BITS 0x7F800000u    /* magnitudes above it are NaN */
#define F32_NAN_BITS 0x7FC00000u         /* the NaN our own results hold: quiet, positive, no payload */

/* The bits of x; -0, denormals, infinities and NaN as they are. */
NUM_FN uint32_t f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

NUM_FN float f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* The bits of |x|. They order magnitudes as unsigned integers: finite < infinity < NaN. */
NUM_FN uint32_t f32_magnitude_bits(float x)
{
    return f32_bits(x) & ~F32_SIGN_BIT;
}

/* |x|; a NaN keeps its payload and loses its sign. */
NUM_FN float f32_abs(float x)
{
    return f32_from_bits(f32_magnitude_bits(x));
}

NUM_FN int f32_is_nan(float x)
{
    return f32_magnitude_bits(x) > F32_INFINITY_BITS;
}

/* The larger magnitude of the non-negative `amax` and x, compared by bits: an infinity beats every number, a NaN beats
 * everything. A maximum over many values is therefore exact in any order, and a NaN is found and never hidden. */
NUM_FN float f32_amax(float amax, float x)
{
    uint32_t a = f32_bits(amax), b = f32_magnitude_bits(x);
    return f32_from_bits(a > b ? a : b);
}

/* u / 2^n to the nearest integer, ties to even; n from 1 to 31, u at most 2^32 - 2^(n-1). */
NUM_FN uint32_t u32_round_shift(uint32_t u, uint32_t n)
{
    return (u + ((1u << (n - 1u)) - 1u) + (u >> n & 1u)) >> n;
}

#endif
