/* The arithmetic of math.h in plain C: the specification that the other tables must equal. Four lanes, because every
 * compiler can write four lanes as four scalar operations and every CPU we know has registers for them. */
#define LANES 4u
#include "backends/cpu/math_vector_body.h"

/* The first n < LANES floats; zeros beyond. */
INLINE vec vec_load_part(const float *p, uint64_t n)
{
    vec v = {0};
    for (uint64_t i = 0; i < n; i++) v[i] = p[i];
    return v;
}

INLINE void vec_store_part(float *p, vec v, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) p[i] = v[i];
}

/* The first n < LANES lanes of v; zeros beyond. */
INLINE vec vec_keep(vec v, uint64_t n)
{
    vec kept = {0};
    for (uint64_t i = 0; i < n; i++) kept[i] = v[i];
    return kept;
}

/* a < b ? yes : no */
INLINE vec vec_pick_less(vec a, vec b, vec yes, vec no)
{
    ivec m = a < b;
    return (vec)((m & (ivec)yes) | (~m & (ivec)no));
}

/* a > b ? a : b, so b when either is a NaN */
INLINE vec vec_max(vec a, vec b)
{
    return vec_pick_less(b, a, a, b);
}

/* a < b ? a : b */
INLINE vec vec_min(vec a, vec b)
{
    return vec_pick_less(a, b, a, b);
}

INLINE ivec ivec_max(ivec a, ivec b)
{
    ivec m = a > b;
    return (m & a) | (~m & b);
}

/* Lanes j and j + 8, then j and j + 4. */
INLINE quad group_fold(const vec g[PARTS])
{
    return (g[0] + g[2]) + (g[1] + g[3]);
}

/* fmaf may be a call into libm here; it is the one function of it whose every result is prescribed (IEEE 754: one
 * rounding), so that any libm gives the same. */
#define TILE_ROWS 1u

INLINE void gemm_tile(const uint32_t rows, const struct tile *t)
{
    (void)rows;
    float sum[GEMM_PANEL] = {0};
    if (!t->first) memcpy(sum, t->y, t->n * sizeof *sum);
    for (uint64_t k = 0; k < t->depth; k++)
        for (uint32_t j = 0; j < t->n; j++) sum[j] = __builtin_fmaf(t->x[k], t->panel[k * GEMM_PANEL + j], sum[j]);
    memcpy(t->y, sum, t->n * sizeof *sum);
}

#include "backends/cpu/math_body.h"

const struct math_ops math_scalar = MATH_OPS("scalar", 0);
