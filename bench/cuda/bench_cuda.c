/* Speed of every CUDA kernel, from and to device memory: GB/s of what an operation has to read and write, and the part
 * that is of the device's own copy (bytes read and written, of the same source). Then the link: page-locked host memory
 * to the device, and NVFP4 through three lanes beside it. usage: bench_cuda [PART OF AN OPERATION'S NAME] */
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

#define ROWS 65536u
#define COLS 8192u /* 2^29 elements: 1 GiB of bf16, many times the L2 cache */
#define ROUNDS 7

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
    uint8_t *src, *dst, *aux; /* 2 GiB, 2 GiB, 128 MiB */
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

/* Seconds of one go, the best of ROUNDS; k NULL: a copy. */
static double time_of(const struct bench *b, const struct cuda_kernel *k, const struct kernel_args *a)
{
    double best = 1e9;
    for (int round = 0; round <= ROUNDS; round++) {
        float ms = 0;
        check(cudaEventRecord(b->start, b->stream), "event");
        if (k) launch(b, k, a);
        else
            check(cudaMemcpyAsync(b->dst, b->src, (size_t)ROWS * COLS * 2, cudaMemcpyDeviceToDevice, b->stream),
                  "copy");
        check(cudaEventRecord(b->stop, b->stream), "event");
        check(cudaEventSynchronize(b->stop), k ? k->name : "copy");
        check(cudaEventElapsedTime(&ms, b->start, b->stop), "event");
        if (round && (double)ms * 1e-3 < best) best = (double)ms * 1e-3; /* the first warms up */
    }
    return best;
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
                            .src_scale = b->aux,
                            .src_scale_f32 = (const float *)(const void *)b->aux,
                            .block_amax = (const float *)(const void *)b->aux,
                            .scale = fp8 ? fp8_scale(g) : nvfp4_tensor_scale(g),
                            .amax = g,
                            .static_max = NVFP4_STATIC_MAX,
                            .group = 128,
                            .dst = b->dst,
                            .dst_scale = b->aux,
                            .dst_f32 = (float *)(void *)b->dst};
    if (k->dst && k->dst_f32) a.dst_f32 = (float *)(void *)b->aux; /* scales beside codes */
    if (dtype == DTYPE_F32) a.n_rows /= 2;
    double bytes =
        (double)(gpu_room_bytes(k->src, &a) + gpu_room_bytes(k->src_scale, &a) + gpu_room_bytes(k->src_scale_f32, &a) +
                 gpu_room_bytes(k->block_amax, &a) + gpu_room_bytes(k->dst, &a) + gpu_room_bytes(k->dst_scale, &a) +
                 gpu_room_bytes(k->dst_f32, &a));
    double gbs = bytes / time_of(b, k, &a) * 1e-9;
    printf("%-22s %-5s %9.1f GB/s %6.1f %% of copy\n", op_name(k->op), dtype_name(dtype), gbs, 100 * gbs / b->copy_gbs);
}

/* bf16 weights of both signs below 0.07 everywhere, so that no kernel leaves its usual path. */
static void fill(const struct bench *b)
{
    const size_t n = (size_t)16 << 20;
    uint16_t *h = malloc(n * 2);
    uint64_t z = 1;
    if (!h) exit(1);
    for (size_t i = 0; i < n; i++) {
        z = z * 6364136223846793005u + 1442695040888963407u;
        h[i] = (uint16_t)((z >> 48 & 0x8000) | (0x3A00 + (z >> 40) % 0x180));
    }
    for (int i = 0; i < 64; i++)
        check(cudaMemcpy(b->src + (size_t)i * n * 2, h, n * 2, cudaMemcpyHostToDevice), "fill");
    for (int i = 0; i < 4; i++) check(cudaMemcpy(b->aux + (size_t)i * n * 2, h, n * 2, cudaMemcpyHostToDevice), "fill");
    free(h);
}

static void bench_link(void)
{
    const uint64_t bytes = (uint64_t)256 << 20;
    struct backend *be = NULL;
    struct lane *lanes[3] = {NULL};
    struct error err = ERROR_INIT;
    struct lane_sizes room = {.src = bytes, .dst = bytes / 4, .dst_scale = bytes / 32};
    bool ok = backend_cuda.open(&be, 0, &(struct backend_config){0}, &err);
    for (int i = 0; ok && i < 3; i++)
        if ((ok = backend_cuda.lane_open(&lanes[i], be, &room, &err))) memset(lanes[i]->src, 0x3C, bytes);
    struct lane_step nothing = {OP_ENCODE_NVFP4, {.n_rows = 0, .n_cols = COLS, .dtype = DTYPE_BF16}};
    struct lane_step encode = nothing;
    encode.args.n_rows = bytes / 2 / COLS, encode.args.scale = 1e-4f;
    uint8_t *device = NULL;
    cudaStream_t stream;
    check(cudaMalloc((void **)&device, bytes), "cudaMalloc"), check(cudaStreamCreate(&stream), "stream");
    for (int what = 0; ok && what < 2; what++) {
        double start = now_s();
        for (int i = 0; ok && i < 36; i++) {
            struct lane *l = lanes[i % 3];
            if (i == 6) {
                for (int j = 0; ok && j < 3; j++) ok = backend_cuda.wait(lanes[j], &err);
                check(cudaStreamSynchronize(stream), "stream");
                start = now_s(); /* the first two rounds warm up */
            }
            if (what == 0) check(cudaMemcpyAsync(device, l->src, bytes, cudaMemcpyHostToDevice, stream), "copy");
            else ok = backend_cuda.wait(l, &err) && backend_cuda.submit(l, &encode, 1, true, &err);
        }
        for (int j = 0; ok && j < 3; j++) ok = backend_cuda.wait(lanes[j], &err);
        check(cudaStreamSynchronize(stream), "stream");
        printf("%-28s %9.1f GB/s of source\n", what ? "encode_nvfp4 from the host" : "host to device",
               30.0 * (double)bytes / (now_s() - start) * 1e-9);
    }
    if (!ok) fprintf(stderr, "bench_cuda: %s\n", err.text);
    check(cudaFree(device), "cudaFree");
    for (int i = 0; i < 3; i++) backend_cuda.lane_close(lanes[i]);
    backend_cuda.close(be);
    if (!ok) exit(1);
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
    check(cudaMalloc((void **)&b.src, (size_t)2 << 30), "2 GiB"),
        check(cudaMalloc((void **)&b.dst, (size_t)2 << 30), "2 GiB");
    check(cudaMalloc((void **)&b.aux, (size_t)128 << 20), "128 MiB");
    fill(&b);
    b.copy_gbs = 2.0 * ROWS * COLS * 2 / time_of(&b, NULL, NULL) * 1e-9;
    printf("%s, %d multiprocessors\n%-28s %9.1f GB/s\n", p.name, n_sm, "copy on the device", b.copy_gbs);
    for (int op = 0; op < OP_COUNT; op++) {
        const struct cuda_kernel *k = cuda_kernel_of((enum op)op);
        if (!k || (argc > 1 && !strstr(op_name((enum op)op), argv[1]))) continue;
        bench_kernel(&b, k, k->src == ROOM_DTYPE ? DTYPE_BF16 : DTYPE_F32);
        if (k->op == OP_ENCODE_NVFP4 || k->op == OP_ENCODE_FP8) bench_kernel(&b, k, DTYPE_F32);
    }
    check(cudaFree(b.src), "cudaFree"), check(cudaFree(b.dst), "cudaFree"), check(cudaFree(b.aux), "cudaFree");
    if (argc < 2) bench_link();
    return 0;
}
