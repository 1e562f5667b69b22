/* The convolution and the state scan of backends/cpu/math, every table against the header's words as plain loops, bit for bit. */
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

/* Strides leave gaps, so that a kernel that assumes packed rows fails. */
static void check_scan(size_t p_size, size_t n, size_t tokens, enum numbers kind)
{
    size_t x_stride = p_size + 1, bc_stride = 2 * n + 3, y_stride = p_size + 2, dt_stride = 3, gap = n + 1;
    size_t x_size = tokens ? (tokens - 1) * x_stride + p_size : 0, bc_size = tokens ? (tokens - 1) * bc_stride + gap + n : 0;
    size_t y_size = tokens ? (tokens - 1) * y_stride + p_size : 0, dt_size = tokens ? (tokens - 1) * dt_stride + 1 : 0;
    struct fence fx = fence_new(x_size + 128), fb = fence_new(bc_size + 128), fd = fence_new(dt_size + 128);
    struct fence fs = fence_new(p_size * n + 128), fy = fence_new(y_size + 128);
    float *x = fence_place(&fx, x_size, 1), *b = fence_place(&fb, bc_size, 0), *dt = fence_place(&fd, dt_size, 2);
    float *state = fence_place(&fs, p_size * n, n % 4), *y = fence_place(&fy, y_size, 1);
    float *want = calloc(p_size * n + 1, sizeof *want);
    if (!want) fail_msg("no memory");
    numbers_fill(x, x_size, kind, 21);
    numbers_fill(b, bc_size, kind, 22);
    numbers_fill(state, p_size * n, kind, 23);
    numbers_fill(dt, dt_size, NUMBERS_PLAIN, 24);
    for (size_t i = 0; i < dt_size; i++) dt[i] = kind == NUMBERS_PLAIN ? fabsf(dt[i]) * 0.1f : dt[i];
    memcpy(want, state, p_size * n * sizeof *want);
    const uint32_t between = FENCE_BITS;
    for (size_t i = 0; i < y_size; i++) memcpy(y + i, &between, sizeof between);
    const struct ssm_step step = {.head_dim = (uint32_t)p_size, .state_size = (uint32_t)n, .n_tokens = (uint32_t)tokens, .x = x, .b = b, .c = b + gap,
                                  .dt = dt, .x_stride = x_stride, .bc_stride = bc_stride, .dt_stride = dt_stride, .y_stride = y_stride,
                                  .a = -0.75f, .d = 0.3f, .state = state, .y = y};
    ops->ssm_scan(&step);
    char what[80];
    snprintf(what, sizeof what, "%s ssm_scan P %zu N %zu tokens %zu kind %d", ops->name, p_size, n, tokens, (int)kind);
    for (size_t t = 0; t < tokens; t++) {
        const float *bt = b + t * bc_stride, *ct = bt + gap;
        volatile float power = dt[t * dt_stride] * step.a;
        float decay = one(math_tables[0]->exp, power);
        for (size_t p = 0; p < p_size; p++) {
            volatile float dx = dt[t * dt_stride] * x[t * x_stride + p], skip = step.d * x[t * x_stride + p];
            float *row = want + p * n;
            for (size_t s = 0; s < n; s++) {
                volatile float old = decay * row[s], new = dx * bt[s];
                row[s] = old + new;
            }
            float out = said_dot(row, ct, n) + skip;
            if (!same_float(y[t * y_stride + p], out))
                fail_msg("%s: y[%zu, %zu] is %a, expected %a", what, t, p, (double)y[t * y_stride + p], (double)out);
        }
        for (size_t p = p_size; p < y_stride && t + 1 < tokens; p++)
            if (bits_of(y + t * y_stride + p) != FENCE_BITS) fail_msg("%s: wrote row %zu of token %zu", what, p, t);
    }
    check_floats(state, want, p_size * n, what);
    fence_check(&fs, state, p_size * n, what);
    fence_check(&fy, y, y_size, what);
    free(want);
    fence_free(&fx), fence_free(&fb), fence_free(&fd), fence_free(&fs), fence_free(&fy);
}

static void check_scans(void)
{
    static const size_t heads[] = {1, 2, 3, 5, 15, 16, 17, 64}, states[] = {1, 8, 15, 16, 17, 40, 100, 128};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        for (size_t j = 0; j < sizeof states / sizeof *states; j++)
            for (int kind = 0; kind < NUMBERS_COUNT; kind++) check_scan(heads[i], states[j], 3, (enum numbers)kind);
    static const size_t tokens[] = {0, 1, 63, 64, 65, 130};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) check_scan(18, 33, tokens[i], NUMBERS_PLAIN);
}

static void test_conv(void **state) { (void)state; each_table(check_convs); }
static void test_scan(void **state) { (void)state; each_table(check_scans); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_conv), cmocka_unit_test(test_scan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
