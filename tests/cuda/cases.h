/* What the tests of CUDA kernels share: arrays of one launch on both sides, one launch, comparison with the scalar
 * kernel of the operation. Works with CUDA's runtime and with fake_runtime.c. */
#ifndef TESTS_CUDA_CASES_H
#define TESTS_CUDA_CASES_H

#include "backends/cpu/kernel.h"
#include "backends/cuda/kernel_table.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_COUNT 7u
#define TAIL 256u /* bytes behind every array that must stay as they are */
#define TAIL_BYTE 0xA5

enum array { SRC, SRC_SCALE, SRC_SCALE_F32, BLOCK_AMAX, DST, DST_SCALE, DST_F32 };

/* Arrays grow and are kept from case to case. */
struct array_pair {
    uint8_t *host, *device, *want;
    size_t room, bytes;
};

struct cases {
    struct array_pair arrays[ROOM_COUNT];
    cudaStream_t stream;
    uint32_t n_sm;
    uint64_t n_cases, n_bytes;
};

#define CUDA_OK(call)                                                                                                  \
    do {                                                                                                               \
        cudaError_t e_ = (call);                                                                                       \
        if (e_ != cudaSuccess) {                                                                                       \
            printf("FAIL %s: %s\n", #call, cudaGetErrorString(e_));                                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static inline enum gpu_room room_of(const struct cuda_kernel *k, enum array which)
{
    const enum gpu_room rooms[ROOM_COUNT] = {k->src, k->src_scale, k->src_scale_f32, k->block_amax,
                                             k->dst, k->dst_scale, k->dst_f32};
    return rooms[which];
}

static inline void cases_open(struct cases *c)
{
    int n_sm = 0;
    memset(c, 0, sizeof *c);
    CUDA_OK(cudaSetDevice(0));
    CUDA_OK(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking));
    CUDA_OK(cudaDeviceGetAttribute(&n_sm, cudaDevAttrMultiProcessorCount, 0));
    c->n_sm = (uint32_t)n_sm;
}

static inline void cases_close(struct cases *c)
{
    for (uint32_t i = 0; i < ROOM_COUNT; i++) {
        free(c->arrays[i].host), free(c->arrays[i].want);
        CUDA_OK(cudaFree(c->arrays[i].device));
    }
    CUDA_OK(cudaStreamDestroy(c->stream));
}

/* Room for this launch in every array. Device memory is of exactly the size a case needs (and its tail), so that
 * compute-sanitizer and AddressSanitizer see what reads or writes beyond it. */
static inline void cases_shape(struct cases *c, const struct cuda_kernel *k, const struct kernel_args *a)
{
    for (uint32_t i = 0; i < ROOM_COUNT; i++) {
        struct array_pair *p = &c->arrays[i];
        p->bytes = gpu_room_bytes(room_of(k, (enum array)i), a);
        if (p->room == p->bytes + TAIL) continue;
        free(p->host), free(p->want);
        CUDA_OK(cudaFree(p->device));
        p->room = p->bytes + TAIL;
        p->host = malloc(p->room), p->want = malloc(p->room);
        if (!p->host || !p->want) exit(1);
        CUDA_OK(cudaMalloc((void **)&p->device, p->room));
    }
}

static inline void cases_queue(struct cases *c, const struct cuda_kernel *k, const struct kernel_args *a)
{
    struct kernel_args on_device = *a;
    on_device.src = c->arrays[SRC].device, on_device.src_scale = c->arrays[SRC_SCALE].device;
    on_device.block_amax = (const float *)(const void *)c->arrays[BLOCK_AMAX].device;
    on_device.dst = c->arrays[DST].device, on_device.dst_scale = c->arrays[DST_SCALE].device;
    on_device.dst_f32 = (float *)(void *)c->arrays[DST_F32].device;
    on_device.src_scale_f32 = (const float *)(const void *)c->arrays[SRC_SCALE_F32].device;
    for (enum op op = k->op; k->op == op; k++) {
        dim3 blocks = {1, 1, 1}, threads = {GPU_THREADS, 1, 1};
        void *args[] = {&on_device};
        if (k->zeroes_f32) CUDA_OK(cudaMemsetAsync(on_device.dst_f32, 0, c->arrays[DST_F32].bytes, c->stream));
        if (!gpu_grid(k->shape, a, c->n_sm, &blocks.x)) exit(1);
        if (blocks.x) CUDA_OK(cudaLaunchKernel(k->function, blocks, threads, args, 0, c->stream));
    }
}

static inline void cases_scalar(struct cases *c, const struct cuda_kernel *k, const struct kernel_args *a)
{
    struct kernel_args on_host = *a;
    on_host.src = c->arrays[SRC].host, on_host.src_scale = c->arrays[SRC_SCALE].host;
    on_host.src_scale_f32 = (const float *)(const void *)c->arrays[SRC_SCALE_F32].host;
    on_host.block_amax = (const float *)(const void *)c->arrays[BLOCK_AMAX].host;
    on_host.dst = c->arrays[DST].want, on_host.dst_scale = c->arrays[DST_SCALE].want;
    on_host.dst_f32 = (float *)(void *)c->arrays[DST_F32].want;
    kernel_for(k->op, 0)(&on_host);
}

/* Both compute from what the caller put into the host arrays of the sources; false after saying where they differ. */
static inline bool cases_run(struct cases *c, const struct cuda_kernel *k, const struct kernel_args *a,
                             const char *where)
{
    for (uint32_t i = SRC; i < ROOM_COUNT; i++) {
        struct array_pair *p = &c->arrays[i];
        memset(i < DST ? p->host + p->bytes : p->host, TAIL_BYTE, i < DST ? TAIL : p->room);
        memset(p->want, TAIL_BYTE, p->room);
        CUDA_OK(cudaMemcpyAsync(p->device, p->host, p->room, cudaMemcpyHostToDevice, c->stream));
    }
    cases_queue(c, k, a);
    for (uint32_t i = DST; i < ROOM_COUNT; i++)
        CUDA_OK(cudaMemcpyAsync(c->arrays[i].host, c->arrays[i].device, c->arrays[i].room, cudaMemcpyDeviceToHost,
                                c->stream));
    CUDA_OK(cudaStreamSynchronize(c->stream));
    cases_scalar(c, k, a);
    c->n_cases++;
    for (uint32_t i = DST; i < ROOM_COUNT; i++) {
        static const char *const names[] = {"", "", "", "", "packed", "scale", "f32"};
        const struct array_pair *p = &c->arrays[i];
        c->n_bytes += p->bytes;
        if (memcmp(p->host, p->want, p->room) == 0) continue;
        size_t at = 0;
        while (p->host[at] == p->want[at]) at++;
        printf("FAIL %s: %s: %s byte %zu of %zu is %02x, the scalar kernel writes %02x\n", op_name(k->op), where,
               names[i], at, p->bytes, p->host[at], p->want[at]);
        return false;
    }
    return true;
}

#endif
