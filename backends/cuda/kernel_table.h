/* kernels.inc as an array, for the backend and the tests; C11 and CUDA. A row's function is what cudaLaunchKernel
 * takes: made by kernels.cu, or by tests/cuda/emulate.c where there is no GPU. */
#ifndef BACKENDS_CUDA_KERNEL_TABLE_H
#define BACKENDS_CUDA_KERNEL_TABLE_H

#include "backends/cuda/launch.h"
#include "backends/kernel_args.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How many bytes one array of an operation holds for a matrix of n = n_rows * n_cols elements. */
enum gpu_room {
    ROOM_NONE,
    ROOM_DTYPE,   /* n elements of kernel_args.dtype */
    ROOM_F32,     /* 4 n */
    ROOM_BYTE,    /* n */
    ROOM_NIBBLE,  /* n / 2 */
    ROOM_BYTE_16, /* one byte per 16 elements of a row */
    ROOM_AMAX_16, /* block maxima: four bytes per 16 elements of a row; of a lane, its block_amax */
    ROOM_F32_ROW  /* four bytes per row */
};

struct cuda_kernel {
    enum op op;
    enum gpu_shape shape;
    const void *function; /* void (struct kernel_args) */
    const char *name;
    enum gpu_room src, src_scale, block_amax; /* read */
    enum gpu_room dst, dst_scale, dst_f32;    /* written */
};
extern const struct cuda_kernel cuda_kernels[]; /* ends with function == NULL */

#ifdef __cplusplus
}
#endif

/* Of a matrix of at most GPU_ELEMENTS_MAX elements, so that nothing overflows. */
static inline uint64_t gpu_room_bytes(enum gpu_room room, enum dtype dtype, uint64_t n_rows, uint64_t n_cols)
{
    uint64_t n = n_rows * n_cols;
    switch (room) {
    case ROOM_NONE: return 0;
    case ROOM_DTYPE: return n * (dtype == DTYPE_F32 ? 4u : 2u);
    case ROOM_F32: return n * 4u;
    case ROOM_BYTE: return n;
    case ROOM_NIBBLE: return n / 2u;
    case ROOM_BYTE_16: return n / 16u;
    case ROOM_AMAX_16: return n / 16u * 4u;
    case ROOM_F32_ROW: return n_rows * 4u;
    }
    return 0;
}

#endif
