/* Weights as quantize would write them and a reader find them: rounded by the kernels of their plan item, and decoded.
 */
#ifndef CALIBRATE_ROUNDED_H
#define CALIBRATE_ROUNDED_H

#include "plan/fold.h"

/* Rows [first, first + n) of an item whose source holds plain floats: out [n, cols]. amax: the largest magnitude of all
 * that share its scale, not zero. Types whose blocks reach over rows are rounded in whole blocks. factors: what is done
 * to them first, in their own type (plan/fold.h), or NULL. */
MUST_CHECK bool rounded_rows(const struct plan *p, uint32_t item, const struct fold_factors *factors, float amax,
                             uint64_t isa, uint64_t first, uint64_t n, float *out, struct error *err);

/* The same of rows that are at hand, in `dtype`, and with another choice of scales. Types whose blocks reach over rows
 * begin at a whole block. */
MUST_CHECK bool round_rows(const struct plan *p, uint32_t item, enum scale_method scales, float amax, uint64_t isa,
                           const void *rows, enum dtype dtype, uint64_t n, float *out, struct error *err);

/* What encoders leave of some rows (backends/kernel_args.h): codes in dst, scales of a byte and zero points in
 * dst_scale, others in dst_f32. */
struct coded_rows {
    uint8_t *codes, *bytes;
    float *floats;
};
/* codes [n, cols], bytes [n, cols / 16] and floats [n, cols / 16] at most. */
void code_rows(const struct plan *p, uint32_t item, enum scale_method scales, float amax, uint64_t isa,
               const void *rows, enum dtype dtype, uint64_t n, const struct coded_rows *c);
void decode_rows(const struct plan_item *item, float amax, uint64_t isa, const struct coded_rows *c, uint64_t n,
                 float *out);

#endif
