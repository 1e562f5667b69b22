/* What parity and perplexity read of a row of logits. */
#ifndef VERIFY_LOG_SUM_H
#define VERIFY_LOG_SUM_H

#include <math.h>
#include <stdint.h>

/* log(sum(exp(x))) and the index of the largest; the lower index wins ties, as argmax does. */
static inline double log_sum(const float *x, uint64_t n, uint64_t *top)
{
    uint64_t best = 0;
    for (uint64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    double sum = 0, max = (double)x[best];
    for (uint64_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    *top = best;
    return max + log(sum);
}

#endif
