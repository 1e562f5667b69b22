#include "calibrate/histogram.h"

#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <math.h>

#define FIRST_CHOICE 128u       /* of entropy and mse: at least so many bins are kept */
#define STRIDE 8u               /* between choices: under 1 % of the largest; each costs a look at all bins */
#define LEVELS 128u             /* of entropy: 2^(8 - 1) */
#define HEADROOM_FACTOR 16384.0 /* ModelOpt's rho */
#define HEADROOM_ANCHOR 1.0     /* per cent */
#define HEADROOM_UPPER 99.99
#define HEADROOM_FLOOR 1e-6 /* of the upper value: blocks below it are padding, not inputs */

/* ---- counting ---- */

static void join_pairs(struct histogram *h)
{
    for (uint32_t i = 0; i < HISTOGRAM_BINS / 2; i++) h->count[i] = h->count[2 * i] + h->count[2 * i + 1];
    memset(h->count + HISTOGRAM_BINS / 2, 0, HISTOGRAM_BINS / 2 * sizeof *h->count);
    h->exponent++;
}

/* Room for values up to a. */
static void widen(struct histogram *h, float a)
{
    int exponent = ilogbf(a) - 10; /* a is in bins 1024 to 2047 then */
    if (!h->scaled) h->exponent = exponent;
    h->scaled = true;
    while (h->exponent < exponent) join_pairs(h);
}

void histogram_add(struct histogram *h, const float *x, uint64_t n)
{
    float top = 0;
    for (uint64_t i = 0; i < n; i++) top = fmaxf(top, fabsf(x[i]));
    if (top > h->top) h->top = top;
    if (top > 0) widen(h, top);
    if (!h->scaled) {
        h->count[0] += n;
        return;
    }
    double scale = ldexp(1.0, -h->exponent);
    for (uint64_t i = 0; i < n; i++) h->count[(uint32_t)(fabs((double)x[i]) * scale)]++;
}

/* 2^(j/32) for j = 0 .. 31, by square roots, which every library rounds alike. */
static double root_of_two(uint32_t j)
{
    double r = 1, root = 2;
    for (uint32_t bit = 16; bit; bit /= 2) {
        root = sqrt(root);
        if (j & bit) r *= root;
    }
    return r;
}

/* The lower edge of a block bin: 2^(-40 + 5 k / 32). */
static double log_edge(uint32_t k)
{
    return ldexp(root_of_two(5 * k % 32), (int)(5 * k / 32) - 40);
}

void histogram_add_blocks(struct histogram *h, const float *x, uint64_t n)
{
    static const uint32_t half = HISTOGRAM_LOG_BINS / 2;
    for (uint64_t i = 0; i < n; i += NVFP4_BLOCK) {
        float a = nvfp4_block_amax(x + i);
        if (a > h->top) h->top = a;
        if (!(a > 0)) continue; /* a block of zeros has no scale to choose */
        uint32_t low = 0;
        for (uint32_t step = half; step; step /= 2)
            if ((double)a >= log_edge(low + step)) low += step;
        h->count[low]++;
    }
}

/* ---- choosing ---- */

static uint64_t total_of(const struct histogram *h, uint32_t first, uint32_t n)
{
    uint64_t sum = 0;
    for (uint32_t i = first; i < n; i++) sum += h->count[i];
    return sum;
}

/* The first bin from `first` on at which the share of what lies in first .. n - 1 is reached. */
static uint32_t bin_at(const struct histogram *h, uint32_t first, uint32_t n, double percent)
{
    double want = percent / 100 * (double)total_of(h, first, n), sum = 0;
    for (uint32_t i = first; i < n; i++) {
        sum += (double)h->count[i];
        if (h->count[i] && sum >= want * (1 - 1e-12)) return i; /* 99.9 % of 20,000 are 19,980 */
    }
    return n - 1;
}

static float percentile(const struct histogram *h, double percent)
{
    uint32_t bin = bin_at(h, 0, HISTOGRAM_BINS, percent);
    if (percent >= 100) return h->top;
    return (float)ldexp(bin ? (double)bin : 1.0, h->exponent);
}

static double middle(const struct histogram *h, uint32_t bin)
{
    return ldexp((double)bin + 0.5, h->exponent);
}

double histogram_fp8_error(const struct histogram *h, float amax)
{
    float scale = amax / E4M3_MAX;
    double sum = 0;
    if (!(scale > 0)) return 0;
    for (uint32_t i = 0; i < HISTOGRAM_BINS; i++) {
        if (!h->count[i]) continue;
        double v = middle(h, i), d = v - (double)e4m3_decode(e4m3_encode((float)v / scale)) * (double)scale;
        sum += (double)h->count[i] * d * d;
    }
    return sum;
}

static float least_error(const struct histogram *h)
{
    double best = (double)INFINITY;
    float chosen = h->top;
    for (uint32_t i = FIRST_CHOICE; i < HISTOGRAM_BINS; i += STRIDE) {
        double error = histogram_fp8_error(h, (float)middle(h, i));
        if (!(error < best)) continue;
        best = error;
        chosen = (float)middle(h, i);
    }
    return chosen;
}

/* Divergence of the first n bins, what lies beyond counted into the last, from the same spread evenly over LEVELS: each
 * level's counts over those of its bins that hold any. */
static double divergence(const struct histogram *h, uint32_t n)
{
    double beyond = (double)total_of(h, n, HISTOGRAM_BINS), all = beyond + (double)total_of(h, 0, n), kept = 0, sum = 0;
    double spread[HISTOGRAM_BINS];
    for (uint32_t level = 0; level < LEVELS; level++) {
        uint32_t from = level * n / LEVELS, to = (level + 1) * n / LEVELS, used = 0;
        for (uint32_t i = from; i < to; i++) used += h->count[i] > 0;
        double each = used ? (double)total_of(h, from, to) / used : 0;
        for (uint32_t i = from; i < to; i++) spread[i] = h->count[i] ? each : 0;
        kept += each * used;
    }
    for (uint32_t i = 0; i < n; i++) {
        double p = ((double)h->count[i] + (i + 1 == n ? beyond : 0)) / all;
        if (p == 0) continue;
        if (spread[i] == 0) return (double)INFINITY;
        sum += p * log(p / (spread[i] / kept));
    }
    return sum;
}

static float least_divergence(const struct histogram *h)
{
    double best = (double)INFINITY;
    uint32_t chosen = HISTOGRAM_BINS;
    for (uint32_t n = FIRST_CHOICE; n <= HISTOGRAM_BINS; n += STRIDE) {
        double d = divergence(h, n);
        if (d <= best) best = d, chosen = n; /* the last of equals */
    }
    return chosen == HISTOGRAM_BINS ? h->top : (float)ldexp((double)chosen, h->exponent);
}

static double log_middle(uint32_t bin)
{
    return sqrt(log_edge(bin) * log_edge(bin + 1));
}

static float headroom(const struct histogram *h)
{
    double upper = log_middle(bin_at(h, 0, HISTOGRAM_LOG_BINS, HEADROOM_UPPER));
    uint32_t first = 0;
    while (first + 1 < HISTOGRAM_LOG_BINS && log_middle(first) < upper * HEADROOM_FLOOR) first++;
    double anchor = log_middle(bin_at(h, first, HISTOGRAM_LOG_BINS, HEADROOM_ANCHOR));
    double amax = anchor * HEADROOM_FACTOR;
    return (float)(amax > upper ? amax : upper);
}

float histogram_choose(const struct histogram *h, const struct input_observer *o)
{
    if (!(h->top > 0)) return 0;
    switch (o->method) {
    case OBSERVER_PERCENTILE: return percentile(h, o->percentile);
    case OBSERVER_ENTROPY: return least_divergence(h);
    case OBSERVER_MSE: return least_error(h);
    case OBSERVER_HEADROOM: return headroom(h);
    default: return h->top;
    }
}
