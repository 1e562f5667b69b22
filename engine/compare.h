/* How far two runs of a model are apart. */
#ifndef ENGINE_COMPARE_H
#define ENGINE_COMPARE_H

#include "core/pool.h"
#include "engine/engine.h"

/* log(sum(exp(x))) of n logits and the index of the largest; the lower index wins ties, as argmax does. */
double logits_log_sum(const float *x, uint64_t n, uint64_t *top);

/* KL(a || b) in nats, of n logits each with their log sums. */
double logits_kl(const float *a, double sum_a, const float *b, double sum_b, uint64_t n);

/* Sums over all rows of both streams, which are of one shape, [rows, hidden]: squares of a, and of a - b. The same for
 * any number of threads. */
MUST_CHECK bool stream_difference(const struct stream *a, const struct stream *b, uint64_t hidden, struct pool *pool,
                                  double *signal, double *noise, struct error *err);

#endif
