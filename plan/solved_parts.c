#include "plan/solved_parts.h"

uint32_t solved_parts(const struct plan_item *item, struct solved_part out[SOLVED_PARTS_MAX])
{
    const struct quant_format *f = item->format;
    uint64_t cols = item->tensor->dims[1], blocks = cols / f->block_cols;
    out[0] = (struct solved_part){PART_WEIGHT, DTYPE_U8, cols / 2, SOLVED_CODES};
    if (f->encode_op == OP_ENCODE_NVFP4) {
        out[1] = (struct solved_part){PART_WEIGHT_SCALE, DTYPE_F8_E4M3, blocks, SOLVED_BYTES};
        return 2;
    }
    out[1] = (struct solved_part){PART_WEIGHT_SCALE, DTYPE_F32, blocks * sizeof(float), SOLVED_FLOATS};
    out[2] = (struct solved_part){PART_WEIGHT_ZERO_POINT, DTYPE_U8, blocks, SOLVED_BYTES};
    return quant_format_encoder(f, item->zero) == OP_ENCODE_INT4 ? 2 : 3;
}
