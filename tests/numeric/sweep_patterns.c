/* 10^8 patterns through every encoder of numeric/, each compared with the second implementation in slow.h. usage:
 * sweep_patterns [PATTERNS PER ENCODER [PART OF A NAME]]. Two threads; the patterns do not depend on their number.
 *
 * A quarter of the patterns are plain random bits (infinities and NaN among them), a quarter have exponents where the
 * type has its codes, a quarter lie on or beside a midpoint between two codes, a quarter are bf16 values. */
#include "tests/numeric/slow.h"

#include "numeric/e2m1.h"
#include "numeric/e4m3.h"
#include "numeric/e5m2.h"
#include "numeric/e8m0.h"
#include "numeric/fp8.h"
#include "numeric/fp8_scaled.h"
#include "numeric/int4.h"
#include "numeric/mxfp4.h"
#include "numeric/mxfp8.h"
#include "numeric/nvfp4.h"
#include "numeric/nvfp4_four_six.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define SLICES 64u
#define THREADS 2

static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static float pattern(const struct slow_type *t, uint64_t r)
{
    uint32_t u = (uint32_t)r;
    unsigned span = (1u << t->exponent_bits) + 12u;
    unsigned first = (unsigned)(127 - t->bias) - 6u - (unsigned)t->mantissa_bits;
    if (t == &slow_bf16) first = 0, span = 255;
    switch (r >> 62) {
    case 0: return slow_from_bits(u);
    case 1: return slow_from_bits((u & 0x807FFFFFu) | (first + (unsigned)(r >> 32) % span) << 23);
    case 2: {
        float mid = (float)t->mid[(r >> 32) % t->n_finite];
        return slow_from_bits((slow_to_bits(mid) + (u >> 8) % 5u - 2u) | (u & 0x80000000u));
    }
    default: return slow_from_bits(u & 0xFFFF0000u);
    }
}

/* Each returns the number of differences in `n` patterns from `seed`, and describes the first. */
#define NOTE(...) do { if (bad++ == 0) snprintf(why, 200, __VA_ARGS__); } while (0)

#define PLAIN(type)                                                                                               \
    static uint64_t sweep_##type(uint64_t n, uint64_t seed, char *why)                                            \
    {                                                                                                             \
        uint64_t bad = 0;                                                                                         \
        for (uint64_t i = 0; i < n; i++) {                                                                        \
            float x = pattern(&slow_##type, next(&seed));                                                         \
            unsigned got = type##_encode(x), want = slow_encode(&slow_##type, (double)x);                         \
            if (got != want) NOTE("%a gives %#x, expected %#x", (double)x, got, want);                            \
        }                                                                                                         \
        return bad;                                                                                               \
    }
PLAIN(bf16)
PLAIN(f16)
PLAIN(e2m1)
PLAIN(e4m3)
PLAIN(e5m2)

static uint64_t sweep_e8m0(uint64_t n, uint64_t seed, char *why)
{
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t r = next(&seed);
        /* about 1.5 * 2^n */
        uint32_t u = r >> 63 ? (uint32_t)r : ((uint32_t)r & 0xFF800000u) | (0x3FFFFEu + (uint32_t)(r >> 32) % 5u);
        /* and powers of two */
        float x = slow_from_bits(r >> 61 & 1 ? u : u & 0xFFC00000u);
        int how = (int)(i % 3) - 1;
        unsigned got = how < 0 ? e8m0_encode_down(x) : how > 0 ? e8m0_encode_up(x) : e8m0_encode_nearest(x);
        unsigned want = slow_e8m0(x, how);
        if (got != want) NOTE("%a, direction %d, gives %u, expected %u", (double)x, how, got, want);
    }
    return bad;
}

/* A positive scale, mostly of the size that real tensors have. */
static float draw_scale(uint64_t r)
{
    unsigned e = r >> 60 ? 100u + (unsigned)(r >> 32) % 30u : 1u + (unsigned)(r >> 32) % 250u;
    return slow_from_bits(e << 23 | (uint32_t)(r & 0x7FFFFF));
}

static uint64_t sweep_fp8_f32(uint64_t n, uint64_t seed, char *why)
{
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        float scale = draw_scale(next(&seed)), w = slow_mul(pattern(&slow_e4m3, next(&seed)), scale);
        unsigned got = fp8_encode_f32(w, scale), want = slow_fp8(NULL, w, scale, 0);
        if (got != want) NOTE("%a / %a gives %#x, expected %#x", (double)w, (double)scale, got, want);
        float y = fp8_input(w, scale), z = slow_mul((float)slow_decode(&slow_e4m3, want), scale);
        if (want == 0x7F) z = slow_from_bits(0x7FC00000);
        if (slow_to_bits(y) != slow_to_bits(z))
            NOTE("input %a / %a gives %a, expected %a", (double)w, (double)scale, (double)y, (double)z);
    }
    return bad;
}

static uint64_t sweep_fp8_16(uint64_t n, uint64_t seed, char *why, const struct slow_type *source)
{
    uint64_t bad = 0;
    float scale = 1;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t r = next(&seed);
        uint16_t h = (uint16_t)r;
        int rounding = (int)(r >> 16) % 3;
        if (i % 64 == 0) scale = draw_scale(next(&seed));
        if (r >> 63) h = (uint16_t)slow_encode(source, (double)slow_mul(pattern(&slow_e4m3, r), scale));
        bool bf16 = source == &slow_bf16;
        unsigned got = bf16 ? fp8_encode_bf16(h, scale, (enum fp8_rounding)rounding)
            : fp8_encode_f16(h, scale, (enum fp8_rounding)rounding);
        unsigned want = slow_fp8(source, (float)slow_decode(source, h), scale, rounding);
        if (got != want) NOTE("%04x / %a, rounding %d, gives %#x, expected %#x", h, (double)scale, rounding, got, want);
    }
    return bad;
}

static uint64_t sweep_fp8_bf16(uint64_t n, uint64_t seed, char *why)
{
    return sweep_fp8_16(n, seed, why, &slow_bf16);
}

static uint64_t sweep_fp8_f16(uint64_t n, uint64_t seed, char *why)
{
    return sweep_fp8_16(n, seed, why, &slow_f16);
}

/* Sixteen weights of one size, and what their scales are made from. */
struct draw { float w[16], amax, g, s2; };

static void draw_values(float *w, int n, const struct slow_type *t, float size, uint64_t *seed)
{
    uint64_t r = next(seed);
    for (int i = 0; i < n; i++) {
        float x = slow_mul(pattern(t, next(seed)), size);
        w[i] = isfinite(x) || r % 64 == 0 ? x : size;            /* few blocks with infinities and NaN */
        if (r % 8 == 1) w[i] = slow_from_bits(slow_to_bits(w[i]) & 0xFFFF0000u);
    }
}

static void draw_block(struct draw *d, uint64_t *seed)
{
    float size = draw_scale(next(seed));
    draw_values(d->w, 16, &slow_e2m1, size, seed);
    uint64_t r = next(seed);
    d->amax = slow_amax(d->w);
    d->g = slow_mul(isfinite(d->amax) ? d->amax : 1, r >> 32 & 1 ? 1 : (float)(1 + (r >> 33) % 100000) * 0.01f);
    if (!isfinite(d->g)) d->g = 1;
    d->s2 = nvfp4_tensor_scale(d->g);
}

static uint64_t compare_block(const char *what, const struct draw *d, const struct slow_block *want, uint8_t scale,
                              const uint8_t packed[8], char *why)
{
    if (scale == want->scale && memcmp(packed, want->packed, 8) == 0) return 0;
    snprintf(why, 200, "%s: block of maximum %a, g %a: scale %02x, expected %02x, first byte %02x, expected %02x",
             what, (double)d->amax, (double)d->g, scale, want->scale, packed[0], want->packed[0]);
    return 1;
}

static uint64_t sweep_nvfp4(uint64_t n, uint64_t seed, char *why)
{
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i += 16) {
        struct draw d;
        struct slow_block want;
        uint8_t scale, packed[8];
        draw_block(&d, &seed);
        slow_nvfp4_dynamic(&want, d.w, d.s2);
        nvfp4_encode_block(d.w, d.s2, &scale, packed);
        bad += compare_block("dynamic", &d, &want, scale, packed, why);
    }
    return bad;
}

static uint64_t sweep_nvfp4_static(uint64_t n, uint64_t seed, char *why)
{
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i += 16) {
        struct draw d;
        struct slow_block want;
        uint8_t scale, packed[8];
        draw_block(&d, &seed);
        float m = i & 16 ? 256 : 448, chosen = slow_mul(d.amax, i & 32 ? 1.5f : (float)(next(&seed) % 1000) * 0.002f);
        slow_nvfp4_static(&want, d.w, chosen, d.g, m);
        nvfp4_encode_block_static(d.w, chosen, d.g, m, &scale, packed);
        bad += compare_block("static", &d, &want, scale, packed, why);
    }
    return bad;
}

static uint64_t sweep_four_six(uint64_t n, uint64_t seed, char *why)
{
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i += 16) {
        struct draw d;
        float error[2];
        draw_block(&d, &seed);
        float got = nvfp4_four_six_block(d.w, nvfp4_four_six_normal(d.g)), want = slow_four_six(d.w, d.g, error);
        if (isnan(want)) want = slow_from_bits(0x7FC00000);
        if (slow_to_bits(got) != slow_to_bits(want))
            NOTE("block of maximum %a, g %a: %a, expected %a", (double)d.amax, (double)d.g, (double)got, (double)want);
    }
    return bad;
}

static uint64_t sweep_nvfp4_input(uint64_t n, uint64_t seed, char *why)
{
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i += 16) {
        struct draw d;
        float got[16], want[16];
        draw_block(&d, &seed);
        slow_nvfp4_input(d.w, d.s2, want);
        nvfp4_input_block(d.w, d.s2, got);
        for (int k = 0; k < 16; k++) {
            if (isnan(want[k]) && isnan(got[k])) continue;
            if (slow_to_bits(got[k]) != slow_to_bits(want[k]))
                NOTE("input %a, scale %a gives %a, expected %a", (double)d.w[k], (double)d.s2, (double)got[k],
                     (double)want[k]);
        }
    }
    return bad;
}

/* Groups of 16 stand for rows and blocks: their arithmetic does not know how many elements there are. */
static uint64_t sweep_fp8_scaled(uint64_t n, uint64_t seed, char *why)
{
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i += 16) {
        struct draw d;
        draw_block(&d, &seed);
        bool ue8m0 = i & 16;
        float amax = 0, want = slow_fp8_scale(d.amax, ue8m0);
        for (int k = 0; k < 16; k++) amax = f32_amax(amax, d.w[k]);
        float scale = fp8_scaled_scale(amax, ue8m0 ? FP8_SCALE_UE8M0 : FP8_SCALE_F32);
        if (slow_to_bits(scale) != slow_to_bits(want))
            NOTE("scale of %a is %a, expected %a", (double)d.amax, (double)scale, (double)want);
        for (int k = 0; k < 16; k++) {
            unsigned got = fp8_scaled_encode(d.w[k], scale), code = slow_fp8(NULL, d.w[k], want, 0);
            float back = fp8_scaled_decode((uint8_t)got, scale), expected = slow_fp8_back(code, want);
            if (got != code || slow_to_bits(back) != slow_to_bits(expected))
                NOTE("%a / %a gives %#x and %a, expected %#x and %a", (double)d.w[k], (double)scale, got, (double)back,
                     code, (double)expected);
        }
    }
    return bad;
}

/* Sizes are powers of two half of the time, so that quotients meet the midpoints. */
static uint64_t sweep_mx(uint64_t n, uint64_t seed, char *why, int which)
{
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i += 32) {
        struct slow_mx want;
        float w[32], back[32], size = draw_scale(next(&seed));
        uint8_t scale, packed[16], code[32];
        if (next(&seed) % 2) size = slow_from_bits(slow_to_bits(size) & 0x7F800000u);
        draw_values(w, 32, which == 2 ? &slow_e4m3 : &slow_e2m1, size, &seed);
        if (which == 2) {
            slow_mxfp8(&want, w);
            mxfp8_encode_block(w, &scale, code);
            mxfp8_decode_block(code, scale, back);
        } else {
            slow_mxfp4(&want, w, which == 0);
            mxfp4_encode_block(w, which == 0 ? MXFP4_MODELOPT : MXFP4_OCP, &scale, packed);
            mxfp4_decode_block(packed, scale, back);
            for (int k = 0; k < 32; k++) code[k] = k % 2 ? packed[k / 2] >> 4 : packed[k / 2] & 15;
        }
        for (int k = 0; k < 32; k++)
            if (scale != want.scale || code[k] != want.code[k] ||
                slow_to_bits(back[k]) != slow_to_bits(want.decoded[k]))
                NOTE("%a: scale %u, code %#x, value %a, expected %u, %#x, %a", (double)w[k], scale, code[k],
                     (double)back[k], want.scale, want.code[k], (double)want.decoded[k]);
    }
    return bad;
}

static uint64_t sweep_mxfp4_modelopt(uint64_t n, uint64_t seed, char *why)
{
    return sweep_mx(n, seed, why, 0);
}

static uint64_t sweep_mxfp4_ocp(uint64_t n, uint64_t seed, char *why)
{
    return sweep_mx(n, seed, why, 1);
}

static uint64_t sweep_mxfp8(uint64_t n, uint64_t seed, char *why)
{
    return sweep_mx(n, seed, why, 2);
}

static uint64_t sweep_int4_of(uint64_t n, uint64_t seed, char *why, bool symmetric)
{
    static const struct slow_type *const stored[] = {NULL, &slow_f16, &slow_bf16};
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i += 32) {
        float w[32], amax = 0, lo = 0, hi = 0, size = draw_scale(next(&seed));
        uint64_t r = next(&seed);
        enum int4_scale_type type = (enum int4_scale_type)(r % 3);
        if (type == INT4_SCALE_F16 && r >> 8 & 7)                /* mostly where f16 has its numbers */
            size = slow_from_bits((slow_to_bits(size) & 0x03FFFFFFu) | 0x3C000000u);
        draw_values(w, 32, &slow_e2m1, size, &seed);
        for (int k = 0; k < 32; k++) {
            if (r >> 16 & 1) w[k] = slow_mul((float)((int)(next(&seed) % 31) - 15) * 0.5f, size);      /* many ties */
            amax = f32_amax(amax, w[k]), lo = int4_low(lo, w[k]), hi = int4_high(hi, w[k]);
        }
        struct slow_int4 want = slow_int4_group(w, 32, symmetric, stored[type]);
        float scale = symmetric ? int4_scale(amax, type) : int4_zero_scale(lo, hi, type);
        uint8_t zero = symmetric ? 0 : int4_zero(lo, scale);
        if (slow_to_bits(scale) != slow_to_bits(want.scale) || (!symmetric && zero != want.zero))
            NOTE("group of %a .. %a: scale %a, zero %d, expected %a, %d", (double)lo, (double)hi, (double)scale, zero,
                 (double)want.scale, want.zero);
        for (int k = 0; k < 32; k++) {
            float expected;
            int code = slow_int4(want, w[k], &expected) & 15;
            int got = symmetric ? int4_code(w[k], scale) : int4_zero_code(w[k], scale, zero);
            float back = symmetric ? int4_decode((uint8_t)got, scale) : int4_zero_decode((uint8_t)got, scale, zero);
            if (got != code || slow_to_bits(back) != slow_to_bits(expected))
                NOTE("%a / %a gives %d and %a, expected %d and %a", (double)w[k], (double)scale, got, (double)back,
                     code, (double)expected);
        }
    }
    return bad;
}

static uint64_t sweep_int4(uint64_t n, uint64_t seed, char *why)
{
    return sweep_int4_of(n, seed, why, true);
}

static uint64_t sweep_int4_zero(uint64_t n, uint64_t seed, char *why)
{
    return sweep_int4_of(n, seed, why, false);
}

static const struct { const char *name; uint64_t (*run)(uint64_t n, uint64_t seed, char *why); } sweeps[] = {
    {"bf16", sweep_bf16}, {"f16", sweep_f16}, {"e2m1", sweep_e2m1}, {"e4m3", sweep_e4m3}, {"e5m2", sweep_e5m2},
    {"e8m0", sweep_e8m0},
    {"fp8 of f32, fp8 input", sweep_fp8_f32}, {"fp8 of bf16", sweep_fp8_bf16}, {"fp8 of f16", sweep_fp8_f16},
    {"nvfp4 dynamic", sweep_nvfp4}, {"nvfp4 static", sweep_nvfp4_static}, {"nvfp4 input", sweep_nvfp4_input},
    {"nvfp4 four-over-six", sweep_four_six}, {"fp8 channel and block", sweep_fp8_scaled},
    {"mxfp4 modelopt", sweep_mxfp4_modelopt}, {"mxfp4 ocp", sweep_mxfp4_ocp}, {"mxfp8", sweep_mxfp8},
    {"int4", sweep_int4}, {"int4 with zero point", sweep_int4_zero},
};

struct job { size_t which; uint64_t per_slice; atomic_uint next_slice; atomic_ullong bad; char why[SLICES][200]; };

static void *work(void *arg)
{
    struct job *j = arg;
    for (unsigned s; (s = atomic_fetch_add(&j->next_slice, 1)) < SLICES;)
        atomic_fetch_add(&j->bad, sweeps[j->which].run(j->per_slice, (uint64_t)j->which << 32 | s, j->why[s]));
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000000;
    const char *part = argc > 2 ? argv[2] : "";
    int status = 0;
    slow_init();
    for (size_t w = 0; w < sizeof sweeps / sizeof *sweeps; w++) {
        if (!strstr(sweeps[w].name, part)) continue;
        static struct job j;
        memset(&j, 0, sizeof j);
        j.which = w, j.per_slice = (n / SLICES + 16) / 16 * 16;
        pthread_t t[THREADS];
        int started = 0;
        while (started < THREADS && pthread_create(&t[started], NULL, work, &j) == 0) started++;
        if (started == 0) work(&j);
        for (int i = 0; i < started; i++) pthread_join(t[i], NULL);
        uint64_t bad = atomic_load(&j.bad);
        if (bad == 0) {
            printf("ok %s: %" PRIu64 " patterns\n", sweeps[w].name, j.per_slice * SLICES);
        } else {
            unsigned s = 0;
            while (s + 1 < SLICES && !j.why[s][0]) s++;
            printf("FAIL %s: %" PRIu64 " differences, one of them: %s\n", sweeps[w].name, bad, j.why[s]);
            status = 1;
        }
        fflush(stdout);
    }
    return status;
}
