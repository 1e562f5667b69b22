/* A lane of a GPU: page-locked host memory, the same rooms on the device, and a stream in which copy, kernels and copy
 * back follow each other. Several lanes overlap because each has its own stream. */
#include "backends/cuda/cuda_device.h"

#include "backends/cpu/kernel.h"
#include "backends/cuda/kernel_table.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cuda_lane {
    struct lane lane;
    struct backend *backend;
    uint8_t *src, *dst, *dst_scale; /* on the device, each at a multiple of 256 */
    float *dst_f32, *block_amax;
    cudaStream_t stream;
    cudaEvent_t done;
    bool busy;
    char ops[96]; /* what was submitted last, in words, for an error that wait finds */
};

/* ---- memory ---- */

/* Nothing here can be helped when it fails: after an error of a kernel every call fails, and the memory goes with the
 * process. */
void cuda_lane_close(struct lane *lane)
{
    struct cuda_lane *l = (struct cuda_lane *)lane;
    if (!l) return;
    (void)cudaSetDevice(l->backend->ordinal);
    if (l->busy) (void)cudaStreamSynchronize(l->stream); /* not the event: a submit may have failed before it */
    void *const device[] = {l->src, l->dst, l->dst_scale, l->dst_f32, l->block_amax};
    void *const host[] = {lane->src, lane->dst, lane->dst_scale, lane->dst_f32};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) (void)cudaFree(device[i]);
    for (size_t i = 0; i < sizeof host / sizeof *host; i++)
        if (host[i]) (void)cudaFreeHost(host[i]);
    if (l->done) (void)cudaEventDestroy(l->done);
    if (l->stream) (void)cudaStreamDestroy(l->stream);
    (void)cudaGetLastError();
    free(l);
}

static bool device_room(const struct backend *be, void *out, uint64_t bytes, uint64_t all, struct error *err)
{
    void *p = NULL;
    if (bytes == 0) return true;
    cudaError_t e = cudaMalloc(&p, bytes);
    if (e == cudaErrorMemoryAllocation) {
        size_t unused = 0, total = 0;
        char needs[32], one[32], left[32], had[32];
        (void)cudaGetLastError();
        (void)cudaMemGetInfo(&unused, &total);
        text_bytes(needs, all), text_bytes(one, bytes), text_bytes(left, unused), text_bytes(had, total);
        return error_set(err, ERR_DEVICE,
                         "'%s': a lane needs %s of its memory; the next %s of that do not fit: %s of %s are free",
                         be->name, needs, one, left, had);
    }
    if (e != cudaSuccess) return cuda_failed(be, "cudaMalloc", e, err);
    memcpy(out, &p, sizeof p);
    return true;
}

static bool host_room(const struct backend *be, void *out, uint64_t bytes, struct error *err)
{
    void *p = NULL;
    if (bytes == 0) return true;
    cudaError_t e = cudaHostAlloc(&p, bytes, cudaHostAllocDefault);
    if (e != cudaSuccess) {
        char needs[32];
        (void)cudaGetLastError();
        text_bytes(needs, bytes);
        return error_set(err, ERR_DEVICE, "'%s': no %s of page-locked host memory: %s", be->name, needs,
                         cudaGetErrorString(e));
    }
    memcpy(out, &p, sizeof p);
    return true;
}

static bool lane_fill(struct cuda_lane *l, struct error *err)
{
    struct backend *be = l->backend;
    const struct lane_sizes *z = &l->lane.sizes;
    uint64_t all = 0;
    const uint64_t parts[] = {z->src, z->dst, z->dst_scale, z->dst_f32, z->block_amax};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (__builtin_add_overflow(all, parts[i], &all))
            return error_set(err, ERR_INTERNAL, "the sizes of a lane have no sum");
    CUDA_TRY(be, cudaSetDevice(be->ordinal));
    CUDA_TRY(be, cudaStreamCreateWithFlags(&l->stream, cudaStreamNonBlocking));
    /* wait() sleeps instead of spinning: the CPU has files to read */
    CUDA_TRY(be, cudaEventCreateWithFlags(&l->done, cudaEventBlockingSync | cudaEventDisableTiming));
    return device_room(be, &l->src, z->src, all, err) && device_room(be, &l->dst, z->dst, all, err) &&
           device_room(be, &l->dst_scale, z->dst_scale, all, err) &&
           device_room(be, &l->dst_f32, z->dst_f32, all, err) &&
           device_room(be, &l->block_amax, z->block_amax, all, err) && host_room(be, &l->lane.src, z->src, err) &&
           host_room(be, &l->lane.dst, z->dst, err) && host_room(be, &l->lane.dst_scale, z->dst_scale, err) &&
           host_room(be, &l->lane.dst_f32, z->dst_f32, err);
}

bool cuda_lane_open(struct lane **out, struct backend *be, const struct lane_sizes *sizes, struct error *err)
{
    *out = NULL;
    struct cuda_lane *l = calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l);
    l->lane.ops = &backend_cuda;
    l->lane.sizes = *sizes;
    l->backend = be;
    if (!lane_fill(l, err)) {
        cuda_lane_close(&l->lane);
        return false;
    }
    *out = &l->lane;
    return true;
}

/* ---- work ---- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Where the scales of a packed source lie in src: behind the codes, at a multiple of LANE_ALIGN, as lane_src_scale_at
 * says for NVFP4; fp32 scales behind bytes, if an operation has both. */
struct src_parts {
    uint64_t scale_at, scale_f32_at, end;
};

static uint64_t aligned(uint64_t at)
{
    return (at + LANE_ALIGN - 1) / LANE_ALIGN * LANE_ALIGN;
}

static struct src_parts src_parts_of(const struct cuda_kernel *k, const struct kernel_args *a)
{
    struct src_parts p = {.end = gpu_room_bytes(k->src, a)};
    if (k->src_scale) p.scale_at = aligned(p.end), p.end = p.scale_at + gpu_room_bytes(k->src_scale, a);
    if (k->src_scale_f32) p.scale_f32_at = aligned(p.end), p.end = p.scale_f32_at + gpu_room_bytes(k->src_scale_f32, a);
    return p;
}

/* Bytes of each room that a step touches; an error when that is more than the lane has. */
static bool measure(const struct cuda_lane *l, const struct lane_step *s, struct lane_sizes *out, struct error *err)
{
    const struct cuda_kernel *k = cuda_kernel_of(s->op);
    const struct kernel_args *a = &s->args;
    const struct lane_sizes *room = &l->lane.sizes;
    uint32_t grid;
    *out = (struct lane_sizes){0};
    if (!k) return error_set(err, ERR_INTERNAL, "backend 'cuda' has no %s", op_name(s->op));
    if (gpu_grid(k->shape, a, l->backend->n_sm, &grid)) {
        uint64_t f32 = gpu_room_bytes(k->dst_f32, a);
        bool chooses = k->dst_f32 == ROOM_AMAX_16;
        out->src = src_parts_of(k, a).end;
        out->dst = gpu_room_bytes(k->dst, a);
        out->dst_scale = gpu_room_bytes(k->dst_scale, a);
        out->dst_f32 = chooses ? 0 : f32;
        out->block_amax = chooses ? f32 : gpu_room_bytes(k->block_amax, a);
        if (out->src <= room->src && out->dst <= room->dst && out->dst_scale <= room->dst_scale &&
            out->dst_f32 <= room->dst_f32 && out->block_amax <= room->block_amax)
            return true;
    }
    return error_set(err, ERR_INTERNAL, "%s of %llu x %llu elements is larger than its lane", op_name(s->op),
                     (unsigned long long)a->n_rows, (unsigned long long)a->n_cols);
}

/* All passes of a step. */
static bool launch(const struct cuda_lane *l, const struct lane_step *s, struct error *err)
{
    const struct cuda_kernel *k = cuda_kernel_of(s->op);
    const struct src_parts parts = src_parts_of(k, &s->args);
    struct kernel_args a = s->args;
    a.src = l->src;
    a.src_scale = l->src ? l->src + parts.scale_at : NULL;
    a.src_scale_f32 = l->src ? (const float *)(const void *)(l->src + parts.scale_f32_at) : NULL;
    a.block_amax = l->block_amax;
    a.dst = l->dst;
    a.dst_scale = l->dst_scale;
    a.dst_f32 = k->dst_f32 == ROOM_AMAX_16 ? l->block_amax : l->dst_f32;
    for (; k->op == s->op; k++) {
        uint64_t f32 = gpu_room_bytes(k->dst_f32, &a);
        uint32_t grid = 0;
        dim3 blocks = {1, 1, 1}, threads = {GPU_THREADS, 1, 1};
        void *args[] = {&a};
        if (k->zeroes_f32 && f32) CUDA_TRY(l->backend, cudaMemsetAsync(a.dst_f32, 0, f32, l->stream));
        if (!gpu_grid(k->shape, &a, l->backend->n_sm, &grid) || grid == 0) continue;
        blocks.x = grid;
        cudaError_t e = cudaLaunchKernel(k->function, blocks, threads, args, 0, l->stream);
        if (e != cudaSuccess) return cuda_failed(l->backend, op_name(s->op), e, err);
    }
    return true;
}

static bool copy_back(const struct cuda_lane *l, void *host, const void *device, uint64_t bytes, struct error *err)
{
    if (bytes == 0) return true;
    CUDA_TRY(l->backend, cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, l->stream));
    return true;
}

bool cuda_lane_submit(struct lane *lane, const struct lane_step *steps, uint32_t n_steps, bool upload,
                      struct error *err)
{
    struct cuda_lane *l = (struct cuda_lane *)lane;
    struct lane_sizes all = {0};
    if (n_steps > LANE_STEPS_MAX) return error_set(err, ERR_INTERNAL, "%u steps in one submit", n_steps);
    l->ops[0] = '\0';
    for (uint32_t i = 0; i < n_steps; i++) {
        size_t n = strlen(l->ops);
        struct lane_sizes one;
        if (!measure(l, &steps[i], &one, err)) return false;
        all.src = larger(all.src, one.src), all.dst = larger(all.dst, one.dst);
        all.dst_scale = larger(all.dst_scale, one.dst_scale), all.dst_f32 = larger(all.dst_f32, one.dst_f32);
        snprintf(l->ops + n, sizeof l->ops - n, "%s%s", i ? ", " : "", op_name(steps[i].op));
    }
    CUDA_TRY(l->backend, cudaSetDevice(l->backend->ordinal));
    if (upload && all.src)
        CUDA_TRY(l->backend, cudaMemcpyAsync(l->src, lane->src, all.src, cudaMemcpyHostToDevice, l->stream));
    l->busy = true; /* from here on memory of the lane is in use, whatever comes */
    for (uint32_t i = 0; i < n_steps; i++)
        if (!launch(l, &steps[i], err)) return false;
    if (!copy_back(l, lane->dst, l->dst, all.dst, err) ||
        !copy_back(l, lane->dst_scale, l->dst_scale, all.dst_scale, err) ||
        !copy_back(l, lane->dst_f32, l->dst_f32, all.dst_f32, err))
        return false;
    CUDA_TRY(l->backend, cudaEventRecord(l->done, l->stream));
    return true;
}

/* What a kernel did wrong is known here, not when it was launched. */
bool cuda_lane_wait(struct lane *lane, struct error *err)
{
    struct cuda_lane *l = (struct cuda_lane *)lane;
    if (!l->busy) return true;
    CUDA_TRY(l->backend, cudaSetDevice(l->backend->ordinal));
    cudaError_t e = cudaEventSynchronize(l->done);
    l->busy = false;
    return e == cudaSuccess ? true : cuda_failed(l->backend, l->ops, e, err);
}
