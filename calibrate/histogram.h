/* Histograms of input magnitudes, and what observers choose from them (plan/input_observer.h). What is counted where
 * does not depend on the order or the pieces in which numbers come.
 *
 * Of values: bins as wide as a power of two, the smallest with which all values lie in 2048 bins; when a larger one
 * comes, bins are joined in pairs. Of NVFP4 blocks: 512 bins of equal width in log2, from -40 to 40.
 *
 * Choices are those of ModelOpt 0.47.0's calibrators, on our bins: percentile takes the left edge of the bin where the
 * share is reached; entropy and mse try every eighth bin from number 128 on (ModelOpt every one). */
#ifndef CALIBRATE_HISTOGRAM_H
#define CALIBRATE_HISTOGRAM_H

#include "plan/input_observer.h"

#include <stdint.h>

#define HISTOGRAM_BINS 2048u
#define HISTOGRAM_LOG_BINS 512u

struct histogram {
    uint64_t count[HISTOGRAM_BINS];
    int exponent; /* bins are 2^exponent wide; of no meaning before the first value above 0 */
    bool scaled;  /* it has come */
    float top;    /* the largest magnitude */
};

/* n finite numbers. */
void histogram_add(struct histogram *h, const float *x, uint64_t n);
/* Blocks of 16 instead, for OBSERVER_HEADROOM. n is a multiple of 16. */
void histogram_add_blocks(struct histogram *h, const float *x, uint64_t n);

/* The maximum that the observer chooses; 0 when all was zero. */
float histogram_choose(const struct histogram *h, const struct input_observer *o);
/* Sum of squared differences between the values (as the middles of their bins) and their FP8 codes under a maximum.
 * Not of block histograms. */
double histogram_fp8_error(const struct histogram *h, float amax);

#endif
