/* CUDA's runtime as plain memory: device memory is malloc's, so that AddressSanitizer sees its ends; kernels run in
 * emulate.c. Work on a stream happens when somebody waits for it, not before, so that results read too early are seen
 * to be missing. */
#include <stdbool.h>

#include "tests/cuda/emulate.h"
#include "tests/cuda/fake_runtime.h"

#define QUEUE_MAX 64u

enum work { WORK_COPY, WORK_SET, WORK_LAUNCH };

struct fake_stream {
    int device;
    uint32_t n;
    struct {
        enum work what;
        void *dst;
        const void *src;
        size_t bytes;
        int value;
        uint32_t grid;
        struct kernel_args args;
    } work[QUEUE_MAX];
};

struct fake_event {
    int device;
    cudaStream_t stream;
};

/* Stands in front of device memory. */
struct block {
    size_t bytes;
    int device;
};

struct fake_cuda fake;
static cudaError_t sticky, last;

void fake_reset(void)
{
    fake = (struct fake_cuda){
        .driver = 13000, .runtime = 13050, .n_devices = 1, .n_sm = 1, .sm = {90, 90, 90, 90}, .memory = 1u << 30};
    sticky = last = cudaSuccess;
}

/* What belongs to another device than the current one. */
static bool elsewhere(int device)
{
    return device != fake.device;
}

static cudaError_t done(const char *call)
{
    if (sticky != cudaSuccess) return last = sticky;
    if (!fake.fail_call || strcmp(fake.fail_call, call) != 0 || fake.fail_after-- > 0) return cudaSuccess;
    fake.fail_call = NULL;
    return last = fake.fail_with;
}

#define CALL                                                                                                           \
    do {                                                                                                               \
        cudaError_t e_ = done(__func__);                                                                               \
        if (e_ != cudaSuccess) return e_;                                                                              \
    } while (0)

cudaError_t cudaDriverGetVersion(int *version)
{
    CALL;
    *version = fake.driver;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    CALL;
    *version = fake.runtime;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    CALL;
    *n = fake.n_devices;
    return fake.n_devices ? cudaSuccess : (last = cudaErrorNoDevice);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *out, int device)
{
    CALL;
    snprintf(out->name, sizeof out->name, "Fake GPU %d", device);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    CALL;
    *value = attribute == cudaDevAttrMultiProcessorCount      ? fake.n_sm
             : attribute == cudaDevAttrComputeCapabilityMajor ? fake.sm[device] / 10
                                                              : fake.sm[device] % 10;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    CALL;
    if (device < 0 || device >= fake.n_devices) return last = cudaErrorInvalidValue;
    fake.device = device;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *unused, size_t *total)
{
    CALL;
    *unused = fake.memory - fake.used_on[fake.device], *total = fake.memory;
    return cudaSuccess;
}

/* Aligned to 256 as CUDA's. */
cudaError_t cudaMalloc(void **out, size_t bytes)
{
    CALL;
    if (bytes > fake.memory - fake.used_on[fake.device]) return last = cudaErrorMemoryAllocation;
    uint8_t *p = NULL;
    if (posix_memalign((void **)&p, 256, 256 + bytes) != 0) return last = cudaErrorMemoryAllocation;
    memcpy(p, &(struct block){bytes, fake.device}, sizeof(struct block));
    memset(p + 256, 0xA5, bytes);
    fake.used += bytes;
    fake.used_on[fake.device] += bytes;
    *out = p + 256;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    struct block b;
    if (!p) return cudaSuccess;
    memcpy(&b, (uint8_t *)p - 256, sizeof b);
    fake.used -= b.bytes;
    fake.used_on[b.device] -= b.bytes;
    free((uint8_t *)p - 256);
    return done(__func__);
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned int flags)
{
    (void)flags;
    CALL;
    if (posix_memalign(out, 4096, bytes) != 0) return last = cudaErrorMemoryAllocation;
    fake.host++;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
    if (p) fake.host--;
    free(p);
    return done(__func__);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned int flags)
{
    (void)flags;
    CALL;
    if (!(*out = calloc(1, sizeof **out))) return last = cudaErrorUnknown;
    (*out)->device = fake.device;
    fake.streams++;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, 0);
}

/* Runs what waits in a stream. */
cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->work[i].what == WORK_COPY) memcpy(s->work[i].dst, s->work[i].src, s->work[i].bytes);
        if (s->work[i].what == WORK_SET) memset(s->work[i].dst, s->work[i].value, s->work[i].bytes);
        if (s->work[i].what != WORK_LAUNCH) continue;
        if (fake.fail_run && --fake.fail_run == 0) sticky = cudaErrorIllegalAddress; /* as on a GPU: nothing works any more */
        if (sticky != cudaSuccess) break;
        emulate_launch(s->work[i].src, s->work[i].grid, &s->work[i].args);
    }
    s->n = 0;
    return done(__func__);
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    fake.streams--;
    free(s);
    return done(__func__);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned int flags)
{
    (void)flags;
    CALL;
    if (!(*out = calloc(1, sizeof **out))) return last = cudaErrorUnknown;
    (*out)->device = fake.device;
    fake.events++;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, 0);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop)
{
    CALL;
    *ms = start && stop ? 1.0f : 0.0f;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    CALL;
    if (e->device != s->device) return last = cudaErrorInvalidValue;
    e->stream = s;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    CALL;
    return e->stream ? cudaStreamSynchronize(e->stream) : cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    fake.events--;
    free(e);
    return done(__func__);
}

static bool room_in(cudaStream_t s)
{
    if (s->n == QUEUE_MAX) emulate_stop("the queue of the fake stream is full");
    return true;
}

cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    (void)kind;
    CALL;
    memcpy(dst, src, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s)
{
    (void)kind;
    CALL;
    if (room_in(s)) s->work[s->n].what = WORK_COPY, s->work[s->n].dst = dst, s->work[s->n].src = src;
    s->work[s->n++].bytes = bytes;
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t s)
{
    CALL;
    if (room_in(s)) s->work[s->n].what = WORK_SET, s->work[s->n].dst = dst, s->work[s->n].value = value;
    s->work[s->n++].bytes = bytes;
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **args, size_t shared, cudaStream_t s)
{
    CALL;
    if (elsewhere(s->device)) return last = cudaErrorInvalidValue;
    if (grid.x == 0 || grid.y != 1 || grid.z != 1 || block.x != GPU_THREADS || block.y != 1 || block.z != 1 || shared)
        return last = cudaErrorInvalidValue;
    if (room_in(s)) s->work[s->n].what = WORK_LAUNCH, s->work[s->n].src = function, s->work[s->n].grid = grid.x;
    memcpy(&s->work[s->n++].args, args[0], sizeof(struct kernel_args));
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *out, const void *function)
{
    CALL;
    out->binaryVersion = function ? 90 : 0;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t e = last;
    last = cudaSuccess;
    return e;
}

const char *cudaGetErrorString(cudaError_t e)
{
    static const char *const words[] = {"no error",
                                        "invalid argument",
                                        "out of memory",
                                        "CUDA driver version is insufficient for CUDA runtime version",
                                        "no CUDA-capable device is detected",
                                        "no kernel image is available for execution on the device",
                                        "an illegal memory access was encountered",
                                        "unknown error"};
    return words[e];
}
