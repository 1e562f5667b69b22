/* Coordinate descent over whole rows (calibrate/descent.h): sums in double from the definition say that it never makes
 * the outputs worse, that no single code could be better in the end, and what it is worth beside plain rounding; widths
 * that are no multiple of a product's panel; every instruction set, and rows cut in any way, give the same bytes. The
 * same of rows that know of each other (calibrate/together.h), with any number of threads. */
#include "tests/checks.h"

#include "backends/cpu/kernel.h"
#include "calibrate/together.h"
#include "core/pool.h"
#include "numeric/nvfp4_local.h"

#include <math.h>

#define ROWS 19u
#define COLS_MAX 176u

static float normal(uint64_t *seed)
{
    float s = 0;
    for (int i = 0; i < 4; i++) s += (float)((double)(check_random(seed) >> 11) * 0x1p-53 - 0.5);
    return s;
}

/* Inputs of few directions, some channels louder than others. Only the lower triangle: the rest is not to be read. */
static void draw_moments(struct moments *m, uint64_t cols, uint64_t *seed)
{
    float x[COLS_MAX];
    *m = (struct moments){.cols = cols, .n_rows = 60, .sum = calloc(cols * cols, sizeof(float))};
    for (int r = 0; r < 60; r++) {
        float common = normal(seed);
        for (uint64_t i = 0; i < cols; i++) x[i] = (normal(seed) + common) * (i % 11 == 3 ? 6 : 1);
        for (uint64_t i = 0; i < cols; i++)
            for (uint64_t j = 0; j <= i; j++) m->sum[i * cols + j] += x[i] * x[j];
    }
    for (uint64_t i = 0; i < cols; i++)
        for (uint64_t j = i + 1; j < cols; j++) m->sum[i * cols + j] = (float)NAN;
}

static double h_of(const struct moments *m, const float *add, uint64_t i, uint64_t j)
{
    return (double)(i < j ? m->sum[j * m->cols + i] : m->sum[i * m->cols + j]) + (i == j ? (double)add[i] : 0);
}

static double error_of(const struct moments *m, const float *add, const float *w, const float *q)
{
    double sum = 0;
    for (uint64_t i = 0; i < m->cols; i++)
        for (uint64_t j = 0; j < m->cols; j++)
            sum += ((double)w[i] - (double)q[i]) * h_of(m, add, i, j) * ((double)w[j] - (double)q[j]);
    return sum;
}

/* Rounded to the nearest with each block's own maximum. */
static void round_rows(const float *w, float *q, uint8_t *scales, uint64_t cols, float s2)
{
    for (uint64_t b = 0; b < ROWS * cols / 16; b++) {
        scales[b] = nvfp4_scale_dynamic(nvfp4_block_amax(w + 16 * b), s2);
        for (uint64_t i = 0; i < 16; i++) q[16 * b + i] = nvfp4_round_to(w[16 * b + i], nvfp4_block_scale(scales[b], s2));
    }
}

static float add[COLS_MAX]; /* uneven, as where columns saw nothing */

static struct grid nvfp4_grid(float s2)
{
    const struct quant_format *f = quant_format_find("nvfp4");
    return (struct grid){.format = f, .encode = f->encode_op, .decode = f->decode_op, .tensor_scale = s2};
}

static struct descent options(const struct moments *m, const struct grid *grid, uint32_t passes, uint64_t isa)
{
    return (struct descent){
        .moments = m, .add = add, .grid = grid, .passes = passes, .math = math_for(isa), .search = nvfp4_search_for(isa)};
}

static void check_cols(uint64_t cols)
{
    uint64_t seed = cols;
    struct moments m;
    float w[ROWS * COLS_MAX], start[ROWS * COLS_MAX], q[ROWS * COLS_MAX], s2 = 0.3f / 2688;
    uint8_t start_scales[ROWS * COLS_MAX / 16], scales[ROWS * COLS_MAX / 16];
    double before = 0, after = 0;
    draw_moments(&m, cols, &seed);
    for (uint64_t i = 0; i < ROWS * cols; i++) w[i] = normal(&seed) * 0.1f;
    round_rows(w, start, start_scales, cols, s2);
    memcpy(q, start, sizeof q);
    memcpy(scales, start_scales, sizeof scales);
    struct grid grid = nvfp4_grid(s2);
    struct descent d = options(&m, &grid, 40, isa_detected());
    CHECK_OK(descent_rows(&d, w, q, &(struct grid_scales){.bytes = scales}, ROWS, e_));
    for (uint64_t r = 0; r < ROWS; r++) {
        float *row = q + r * cols;
        double was = error_of(&m, d.add, w + r * cols, start + r * cols), is = error_of(&m, d.add, w + r * cols, row);
        if (is > was) fail_msg("row %u: the error rose from %g to %g", (unsigned)r, was, is);
        before += was, after += is;
        for (uint64_t i = 0; i < cols; i++) { /* what is written can be read, and no other code is better */
            float e = nvfp4_block_scale(scales[r * cols / 16 + i / 16], s2), keep = row[i];
            assert_true(nvfp4_round_to(keep, e) == keep);
            for (uint8_t code = 0; r < 3 && code < 16; code++) {
                row[i] = e2m1_decode(code) * e;
                double other = error_of(&m, d.add, w + r * cols, row);
                if (other < is * (1 - 1e-4)) fail_msg("row %u: another code of element %u gives %g, not %g", (unsigned)r, (unsigned)i, other, is);
            }
            row[i] = keep;
        }
    }
    if (after > 0.35 * before) fail_msg("%u columns: errors %g after %g", (unsigned)cols, after, before);
    /* row by row, and with each instruction set */
    static const uint64_t isas[] = {0, ISA_AVX2, ISA_AVX2 | ISA_AVX512};
    for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
        if (isas[k] & ~isa_detected()) continue;
        float again[ROWS * COLS_MAX];
        uint8_t again_scales[ROWS * COLS_MAX / 16];
        memcpy(again, start, sizeof again);
        memcpy(again_scales, start_scales, sizeof again_scales);
        struct descent one = options(&m, &grid, 40, isas[k]);
        for (uint64_t r = 0; r < ROWS; r += k + 1)
            CHECK_OK(descent_rows(&one, w + r * cols, again + r * cols,
                                  &(struct grid_scales){.bytes = again_scales + r * cols / 16},
                                  r + k + 1 > ROWS ? ROWS - r : k + 1, e_));
        check_bytes(again, q, ROWS * cols * sizeof *q, "weights as read");
        check_bytes(again_scales, scales, ROWS * cols / 16, "scales");
    }
    free(m.sum);
}

static void test_widths(void **state)
{
    (void)state;
    static const uint64_t widths[] = {16, 32, 48, 128, 176};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) check_cols(widths[i]);
}

/* One pass is the first of several: the error falls from pass to pass. */
static void test_passes(void **state)
{
    (void)state;
    uint64_t seed = 3, cols = 96;
    struct moments m;
    float w[ROWS * COLS_MAX], s2 = 0.3f / 2688;
    double last = 1e300;
    draw_moments(&m, cols, &seed);
    for (uint64_t i = 0; i < ROWS * cols; i++) w[i] = normal(&seed) * 0.1f;
    for (uint32_t passes = 0; passes <= 8; passes += 2) {
        float q[ROWS * COLS_MAX];
        uint8_t scales[ROWS * COLS_MAX / 16];
        double sum = 0;
        round_rows(w, q, scales, cols, s2);
        struct grid grid = nvfp4_grid(s2);
        struct descent d = options(&m, &grid, passes, isa_detected());
        CHECK_OK(descent_rows(&d, w, q, &(struct grid_scales){.bytes = scales}, ROWS, e_));
        for (uint64_t r = 0; r < ROWS; r++) sum += error_of(&m, d.add, w + r * cols, q + r * cols);
        if (!(sum < last || (passes > 4 && sum == last))) fail_msg("%u passes: %g after %g", passes, sum, last);
        last = sum;
    }
    free(m.sum);
}

/* INT4, from plain rounding: only codes move, no single one could be better in the end, zero points and scales are not
 * written, and every instruction set agrees. */
static void check_int4(const char *format, bool zero, uint64_t cols)
{
    const struct quant_format *f = quant_format_find(format);
    struct grid grid = {.format = f, .encode = quant_format_encoder(f, zero), .decode = quant_format_decoder(f, zero)};
    uint64_t seed = cols + zero, width = f->block_cols;
    enum grid_kind kind = grid_kind(&grid);
    struct moments m;
    float w[ROWS * COLS_MAX], start[ROWS * COLS_MAX], q[ROWS * COLS_MAX], steps[ROWS * COLS_MAX];
    uint8_t zeros[ROWS * COLS_MAX];
    double before = 0, after = 0;
    draw_moments(&m, cols, &seed);
    for (uint64_t i = 0; i < ROWS * cols; i++) w[i] = normal(&seed) * 0.1f + 0.02f;
    for (uint64_t g = 0; g < ROWS * cols / width; g++) {
        float lo = 0, hi = 0, top = 0;
        for (uint64_t i = g * width; i < (g + 1) * width; i++) {
            lo = int4_low(lo, w[i]), hi = int4_high(hi, w[i]);
            top = f32_abs(w[i]) > top ? f32_abs(w[i]) : top;
        }
        steps[g] = zero ? int4_zero_scale(lo, hi, INT4_SCALE_F32) : int4_scale(top, INT4_SCALE_F32);
        zeros[g] = zero ? int4_zero(lo, steps[g]) : 0;
        for (uint64_t i = g * width; i < (g + 1) * width; i++)
            start[i] = grid_value(kind, grid_code(kind, w[i], steps[g], zeros[g]), steps[g], zeros[g]);
    }
    static const uint64_t isas[] = {0, ISA_AVX2, ISA_AVX2 | ISA_AVX512};
    for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
        if (isas[k] & ~isa_detected()) continue;
        float again[ROWS * COLS_MAX];
        struct descent d = options(&m, &grid, 40, isas[k]);
        memcpy(again, start, sizeof again);
        CHECK_OK(descent_rows(&d, w, again, &(struct grid_scales){.bytes = zeros, .steps = steps}, ROWS, e_));
        if (k) check_bytes(again, q, ROWS * cols * sizeof *q, "weights as read");
        memcpy(q, again, sizeof q);
    }
    for (uint64_t r = 0; r < ROWS; r++) {
        float *row = q + r * cols;
        double was = error_of(&m, add, w + r * cols, start + r * cols), is = error_of(&m, add, w + r * cols, row);
        if (is > was) fail_msg("row %u: the error rose from %g to %g", (unsigned)r, was, is);
        before += was, after += is;
        for (uint64_t i = 0; r < 3 && i < cols; i++) {
            uint64_t g = (r * cols + i) / width;
            float keep = row[i];
            bool can_be_read = false;
            for (uint8_t code = 0; code < 16; code++) {
                row[i] = grid_value(kind, code, steps[g], zeros[g]);
                can_be_read |= row[i] == keep;
                double other = error_of(&m, add, w + r * cols, row);
                if (other < is * (1 - 1e-4)) fail_msg("row %u: another code of element %u gives %g, not %g", (unsigned)r, (unsigned)i, other, is);
            }
            row[i] = keep;
            assert_true(can_be_read);
        }
    }
    if (after > 0.5 * before) fail_msg("%s: errors %g after %g", format, after, before);
    free(m.sum);
}

static void test_int4(void **state)
{
    (void)state;
    check_int4("w4a16_awq_g32", false, 96);
    check_int4("awq_g32", false, 160);
    check_int4("awq_g32", true, 160);
    check_int4("int4_zero_g64_ct", true, 128);
}

#define MANY 75u /* rows: more than two groups that hear of each other at once */

/* 1 + R' R / m of five readers, and with `alone` the unit matrix. */
static void draw_worth(float *g, bool alone, uint64_t *seed)
{
    float r[5][MANY];
    double sum = 0;
    for (uint64_t k = 0; k < 5 * MANY; k++) {
        r[k / MANY][k % MANY] = normal(seed);
        sum += (double)r[k / MANY][k % MANY] * (double)r[k / MANY][k % MANY];
    }
    for (uint64_t i = 0; i < MANY; i++)
        for (uint64_t j = 0; j < MANY; j++) {
            double v = 0;
            for (uint64_t k = 0; k < 5; k++) v += (double)r[k][i] * (double)r[k][j];
            g[i * MANY + j] = (i == j ? 1.0f : 0.0f) + (alone ? 0.0f : (float)(4 * v * MANY / sum));
        }
}

/* From the definition: the sum over r, k of G[r, k] (w - q)[r] H (w - q)[k]^T. */
static double worth_of(const struct moments *m, const float *g, const float *w, const float *q)
{
    static double e[MANY * COLS_MAX], eh[MANY * COLS_MAX];
    uint64_t cols = m->cols;
    double sum = 0;
    for (uint64_t i = 0; i < MANY * cols; i++) e[i] = (double)w[i] - (double)q[i];
    for (uint64_t r = 0; r < MANY; r++)
        for (uint64_t j = 0; j < cols; j++) {
            eh[r * cols + j] = 0;
            for (uint64_t i = 0; i < cols; i++) eh[r * cols + j] += e[r * cols + i] * h_of(m, add, i, j);
        }
    for (uint64_t r = 0; r < MANY; r++)
        for (uint64_t k = 0; k < MANY; k++)
            for (uint64_t j = 0; j < cols; j++) sum += (double)g[r * MANY + k] * eh[r * cols + j] * e[k * cols + j];
    return sum;
}

/* NVFP4 (format NULL) or INT4; rows alone first, as calibrate does it. */
static void check_together(const char *format, uint64_t cols, bool alone)
{
    static float w[MANY * COLS_MAX], start[MANY * COLS_MAX], q[MANY * COLS_MAX], again[MANY * COLS_MAX], g[MANY * MANY];
    static float steps[MANY * COLS_MAX];
    uint8_t start_scales[MANY * COLS_MAX / 16], scales[MANY * COLS_MAX / 16], zeros[1] = {0};
    const struct quant_format *f = quant_format_find(format ? format : "nvfp4");
    float s2 = 0.3f / 2688;
    struct grid grid = nvfp4_grid(s2);
    uint64_t seed = cols, width = f->block_cols;
    struct moments m;
    if (format)
        grid = (struct grid){.format = f, .encode = quant_format_encoder(f, false), .decode = quant_format_decoder(f, false)};
    enum grid_kind kind = grid_kind(&grid);
    draw_moments(&m, cols, &seed);
    draw_worth(g, alone, &seed);
    for (uint64_t i = 0; i < MANY * cols; i++) w[i] = normal(&seed) * 0.1f;
    for (uint64_t b = 0; b < MANY * cols / width; b++) {
        float top = 0;
        for (uint64_t i = b * width; i < (b + 1) * width; i++) top = f32_abs(w[i]) > top ? f32_abs(w[i]) : top;
        if (!format) start_scales[b] = nvfp4_scale_dynamic(top, s2);
        steps[b] = format ? int4_scale(top, INT4_SCALE_F32) : nvfp4_block_scale(start_scales[b], s2);
        for (uint64_t i = b * width; i < (b + 1) * width; i++)
            start[i] = grid_value(kind, grid_code(kind, w[i], steps[b], 0), steps[b], 0);
    }
    struct grid_scales at = {.bytes = format ? zeros : start_scales, .steps = steps};
    struct descent d = options(&m, &grid, 40, isa_detected());
    CHECK_OK(descent_rows(&d, w, start, &at, MANY, e_));
    static const uint64_t isas[] = {0, ISA_AVX2, ISA_AVX2 | ISA_AVX512};
    for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
        if (isas[k] & ~isa_detected()) continue;
        struct pool *pool = NULL;
        uint8_t again_scales[MANY * COLS_MAX / 16];
        if (k) CHECK_OK(pool_open(&pool, 3, e_));
        memcpy(again, start, sizeof again);
        memcpy(again_scales, start_scales, sizeof again_scales);
        struct descent one = options(&m, &grid, 40, isas[k]);
        at.bytes = format ? zeros : again_scales;
        CHECK_OK(together_rows(&one, g, pool, w, again, &at, MANY, e_));
        pool_close(pool);
        if (k) check_bytes(again, q, MANY * cols * sizeof *q, "weights as read");
        if (k && !format) check_bytes(again_scales, scales, MANY * cols / 16, "scales");
        memcpy(q, again, sizeof q);
        memcpy(scales, again_scales, sizeof scales);
    }
    double was = worth_of(&m, g, w, start), is = worth_of(&m, g, w, q);
    if (is > was * (alone ? 1 + 1e-6 : 0.9)) fail_msg("%s, %u columns: %g after %g", f->name, (unsigned)cols, is, was);
    for (uint64_t i = 0; i < MANY * cols; i += 397) { /* what is written can be read, and no other code is better */
        float step = format ? steps[i / width] : nvfp4_block_scale(scales[i / width], s2), keep = q[i];
        bool can_be_read = false;
        for (uint8_t code = 0; code < 16; code++) {
            q[i] = grid_value(kind, code, step, 0);
            can_be_read |= q[i] == keep;
            double other = worth_of(&m, g, w, q);
            if (other < is * (1 - 1e-5)) fail_msg("%s: another code of element %u gives %g, not %g", f->name, (unsigned)i, other, is);
        }
        q[i] = keep;
        assert_true(can_be_read);
    }
    free(m.sum);
}

static void test_together(void **state)
{
    (void)state;
    check_together(NULL, 48, false);
    check_together(NULL, 80, false);
    check_together(NULL, 32, true);
    check_together("w4a16_awq_g32", 64, false);
}

int main(void)
{
    for (int i = 0; i < (int)COLS_MAX; i++) add[i] = 0.3f + 0.01f * (float)(i % 40);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_int4),
        cmocka_unit_test(test_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
