/* Folding: a scale s > 0 per channel goes from what a linear reads into its weights. Whoever makes the channel is
 * divided by s, the columns that read it are multiplied by s, and the model computes what it did. All is fp32, rounded
 * once to the tensor's own type at the end (half.h), so every tensor stays of its type and shape. */
#ifndef NUMERIC_FOLD_SCALE_H
#define NUMERIC_FOLD_SCALE_H

#include "numeric/half.h"

/* A weight whose column is multiplied by `by` and whose row is divided by `over`; 1: it is not. Two roundings. */
NUM_FN float fold_weight(float w, float by, float over)
{
    float v = w * by;
    return v / over;
}

/* The weight of a norm that multiplies with it, and of one that multiplies with 1 + w. */
NUM_FN float fold_norm(float w, float over)
{
    return w / over;
}
NUM_FN float fold_norm_one(float w, float over)
{
    if (over == 1.0f) return w; /* 1 + w may round */
    float full = 1.0f + w, v = full / over;
    return v - 1.0f;
}

/* What a norm has really been divided by, once its new weight is rounded to its type: this is the scale that its
 * readers are multiplied by, so that nothing of the rounding is left. Not finite, or not above 0: it cannot be divided
 * so. */
NUM_FN float fold_norm_effect(float before, float after)
{
    return before / after;
}
NUM_FN float fold_norm_one_effect(float before, float after)
{
    float a = 1.0f + before, b = 1.0f + after;
    return a / b;
}

/* The nearest power of two, by the logarithm's usual mistake: 1.5 and above go up. x: positive, normal. Multiplying by
 * it and dividing by it rounds nothing away. */
NUM_FN float fold_power_of_two(float x)
{
    return f32_from_bits((f32_bits(x) + 0x00400000u) & F32_INFINITY_BITS);
}
/* The power of four 4^k for x in [2^(2k - 1), 2^(2k + 1)): its root is a power of two. */
NUM_FN float fold_power_of_four(float x)
{
    uint32_t e = f32_bits(x) >> 23; /* biased by 127, which is odd */
    return f32_from_bits((e + (e % 2 == 0)) << 23);
}

#endif
