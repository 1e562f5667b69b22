#include "engine/compare.h"

#include "core/bytes.h"
#include "core/memory.h"

#include <math.h>

#define COMPARE_ROWS 1024u /* of each stream, held at a time */

double logits_log_sum(const float *x, uint64_t n, uint64_t *top)
{
    uint64_t best = 0;
    for (uint64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    double sum = 0, max = (double)x[best];
    for (uint64_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    *top = best;
    return max + log(sum);
}

double logits_kl(const float *a, double sum_a, const float *b, double sum_b, uint64_t n)
{
    double kl = 0;
    for (uint64_t k = 0; k < n; k++) {
        double lp = (double)a[k] - sum_a, lq = (double)b[k] - sum_b;
        kl += exp(lp) * (lp - lq);
    }
    return kl;
}

struct rows {
    const float *a, *b;
    uint64_t cols;
    double *signal, *noise; /* by row */
};

static void difference_of_row(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct rows *r = ctx;
    const float *a = r->a + row * r->cols, *b = r->b + row * r->cols;
    double signal = 0, noise = 0;
    for (uint64_t i = 0; i < r->cols; i++) {
        double d = (double)a[i] - (double)b[i];
        signal += (double)a[i] * (double)a[i];
        noise += d * d;
    }
    r->signal[row] = signal;
    r->noise[row] = noise;
}

bool stream_difference(const struct stream *sa, const struct stream *sb, uint64_t hidden, struct pool *pool,
                       double *signal, double *noise, struct error *err)
{
    uint64_t total = stream_rows(sa), n_max = u64_min(total, COMPARE_ROWS);
    CLEANUP(free) float *a = NULL;
    CLEANUP(free) float *b = NULL;
    CLEANUP(free) double *sums = NULL;
    if (!memory_alloc(&a, n_max * hidden, sizeof *a, err) || !memory_alloc(&b, n_max * hidden, sizeof *b, err) ||
        !memory_alloc(&sums, 2 * n_max, sizeof *sums, err))
        return false;
    *signal = *noise = 0;
    for (uint64_t first = 0; first < total; first += n_max) {
        uint64_t n = u64_min(n_max, total - first);
        if (!stream_read(sa, first, n, a, err) || !stream_read(sb, first, n, b, err)) return false;
        struct rows r = {a, b, hidden, sums, sums + n_max};
        pool_for(pool, n, difference_of_row, &r);
        for (uint64_t i = 0; i < n; i++) {
            *signal += r.signal[i];
            *noise += r.noise[i];
        }
    }
    return true;
}
