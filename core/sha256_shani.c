/* Compiled with the instructions allowed; sha256_blocks_usable asks for no more than it needs to find them. */
#include "core/sha256_blocks.h"

#include <cpuid.h>
#include <immintrin.h>

#define STREAMS_FN static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16") /* arrays of vectors become registers only when their loops are gone */

/* K of the standard: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

bool sha256_blocks_usable(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool sse41 = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_SSE4_1) != 0;
    return sse41 && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_SHA) != 0;
}

/* The instructions keep the state as (A B E F) and (C D G H), highest lane first. */
struct halves {
    __m128i abef, cdgh;
};

STREAMS_FN struct halves halves_load(const uint32_t s[8])
{
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)s), 0x1B);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(s + 4)), 0x1B);
    return (struct halves){_mm_unpackhi_epi64(efgh, abcd), _mm_unpacklo_epi64(efgh, abcd)};
}

STREAMS_FN void halves_store(uint32_t s[8], struct halves h)
{
    __m128i abcd = _mm_unpackhi_epi64(h.cdgh, h.abef), efgh = _mm_unpacklo_epi64(h.cdgh, h.abef);
    _mm_storeu_si128((__m128i *)(void *)s, _mm_shuffle_epi32(abcd, 0x1B));
    _mm_storeu_si128((__m128i *)(void *)(s + 4), _mm_shuffle_epi32(efgh, 0x1B));
}

/* Four words of the message schedule: m[r % 4] becomes W(4r .. 4r+3). */
STREAMS_FN void schedule(__m128i m[4], int r, const uint8_t *p)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    if (r < 4) {
        m[r] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * r)), big_endian);
        return;
    }
    __m128i w = _mm_sha256msg1_epu32(m[r % 4], m[(r + 1) % 4]);
    w = _mm_add_epi32(w, _mm_alignr_epi8(m[(r + 3) % 4], m[(r + 2) % 4], 4));
    m[r % 4] = _mm_sha256msg2_epu32(w, m[(r + 3) % 4]);
}

STREAMS_FN void compress(uint32_t *const state[], const uint8_t *const data[], int streams, size_t n)
{
    struct halves h[2];
    const uint8_t *p[2];
    UNROLL
    for (int k = 0; k < streams; k++) {
        h[k] = halves_load(state[k]);
        p[k] = data[k];
    }
    for (; n; n--) {
        struct halves before[2];
        __m128i m[2][4];
        UNROLL
        for (int k = 0; k < streams; k++) before[k] = h[k];
        UNROLL
        for (int r = 0; r < 16; r++) {
            __m128i constant = _mm_loadu_si128((const __m128i *)(const void *)(constants + 4 * r));
            UNROLL
            for (int k = 0; k < streams; k++) {
                schedule(m[k], r, p[k]);
                __m128i w = _mm_add_epi32(m[k][r % 4], constant);
                h[k].cdgh = _mm_sha256rnds2_epu32(h[k].cdgh, h[k].abef, w);
                h[k].abef = _mm_sha256rnds2_epu32(h[k].abef, h[k].cdgh, _mm_shuffle_epi32(w, 0x0E));
            }
        }
        UNROLL
        for (int k = 0; k < streams; k++) {
            h[k].abef = _mm_add_epi32(h[k].abef, before[k].abef);
            h[k].cdgh = _mm_add_epi32(h[k].cdgh, before[k].cdgh);
            p[k] += 64;
        }
    }
    UNROLL
    for (int k = 0; k < streams; k++) halves_store(state[k], h[k]);
}

void sha256_blocks(uint32_t state[8], const uint8_t *data, size_t n)
{
    compress(&state, &data, 1, n);
}

void sha256_blocks_pair(uint32_t a[8], const uint8_t *data_a, uint32_t b[8], const uint8_t *data_b, size_t n)
{
    compress((uint32_t *const[]){a, b}, (const uint8_t *const[]){data_a, data_b}, 2, n);
}
