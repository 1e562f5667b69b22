/* The words of backends/cuda/kernel_words.cuh for a host compiler: the kernels' own text runs as loops over blocks and
 * threads, in order, so that its arithmetic, indices and tails are tested on machines without a GPU, under the
 * sanitizers too. What it cannot show: races, and everything that an instruction of a GPU does differently.
 *
 * Vector loads and stores insist on their alignment, as a GPU does. Threads of a warp must agree how often they call a
 * warp's words; emulate_launch counts. */
#ifndef TESTS_CUDA_EMULATE_H
#define TESTS_CUDA_EMULATE_H

#include "backends/cuda/launch.h"
#include "backends/kernel_args.h"
#include "numeric/nvfp4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GPU_FN static inline
#define GPU_KERNEL(name) static void name(const struct kernel_args a)
#define GPU_UNROLL(n)

struct emulated {
    uint32_t block, n_blocks, thread;
    uint64_t warp_calls[GPU_THREADS]; /* by each thread of the current block */
};
extern struct emulated emulated;

/* Blocks first .. n_blocks - 1 of a launch of n_blocks; emulate_launch: all of them. */
void emulate_blocks(const void *function, uint32_t n_blocks, uint32_t first, const struct kernel_args *args);
void emulate_launch(const void *function, uint32_t n_blocks, const struct kernel_args *args);

static inline void emulate_stop(const char *why)
{
    printf("FAIL emulated kernel: %s\n", why);
    abort();
}

static inline uint64_t gpu_thread(void)
{
    return (uint64_t)emulated.block * GPU_THREADS + emulated.thread;
}

static inline uint64_t gpu_threads(void)
{
    return (uint64_t)emulated.n_blocks * GPU_THREADS;
}

struct gpu_words {
    uint32_t w[4];
};

static inline void emulate_aligned(const void *p, uintptr_t bytes)
{
    if ((uintptr_t)p % bytes != 0) emulate_stop("a vector access is not aligned");
}

static inline struct gpu_words gpu_load_16(const void *p)
{
    struct gpu_words v;
    emulate_aligned(p, 16);
    memcpy(&v, p, 16);
    return v;
}

static inline struct gpu_words gpu_load_16_own(const void *p)
{
    return gpu_load_16(p);
}

static inline void gpu_load_8(const void *p, uint32_t w[2])
{
    emulate_aligned(p, 8);
    memcpy(w, p, 8);
}

static inline uint32_t gpu_load_4(const void *p)
{
    uint32_t v;
    emulate_aligned(p, 4);
    memcpy(&v, p, 4);
    return v;
}

static inline uint32_t gpu_load_2(const void *p)
{
    uint16_t v;
    emulate_aligned(p, 2);
    memcpy(&v, p, 2);
    return v;
}

static inline void gpu_store_16(void *p, const uint32_t w[4])
{
    emulate_aligned(p, 16);
    memcpy(p, w, 16);
}

static inline void gpu_store_4(void *p, uint32_t w)
{
    emulate_aligned(p, 4);
    memcpy(p, &w, 4);
}

static inline void gpu_store_8(void *p, const uint32_t w[2])
{
    emulate_aligned(p, 8);
    memcpy(p, w, 8);
}

/* One thread after the other instead of the warp at once: the same, for a maximum. */
static inline void gpu_warp_max_to(float *p, uint32_t bits)
{
    emulated.warp_calls[emulated.thread]++;
    if (bits > f32_bits(*p)) *p = f32_from_bits(bits);
}

static inline uint32_t gpu_e4m3_pair(float lo, float hi)
{
    return e4m3_encode(lo) | (uint32_t)e4m3_encode(hi) << 8;
}

static inline uint32_t gpu_e2m1_pair(float lo, float hi)
{
    return e2m1_encode(lo) | (uint32_t)e2m1_encode(hi) << 4;
}

static inline uint32_t gpu_bytes(uint32_t a, uint32_t b, uint32_t which)
{
    uint64_t both = (uint64_t)b << 32 | a;
    uint32_t out = 0;
    for (uint32_t k = 0; k < 4; k++) {
        if ((which >> (4 * k) & 8u) || which >> 16) emulate_stop("gpu_bytes with a selector that copies a sign");
        out |= (uint32_t)(both >> ((which >> (4 * k) & 7u) * 8u) & 0xFFu) << (8 * k);
    }
    return out;
}

/* The sum of the kernels' products fits a double's 53 bits; that is checked, not assumed. */
static inline float gpu_fma_up(float a, float b, float c)
{
    double exact = (double)a * (double)b + (double)c;
    float f = (float)exact;
    if (exact - (double)a * (double)b != (double)c) emulate_stop("a fused sum is not exact in double");
    if ((double)f < exact) f = f32_from_bits(f32_bits(f) + 1u); /* positive ones only */
    return f;
}

static inline float gpu_mul_down(float a, float b)
{
    double exact = (double)a * (double)b;
    float f = (float)exact;
    if ((double)f > exact) f = f32_from_bits(f32_bits(f) - 1u);
    return f;
}

#endif
