/* INT4 as layouts keep it (formats/quant_format_layouts.c): codes, scales, zero points and the order of groups of some
 * rows of a weight, in one form whatever the file's. Numbers are those of numeric/int4.h's zero-point form: codes 0..15
 * and a zero point per group, 8 where the layout is symmetric. */
#ifndef MODELS_INT4_PARTS_H
#define MODELS_INT4_PARTS_H

#include "models/inventory.h"

/* Codes of rows [first, first + n) of a matrix that lies on its side (AWQ, GPTQ): two to a byte, the even column low;
 * out [n, columns / 2]. */
MUST_CHECK bool int4_side_codes(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n,
                                uint8_t *out, struct error *err);
/* Its scales, out [n, groups]: ERR_FORMAT unless finite and not negative. */
MUST_CHECK bool int4_side_scales(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n,
                                 float *out, struct error *err);
/* Zero points of any layout, out [n, groups]. */
MUST_CHECK bool int4_zeros(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n,
                           uint8_t *out, struct error *err);
/* *out [columns]: the group of each column (GPTQ's act-order), caller frees; NULL when column c is in group
 * c / block_cols. */
MUST_CHECK bool int4_order(const struct checkpoint *ck, const struct model_tensor *t, uint32_t **out,
                           struct error *err);

/* Such rows as numbers. order, codes, scales and zeros as above. */
struct int4_ordered {
    const uint32_t *order;
    const uint8_t *codes;
    const float *scales;
    const uint8_t *zeros;
};
void int4_decode_ordered(const struct int4_ordered *s, uint64_t n, uint64_t cols, uint64_t n_groups, float *out);

#endif
