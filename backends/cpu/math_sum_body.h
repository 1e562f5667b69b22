/* Loads and stores at the end of an array, and the lane sum that math.h prescribes. */

/* The first n floats, at most LANES; zeros beyond. */
INLINE vec vec_load_upto(const float *p, uint64_t n)
{
    return n >= LANES ? vec_load(p) : vec_load_part(p, n);
}

INLINE void vec_store_upto(float *p, vec v, uint64_t n)
{
    if (n >= LANES) vec_store(p, v);
    else vec_store_part(p, v, n);
}

/* Lanes j and j + 8 are added, then j and j + 4, j + 2, j + 1. */
INLINE float group_total(const vec g[PARTS])
{
    quad q = group_fold(g);
    return (q[0] + q[2]) + (q[1] + q[3]);
}

/* group_total of four sums at once, from what group_fold left of them. */
INLINE quad quad_totals(const quad q[4])
{
    quad ab = __builtin_shufflevector(q[0], q[1], 0, 1, 4, 5) + __builtin_shufflevector(q[0], q[1], 2, 3, 6, 7);
    quad cd = __builtin_shufflevector(q[2], q[3], 0, 1, 4, 5) + __builtin_shufflevector(q[2], q[3], 2, 3, 6, 7);
    return __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

/* The lane sum of x[i] * y[i], or of x[i]. The zeros that fill the last group change nothing: a lane begins at +0 and
 * so can never be -0, the only number to which adding +0 makes a difference. */
INLINE float lane_sum(const float *x, const float *y, const bool product, uint64_t n)
{
    vec g[PARTS] = {0};
    uint64_t i = 0;
    for (; i + GROUP <= n; i += GROUP)
#pragma GCC unroll 4
        for (uint32_t u = 0; u < PARTS; u++) {
            vec v = vec_load(x + i + u * LANES);
            g[u] += product ? v * vec_load(y + i + u * LANES) : v;
        }
#pragma GCC unroll 4
    for (uint32_t u = 0; u < PARTS; u++, i += LANES)
        if (i < n) {
            vec v = vec_load_upto(x + i, n - i);
            g[u] += product ? v * vec_load_upto(y + i, n - i) : v;
        }
    return group_total(g);
}
