/* The causal depthwise convolution and silu before a recurrence, with the inputs that a text carries over. */
#ifndef ENGINE_SHORT_CONV_H
#define ENGINE_SHORT_CONV_H

#include "engine/block.h"

struct short_conv {
    const float *weight, *bias; /* [channels, taps]; [channels] or NULL */
    uint64_t channels, taps;
};

/* Every row of the call: in [rows, channels] with row stride in_stride, out [rows, channels] packed; out may be `in`
 * when that is packed too. Each segment's state keeps its last `taps` inputs, oldest first. Parallel over segments. */
MUST_CHECK bool short_conv_run(const struct short_conv *c, const struct block_call *call, const float *in,
                               uint64_t in_stride, float *out, struct error *err);
/* Scratch of the calling thread, and what a text keeps. */
uint64_t short_conv_need(const struct short_conv *c, uint64_t n_rows, uint64_t n_segments);
uint64_t short_conv_state_floats(const struct short_conv *c);

#endif
