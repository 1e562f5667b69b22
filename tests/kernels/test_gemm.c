/* backends/cpu/packed.h and gemm.h: every type of weight, every table, both arithmetics, bit for bit against loops written
 * from the words of the headers on the rows as a file has them. The bf16 step is compared with the CPU's own instruction
 * where there is one. */
#include "tests/kernels/math_fence.h"

#include "backends/cpu/dot_bf16.h"
#include "backends/cpu/gemm.h"
#include "numeric/e2m1.h"
#include "numeric/e4m3.h"
#include "numeric/e8m0.h"

static const struct kind { const char *name; enum packed_code code; enum packed_scale scale; uint64_t group; } kinds[] = {
    {"f32", CODE_F32, SCALE_NONE, 0},         {"f16", CODE_F16, SCALE_NONE, 0},         {"bf16", CODE_BF16, SCALE_NONE, 0},
    {"fp8 row", CODE_E4M3, SCALE_F32, ~0ull}, {"fp8 block", CODE_E4M3, SCALE_F32, 128}, {"mxfp8", CODE_E4M3, SCALE_E8M0, 32},
    {"q8_0", CODE_I8, SCALE_F16, 32},         {"nvfp4", CODE_E2M1, SCALE_E4M3, 16},     {"mxfp4", CODE_E2M1, SCALE_E8M0, 32},
    {"int4 f32", CODE_I4, SCALE_F32, 128},    {"int4 bf16", CODE_I4, SCALE_BF16, 32},   {"int4 zero", CODE_I4_ZERO, SCALE_F16, 64},
    {"int4 rows", CODE_I4, SCALE_F32, ~0ull},
};
#define N_KINDS (sizeof kinds / sizeof *kinds)

enum { ROWS_MAX = 100, COLS_MAX = 1100, M_MAX = 30 };

/* A matrix as a file has it. */
static struct {
    struct packed p;
    uint8_t codes[ROWS_MAX * COLS_MAX * 4], scales[ROWS_MAX * COLS_MAX / 4], zeros[ROWS_MAX * COLS_MAX / 8];
    uint64_t code_stride, scale_stride;
    uint8_t *panels;
} mat;

static uint32_t code_bits(enum packed_code c) { return c == CODE_F32 ? 32 : c <= CODE_BF16 ? 16 : c < CODE_E2M1 ? 8 : 4; }
static uint32_t scale_size(enum packed_scale s) { return s == SCALE_NONE ? 0 : s == SCALE_F32 ? 4 : s <= SCALE_BF16 ? 2 : 1; }

static float finite_number(uint64_t *seed, enum numbers kind)
{
    float x;
    do x = number(kind, seed);
    while (!isfinite(x));
    return x;
}

static void put_half(uint8_t *to, uint16_t h) { memcpy(to, &h, 2); }

static void fill(const struct kind *k, enum numbers numbers, uint64_t seed)
{
    struct packed *p = &mat.p;
    mat.code_stride = p->cols * code_bits(k->code) / 8;
    mat.scale_stride = p->n_groups * scale_size(k->scale);
    for (uint64_t r = 0; r < p->rows; r++) {
        uint8_t *row = mat.codes + r * mat.code_stride;
        for (uint64_t i = 0; i < (k->code <= CODE_BF16 ? p->cols : mat.code_stride); i++) {
            float x = k->code <= CODE_BF16 ? finite_number(&seed, numbers) : 0;
            if (k->code == CODE_F32) memcpy(row + 4 * i, &x, 4);
            else if (k->code == CODE_BF16) put_half(row + 2 * i, bf16_encode(x) == 0x7F80 ? 0x7F7F : bf16_encode(x) == 0xFF80 ? 0xFF7F : bf16_encode(x));
            else if (k->code == CODE_F16) put_half(row + 2 * i, f16_encode(fabsf(x) > 6e4f ? 3.0f : x));
            else row[i] = (uint8_t)check_random(&seed);
            if (k->code == CODE_E4M3 && (row[i] & 0x7F) == 0x7F) row[i] = 0x08;
        }
        for (uint64_t g = 0; g < p->n_groups; g++) {
            uint8_t *s = mat.scales + r * mat.scale_stride + g * scale_size(k->scale);
            float x = (float)(check_random(&seed) % 4000 + 1) * 0x1p-9f;
            if (k->scale == SCALE_F32) memcpy(s, &x, 4);
            if (k->scale == SCALE_BF16) put_half(s, bf16_encode(x));
            if (k->scale == SCALE_F16) put_half(s, f16_encode(x));
            if (k->scale == SCALE_E4M3) *s = (uint8_t)(check_random(&seed) % 255 == 0x7F ? 0x81 : check_random(&seed) & 0xFE);
            if (k->scale == SCALE_E8M0) *s = (uint8_t)(check_random(&seed) % 9 == 0 ? 0 : 100 + check_random(&seed) % 40);
            mat.zeros[r * p->n_groups + g] = (uint8_t)(check_random(&seed) % 16);
        }
    }
}

/* What the file says of element [r, k]. */
static float said_code(const struct kind *k, uint64_t r, uint64_t c)
{
    const uint8_t *row = mat.codes + r * mat.code_stride;
    uint16_t h;
    float x;
    memcpy(&h, row + 2 * c * (k->code <= CODE_BF16), 2);
    memcpy(&x, row + 4 * c * (k->code == CODE_F32), 4);
    uint8_t nibble = (uint8_t)(row[c / 2] >> (c % 2 * 4) & 15);
    switch (k->code) {
    case CODE_F32: return x;
    case CODE_F16: return f16_decode(h);
    case CODE_BF16: return bf16_decode(h);
    case CODE_E4M3: return e4m3_decode(row[c]);
    case CODE_I8: return (float)(int8_t)row[c];
    case CODE_E2M1: return e2m1_decode(nibble);
    case CODE_I4: return (float)(nibble < 8 ? nibble : nibble - 16);
    case CODE_I4_ZERO: return (float)(nibble - mat.zeros[r * mat.p.n_groups + c / mat.p.group]);
    }
    return NAN;
}

static float said_scale(const struct kind *k, uint64_t r, uint64_t g)
{
    const uint8_t *s = mat.scales + r * mat.scale_stride + g * scale_size(k->scale);
    uint16_t h;
    float x;
    memcpy(&h, s, 2);
    memcpy(&x, s, 4);
    switch (k->scale) {
    case SCALE_NONE: return 1.0f;
    case SCALE_F32: return x;
    case SCALE_F16: return f16_decode(h);
    case SCALE_BF16: return bf16_decode(h);
    case SCALE_E4M3: return e4m3_decode(*s) * mat.p.factor;
    case SCALE_E8M0: return e8m0_decode(*s);
    }
    return NAN;
}

static float code_values[ROWS_MAX][COLS_MAX], scale_values[ROWS_MAX][COLS_MAX];

static float said_fp32(const float *x, uint64_t r)
{
    float y = 0;
    for (uint64_t k = 0; k < mat.p.cols; k++) {
        volatile float w = code_values[r][k];
        if (mat.p.scale != SCALE_NONE) w = w * scale_values[r][k / mat.p.group];
        y = fmaf(x[k], w, y);
    }
    return y;
}

static float said_bf16(const float *x, uint64_t r)
{
    float y = 0;
    for (uint64_t g = 0; g < mat.p.n_groups; g++) {
        uint64_t end = (g + 1) * mat.p.group < mat.p.cols ? (g + 1) * mat.p.group : mat.p.cols;
        float sum = 0;
        for (uint64_t k = g * mat.p.group; k < end; k += 2) {
            uint16_t xs[2] = {bf16_encode(x[k]), k + 1 < end ? bf16_encode(x[k + 1]) : 0};
            uint16_t ws[2] = {bf16_encode(code_values[r][k]), k + 1 < end ? bf16_encode(code_values[r][k + 1]) : 0};
            sum = dot_pair(sum, xs, ws);
        }
        y = mat.p.scale == SCALE_NONE ? sum : fmaf(sum, scale_values[r][g], y);
    }
    return y;
}

static bool gemm_runs(const struct gemm_ops *t)
{
    return table_runs(&(struct math_ops){.isa = t->isa}) && (!(t->isa & ISA_BF16) || has_bf16());
}

static void pack(const struct kind *k)
{
    const struct packed *p = &mat.p;
    for (uint64_t i = 0; i < packed_panels(p); i++) {
        uint64_t first = i * PANEL_ROWS, n = p->rows - first < PANEL_ROWS ? p->rows - first : PANEL_ROWS;
        memset(mat.panels + i * p->panel_bytes, 0xA5, p->panel_bytes);
        struct packed_source src = {.codes = mat.codes + first * mat.code_stride, .scales = mat.scales + first * mat.scale_stride,
                                    .zeros = mat.zeros + first * p->n_groups, .code_stride = mat.code_stride,
                                    .scale_stride = mat.scale_stride, .n_rows = (uint32_t)n};
        packed_fill(p, &src, mat.panels + i * p->panel_bytes);
    }
    for (uint64_t r = 0; r < p->rows; r++) {
        for (uint64_t c = 0; c < p->cols; c++) code_values[r][c] = said_code(k, r, c);
        for (uint64_t g = 0; g < p->n_groups; g++) scale_values[r][g] = said_scale(k, r, g);
    }
}

/* One row of x alone must equal it among others: every m is compared with the same expectation. */
static void check_shape(const struct kind *k, uint64_t rows, uint64_t cols, enum numbers numbers)
{
    static float x[M_MAX * (COLS_MAX + 1)], want[2][M_MAX * ROWS_MAX];
    static const uint64_t ms[] = {1, 2, 3, 7, 12, 13, M_MAX};
    static struct fence fy;
    if (!fy.base) fy = fence_new(M_MAX * (ROWS_MAX + 3) + 128);
    if (!packed_shape(&mat.p, k->code, k->scale, rows, cols, k->group, 0x1.8p-3f)) return;
    fill(k, numbers, rows * 31 + cols);
    mat.panels = aligned_alloc(64, packed_bytes(&mat.p));
    pack(k);
    numbers_fill(x, M_MAX * (cols + 1), numbers, 77 + rows);
    for (uint64_t i = 0; i < M_MAX; i++)
        for (uint64_t r = 0; r < rows; r++) {
            want[0][i * rows + r] = said_fp32(x + i * (cols + 1), r);
            want[1][i * rows + r] = k->code == CODE_F32 || k->code == CODE_F16 ? 0 : said_bf16(x + i * (cols + 1), r);
        }
    for (const struct gemm_ops *const *t = gemm_tables; *t; t++)
        for (int bf16 = 0; bf16 < (k->code == CODE_F32 || k->code == CODE_F16 ? 1 : 2); bf16++) {
            if (!gemm_runs(*t)) continue;
            uint64_t stride = (*t)->input_bytes(cols);
            uint8_t *rounded = malloc(M_MAX * stride);
            for (uint64_t i = 0; i < M_MAX; i++) (*t)->input(x + i * (cols + 1), cols, rounded + i * stride);
            for (size_t im = 0; im < sizeof ms / sizeof *ms; im++) {
                uint64_t m = ms[im], ldy = rows + 3, size = (m - 1) * ldy + rows;
                float *y = fence_place(&fy, size, im % 4);
                struct gemm_call c = {.w = &mat.p, .panels = mat.panels, .n = (uint32_t)rows, .m = m, .x = x,
                                      .x_stride = (cols + 1) * 4, .y = y, .ldy = ldy};
                if (bf16) c.x = rounded, c.x_stride = stride;
                (bf16 ? (*t)->bf16 : (*t)->fp32)(&c);
                for (uint64_t i = 0; i < m; i++)
                    for (uint64_t r = 0; r < rows; r++)
                        if (!same_float(y[i * ldy + r], want[bf16][i * rows + r]))
                            fail_msg("%s %s %s [%llu, %llu] m %llu: y[%llu, %llu] is %a, expected %a", (*t)->name, k->name,
                                     bf16 ? "bf16" : "fp32", (unsigned long long)rows, (unsigned long long)cols, (unsigned long long)m,
                                     (unsigned long long)i, (unsigned long long)r, (double)y[i * ldy + r], (double)want[bf16][i * rows + r]);
                fence_check(&fy, y, size, (*t)->name);
            }
            free(rounded);
        }
    free(mat.panels);
}

static void test_products(void **state)
{
    (void)state;
    static const uint64_t shapes[][2] = {{1, 8},   {5, 16},  {31, 64},  {32, 128},  {33, 96},   {64, 256}, {65, 264},
                                         {96, 160}, {100, 1056}, {40, 1088}, {17, 7},  {33, 129}, {64, 131}, {34, 1027}, {3, 1}, {32, 2}};
    for (size_t k = 0; k < N_KINDS; k++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            check_shape(&kinds[k], shapes[s][0], shapes[s][1], (enum numbers)((s + k) % NUMBERS_COUNT));
    for (size_t k = 0; k < N_KINDS; k++)
        for (int numbers = 0; numbers < NUMBERS_COUNT; numbers++) check_shape(&kinds[k], 67, 320, (enum numbers)numbers);
}

/* What a panel means, and that bf16 from fp32 rows is rounded as numeric/half.h does. */
static void test_meaning(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        const struct kind *k = &kinds[i];
        assert_true(packed_shape(&mat.p, k->code, k->scale, 45, 256, k->group, 0x1.8p-3f));
        fill(k, NUMBERS_WILD, i);
        mat.panels = aligned_alloc(64, packed_bytes(&mat.p));
        pack(k);
        static float tile[256 * PANEL_ROWS];
        float scales[PANEL_ROWS];
        for (uint64_t c = 0; c < 256; c += mat.p.group < 256 ? mat.p.group : 256) {
            uint64_t n = mat.p.group < 256 ? mat.p.group : 256;
            packed_codes(&mat.p, mat.panels + mat.p.panel_bytes, c, n, tile);
            packed_scales(&mat.p, mat.panels + mat.p.panel_bytes, c / mat.p.group, scales);
            for (uint64_t r = 0; r < PANEL_ROWS; r++) {
                if (r < 13 && !same_float(scales[r], scale_values[32 + r][c / mat.p.group])) fail_msg("%s: a scale", k->name);
                for (uint64_t j = 0; j < n; j++)
                    if (!same_float(tile[j * PANEL_ROWS + r], r < 13 ? code_values[32 + r][c + j] : 0.0f)) fail_msg("%s: row %llu column %llu", k->name, (unsigned long long)r, (unsigned long long)(c + j));
            }
        }
        free(mat.panels);
    }
    float rows[3 * 9];
    numbers_fill(rows, 27, NUMBERS_WILD, 5);
    assert_true(packed_shape(&mat.p, CODE_BF16, SCALE_NONE, 3, 9, 0, 0));
    mat.panels = aligned_alloc(64, packed_bytes(&mat.p));
    packed_fill_bf16(&mat.p, rows, 9, 3, mat.panels);
    float tile[9 * PANEL_ROWS];
    packed_codes(&mat.p, mat.panels, 0, 9, tile);
    for (uint32_t r = 0; r < PANEL_ROWS; r++)
        for (uint32_t c = 0; c < 9; c++) assert_true(same_float(tile[c * PANEL_ROWS + r], r < 3 ? bf16_decode(bf16_encode(rows[r * 9 + c])) : 0));
    free(mat.panels);
}

static void test_shapes(void **state)
{
    (void)state;
    struct packed p;
    assert_false(packed_shape(&p, CODE_E2M1, SCALE_E4M3, 4, 20, 16, 1));  /* rows of nibbles end between units */
    assert_false(packed_shape(&p, CODE_I4, SCALE_F32, 4, 64, 12, 1));
    assert_false(packed_shape(&p, CODE_E4M3, SCALE_F32, 4, 64, 7, 1));
    assert_false(packed_shape(&p, CODE_BF16, SCALE_F32, 4, 64, 64, 1));
    assert_false(packed_shape(&p, CODE_BF16, SCALE_NONE, 0, 64, 64, 1));
    assert_false(packed_shape(&p, CODE_BF16, SCALE_NONE, 4, 0, 64, 1));
    /* The memory of the file: 4.5 bits for NVFP4, 8.5 for Q8_0, 4.125 for INT4 in groups of 128 with bf16 scales. */
    assert_true(packed_shape(&p, CODE_E2M1, SCALE_E4M3, 64, 1024, 16, 1));
    assert_int_equal(packed_bytes(&p), 64 * 1024 * 9 / 16);
    assert_true(packed_shape(&p, CODE_I8, SCALE_F16, 64, 1024, 32, 1));
    assert_int_equal(packed_bytes(&p), 64 * 1024 * 17 / 16);
    assert_true(packed_shape(&p, CODE_I4, SCALE_BF16, 64, 1024, 128, 1));
    assert_int_equal(packed_bytes(&p), 64 * 1024 * 33 / 64);
    assert_true(packed_shape(&p, CODE_BF16, SCALE_NONE, 64, 1024, 0, 1));
    assert_int_equal(packed_bytes(&p), 64 * 1024 * 2);
}

/* ---- the step and the instruction ---- */

static void test_step(void **state)
{
    (void)state;
    /* By hand: the odd product first; its rounding is felt; results below 2^-126 are zeros of their sign. */
    const uint16_t one = 0x3F80, minus = 0xBF80, small = 0x0080 /* 2^-126 */, half = 0x3F00, denormal = 0x0040;
    assert_true(dot_pair(0x1p24f, (uint16_t[]){one, one}, (uint16_t[]){minus, one}) == 0x1p24f - 1.0f);  /* 2^24 + 1 is 2^24, then - 1 */
    assert_true(dot_pair(0x1p24f, (uint16_t[]){one, one}, (uint16_t[]){one, minus}) == 0x1p24f);         /* 2^24 - 1, then + 1 */
    float zero = dot_pair(0, (uint16_t[]){0, small}, (uint16_t[]){0, (uint16_t)(half | 0x8000)});
    assert_int_equal(bits_of(&zero), 0x00000000);     /* -2^-127 is -0, and -0 + 0 * 0 is 0 */
    zero = dot_pair(0, (uint16_t[]){small, 0}, (uint16_t[]){(uint16_t)(half | 0x8000), 0});
    assert_int_equal(bits_of(&zero), 0x80000000);
    assert_true(dot_pair(0, (uint16_t[]){denormal, 0}, (uint16_t[]){0x7F00, 0}) == 0);
    assert_true(dot_pair(0, (uint16_t[]){small, 0}, (uint16_t[]){one, 0}) == FLT_MIN);
}

#if defined(__x86_64__)
#include <immintrin.h>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) static void instruction(const float *acc, const uint32_t *x, const uint32_t *w, float *out)
{
    _mm512_storeu_ps(out, _mm512_dpbf16_ps(_mm512_loadu_ps(acc), (__m512bh)_mm512_loadu_si512(x), (__m512bh)_mm512_loadu_si512(w)));
}

static uint32_t bf16_bits(int mode, uint64_t *seed)
{
    static const uint16_t special[] = {0, 0x8000, 0x7F80, 0xFF80, 0x7FC0, 1, 0x8001, 0x7F, 0x80, 0x8080, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x4000};
    uint32_t r = (uint32_t)check_random(seed);
    uint32_t sign_and_fraction = r & 0x807Fu, e = r >> 16;
    switch (mode) {
    case 0: return r & 0xFFFF;
    case 1: return sign_and_fraction | 0x3F80;                        /* all near 1: ties, cancellation */
    case 2: return sign_and_fraction | (55 + e % 20) << 7;            /* products around 2^-126 */
    case 3: return sign_and_fraction | (60 + e % 6) << 7;
    default: return special[e % (sizeof special / sizeof *special)];
    }
}

static void test_instruction(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("avx512bf16")) skip();
    uint64_t seed = 3;
    for (int round = 0; round < 400000; round++) {
        uint32_t x[16], w[16];
        float acc[16], got[16];
        for (int i = 0; i < 16; i++) {
            int mode = round % 5;
            x[i] = bf16_bits(mode, &seed) | bf16_bits(mode, &seed) << 16;
            w[i] = bf16_bits(mode, &seed) | bf16_bits(mode, &seed) << 16;
            uint32_t a = (uint32_t)check_random(&seed);
            if (mode == 1) a = (a & 0x807FFFFFu) | (120 + (a >> 24) % 14) << 23;
            if (mode == 2 || mode == 3) a = (a & 0x80000007u) | (a >> 3 & 3) << 23;   /* 0 or just above 2^-126 */
            if (mode == 4) a = bf16_bits(4, &seed) << 16;
            memcpy(&acc[i], &a, 4);
            acc[i] = flush_input(acc[i]);
        }
        instruction(acc, x, w, got);
        for (int i = 0; i < 16; i++) {
            float want = dot_pair(acc[i], (uint16_t[]){(uint16_t)x[i], (uint16_t)(x[i] >> 16)}, (uint16_t[]){(uint16_t)w[i], (uint16_t)(w[i] >> 16)});
            if (!same_float(got[i], want)) fail_msg("acc %a, x %08x, w %08x: the CPU says %a, dot_bf16.h %a", (double)acc[i], x[i], w[i], (double)got[i], (double)want);
        }
    }
}
#else
static void test_instruction(void **state) { (void)state; skip(); }
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_meaning), cmocka_unit_test(test_step), cmocka_unit_test(test_instruction),
        cmocka_unit_test(test_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
