/* The sentence about a number of a tensor that is no number. */
#ifndef FORMATS_NOT_FINITE_H
#define FORMATS_NOT_FINITE_H

#include "formats/checkpoint.h"

/* Names the first of the n numbers (F16, BF16, F32) of `t`, elements `first` and following, that is not finite:
 * "tensor 'x' holds a value that is not finite: element [3, 17] is NaN". ERR_FORMAT; returns false always. With `ck`
 * not NULL the file comes first. Call it once the maximum has shown that there is one. */
bool tensor_not_finite(const struct checkpoint *ck, const struct tensor_info *t, const void *numbers, uint64_t first,
                       uint64_t n, struct error *err);

/* Element i of numbers of a plain type (F16, BF16, F32). */
float tensor_number_at(const void *numbers, enum dtype dtype, uint64_t i);

/* The place of element i: "[3, 17]". */
void tensor_place_text(char out[96], const struct tensor_info *t, uint64_t i);

#endif
