/* Rows of one tensor from one storage type to another: the arithmetic of `convert`, the same for every container. */
#ifndef CONVERT_CAST_H
#define CONVERT_CAST_H

#include "backends/cpu/kernel.h"
#include "core/error.h"

/* What happens to the values on the way, in fp32. */
enum cast_change { CAST_SAME, CAST_PLUS_ONE, CAST_NEG_EXP };

struct cast {
    enum dtype from,
        to; /* F32, F16, BF16; GGUF's blocks that are decoded and encoded; or the same type, whatever it is */
    enum cast_change change;
    float from_scale, to_scale; /* of NVFP4 in GGUF's blocks: the tensor's */
    kernel_fn widen, amax, decode, encode, encode_nvfp4;
};

/* to_scale: of NVFP4 alone; from_scale: 1 where there is none. */
struct cast cast_make(enum dtype from, enum dtype to, enum cast_change change, uint64_t isa);
/* Plain numbers and GGUF's blocks can become each other, as far as they are decoded and encoded; others only stay. */
bool cast_possible(enum dtype from, enum dtype to);
/* src: [n_rows, n_cols] of `from`; it may be dst where nothing changes; dst: the same of `to`; scratch: n_rows * n_cols
 * floats. Rows are whole blocks. ERR_FORMAT for a value that is not finite or that `to` cannot hold; rounds to nearest,
 * ties to even. */
MUST_CHECK bool cast_rows(const struct cast *c, const void *src, uint64_t n_rows, uint64_t n_cols, float *scratch,
                          void *dst, struct error *err);
/* Rows that are fp32 already. */
MUST_CHECK bool cast_f32_rows(const struct cast *c, const float *src, uint64_t n_rows, uint64_t n_cols, void *dst,
                              struct error *err);
/* The fp32 values of rows of `from`, nothing else done to them. */
void cast_decode(const struct cast *c, const void *src, uint64_t n_rows, uint64_t n_cols, float *dst);
/* True when every value of [n] F32 is one that `to` (F16, BF16) has. */
bool cast_is_exact(const float *values, uint64_t n, enum dtype to);

#endif
