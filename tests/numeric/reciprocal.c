/* The quotient of backends/cpu/fast_avx512.h against the CPU's division: every significand of bf16 over every one of
 * fp32, 2^30 pairs (1 s). */
#include <stdint.h>
#include <stdio.h>

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static uint64_t wrong_pairs(void)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    uint64_t wrong = 0;
    for (uint32_t m = 0; m < 1u << 23; m++) {
        __m512 e = _mm512_castsi512_ps(_mm512_set1_epi32((int)(0x3F800000u | m)));
        __m512 r = _mm512_div_ps(_mm512_set1_ps(1.0f), e);
        for (int k = 0x3F80; k < 0x4000; k += 16) {
            __m512 w = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(k)), 16));
            __m512 q = _mm512_mul_ps(w, r);
            q = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, e, w), r, q);
            wrong += (uint64_t)__builtin_popcount(_mm512_cmpneq_epi32_mask(_mm512_castps_si512(q), _mm512_castps_si512(_mm512_div_ps(w, e))));
        }
    }
    return wrong;
}

int main(void)
{
    if (!__builtin_cpu_supports("avx512f")) {
        puts("skip quotients without a division: this CPU has no AVX-512");
        return 0;
    }
    uint64_t wrong = wrong_pairs();
    if (wrong) printf("FAIL quotients without a division: %llu of 2^30 are not the division's\n", (unsigned long long)wrong);
    else puts("ok quotients without a division");
    return wrong != 0;
}
#else
int main(void)
{
    puts("skip quotients without a division: they are AVX-512's");
    return 0;
}
#endif
