/* The words in which the kernels (*_body.h) are written, for nvcc; tests/cuda/emulate.h has the same words for a host
 * compiler, so that tests run the kernels' text on machines without a GPU.
 *
 * A kernel is GPU_KERNEL(name) and a body that sees its arguments as `a`. Threads share work by grid stride: thread
 * gpu_thread() of gpu_threads() takes pieces gpu_thread(), gpu_thread() + gpu_threads(), ..., counted in 64 bits.
 * Buffers begin at multiples of 256 bytes and the vector loads and stores need their own size as alignment.
 *
 * Two words are a conversion instruction where the chip has one, and the software of numeric/ elsewhere. Both give the
 * same bytes for every fp32 input: `make check-cuda` runs through all 2^32 of them on the device, and the semantics of
 * the instructions, as NVIDIA's headers emulate them, are compared by `make check-cuda-host`. */
#ifndef BACKENDS_CUDA_KERNEL_WORDS_CUH
#define BACKENDS_CUDA_KERNEL_WORDS_CUH

#include "backends/cuda/launch.h"
#include "backends/kernel_args.h"
#include "numeric/nvfp4.h"

#define GPU_FN static __device__ __forceinline__
#define GPU_KERNEL(name)                                                                                               \
    extern "C" __global__ void __launch_bounds__(GPU_THREADS) name(const __grid_constant__ struct kernel_args a)
#define GPU_PRAGMA(words) _Pragma(#words)
#define GPU_UNROLL(n) GPU_PRAGMA(unroll n)

GPU_FN uint64_t gpu_thread(void)
{
    return (uint64_t)blockIdx.x * GPU_THREADS + threadIdx.x;
}

GPU_FN uint64_t gpu_threads(void)
{
    return (uint64_t)gridDim.x * GPU_THREADS;
}

struct gpu_words {
    uint32_t w[4];
};

/* 16 bytes that nothing writes while the kernel runs, through the read-only path: neighbours in the same cache line are
 * still there when the next load asks for them. */
GPU_FN struct gpu_words gpu_load_16(const void *p)
{
    uint4 v = __ldg((const uint4 *)p);
    return {{v.x, v.y, v.z, v.w}};
}

/* The same for memory that this kernel also writes (INPUT ops may work in place). */
GPU_FN struct gpu_words gpu_load_16_own(const void *p)
{
    uint4 v = *(const uint4 *)p;
    return {{v.x, v.y, v.z, v.w}};
}

GPU_FN void gpu_load_8(const void *p, uint32_t w[2])
{
    uint2 v = __ldg((const uint2 *)p);
    w[0] = v.x, w[1] = v.y;
}

GPU_FN uint32_t gpu_load_4(const void *p)
{
    return __ldg((const uint32_t *)p);
}

GPU_FN uint32_t gpu_load_2(const void *p)
{
    return __ldg((const uint16_t *)p);
}

GPU_FN void gpu_store_16(void *p, const uint32_t w[4])
{
    *(uint4 *)p = make_uint4(w[0], w[1], w[2], w[3]);
}

GPU_FN void gpu_store_4(void *p, uint32_t w)
{
    *(uint32_t *)p = w;
}

GPU_FN void gpu_store_8(void *p, const uint32_t w[2])
{
    *(uint2 *)p = make_uint2(w[0], w[1]);
}

/* *p becomes the largest of itself and what the 32 threads of the warp bring; all of them call it together. */
GPU_FN void gpu_warp_max_to(float *p, uint32_t bits)
{
    uint32_t m = __reduce_max_sync(0xFFFFFFFFu, bits);
    if (threadIdx.x % 32u == 0u) atomicMax((unsigned int *)p, m);
}

/* e4m3_encode of two values, the first in the low byte. */
GPU_FN uint32_t gpu_e4m3_pair(float lo, float hi)
{
#if __CUDA_ARCH__ >= 890 && !defined(GPU_SOFTWARE_CONVERSIONS)
    uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %2, %1;" : "=h"(pair) : "f"(lo), "f"(hi));
    return pair;
#else
    return e4m3_encode(lo) | (uint32_t)e4m3_encode(hi) << 8;
#endif
}

/* e2m1_encode of two values, the first in the low nibble. */
GPU_FN uint32_t gpu_e2m1_pair(float lo, float hi)
{
#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__) && __CUDA_ARCH_FAMILY_SPECIFIC__ >= 1000 &&                                 \
    __CUDA_ARCH_FAMILY_SPECIFIC__ < 1300 && !defined(GPU_SOFTWARE_CONVERSIONS)
    uint16_t pair;
    asm("{ .reg .b8 both; cvt.rn.satfinite.e2m1x2.f32 both, %2, %1; mov.b16 %0, {both, 0}; }"
        : "=h"(pair)
        : "f"(lo), "f"(hi));
    return pair;
#else
    return e2m1_encode(lo) | (uint32_t)e2m1_encode(hi) << 4;
#endif
}

/* Four of the eight bytes of a (0 to 3) and b (4 to 7); nibble k of `which` chooses byte k of the result. */
GPU_FN uint32_t gpu_bytes(uint32_t a, uint32_t b, uint32_t which)
{
    return __byte_perm(a, b, which);
}

/* a * b + c, rounded once, upwards. */
GPU_FN float gpu_fma_up(float a, float b, float c)
{
    return __fmaf_ru(a, b, c);
}

/* a * b, rounded downwards. */
GPU_FN float gpu_mul_down(float a, float b)
{
    return __fmul_rd(a, b);
}

#endif
