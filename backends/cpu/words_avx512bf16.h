/* Codes of a panel as bf16 in registers, for the *_avx512bf16.c files: each lane of a result is one output, its low
 * half an even column, its high half the next. */
#ifndef BACKENDS_CPU_WORDS_AVX512BF16_H
#define BACKENDS_CPU_WORDS_AVX512BF16_H

#include "backends/cpu/gemm.h"
#include "backends/cpu/lanes_avx512.h"

#define UNROLL _Pragma("GCC unroll 12") /* arrays of vectors become registers only when their loops are gone */
#define HALVES 2                        /* registers of sixteen outputs in a panel */

/* Columns of a unit, and its bytes in a panel. */
#define UNIT_COLS(code) ((code) >= CODE_E2M1 ? 8u : 2u)
#define UNIT_PAIRS(code) ((code) >= CODE_E2M1 ? 4u : 1u)
#define UNIT_BYTES(code) ((code) == CODE_E4M3 || (code) == CODE_I8 ? 64u : 128u)

/* What a kind of code looks things up in, loaded once per call. */
struct tables {
    __m512i low[2], high[2]; /* bytes: the two bytes of the bf16 of magnitudes 0 .. 63, 64 .. 127 */
    __m512i words;           /* nibbles: 32 bf16 */
};

struct byte_tables {
    uint8_t low[128], high[128];
};

/* bf16 of the numbers that nibbles stand for; I4_ZERO: of -16 .. 15 in two's complement of five bits. */
LANES_FN void nibble_words(enum packed_code code, uint16_t words[32])
{
    for (uint32_t c = 0; c < 32; c++) {
        float v = code == CODE_E2M1 ? e2m1_decode((uint8_t)(c & 15u))
                  : code == CODE_I4 ? (float)(c % 16) - (c % 16 < 8 ? 0.0f : 16.0f)
                  : c < 16          ? (float)c
                                    : (float)c - 32.0f;
        words[c] = bf16_encode(v);
    }
}

LANES_FN struct tables tables_of(enum packed_code code)
{
    struct tables t = {0};
    if (code == CODE_E4M3 || code == CODE_I8) {
        struct byte_tables b;
        for (uint32_t c = 0; c < 128; c++) {
            uint16_t h = bf16_encode(code == CODE_E4M3 ? e4m3_decode((uint8_t)c) : (float)c);
            b.low[c] = (uint8_t)h;
            b.high[c] = (uint8_t)(h >> 8);
        }
        for (int i = 0; i < 2; i++) {
            t.low[i] = _mm512_loadu_si512(b.low + 64 * i);
            t.high[i] = _mm512_loadu_si512(b.high + 64 * i);
        }
    }
    if (code >= CODE_E2M1) {
        uint16_t words[32];
        nibble_words(code, words);
        t.words = _mm512_loadu_si512(words);
    }
    return t;
}

/* 64 bytes: the pairs of 16 outputs in the low half of each 128 bits, of the other 16 in the high half. Magnitudes are
 * looked up, then the sign bit is put on; -128, whose magnitude has no place among seven bits, by hand. */
LANES_FN void words_of_bytes(enum packed_code code, const struct tables *t, const uint8_t *unit, __m512i w[HALVES])
{
    __m512i b = _mm512_load_si512(unit), sign = _mm512_set1_epi8((char)0x80);
    __m512i at = code == CODE_I8 ? _mm512_abs_epi8(b) : b;
    __m512i low = _mm512_permutex2var_epi8(t->low[0], at, t->low[1]);
    __m512i high = _mm512_permutex2var_epi8(t->high[0], at, t->high[1]);
    if (code == CODE_I8) high = _mm512_mask_mov_epi8(high, _mm512_cmpeq_epi8_mask(b, sign), _mm512_set1_epi8(0x43));
    high = _mm512_ternarylogic_epi32(high, b, sign, 0xF8); /* high | (b & sign) */
    w[0] = _mm512_unpacklo_epi8(low, high);
    w[1] = _mm512_unpackhi_epi8(low, high);
}

/* The words of a unit: w[pair][half]. zero: I4_ZERO's zero points, in both words of a lane. */
LANES_FN void unit_words(enum packed_code code, const struct tables *t, const __m512i zero[HALVES], const uint8_t *unit,
                         __m512i w[][HALVES])
{
    if (code == CODE_E4M3 || code == CODE_I8) {
        words_of_bytes(code, t, unit, w[0]);
        return;
    }
    UNROLL
    for (int h = 0; h < HALVES; h++) {
        __m512i u = _mm512_load_si512(unit + 64 * h);
        if (code == CODE_BF16) {
            w[0][h] = u;
            continue;
        }
        const __m512i shifted[4] = {u, _mm512_srli_epi16(u, 4), _mm512_srli_epi16(u, 8), _mm512_srli_epi16(u, 12)};
        UNROLL
        for (unsigned p = 0; p < 4; p++) {
            __m512i at = shifted[p];
            if (code == CODE_I4_ZERO) at = _mm512_sub_epi16(_mm512_and_si512(at, _mm512_set1_epi16(15)), zero[h]);
            w[p][h] = _mm512_permutexvar_epi16(at, t->words); /* the low five bits of a word choose */
        }
    }
}

/* Even and odd columns of a word register as fp32. */
LANES_FN __m512 words_even(__m512i w)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
}

LANES_FN __m512 words_odd(__m512i w)
{
    return _mm512_castsi512_ps(_mm512_and_si512(w, lanes_u32(0xFFFF0000u)));
}

/* Scales of sixteen outputs of group g. */
LANES_FN __m512 scale_lanes(const struct packed *p, const uint8_t *scales, uint64_t g, int half)
{
    uint64_t i = g * PANEL_ROWS + 16u * (uint64_t)half;
    switch (p->scale) {
    case SCALE_F32: return _mm512_load_ps(scales + 4 * i);
    case SCALE_F16: return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)(scales + 2 * i)));
    case SCALE_BF16: return lanes_bf16_decode(_mm256_load_si256((const __m256i *)(const void *)(scales + 2 * i)));
    case SCALE_E4M3: {
        /* Sign and magnitude moved to where fp32 has them are 2^120 too small, denormals included. */
        __m512i b = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(const void *)(scales + i)));
        __m512i moved = _mm512_and_si512(_mm512_srai_epi32(_mm512_slli_epi32(b, 24), 4), lanes_u32(0x87F00000u));
        __m512 small = _mm512_castsi512_ps(moved);
        /* Powers of two do not round: one product is as good as two, while the factor has room for them. */
        if (p->factor < 0x1p7f) return _mm512_mul_ps(small, _mm512_set1_ps(p->factor * 0x1p120f));
        return _mm512_mul_ps(_mm512_mul_ps(small, _mm512_set1_ps(0x1p120f)), _mm512_set1_ps(p->factor));
    }
    case SCALE_E8M0: {
        __m512i b = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(const void *)(scales + i)));
        __m512i normal = _mm512_slli_epi32(b, 23);
        return _mm512_castsi512_ps(
            _mm512_mask_mov_epi32(normal, _mm512_testn_epi32_mask(b, b), lanes_u32(0x00400000u)));
    }
    case SCALE_NONE: break;
    }
    return _mm512_set1_ps(1.0f);
}

/* Zero points of sixteen outputs of group g, in both words of a lane. */
LANES_FN __m512i zero_lanes(const uint8_t *zeros, uint64_t g, int half)
{
    const void *at = zeros + g * PANEL_ROWS + 16u * (uint64_t)half;
    return _mm512_mullo_epi32(_mm512_cvtepu8_epi32(_mm_load_si128(at)), lanes_u32(0x00010001u));
}

LANES_FN uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

LANES_FN __mmask16 lanes_of(uint32_t n, int half)
{
    uint32_t from = 16u * (uint32_t)half;
    return lanes_first(n < from ? 0 : n - from);
}

LANES_FN const uint8_t *scales_of(const struct packed *p, const uint8_t *panel)
{
    return panel + p->code_bytes;
}

LANES_FN const uint8_t *zeros_of(const struct packed *p, const uint8_t *panel)
{
    uint32_t size = p->scale == SCALE_F32 ? 4 : 2; /* I4_ZERO comes with F32, F16 or BF16 */
    if (p->scale == SCALE_E4M3 || p->scale == SCALE_E8M0) size = 1;
    return panel + p->code_bytes + p->n_groups * PANEL_ROWS * size;
}

/* Scales and zero points of a group, of one panel or of two. */
#define WIDE 2

struct group {
    __m512 scale[WIDE][HALVES];
    __m512i zero[WIDE][HALVES];
};

LANES_FN void group_load(enum packed_code code, const struct packed *p, int wide, const uint8_t *panel, uint64_t g,
                         struct group *out)
{
    UNROLL
    for (int i = 0; i < wide; i++) UNROLL
    for (int h = 0; h < HALVES; h++) {
        const uint8_t *at = panel + (uint64_t)i * p->panel_bytes;
        out->scale[i][h] = scale_lanes(p, scales_of(p, at), g, h);
        out->zero[i][h] = code == CODE_I4_ZERO ? zero_lanes(zeros_of(p, at), g, h) : _mm512_setzero_si512();
    }
}

#define EACH_CODE(DO) DO(CODE_BF16) DO(CODE_E4M3) DO(CODE_I8) DO(CODE_E2M1) DO(CODE_I4) DO(CODE_I4_ZERO)

/* The two halves of the table: gemm_rows_avx512bf16.c, gemm_tiles_avx512bf16.c. Panels from output `from` on, two at a
 * time, with row i of x; one panel with all rows. */
void gemm_rows_fp32(const struct gemm_call *c, uint64_t i, uint32_t from);
void gemm_rows_bf16(const struct gemm_call *c, uint64_t i, uint32_t from);
void gemm_tiles_fp32(const struct gemm_call *c);
void gemm_tiles_bf16(const struct gemm_call *c);

#endif
