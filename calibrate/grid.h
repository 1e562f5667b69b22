/* What weights are rounded to: codes of four bits, and a scale for each block of a row's columns, for some types a zero
 * point too. One file knows which types that is, and what their numbers mean (numeric/). */
#ifndef CALIBRATE_GRID_H
#define CALIBRATE_GRID_H

#include "numeric/int4.h"
#include "numeric/nvfp4.h"
#include "plan/plan.h"

struct grid {
    const struct quant_format *format;
    enum op encode, decode; /* kernels of what the item's weights become, before a layout has them */
    enum scale_method scales;
    struct scale_range range; /* SCALES_RANGE */
    float group_amax;         /* of the tensor or its fused group, not zero */
    float tensor_scale;       /* NVFP4: weight_scale_2 that goes with it and with `scales`, not zero */
    uint64_t isa;
};

/* True for formats whose weights can be solved: NVFP4, INT4. */
bool grid_knows(const struct quant_format *f);
/* Of an item; false (ERR_FORMAT) when its group's largest magnitude is too small for a scale. */
MUST_CHECK bool grid_of(struct grid *g, const struct plan_item *item, float group_amax, uint64_t isa,
                        struct error *err);

/* Rows of scales as kernels write them (backends/kernel_args.h): bytes (NVFP4's scales, zero points) and floats (INT4's
 * scales), [n, blocks] each; and `steps`, what a code of 1 is worth, [n, blocks]. */
struct grid_scales {
    uint8_t *bytes;
    float *floats, *steps;
};

/* Bytes and floats of a scale; 0: there are none of that kind. */
uint32_t grid_scale_bytes(const struct grid *g), grid_scale_floats(const struct grid *g);
/* w: [n, cols]. codes: [n, cols / 2], room. Scales by the line's method. */
void grid_choose(const struct grid *g, const float *w, uint64_t n, uint64_t cols, const struct grid_scales *out,
                 uint8_t *codes);
/* Plain rounding with each block's own range, decoded into base [n, cols]; codes and scales are room. */
void grid_round(const struct grid *g, const float *w, uint64_t n, uint64_t cols, const struct grid_scales *room,
                uint8_t *codes, float *base);

enum grid_kind { GRID_NVFP4, GRID_INT4, GRID_INT4_ZERO };
enum grid_kind grid_kind(const struct grid *g);

/* The code of t, and what it means. */
static inline uint8_t grid_code(enum grid_kind kind, float t, float step, uint8_t zero)
{
    return kind == GRID_NVFP4  ? nvfp4_code(t / step)
           : kind == GRID_INT4 ? int4_code(t, step)
                               : int4_zero_code(t, step, zero);
}

static inline float grid_value(enum grid_kind kind, uint8_t code, float step, uint8_t zero)
{
    return kind == GRID_NVFP4  ? e2m1_decode(code) * step
           : kind == GRID_INT4 ? int4_decode(code, step)
                               : int4_zero_decode(code, step, zero);
}

#endif
