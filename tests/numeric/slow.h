/* A second opinion on every number of numeric/, written the other way round: a type is the sorted list of its values in
 * double, made from the definition (sign, exponent, mantissa), and encoding is a search for the nearest. No bit tricks,
 * no fp32 arithmetic: where the specification rounds to fp32, the operation is done in double and cast. That is the
 * same as one fp32 rounding for +, -, *, / of floats, because 53 >= 2*24 + 2 bits (Figueroa 1995), also for denormal
 * results.
 *
 * Shared by tests/unit/test_numeric_*.c and by sweep_patterns.c; may use libm, must not include numeric/. */
#ifndef TESTS_NUMERIC_SLOW_H
#define TESTS_NUMERIC_SLOW_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct slow_type {
    const char *name;
    int exponent_bits, mantissa_bits, bias;
    unsigned n_finite;            /* magnitudes 0 .. n_finite-1 are the finite codes */
    bool saturates;               /* else overflow gives code n_finite, infinity */
    unsigned nan_code;            /* what NaN becomes */
    /* value[i] of code i; mid[i] between i and i+1; value[n_finite] is what would follow */
    double value[32769], mid[32768];
};

static void slow_type_make(struct slow_type *t, const char *name, int exponent_bits, int mantissa_bits, int bias,
                           unsigned n_finite, bool saturates, unsigned nan_code)
{
    t->name = name;
    t->exponent_bits = exponent_bits, t->mantissa_bits = mantissa_bits, t->bias = bias;
    t->n_finite = n_finite, t->saturates = saturates, t->nan_code = nan_code;
    for (unsigned c = 0; c <= n_finite; c++) {
        int e = (int)(c >> mantissa_bits);
        double m = (double)(c & ((1u << mantissa_bits) - 1u)) / (double)(1u << mantissa_bits);
        t->value[c] = e == 0 ? ldexp(m, 1 - bias) : ldexp(1.0 + m, e - bias);
    }
    for (unsigned c = 0; c < n_finite; c++) t->mid[c] = (t->value[c] + t->value[c + 1]) / 2;
}

/* Those of the OCP specifications and IEEE 754. */
static struct slow_type slow_e2m1, slow_e4m3, slow_e5m2, slow_f16, slow_bf16;

static void slow_init(void)
{
    slow_type_make(&slow_e2m1, "e2m1", 2, 1, 1, 8, true, 7);
    slow_type_make(&slow_e4m3, "e4m3", 4, 3, 7, 127, true, 0x7F);
    slow_type_make(&slow_e5m2, "e5m2", 5, 2, 15, 124, true, 0x7F);
    slow_type_make(&slow_f16, "f16", 5, 10, 15, 0x7C00, false, 0x7FFF);
    slow_type_make(&slow_bf16, "bf16", 8, 7, 127, 0x7F80, false, 0x7FFF);
}

/* Code of the magnitude nearest to a >= 0, ties to the even code. */
static inline unsigned slow_nearest(const struct slow_type *t, double a)
{
    unsigned low = 0, high = t->n_finite;             /* the answer is in low..high; mids below low are < a */
    while (low < high) {
        unsigned c = (low + high) / 2;
        bool up = a > t->mid[c] || (a == t->mid[c] && c % 2 == 1);
        if (up) low = c + 1;
        else high = c;
    }
    return low == t->n_finite && t->saturates ? t->n_finite - 1 : low;
}

/* The same by trying every code: for small types, to check the search above. */
static inline unsigned slow_nearest_of_all(const struct slow_type *t, double a)
{
    unsigned best = 0;
    for (unsigned c = 1; c <= t->n_finite; c++) {
        double d = fabs(a - t->value[c]), d_best = fabs(a - t->value[best]);
        if (isinf(a) || d < d_best || (d == d_best && c % 2 == 0)) best = c;
    }
    return best == t->n_finite && t->saturates ? t->n_finite - 1 : best;
}

static inline unsigned slow_bits(const struct slow_type *t)
{
    return (unsigned)(t->exponent_bits + t->mantissa_bits);       /* the place of the sign bit */
}

static inline unsigned slow_encode(const struct slow_type *t, double x)
{
    if (isnan(x)) return t->nan_code;
    return slow_nearest(t, fabs(x)) | (signbit(x) ? 1u << slow_bits(t) : 0u);
}

/* NaN and infinity codes of the types that have them come out as such. */
static inline double slow_decode(const struct slow_type *t, unsigned code)
{
    unsigned c = code & ((1u << slow_bits(t)) - 1u);
    double v;
    if (c < t->n_finite) v = t->value[c];
    else if (c == t->n_finite && t != &slow_e4m3) v = (double)INFINITY;
    else v = (double)NAN;
    return code >> slow_bits(t) & 1u ? -v : v;
}

/* One fp32 rounding of an operation on floats. */
static inline float slow_mul(float a, float b) { return (float)((double)a * (double)b); }
static inline float slow_div(float a, float b) { return (float)((double)a / (double)b); }
static inline float slow_add(float a, float b) { return (float)((double)a + (double)b); }
static inline float slow_sub(float a, float b) { return (float)((double)a - (double)b); }

static inline float slow_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline uint32_t slow_to_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* E8M0 by logarithm: floor, ceil and nearest power of two; how: -1, +1, 0. */
static inline unsigned slow_e8m0(float x, int how)
{
    if (isnan(x)) return 255;
    if (isinf(x)) return 254;
    double a = fabs((double)x);
    int e = 0;
    if (frexp(a, &e) == 0 || --e < -127) e = -127;               /* 2^e <= a < 2^(e+1), unless below the range */
    double low = ldexp(1.0, e);
    if (a > low && e < 127 && (how > 0 || (how == 0 && a >= 1.5 * low))) e++;
    return (unsigned)(e + 127);
}

struct slow_block { uint8_t scale, packed[8]; float decoded[16]; };

/* NVFP4 with a given scale byte. */
static inline void slow_pack(struct slow_block *b, const float w[16], float s2)
{
    float e = slow_mul((float)slow_decode(&slow_e4m3, b->scale), s2);
    memset(b->packed, 0, sizeof b->packed);
    for (int i = 0; i < 16; i++) {
        float q = slow_div(w[i], e);
        unsigned c = isnan(q) ? 7u : slow_nearest(&slow_e2m1, fabs((double)q)) | (q < 0 ? 8u : 0u);
        b->packed[i / 2] = (uint8_t)(b->packed[i / 2] | c << (i % 2 ? 4 : 0));
        b->decoded[i] = slow_mul((float)slow_decode(&slow_e2m1, c), e);
    }
}

static inline float slow_amax(const float w[16])
{
    float a = 0;
    for (int i = 0; i < 16; i++)
        if (isnan(w[i])) return (float)NAN;
        else if (fabsf(w[i]) > a) a = fabsf(w[i]);
    return a;
}

/* The quotient to the scale byte, by search: below the smallest positive code is that code, NaN is the largest. */
static inline uint8_t slow_scale(float p)
{
    if (p == 0) p = 1;
    if (isnan(p)) return 126;
    unsigned c = slow_nearest(&slow_e4m3, (double)p);
    return (uint8_t)(c == 0 ? 1 : c);
}

static inline void slow_nvfp4_dynamic(struct slow_block *b, const float w[16], float s2)
{
    b->scale = slow_scale(slow_div(slow_amax(w), slow_mul(6, s2)));
    slow_pack(b, w, s2);
}

static inline void slow_nvfp4_static(struct slow_block *b, const float w[16], float block_amax, float g, float m)
{
    float s2 = slow_div(g, slow_mul(6, m)), p = slow_div(block_amax, 6);
    if (s2 == 0) {                                               /* a zero tensor: s2 of g = 1, scales 1.0 */
        s2 = slow_div(1, slow_mul(6, m));
        b->scale = 0x38;
    } else {
        if (p == 0) p = 1;
        p = slow_div(slow_mul(p, m), slow_div(g, 6));
        b->scale = slow_scale(p == 0 ? 1e-30f : p);              /* zero counts as 1 before this line only */
    }
    slow_pack(b, w, s2);
}

/* Squared error of a block with scale e, elements in order; what is not a number counts as 6. */
static inline float slow_block_error(const float w[16], float e)
{
    float error = 0;
    for (int i = 0; i < 16; i++) {
        float a = fabsf(w[i]), q = slow_div(a, e);
        float v = isnan(q) ? 6.0f : (float)slow_e2m1.value[slow_nearest(&slow_e2m1, (double)q)];
        float d = slow_sub(a, slow_mul(v, e));
        error = slow_add(error, slow_mul(d, d));
    }
    return error;
}

/* Four-over-six: error[0] with the block's maximum, error[1] with 1.5 times it; the maximum of the smaller, the first
 * of equals and the first when one is not a number. */
static inline float slow_four_six(const float w[16], float g, float error[2])
{
    float n = slow_div(448, slow_div(slow_mul(g, 1.75f), 6)), v = slow_div(1, n);
    float amax[2] = {slow_amax(w), slow_mul(slow_amax(w), 1.5f)};
    for (int c = 0; c < 2; c++) {
        float t = slow_mul(slow_div(amax[c], 6), n);
        error[c] = slow_block_error(w, slow_mul((float)slow_decode(&slow_e4m3, slow_encode(&slow_e4m3, (double)t)), v));
    }
    return amax[error[1] < error[0]];
}

/* Activations: parity_reference's fq_nvfp4 but for NaN, which it turns into zeros and we keep. */
static inline void slow_nvfp4_input(const float x[16], float input_scale, float out[16])
{
    float amax = slow_amax(x);
    unsigned code = slow_encode(&slow_e4m3, (double)slow_div(amax, slow_mul(6, input_scale)));
    float s = slow_mul((float)slow_decode(&slow_e4m3, code), input_scale);
    for (int i = 0; i < 16; i++) {
        float q = slow_div(x[i], s);
        double v = slow_decode(&slow_e2m1, slow_nearest(&slow_e2m1, fabs((double)q)));
        out[i] = isnan(amax) ? (float)NAN : s > 0 ? slow_mul((float)(q < 0 ? -v : v), s) : 0.0f;
    }
}

/* source: NULL for fp32, else the type that w was widened from. */
static inline uint8_t slow_fp8(const struct slow_type *source, float w, float scale, int rounding)
{
    if (source && rounding == 2) scale = (float)slow_decode(source, slow_encode(source, (double)scale));
    float q = slow_div(w, scale);
    if (source && rounding != 0) q = (float)slow_decode(source, slow_encode(source, (double)q));
    return (uint8_t)slow_encode(&slow_e4m3, (double)q);
}

/* The scale of a row or block of FP8; a power of two for ue8m0. amax: its largest magnitude, or NaN. */
static inline float slow_fp8_scale(float amax, bool ue8m0)
{
    float s = slow_div(amax, 448);
    if (isnan(s)) return slow_from_bits(0x7FC00000);
    if (s == 0) s = 1;
    return ue8m0 ? (float)ldexp(1.0, (int)slow_e8m0(s, 1) - 127) : s;
}

/* What such a code comes back as. */
static inline float slow_fp8_back(unsigned code, float scale)
{
    float x = slow_mul((float)slow_decode(&slow_e4m3, code), scale);
    return isnan(x) ? slow_from_bits(0x7FC00000) : x;
}

static inline float slow_amax_of(const float *w, int n)
{
    float a = 0;
    for (int i = 0; i < n; i++)
        if (isnan(w[i])) return (float)NAN;
        else if (fabsf(w[i]) > a) a = fabsf(w[i]);
    return a;
}

/* Scale byte of an MX block as the power of two itself, found by stepping through all of them. up: the first that is
 * not below x, else the last that is not above; outside the range its end. */
static inline uint8_t slow_mx_byte(float x, bool up)
{
    if (isnan(x)) return 255;
    int b = 0;
    while (b < 254 && (up ? ldexp(1.0, b - 127) < (double)x : ldexp(1.0, b - 126) <= (double)x)) b++;
    return (uint8_t)b;
}

/* Codes one per byte, and what they decode to. */
struct slow_mx { uint8_t scale, code[32]; float decoded[32]; };

static inline void slow_mxfp4(struct slow_mx *b, const float w[32], bool modelopt)
{
    float amax = slow_amax_of(w, 32);
    /* floor(log2 a) - 2: 2^e with 4 * 2^e up to a */
    b->scale = modelopt ? slow_mx_byte(slow_div(amax, 6), true) : slow_mx_byte((float)ldexp((double)amax, -2), false);
    if (!modelopt && isinf(amax)) b->scale = 252;
    float e = (float)ldexp(1.0, b->scale - 127);
    for (int i = 0; i < 32; i++) {
        double q = b->scale == 255 ? (double)NAN : (double)slow_div(w[i], e), a = fabs(q);
        unsigned c = 7;
        if (modelopt) {
            for (unsigned k = 7; k-- > 0;)
                if (a <= slow_e2m1.mid[k]) c = k;               /* a tie goes down */
            c |= q > 0 ? 0u : 8u;
        } else c = slow_encode(&slow_e2m1, q);
        b->code[i] = (uint8_t)c;
        b->decoded[i] = b->scale == 255 ? slow_from_bits(0x7FC00000) : slow_mul((float)slow_decode(&slow_e2m1, c), e);
    }
}

static inline void slow_mxfp8(struct slow_mx *b, const float w[32])
{
    b->scale = slow_mx_byte(slow_div(slow_amax_of(w, 32), 448), true);
    float e = (float)ldexp(1.0, b->scale - 127);
    for (int i = 0; i < 32; i++) {
        b->code[i] = (uint8_t)slow_encode(&slow_e4m3, b->scale == 255 ? (double)NAN : (double)slow_div(w[i], e));
        b->decoded[i] = slow_mul((float)slow_decode(&slow_e4m3, b->code[i]), e);
        if (b->scale == 255 || isnan(b->decoded[i])) b->decoded[i] = slow_from_bits(0x7FC00000);
    }
}

/* The integer of low..high nearest to q by trying them all, ties to the even one. */
static inline int slow_integer(double q, int low, int high)
{
    int best = low;
    q = fmax(fmin(q, 1000), -1000);                             /* so that differences stay exact */
    for (int i = low + 1; i <= high; i++) {
        double d = fabs(q - i), d_best = fabs(q - best);
        if (d < d_best || (d == d_best && i % 2 == 0)) best = i;
    }
    return best;
}

/* How a scale is stored: as fp32 (stored NULL), f16 or bf16. */
static inline float slow_stored(float s, const struct slow_type *stored)
{
    unsigned largest = stored ? stored->n_finite - 1 : 0;
    if (isnan(s)) return slow_from_bits(0x7FC00000);
    if (stored) {
        unsigned c = slow_encode(stored, (double)s);
        s = (float)stored->value[c < largest ? c : largest];
    } else if (isinf(s)) s = 0x1.fffffep127f;
    return s == 0 ? 1 : s;
}

struct slow_int4 { float scale; int zero; };

/* Scale and zero point of a group; zero point -1 means symmetric. */
static inline struct slow_int4 slow_int4_group(const float *w, int n, bool symmetric, const struct slow_type *stored)
{
    struct slow_int4 g = {slow_stored(slow_div(slow_amax_of(w, n), 7), stored), -1};
    if (symmetric) return g;
    float lo = 0, hi = 0;
    for (int i = 0; i < n; i++) lo = fminf(lo, w[i]), hi = fmaxf(hi, w[i]);
    if (isnan(slow_amax_of(w, n))) lo = (float)NAN;
    g.scale = slow_stored(slow_div(slow_sub(hi, lo), 15), stored);
    g.zero = isnan(lo) ? 0 : slow_integer((double)slow_div(-lo, g.scale), 0, 15);
    return g;
}

/* The number itself, -8..7 or 0..15, and what it decodes to. */
static inline int slow_int4(struct slow_int4 g, float w, float *back)
{
    double q = (double)slow_div(w, g.scale);
    bool symmetric = g.zero < 0;
    int c = isnan(q) ? (symmetric ? 7 : 15) : symmetric ? slow_integer(q, -8, 7) : 0;
    if (!isnan(q) && !symmetric) {
        c = slow_integer(q, -16, 16) + g.zero;
        c = c < 0 ? 0 : c > 15 ? 15 : c;
    }
    *back = slow_mul((float)(symmetric ? c : c - g.zero), g.scale);
    if (isnan(*back)) *back = slow_from_bits(0x7FC00000);
    return c;
}

#endif
