/* The parts of a solved weight as calibration keeps them and quantize takes them: what an encoder leaves of its rows
 * (backends/kernel_args.h), before a layout packs it, inverts it or puts it on its side. So one result serves every
 * layout of a type. */
#ifndef PLAN_SOLVED_PARTS_H
#define PLAN_SOLVED_PARTS_H

#include "plan/plan.h"

#define SOLVED_PARTS_MAX 3u

/* Where kernels leave a part. */
enum solved_room {
    SOLVED_CODES, /* dst */
    SOLVED_BYTES, /* dst_scale: scales of a byte, zero points */
    SOLVED_FLOATS /* dst_f32: scales */
};

struct solved_part {
    enum tensor_part part; /* its suffix names it: weight, weight_scale, weight_zero_point */
    enum dtype dtype;
    uint64_t row_bytes; /* of one row of the weight */
    enum solved_room room;
};

/* The codes first, then the scales. Of an item that can be solved; returns their number. */
uint32_t solved_parts(const struct plan_item *item, struct solved_part out[SOLVED_PARTS_MAX]);

#endif
