/* Vectors for the files math_<isa>.c, which define LANES (floats per register) before they include this.
 *
 * GCC's vector types only do the same scalar operation side by side, each rounded by itself, so the width of a register
 * cannot change a result. What differs between instruction sets for speed alone (masked loads, selects, folding of
 * sums, the tile of the matrix product) each file defines itself between this header and math_body.h. All names are
 * static: nothing compiled for one instruction set may be linked into another's code. */
#ifndef LANES
#error "define LANES first"
#endif

#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define GROUP 16u                                           /* lanes of a lane sum (math.h) */
#define PARTS (GROUP / LANES)                               /* registers that hold them */
#define INLINE static inline __attribute__((always_inline)) /* loops over constants must dissolve into registers */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef float quad __attribute__((vector_size(16)));
typedef float quad_memory __attribute__((vector_size(16), aligned(4), may_alias));
typedef float vec_memory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec vec_load(const float *p)
{
    return *(const vec_memory *)p;
}

INLINE void vec_store(float *p, vec v)
{
    *(vec_memory *)p = v;
}

INLINE vec vec_fill(float x)
{
    return x - (vec){0}; /* x - 0 is x for every x, also for -0 */
}

/* The work of one call of gemm_tile: y[i, j] (first: = 0, else y[i, j]) + the chain over k < depth, j < n <=
 * GEMM_PANEL. */
struct tile {
    const float *x, *panel; /* [rows, depth], [depth][GEMM_PANEL] */
    float *y;               /* [rows, n] */
    uint64_t ldx, ldy, depth;
    uint32_t n;
    bool first;
};
