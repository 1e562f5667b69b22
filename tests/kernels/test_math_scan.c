/* The convolution and the weights inside of a chunk of backends/cpu/math, every table against the header's words as plain loops, bit for bit. */
#include "tests/kernels/math_fence.h"

static void check_conv(size_t taps, size_t channels, size_t tokens, bool with_bias, enum numbers kind)
{
    size_t in_stride = channels + 3, y_stride = channels + 2, rows = taps ? taps - 1 + tokens : 0;
    size_t in_size = rows ? (rows - 1) * in_stride + channels : 0, y_size = tokens ? (tokens - 1) * y_stride + channels : 0;
    struct fence fi = fence_new(in_size + 128), fw = fence_new(channels * taps + 128), fb = fence_new(channels + 128), fy = fence_new(y_size + 128);
    float *in = fence_place(&fi, in_size, 1), *w = fence_place(&fw, channels * taps, 0), *bias = fence_place(&fb, channels, 2);
    float *y = fence_place(&fy, y_size, channels % 4);
    numbers_fill(in, in_size, kind, 11);
    numbers_fill(w, channels * taps, kind, 12);
    numbers_fill(bias, channels, kind, 13);
    const uint32_t between = FENCE_BITS;
    for (size_t i = 0; i < y_size; i++) memcpy(y + i, &between, sizeof between);
    ops->conv_silu(y, y_stride, in, in_stride, w, with_bias ? bias : NULL, (uint32_t)taps, channels, tokens);
    char what[120];
    snprintf(what, sizeof what, "%s conv_silu taps %zu channels %zu tokens %zu bias %d", ops->name, taps, channels, tokens, with_bias);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t c = 0; c < channels; c++) {
            float sum = with_bias ? bias[c] : 0.0f;
            for (size_t j = 0; j < taps; j++) {
                volatile float product = w[c * taps + j] * in[(t + j) * in_stride + c];
                sum = sum + product;
            }
            float want = one(math_tables[0]->silu, sum);
            if (!same_float(y[t * y_stride + c], want))
                fail_msg("%s: y[%zu, %zu] is %a, expected %a", what, t, c, (double)y[t * y_stride + c], (double)want);
        }
        for (size_t c = channels; c < y_stride && t + 1 < tokens; c++)
            if (bits_of(y + t * y_stride + c) != FENCE_BITS) fail_msg("%s: wrote channel %zu of token %zu", what, c, t);
    }
    fence_check(&fy, y, y_size, what);
    fence_free(&fi), fence_free(&fw), fence_free(&fb), fence_free(&fy);
}

static void check_convs(void)
{
    static const size_t taps[] = {0, 1, 2, 3, 4, 5, 9}, channels[] = {1, 15, 16, 17, 96, 511, 512, 513, 1030}, tokens[] = {0, 1, 3};
    for (size_t a = 0; a < sizeof taps / sizeof *taps; a++)
        for (size_t b = 0; b < sizeof channels / sizeof *channels; b++)
            for (size_t c = 0; c < sizeof tokens / sizeof *tokens; c++)
                check_conv(taps[a], channels[b], tokens[c], (a + b + c) % 2, (enum numbers)((a + b) % NUMBERS_COUNT));
}

static float flushed(float x) { return x < MATH_DECAY_SMALLEST ? 0.0f : x; }

/* Strides leave gaps, so that a kernel that assumes packed rows fails. Decays of kind 0 lie near 1, of kind 1 anywhere
 * between 0 and 1 with zeros among them, of kind 2 so low that the flush to zero is met. */
static void check_rows(uint32_t from, uint32_t to, uint32_t products, int kind)
{
    enum { MOST = 64 };
    uint32_t rows = to - from, s_stride = to + 3, m_stride = to + 2;
    size_t m_size = rows ? (rows - 1) * (size_t)m_stride + to : 0;
    struct fence fw = fence_new(MOST + 128), ft = fence_new(MOST + 128), fm[2] = {fence_new(m_size + 128), fence_new(m_size + 128)};
    float *w = fence_place(&fw, to, to % 4), *through = fence_place(&ft, rows, 1), *m[2];
    float decay[MOST], fresh[MOST], want[MOST] = {0}, s[2][MOST * (MOST + 3)], total = 0.75f, want_total = total;
    numbers_fill(decay, MOST, NUMBERS_PLAIN, 31);
    numbers_fill(fresh, MOST, NUMBERS_PLAIN, 32);
    for (uint32_t u = 0; u < 2; u++) numbers_fill(s[u], MOST * (MOST + 3), NUMBERS_PLAIN, 33 + u);
    for (uint32_t i = 0; i < MOST; i++) {
        fresh[i] = fabsf(fresh[i]);
        decay[i] = kind == 0 ? 1 - 0.01f * fabsf(decay[i]) : kind == 1 ? (i % 7 ? fminf(fabsf(decay[i]), 1) : 0) : 0x1p-27f;
    }
    for (uint32_t i = 0; i < to; i++) w[i] = want[i] = i < from ? fresh[i] * 0.5f : 0;
    const uint32_t between = FENCE_BITS;
    for (uint32_t u = 0; u < 2; u++) {
        m[u] = fence_place(&fm[u], m_size, u);
        for (size_t i = 0; i < m_size; i++) memcpy(m[u] + i, &between, sizeof between);
    }
    struct decay_rows d = {.from = from, .to = to, .decay = decay, .fresh = fresh, .w = w, .total = &total, .through = through,
                           .n_products = products, .s = {s[0], s[1]}, .m = {m[0], m[1]}, .s_stride = s_stride, .m_stride = m_stride};
    ops->decay_rows(&d);
    char what[100];
    snprintf(what, sizeof what, "%s decay_rows %u .. %u products %u kind %d", ops->name, from, to, products, kind);
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t j = 0; j < from + i; j++) want[j] = flushed(want[j] * decay[i]);
        want[from + i] = fresh[i];
        want_total = flushed(want_total * decay[i]);
        if (!same_float(through[i], want_total)) fail_msg("%s: through[%u] is %a", what, i, (double)through[i]);
        for (uint32_t u = 0; u < products; u++)
            for (uint32_t j = 0; j < m_stride && (i + 1 < rows || j < to); j++) {
                float got = m[u][i * m_stride + j];
                if (j >= to ? bits_of(&got) != FENCE_BITS : j > from + i ? got != 0 : !same_float(got, s[u][i * s_stride + j] * want[j]))
                    fail_msg("%s: m[%u][%u, %u] is %a", what, u, i, j, (double)got);
            }
    }
    check_floats(w, want, to, what);
    check_floats(&total, &want_total, 1, what);
    fence_check(&fw, w, to, what);
    fence_check(&ft, through, rows, what);
    for (uint32_t u = 0; u < 2; u++) fence_check(&fm[u], m[u], m_size, what);
    for (size_t i = 0; products < 2 && i < m_size; i++)
        if (bits_of(m[1] + i) != FENCE_BITS) fail_msg("%s: wrote the second product", what);
    fence_free(&fw), fence_free(&ft), fence_free(&fm[0]), fence_free(&fm[1]);
}

static void check_all_rows(void)
{
    static const uint32_t ends[] = {1, 2, 5, 15, 16, 17, 40, 63, 64};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (uint32_t part = 0; part < 4; part++)
            for (int kind = 0; kind < 3; kind++)
                check_rows(part == 3 ? ends[i] - 1 : ends[i] * part / 3, ends[i], part % 3, kind);
}

static void test_conv(void **state) { (void)state; each_table(check_convs); }
static void test_rows(void **state) { (void)state; each_table(check_all_rows); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_conv), cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
