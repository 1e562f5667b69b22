/* The searches of backends/cpu/nvfp4_search.h give the bits of numeric/nvfp4_local.h, whatever the table, the number of
 * rows, the strides. */
#include "tests/checks.h"

#include "backends/cpu/kernel.h"
#include "backends/cpu/nvfp4_search.h"
#include "numeric/nvfp4_local.h"

#define ROWS 41u
#define STRIDE 37u

static float normal(uint64_t *seed)
{
    float s = 0;
    for (int i = 0; i < 4; i++) s += (float)((double)(check_random(seed) >> 11) * 0x1p-53 - 0.5);
    return s;
}

/* X'X of a few rows that have something in common, so that it is far from a multiple of the identity. */
static void draw_h(float h[256], uint64_t *seed)
{
    memset(h, 0, 256 * sizeof *h);
    for (int r = 0; r < 24; r++) {
        float x[16], common = normal(seed);
        for (int i = 0; i < 16; i++) x[i] = normal(seed) + common;
        for (int i = 0; i < 256; i++) h[i] += x[i / 16] * x[i % 16];
    }
    for (int i = 0; i < 16; i++) h[17 * i] += 0.1f;
}

static void draw(float *w, uint64_t *seed, int kind)
{
    for (uint32_t i = 0; i < ROWS * STRIDE; i++) {
        w[i] = normal(seed) * (kind == 2 ? 1e-4f : 0.1f);
        if (kind == 1 && check_random(seed) % 3) w[i] = 0;
        if (kind == 3 && check_random(seed) % 16 == 0) w[i] *= 30;
        if (kind == 4) w[i] = (float)(int)(check_random(seed) % 13 - 6) * 0.0125f;
    }
}

static void test_tables(void **state)
{
    (void)state;
    uint64_t seed = 5, isa = isa_detected();
    static const float s2s[] = {0.1f / 2688, 1e-3f / 2688, 3.0f / 2688};
    unsigned moved = 0, rescaled = 0;
    for (int n = 0; n < 60; n++) {
        float h[256], w[ROWS * STRIDE], q[ROWS * STRIDE], hd[ROWS * STRIDE], s2 = s2s[n % 3];
        uint64_t rows = n % 7 ? ROWS - (unsigned)n % 5 : (unsigned)n % 3;
        uint8_t want[ROWS];
        draw_h(h, &seed);
        draw(w, &seed, n % 5);
        draw(hd, &seed, 0);
        for (uint64_t r = 0; r < rows; r++) want[r] = nvfp4_local_scale(w + r * STRIDE, s2, h);
        for (const struct nvfp4_search_ops *const *t = nvfp4_search_tables; *t; t++) {
            uint8_t got[2 * ROWS];
            if ((*t)->isa & ~isa) continue;
            (*t)->sweep(w, STRIDE, rows, h, s2, got, 2);
            for (uint64_t r = 0; r < rows; r++)
                if (got[2 * r] != want[r])
                    fail_msg("%s: row %u: scale %u, expected %u", (*t)->name, (unsigned)r, got[2 * r], want[r]);
        }
        memcpy(q, w, sizeof q);
        for (uint64_t r = 0; r < rows; r++)
            for (int i = 0; i < 16; i++)
                q[r * STRIDE + (uint64_t)i] = nvfp4_round_to(w[r * STRIDE + (uint64_t)i], nvfp4_block_scale(want[r], s2));
        float end[ROWS * STRIDE];
        uint8_t end_scale[ROWS];
        memcpy(end, q, sizeof end);
        memcpy(end_scale, want, sizeof end_scale);
        for (uint64_t r = 0; r < rows; r++) {
            moved += (unsigned)nvfp4_descend_block(end + r * STRIDE, &end_scale[r], hd + r * STRIDE, s2, h);
            rescaled += end_scale[r] != want[r];
        }
        for (const struct nvfp4_search_ops *const *t = nvfp4_search_tables; *t; t++) {
            float got[ROWS * STRIDE];
            uint8_t scale[ROWS];
            if ((*t)->isa & ~isa) continue;
            memcpy(got, q, sizeof got);
            memcpy(scale, want, sizeof scale);
            (*t)->descend(got, STRIDE, hd, STRIDE, rows, h, s2, scale, 1);
            check_bytes(scale, end_scale, rows, (*t)->name);
            check_bytes(got, end, sizeof got, (*t)->name);
        }
    }
    assert_true(moved > 500 && rescaled > 200);
}

/* Against sums in double, straight from the definition. */
static double error_of(const float *w, const float *q, const float *h)
{
    double sum = 0;
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++)
            sum += ((double)w[i] - (double)q[i]) * (double)h[16 * i + j] * ((double)w[j] - (double)q[j]);
    return sum;
}

static void test_sweep_is_best(void **state)
{
    (void)state;
    uint64_t seed = 6;
    for (int n = 0; n < 300; n++) {
        float h[256], w[ROWS * STRIDE], s2 = 0.2f / 2688, q[16];
        double best = 1e300, chosen = 0;
        draw_h(h, &seed);
        draw(w, &seed, n % 5);
        uint8_t got = nvfp4_local_scale(w, s2, h);
        for (unsigned c = 1; c <= 126; c++) {
            for (int i = 0; i < 16; i++) q[i] = nvfp4_round_to(w[i], nvfp4_block_scale((uint8_t)c, s2));
            double e = error_of(w, q, h);
            if (e < best) best = e;
            if (c == got) chosen = e;
        }
        if (chosen > best * (1 + 1e-4) + 1e-12) fail_msg("block %d: error %g of scale %u, the best is %g", n, chosen, got, best);
    }
}

/* The descent never makes it worse, ends where no single code is better, and beats rounding by far on the whole. */
static void test_descent_pays(void **state)
{
    (void)state;
    uint64_t seed = 7;
    double before = 0, after = 0;
    for (int n = 0; n < 400; n++) {
        float h[256], w[ROWS * STRIDE], s2 = 0.2f / 2688, q[16], hd[16];
        draw_h(h, &seed);
        draw(w, &seed, n % 2 ? 0 : 3);
        uint8_t scale = nvfp4_local_scale(w, s2, h);
        for (int i = 0; i < 16; i++) q[i] = nvfp4_round_to(w[i], nvfp4_block_scale(scale, s2));
        double was = error_of(w, q, h);
        for (int round = 0; round < 6; round++) {
            for (int i = 0; i < 16; i++) {
                double t = 0;
                for (int j = 0; j < 16; j++) t += (double)h[16 * i + j] * ((double)w[j] - (double)q[j]);
                hd[i] = (float)t;
            }
            if (!nvfp4_descend_block(q, &scale, hd, s2, h)) break;
            double is = error_of(w, q, h);
            if (is > was * (1 + 1e-5)) fail_msg("block %d: the error rose from %g to %g", n, was, is);
            if (round == 0) before += was, after += is;
            was = is;
        }
        float e = nvfp4_block_scale(scale, s2);
        for (int i = 0; i < 16; i++)
            for (uint8_t code = 0; code < 16; code++) {
                float keep = q[i];
                q[i] = e2m1_decode(code) * e;
                double is = error_of(w, q, h);
                if (is < was * (1 - 1e-4)) fail_msg("block %d: code %u of element %d: %g is less than %g", n, code, i, is, was);
                q[i] = keep;
            }
    }
    if (after > 0.6 * before) fail_msg("errors %g after %g: the descent gained too little", after, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_sweep_is_best),
        cmocka_unit_test(test_descent_pays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
