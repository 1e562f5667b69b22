/* The tables of math.h and what is the same for all of them. */
#include "backends/cpu/math.h"

#include <stddef.h>

const struct math_ops *const math_tables[] = {
    &math_scalar, /* vectors of four where the compiler has them: NEON on ARM */
#if defined(__x86_64__)
    &math_avx2, &math_avx512,
#endif
    NULL};

const struct math_ops *math_for(uint64_t isa)
{
    const struct math_ops *best = math_tables[0];
    for (const struct math_ops *const *t = math_tables; *t; t++)
        if (((*t)->isa & ~isa) == 0) best = *t;
    return best;
}

typedef float quad __attribute__((vector_size(16)));
typedef float quad_memory __attribute__((vector_size(16), aligned(4), may_alias));

/* 4 x 4 floats, transposed. */
static void pack_square(const float *w, uint64_t ldw, float *panel)
{
    quad a = *(const quad_memory *)w, b = *(const quad_memory *)(w + ldw);
    quad c = *(const quad_memory *)(w + 2 * ldw), d = *(const quad_memory *)(w + 3 * ldw);
    quad ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    quad cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(quad_memory *)panel = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
    *(quad_memory *)(panel + GEMM_PANEL) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
    *(quad_memory *)(panel + 2 * GEMM_PANEL) = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5);
    *(quad_memory *)(panel + 3 * GEMM_PANEL) = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
}

/* Blocks of columns, and in them four rows at a time: rows whose distance is a power of two share a few places in the
 * first-level cache and would drive each other out. */
#define PACK_COLUMNS 64u

void gemm_pack(const float *w, uint64_t ldw, uint32_t n, uint64_t k, float *panel)
{
    uint32_t whole_n = n / 4 * 4;
    uint64_t whole_k = k / 4 * 4;
    for (uint64_t from = 0; from < whole_k; from += PACK_COLUMNS) {
        uint64_t to = whole_k - from < PACK_COLUMNS ? whole_k : from + PACK_COLUMNS;
        for (uint32_t j = 0; j < whole_n; j += 4)
            for (uint64_t i = from; i < to; i += 4) pack_square(w + j * ldw + i, ldw, panel + i * GEMM_PANEL + j);
    }
    for (uint64_t i = 0; i < k; i++)
        for (uint32_t j = i < whole_k ? whole_n : 0; j < GEMM_PANEL; j++)
            panel[i * GEMM_PANEL + j] = j < n ? w[j * ldw + i] : 0.0f;
}
