/* Rows of one tensor from one storage type to another: the arithmetic of `convert`, the same for every container. */
#ifndef CONVERT_CAST_H
#define CONVERT_CAST_H

#include "backends/cpu/kernel.h"
#include "core/error.h"

/* What happens to the values on the way, in fp32. */
enum cast_change { CAST_SAME, CAST_PLUS_ONE, CAST_NEG_EXP };

struct cast {
    enum dtype from, to; /* F32, F16, BF16; from also Q8_0, to also Q8_0; or the same type, whatever it is */
    enum cast_change change;
    kernel_fn widen, amax, decode_q8_0, encode_q8_0;
};

struct cast cast_make(enum dtype from, enum dtype to, enum cast_change change, uint64_t isa);
/* F32, F16, BF16 and Q8_0 can become each other; others only stay. */
bool cast_possible(enum dtype from, enum dtype to);
/* src: [n_rows, n_cols] of `from`; dst: the same of `to`; scratch: n_rows * n_cols floats. Rows of Q8_0 are whole
 * blocks. ERR_FORMAT for a value that is not finite or that `to` cannot hold; rounds to nearest, ties to even. */
MUST_CHECK bool cast_rows(const struct cast *c, const void *src, uint64_t n_rows, uint64_t n_cols, float *scratch,
                          void *dst, struct error *err);
/* True when every value of [n] F32 is one that `to` (F16, BF16) has. */
bool cast_is_exact(const float *values, uint64_t n, enum dtype to);

#endif
