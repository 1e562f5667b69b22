/* Speed of every CUDA kernel, from and to device memory: GB/s of what an operation has to read and write (each array
 * once), and the part that is of the device's own copy (bytes read and written, of the same source). Then the link:
 * page-locked host memory to the device, and NVFP4 through three lanes as a part of that, in large pieces and in the
 * pieces of quantize. Medians. usage: bench_cuda [PART OF AN OPERATION'S NAME] */
#include "backends/backend.h"
#include "backends/cpu/kernel.h"
#include "backends/cuda/kernel_table.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef ROWS
#define ROWS 65536u
#define COLS 8192u /* 2^29 elements: 1 GiB of bf16, many times the L2 cache */
#endif
#define ELEMS ((size_t)ROWS * COLS)
#define ROUNDS 9 /* odd */
#ifndef LARGE_PIECE
#define LARGE_PIECE ((size_t)256 << 20)
#endif
#define PLAN_PIECE ((size_t)4 << 20) /* PLAN_PIECE_BYTES of plan/workspace.h */
#define PIECES 30
#define PIECES_WARM 6 /* in front of those that count */

static void check(cudaError_t e, const char *what)
{
    if (e == cudaSuccess) return;
    fprintf(stderr, "bench_cuda: %s: %s\n", what, cudaGetErrorString(e));
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct bench {
    cudaStream_t stream;
    cudaEvent_t start, stop;
    uint32_t n_sm;
    uint8_t *src, *dst;              /* 4 bytes an element, of half as many where they are f32 */
    uint8_t *scales_in, *scales_out; /* 4 bytes per 16 elements */
    double copy_gbs;
};

static void launch(const struct bench *b, const struct cuda_kernel *k, const struct kernel_args *a)
{
    for (enum op op = k->op; k->op == op; k++) {
        dim3 blocks = {1, 1, 1}, threads = {GPU_THREADS, 1, 1};
        struct kernel_args copy = *a;
        void *args[] = {&copy};
        if (k->zeroes_f32) check(cudaMemsetAsync(a->dst_f32, 0, gpu_room_bytes(k->dst_f32, a), b->stream), "memset");
        if (!gpu_grid(k->shape, a, b->n_sm, &blocks.x)) exit(1);
        check(cudaLaunchKernel(k->function, blocks, threads, args, 0, b->stream), k->name);
    }
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Seconds of one go, the median of ROUNDS; k NULL: a copy. */
static double time_of(const struct bench *b, const struct cuda_kernel *k, const struct kernel_args *a)
{
    float ms[ROUNDS] = {0};
    for (int round = -1; round < ROUNDS; round++) { /* the first warms up */
        check(cudaEventRecord(b->start, b->stream), "event");
        if (k) launch(b, k, a);
        else check(cudaMemcpyAsync(b->dst, b->src, ELEMS * 2, cudaMemcpyDeviceToDevice, b->stream), "copy");
        check(cudaEventRecord(b->stop, b->stream), "event");
        check(cudaEventSynchronize(b->stop), k ? k->name : "copy");
        if (round >= 0) check(cudaEventElapsedTime(&ms[round], b->start, b->stop), "event");
    }
    qsort(ms, ROUNDS, sizeof *ms, by_size);
    return (double)ms[ROUNDS / 2] * 1e-3;
}

static void bench_kernel(const struct bench *b, const struct cuda_kernel *k, enum dtype dtype)
{
    const float g = 0.07f;
    bool fp8 = k->op == OP_ENCODE_FP8 || k->op == OP_DECODE_FP8 || k->op == OP_INPUT_FP8;
    struct kernel_args a = {.n_rows = ROWS / (k->op == OP_SWEEP_NVFP4 ? 64
                                              : k->src == ROOM_DTYPE  ? 1
                                                                      : 2),
                            .n_cols = COLS,
                            .src = b->src,
                            .dtype = dtype,
                            .src_scale = b->scales_in,
                            .src_scale_f32 = (const float *)(const void *)b->scales_in,
                            .block_amax = (const float *)(const void *)b->scales_in,
                            .scale = fp8 ? fp8_scale(g) : nvfp4_tensor_scale(g),
                            .amax = g,
                            .static_max = NVFP4_STATIC_MAX,
                            .group = 128,
                            .dst = b->dst,
                            .dst_scale = b->scales_out,
                            .dst_f32 = (float *)(void *)b->dst};
    if (k->dst && k->dst_f32) a.dst_f32 = (float *)(void *)(b->scales_out + ELEMS / 16); /* beside codes and zeros */
    if (dtype == DTYPE_F32) a.n_rows /= 2;
    double bytes =
        (double)(gpu_room_bytes(k->src, &a) + gpu_room_bytes(k->src_scale, &a) + gpu_room_bytes(k->src_scale_f32, &a) +
                 gpu_room_bytes(k->block_amax, &a) + gpu_room_bytes(k->dst, &a) + gpu_room_bytes(k->dst_scale, &a) +
                 gpu_room_bytes(k->dst_f32, &a));
    double gbs = bytes / time_of(b, k, &a) * 1e-9;
    printf("%-22s %-5s %9.1f GB/s %6.1f %% of copy\n", op_name(k->op), dtype_name(dtype), gbs, 100 * gbs / b->copy_gbs);
}

/* bf16 weights of both signs below 0.07 everywhere, so that no kernel leaves its usual path. */
static void fill(uint8_t *device, size_t bytes)
{
    const size_t part = bytes < (size_t)32 << 20 ? bytes : (size_t)32 << 20;
    uint16_t *h = malloc(part);
    uint64_t z = 1;
    if (!h) exit(1);
    for (size_t i = 0; i < part / 2; i++) {
        z = z * 6364136223846793005u + 1442695040888963407u;
        h[i] = (uint16_t)((z >> 48 & 0x8000) | (0x3A00 + (z >> 40) % 0x180));
    }
    for (size_t at = 0; at < bytes; at += part)
        check(cudaMemcpy(device + at, h, bytes - at < part ? bytes - at : part, cudaMemcpyHostToDevice), "fill");
    free(h);
}

static void failed(const struct error *err)
{
    fprintf(stderr, "bench_cuda: %s\n", err->text);
    exit(1);
}

static void wait_all(struct lane *const lanes[3])
{
    struct error err = ERROR_INIT;
    for (int i = 0; i < 3; i++)
        if (!backend_cuda.wait(lanes[i], &err)) failed(&err);
}

/* Plain copies of the lanes' sources to the device, one after the other. */
static double copies(struct lane *const lanes[3], uint64_t bytes)
{
    uint8_t *device = NULL;
    cudaStream_t stream;
    double start = 0;
    check(cudaMalloc((void **)&device, bytes), "cudaMalloc"), check(cudaStreamCreate(&stream), "stream");
    for (int i = 0; i < PIECES_WARM + PIECES; i++) {
        if (i == PIECES_WARM) check(cudaStreamSynchronize(stream), "stream"), start = now_s();
        check(cudaMemcpyAsync(device, lanes[i % 3]->src, bytes, cudaMemcpyHostToDevice, stream), "copy");
    }
    check(cudaStreamSynchronize(stream), "stream");
    double gbs = (double)PIECES * (double)bytes / (now_s() - start) * 1e-9;
    check(cudaFree(device), "cudaFree"), check(cudaStreamDestroy(stream), "stream");
    return gbs;
}

/* As quantize does it: three lanes in turn, results copied back. */
static double encodes(struct lane *const lanes[3], uint64_t bytes)
{
    struct error err = ERROR_INIT;
    struct lane_step encode = {OP_ENCODE_NVFP4,
                               {.n_rows = bytes / 2 / 4096, .n_cols = 4096, .dtype = DTYPE_BF16, .scale = 1e-4f}};
    double start = 0;
    for (int i = 0; i < PIECES_WARM + PIECES; i++) {
        struct lane *l = lanes[i % 3];
        if (i == PIECES_WARM) wait_all(lanes), start = now_s();
        if (!backend_cuda.wait(l, &err) || !backend_cuda.submit(l, &encode, 1, true, &err)) failed(&err);
    }
    wait_all(lanes);
    return (double)PIECES * (double)bytes / (now_s() - start) * 1e-9;
}

static void bench_link(uint64_t bytes)
{
    struct backend *be = NULL;
    struct lane *lanes[3] = {NULL};
    struct error err = ERROR_INIT;
    struct lane_sizes room = {.src = bytes, .dst = bytes / 4, .dst_scale = bytes / 32};
    if (!backend_cuda.open(&be, 0, &(struct backend_config){0}, &err)) failed(&err);
    for (int i = 0; i < 3; i++) {
        if (!backend_cuda.lane_open(&lanes[i], be, &room, &err)) failed(&err);
        for (uint64_t k = 0; k < bytes; k++) lanes[i]->src[k] = k % 2 ? 0x3B : (uint8_t)(k * 2654435761u >> 13);
    }
    double link = copies(lanes, bytes), encode = encodes(lanes, bytes);
    printf("pieces of %6llu KiB: host to device %6.1f GB/s, encode_nvfp4 from the host %6.1f GB/s, %5.1f %% of it\n",
           (unsigned long long)bytes >> 10, link, encode, 100 * encode / link);
    for (int i = 0; i < 3; i++) backend_cuda.lane_close(lanes[i]);
    backend_cuda.close(be);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct cudaDeviceProp p;
    int n_sm = 0;
    check(cudaSetDevice(0), "cudaSetDevice");
    check(cudaGetDeviceProperties(&p, 0), "properties");
    check(cudaDeviceGetAttribute(&n_sm, cudaDevAttrMultiProcessorCount, 0), "attribute");
    b.n_sm = (uint32_t)n_sm;
    check(cudaStreamCreate(&b.stream), "stream");
    check(cudaEventCreate(&b.start), "event"), check(cudaEventCreate(&b.stop), "event");
    check(cudaMalloc((void **)&b.src, 4 * ELEMS), "memory"), check(cudaMalloc((void **)&b.dst, 4 * ELEMS), "memory");
    check(cudaMalloc((void **)&b.scales_in, ELEMS / 4), "memory");
    check(cudaMalloc((void **)&b.scales_out, ELEMS / 4), "memory");
    fill(b.src, 4 * ELEMS), fill(b.scales_in, ELEMS / 4);
    b.copy_gbs = 4.0 * (double)ELEMS / time_of(&b, NULL, NULL) * 1e-9;
    printf("%s, %d multiprocessors\n%-28s %9.1f GB/s\n", p.name, n_sm, "copy on the device", b.copy_gbs);
    for (int op = 0; op < OP_COUNT; op++) {
        const struct cuda_kernel *k = cuda_kernel_of((enum op)op);
        if (!k || (argc > 1 && !strstr(op_name((enum op)op), argv[1]))) continue;
        bench_kernel(&b, k, k->src == ROOM_DTYPE ? DTYPE_BF16 : DTYPE_F32);
        if (k->op == OP_ENCODE_NVFP4 || k->op == OP_ENCODE_FP8)
            bench_kernel(&b, k, DTYPE_F16), bench_kernel(&b, k, DTYPE_F32);
    }
    check(cudaFree(b.src), "cudaFree"), check(cudaFree(b.dst), "cudaFree");
    check(cudaFree(b.scales_in), "cudaFree"), check(cudaFree(b.scales_out), "cudaFree");
    check(cudaEventDestroy(b.start), "event"), check(cudaEventDestroy(b.stop), "event");
    check(cudaStreamDestroy(b.stream), "stream");
    if (argc < 2) bench_link((uint64_t)LARGE_PIECE), bench_link(PLAN_PIECE);
    return 0;
}
