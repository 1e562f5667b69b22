/* How large a launch is: plain arithmetic, so that tests/unit can check it; C11 and CUDA.
 *
 * Every kernel works by grid stride, so any grid is right; the right size fills the device once (GPU_BLOCKS_PER_SM
 * blocks on each multiprocessor) and is no larger than the work. */
#ifndef BACKENDS_CUDA_LAUNCH_H
#define BACKENDS_CUDA_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __CUDACC__
#define LAUNCH_FN static __host__ __device__ inline
#else
#define LAUNCH_FN static inline
#endif

#define GPU_THREADS 256u                   /* per block; a multiple of the warp's 32 */
#define GPU_BLOCKS_PER_SM 8u               /* 2048 threads, the most a multiprocessor of sm_80, 90 and 100 holds */
#define GPU_ROW_PART 4096u                 /* elements of a row that a warp takes at a time */
#define GPU_ELEMENTS_MAX ((uint64_t)1 << 40) /* per launch: four bytes of each still count in 64 bits everywhere */

/* What one piece of a kernel's work is; kernels.inc says which for each. */
enum gpu_shape {
    GPU_BLOCKS,   /* 16 elements per thread; the rest of fewer than 16 one per thread */
    GPU_QUADS,    /* 4 elements per thread, the rest one per thread */
    GPU_ROW_PARTS /* GPU_ROW_PART elements of one row per warp */
};

LAUNCH_FN uint64_t gpu_row_parts(uint64_t n_cols)
{
    return n_cols / GPU_ROW_PART + (n_cols % GPU_ROW_PART != 0);
}

/* Blocks to launch; 0: nothing to do. False when the matrix is larger than GPU_ELEMENTS_MAX. n_sm at least 1. */
LAUNCH_FN bool gpu_grid(enum gpu_shape shape, uint64_t n_rows, uint64_t n_cols, uint32_t n_sm, uint32_t *grid)
{
    if (n_cols != 0 && n_rows > GPU_ELEMENTS_MAX / n_cols) return false;
    uint64_t n = n_rows * n_cols, threads, most = (uint64_t)n_sm * GPU_BLOCKS_PER_SM;
    if (shape == GPU_ROW_PARTS) threads = n_rows * gpu_row_parts(n_cols) * 32u;
    else threads = shape == GPU_BLOCKS ? n / 16u + n % 16u : n / 4u + n % 4u;
    uint64_t blocks = threads / GPU_THREADS + (threads % GPU_THREADS != 0);
    if (most > 0x7FFFFFFFu) most = 0x7FFFFFFFu; /* the largest grid of CUDA in x */
    *grid = (uint32_t)(blocks < most ? blocks : most);
    return true;
}

#endif
