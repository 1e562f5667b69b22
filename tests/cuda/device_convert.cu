/* On the device only: that the conversion instructions behind the guards of backends/cuda/kernel_words.cuh are numeric/'s
 * functions for every fp32 number, both places of a pair, and that division, the fused product rounded upwards and the
 * product rounded downwards are those of IEEE 754, which the emulation on the host assumed. */
#include "backends/cuda/kernel_words.cuh"

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <vector>

struct found {
    unsigned long long n;
    uint32_t bits, got, want;
};

__device__ static void report(struct found *f, uint32_t bits, uint32_t got, uint32_t want)
{
    if (got == want) return;
    if (atomicAdd(&f->n, 1ull) == 0) f->bits = bits, f->got = got, f->want = want;
}

/* The partner of a pair is another number each time, so that a mixed-up order is seen. */
__global__ void all_e4m3(struct found *f)
{
    for (uint64_t u = gpu_thread(); u < (uint64_t)1 << 32; u += gpu_threads()) {
        float x = f32_from_bits((uint32_t)u), y = f32_from_bits((uint32_t)u * 2654435761u);
        report(f, (uint32_t)u, gpu_e4m3_pair(x, y), e4m3_encode(x) | (uint32_t)e4m3_encode(y) << 8);
    }
}

__global__ void all_e2m1(struct found *f)
{
    for (uint64_t u = gpu_thread(); u < (uint64_t)1 << 32; u += gpu_threads()) {
        float x = f32_from_bits((uint32_t)u), y = f32_from_bits((uint32_t)u * 2654435761u);
        report(f, (uint32_t)u, gpu_e2m1_pair(x, y), e2m1_encode(x) | (uint32_t)e2m1_encode(y) << 4);
    }
}

#define PAIRS (1u << 22)

__global__ void arithmetic(const uint32_t *a, const uint32_t *b, uint32_t *out)
{
    for (uint64_t i = gpu_thread(); i < PAIRS; i += gpu_threads()) {
        float x = f32_from_bits(a[i]), y = f32_from_bits(b[i]), e = f32_abs(y);
        out[3 * i] = f32_bits(x / y);
        out[3 * i + 1] = f32_bits(gpu_fma_up(e, 1.25f, e * 0x1p-24f));
        out[3 * i + 2] = f32_bits(gpu_mul_down(gpu_mul_down(e, 0x1p-75f), 0x1p-75f));
    }
}

static int bad;

static void check(cudaError_t e, const char *what)
{
    if (e == cudaSuccess) return;
    printf("FAIL %s: %s\n", what, cudaGetErrorString(e));
    exit(1);
}

static void run(void (*kernel)(struct found *), const char *what)
{
    struct found *f, h;
    check(cudaMalloc((void **)&f, sizeof *f), "cudaMalloc");
    check(cudaMemset(f, 0, sizeof *f), "cudaMemset");
    kernel<<<2048, GPU_THREADS>>>(f);
    check(cudaMemcpy(&h, f, sizeof h, cudaMemcpyDeviceToHost), what);
    if (h.n == 0) printf("ok %s: all 2^32 inputs\n", what);
    else bad = 1, printf("FAIL %s: %llu inputs, one is %08x: %x, expected %x\n", what, h.n, h.bits, h.got, h.want);
    check(cudaFree(f), "cudaFree");
}

static float up(double exact)
{
    float f = (float)exact;
    return (double)f < exact ? nextafterf(f, INFINITY) : f;
}

static float down(double exact)
{
    float f = (float)exact;
    return (double)f > exact ? nextafterf(f, -INFINITY) : f;
}

static void run_arithmetic(void)
{
    std::vector<uint32_t> a(PAIRS), b(PAIRS), out(3 * PAIRS);
    uint64_t z = 1, wrong = 0;
    for (uint32_t i = 0; i < PAIRS; i++) {
        z = z * 6364136223846793005u + 1442695040888963407u;
        a[i] = (uint32_t)(z >> 32);
        z = z * 6364136223846793005u + 1442695040888963407u;
        b[i] = (uint32_t)(z >> 32);
        if (i % 2) b[i] = (b[i] & 0x807FFFFFu) | ((a[i] >> 23 & 0xFFu) ^ (b[i] & 3u)) << 23; /* near each other */
    }
    uint32_t *da, *db, *dout;
    check(cudaMalloc((void **)&da, 4 * PAIRS), "cudaMalloc"), check(cudaMalloc((void **)&db, 4 * PAIRS), "cudaMalloc");
    check(cudaMalloc((void **)&dout, 12 * PAIRS), "cudaMalloc");
    check(cudaMemcpy(da, a.data(), 4 * PAIRS, cudaMemcpyHostToDevice), "cudaMemcpy");
    check(cudaMemcpy(db, b.data(), 4 * PAIRS, cudaMemcpyHostToDevice), "cudaMemcpy");
    arithmetic<<<512, GPU_THREADS>>>(da, db, dout);
    check(cudaMemcpy(out.data(), dout, 12 * PAIRS, cudaMemcpyDeviceToHost), "arithmetic");
    for (uint32_t i = 0; i < PAIRS; i++) {
        float x = f32_from_bits(a[i]), y = f32_from_bits(b[i]), e = f32_abs(y), q = x / y;
        uint32_t got = out[3 * i];
        if (got != f32_bits(q) && !(f32_is_nan(q) && f32_is_nan(f32_from_bits(got)))) wrong++;
        if (!(e >= 0x1p-90f && e <= 0x1p100f)) continue; /* where the kernels use the other two */
        wrong += out[3 * i + 1] != f32_bits(up((double)e * 1.25 + (double)e * 0x1p-24));
        wrong += out[3 * i + 2] != f32_bits(down((double)e * 0x1p-150));
    }
    if (wrong == 0) printf("ok division and directed rounding: %u pairs\n", PAIRS);
    else bad = 1, printf("FAIL division and directed rounding: %llu of %u differ\n", (unsigned long long)wrong, PAIRS);
}

int main(void)
{
    run(all_e4m3, "pairs to E4M3");
    run(all_e2m1, "pairs to E2M1");
    run_arithmetic();
    return bad;
}
