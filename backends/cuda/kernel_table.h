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
    ROOM_DTYPE,     /* n elements of kernel_args.dtype */
    ROOM_F32,       /* 4 n */
    ROOM_BYTE,      /* n */
    ROOM_NIBBLE,    /* n / 2 */
    ROOM_BYTE_16,   /* one byte per 16 elements of a row */
    ROOM_BYTE_32,   /* one byte per 32 elements of a row */
    ROOM_AMAX_16,   /* block maxima: four bytes per 16 elements of a row; of a lane, its block_amax */
    ROOM_F32_ROW,   /* four bytes per row */
    ROOM_F32_TILE,  /* four bytes per tile of 128 x 128, those at the edges too */
    ROOM_F32_GROUP, /* four bytes per kernel_args.group elements of a row */
    ROOM_BYTE_GROUP /* one byte per group */
};

struct cuda_kernel {
    enum op op;
    const void *function; /* void (struct kernel_args) */
    const char *name;
    enum gpu_shape shape;
    bool zeroes_f32;
    enum gpu_room src, src_scale, src_scale_f32, block_amax; /* read */
    enum gpu_room dst, dst_scale, dst_f32;                   /* written */
};
extern const struct cuda_kernel cuda_kernels[]; /* ends with function == NULL */

#ifdef __cplusplus
}
#endif

/* The first row of an operation; NULL when there is none. The rows after it belong to it while their op is the same. */
static inline const struct cuda_kernel *cuda_kernel_of(enum op op)
{
    const struct cuda_kernel *k = cuda_kernels;
    while (k->function && k->op != op) k++;
    return k->function ? k : 0;
}

/* Of a matrix that gpu_grid accepts, so that nothing overflows. */
static inline uint64_t gpu_room_bytes(enum gpu_room room, const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    switch (room) {
    case ROOM_NONE: return 0;
    case ROOM_DTYPE: return n * (a->dtype == DTYPE_F32 ? 4u : 2u);
    case ROOM_F32: return n * 4u;
    case ROOM_BYTE: return n;
    case ROOM_NIBBLE: return n / 2u;
    case ROOM_BYTE_16: return n / 16u;
    case ROOM_BYTE_32: return n / 32u;
    case ROOM_AMAX_16: return n / 16u * 4u;
    case ROOM_F32_ROW: return a->n_rows * 4u;
    case ROOM_F32_TILE: return gpu_div_up(a->n_rows, GPU_TILE) * gpu_div_up(a->n_cols, GPU_TILE) * 4u;
    case ROOM_F32_GROUP: return gpu_groups(a) * 4u;
    case ROOM_BYTE_GROUP: return gpu_groups(a);
    }
    return 0;
}

#endif
