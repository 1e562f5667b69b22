/* How large a launch is: plain arithmetic, so that tests/unit can check it; C11 and CUDA.
 *
 * Every kernel works by grid stride, so any grid is right; the best is no larger than the work and, where there is much
 * work, some times larger than what the device holds at once. That is 4 to 8 blocks on each multiprocessor, by the
 * registers of the kernel. With a grid of exactly 8, a kernel of which 6 fit would run in two waves, the second a third
 * full; with 32 the last wave is at most a fifth of the time, and blocks that start late fill it up. */
#ifndef BACKENDS_CUDA_LAUNCH_H
#define BACKENDS_CUDA_LAUNCH_H

#include "backends/kernel_args.h"

#ifdef __CUDACC__
#define LAUNCH_FN static __host__ __device__ inline
#else
#define LAUNCH_FN static inline
#endif

#define GPU_THREADS 256u                     /* per block; a multiple of the warp's 32 */
#define GPU_BLOCKS_PER_SM 32u                /* of the grid; of 2048 threads that one holds at most, four times */
#define GPU_ROW_PART 4096u                   /* elements of a row that a warp takes at a time */
#define GPU_TILE 128u                        /* rows and columns of a tile: FP8_BLOCK */
#define GPU_STRIP_ROWS 16u                   /* rows of a tile that a warp takes at a time; divides GPU_TILE */
#define GPU_ELEMENTS_MAX ((uint64_t)1 << 40) /* per launch, and rows: four bytes of each still count in 64 bits */

/* What one piece of a kernel's work is; kernels.inc says which for each. */
enum gpu_shape {
    GPU_BLOCKS,    /* 16 elements per thread; the rest of fewer than 16 one per thread */
    GPU_BLOCKS_32, /* 32 elements per thread, no rest */
    GPU_QUADS,     /* 4 elements per thread, the rest one per thread */
    GPU_ROWS,      /* a row per thread */
    GPU_ROW_PARTS, /* GPU_ROW_PART elements of one row per warp */
    GPU_TILES,     /* a tile per thread */
    GPU_STRIPS,    /* GPU_STRIP_ROWS rows of a tile per warp */
    GPU_GROUPS     /* a group of INT4 per thread */
};

LAUNCH_FN uint64_t gpu_div_up(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

LAUNCH_FN uint64_t gpu_row_parts(uint64_t n_cols)
{
    return gpu_div_up(n_cols, GPU_ROW_PART);
}

/* Of INT4; 0 for every other operation. */
LAUNCH_FN uint64_t gpu_groups(const struct kernel_args *a)
{
    return a->group ? a->n_rows * (a->n_cols / a->group) : 0u;
}

/* At most 2^45: a warp for each of 2^40 rows. */
LAUNCH_FN uint64_t gpu_threads_wanted(enum gpu_shape shape, const struct kernel_args *a)
{
    uint64_t n_rows = a->n_rows, n_cols = a->n_cols, n = n_rows * n_cols, tiles = gpu_div_up(n_cols, GPU_TILE);
    switch (shape) {
    case GPU_BLOCKS: return n / 16u + n % 16u;
    case GPU_BLOCKS_32: return n / 32u;
    case GPU_QUADS: return n / 4u + n % 4u;
    case GPU_ROWS: return n_rows;
    case GPU_ROW_PARTS: return n_rows * gpu_row_parts(n_cols) * 32u;
    case GPU_TILES: return gpu_div_up(n_rows, GPU_TILE) * tiles;
    case GPU_STRIPS: return gpu_div_up(n_rows, GPU_STRIP_ROWS) * tiles * 32u;
    case GPU_GROUPS: return gpu_groups(a);
    }
    return 0;
}

/* Blocks to launch for a's n_rows, n_cols and group; 0: nothing to do. False when the matrix is larger than
 * GPU_ELEMENTS_MAX. n_sm at least 1. */
LAUNCH_FN bool gpu_grid(enum gpu_shape shape, const struct kernel_args *a, uint32_t n_sm, uint32_t *grid)
{
    if (a->n_rows > GPU_ELEMENTS_MAX || (a->n_cols != 0 && a->n_rows > GPU_ELEMENTS_MAX / a->n_cols)) return false;
    uint64_t blocks = gpu_div_up(gpu_threads_wanted(shape, a), GPU_THREADS);
    uint64_t most = (uint64_t)n_sm * GPU_BLOCKS_PER_SM;
    if (most > 0x7FFFFFFFu) most = 0x7FFFFFFFu; /* the largest grid of CUDA in x */
    *grid = (uint32_t)(blocks < most ? blocks : most);
    return true;
}

#endif
