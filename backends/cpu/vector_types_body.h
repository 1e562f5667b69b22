/* The kernels that every vector unit has from the same text, under the names that kernels.inc gives them: TYPES(isa)
 * defines them all. */
#include "backends/cpu/vector_scaled_body.h"

#include "backends/cpu/vector_mx_body.h"

#include "backends/cpu/vector_int4_body.h"

/* fn(a, the type as a constant, what follows). */
#define BY_DTYPE(fn, a, more)                                                                                          \
    do {                                                                                                               \
        if ((a)->dtype == DTYPE_F32) fn((a), DTYPE_F32 more);                                                          \
        else if ((a)->dtype == DTYPE_BF16) fn((a), DTYPE_BF16 more);                                                   \
        else fn((a), DTYPE_F16 more);                                                                                  \
    } while (0)
#define NOTHING
#define AND(x) , x

#define TYPES(isa)                                                                                                     \
    void encode_fp8_channel_##isa(const struct kernel_args *a)                                                         \
    {                                                                                                                  \
        BY_DTYPE(encode_fp8_rows, a, NOTHING);                                                                         \
    }                                                                                                                  \
    void decode_fp8_channel_##isa(const struct kernel_args *a)                                                         \
    {                                                                                                                  \
        decode_fp8_rows(a);                                                                                            \
    }                                                                                                                  \
    void encode_fp8_block_##isa(const struct kernel_args *a)                                                           \
    {                                                                                                                  \
        BY_DTYPE(encode_fp8_tiles, a, NOTHING);                                                                        \
    }                                                                                                                  \
    void decode_fp8_block_##isa(const struct kernel_args *a)                                                           \
    {                                                                                                                  \
        decode_fp8_tiles(a);                                                                                           \
    }                                                                                                                  \
    void encode_mxfp4_##isa(const struct kernel_args *a)                                                               \
    {                                                                                                                  \
        if (a->mxfp4_rule == MXFP4_OCP) BY_DTYPE(encode_mxfp4_blocks, a, AND(MXFP4_OCP));                              \
        else BY_DTYPE(encode_mxfp4_blocks, a, AND(MXFP4_MODELOPT));                                                    \
    }                                                                                                                  \
    void decode_mxfp4_##isa(const struct kernel_args *a)                                                               \
    {                                                                                                                  \
        decode_mxfp4_blocks(a);                                                                                        \
    }                                                                                                                  \
    void encode_mxfp8_##isa(const struct kernel_args *a)                                                               \
    {                                                                                                                  \
        BY_DTYPE(encode_mxfp8_blocks, a, NOTHING);                                                                     \
    }                                                                                                                  \
    void decode_mxfp8_##isa(const struct kernel_args *a)                                                               \
    {                                                                                                                  \
        decode_mxfp8_blocks(a);                                                                                        \
    }                                                                                                                  \
    void encode_int4_##isa(const struct kernel_args *a)                                                                \
    {                                                                                                                  \
        BY_DTYPE(encode_int4_groups, a, NOTHING);                                                                      \
    }                                                                                                                  \
    void decode_int4_##isa(const struct kernel_args *a)                                                                \
    {                                                                                                                  \
        decode_int4_groups(a, false);                                                                                  \
    }                                                                                                                  \
    void encode_int4_zero_##isa(const struct kernel_args *a)                                                           \
    {                                                                                                                  \
        BY_DTYPE(encode_int4_zero_groups, a, NOTHING);                                                                 \
    }                                                                                                                  \
    void decode_int4_zero_##isa(const struct kernel_args *a)                                                           \
    {                                                                                                                  \
        decode_int4_groups(a, true);                                                                                   \
    }                                                                                                                  \
    void encode_q8_0_##isa(const struct kernel_args *a)                                                                \
    {                                                                                                                  \
        BY_DTYPE(encode_q8_0_blocks, a, NOTHING);                                                                      \
    }                                                                                                                  \
    void decode_q8_0_##isa(const struct kernel_args *a)                                                                \
    {                                                                                                                  \
        decode_q8_0_blocks(a);                                                                                         \
    }
