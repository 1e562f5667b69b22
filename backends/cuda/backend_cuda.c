/* NVIDIA GPUs as a backend: which there are, why not, and opening one. The program links CUDA's runtime statically and
 * needs neither a driver nor a GPU to start; the runtime looks for the driver when it is first asked. */
#include "backends/cuda/cuda_device.h"

#include "backends/cuda/kernel_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES_MAX 64

/* The build's CUDA_ARCH: the oldest chip it has code for, and all of them in words. */
#ifndef GPU_SM_MIN
#define GPU_SM_MIN 80
#define GPU_SM_WORDS "80"
#endif

bool cuda_failed(const struct backend *be, const char *what, cudaError_t e, struct error *err)
{
    int n = (int)strcspn(what, "(");
    (void)cudaGetLastError();
    return error_set(err, ERR_DEVICE, "'%s': %.*s: %s", be->name, n, what, cudaGetErrorString(e));
}

/* ---- which there are ---- */

static int sm_of(int ordinal)
{
    int major = 0, minor = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal) != cudaSuccess)
        return 0;
    return major * 10 + minor;
}

static void device_name(int ordinal, char *out, size_t size)
{
    struct cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, ordinal) != cudaSuccess) snprintf(p.name, sizeof p.name, "GPU %d", ordinal);
    error_printable(out, size, p.name, strnlen(p.name, sizeof p.name));
}

/* A driver serves every runtime of its own major version and all older ones. */
static bool driver_serves(char *why_not, size_t why_size)
{
    int driver = 0, runtime = 0;
    cudaError_t e = cudaDriverGetVersion(&driver);
    if (e != cudaSuccess || driver == 0) { /* 0: there is no libcuda.so.1 */
        if (e == cudaSuccess) snprintf(why_not, why_size, "no NVIDIA driver is installed");
        else snprintf(why_not, why_size, "the NVIDIA driver does not say its version: %s", cudaGetErrorString(e));
        return false;
    }
    if (cudaRuntimeGetVersion(&runtime) == cudaSuccess && driver / 1000 < runtime / 1000) {
        snprintf(why_not, why_size,
                 "the NVIDIA driver is made for CUDA %d.%d, and this program, built with CUDA %d.%d, needs one for "
                 "CUDA %d.0 or newer",
                 driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, runtime / 1000);
        return false;
    }
    return true;
}

/* Fills the ordinals of the devices that this build has code for, in CUDA's order. */
static uint32_t usable(int ordinals[DEVICES_MAX], char *why_not, size_t why_size)
{
    int n = 0;
    uint32_t found = 0;
    if (!driver_serves(why_not, why_size)) {
        (void)cudaGetLastError();
        return 0;
    }
    cudaError_t e = cudaGetDeviceCount(&n);
    if (e != cudaSuccess || n == 0) {
        if (e == cudaSuccess || e == cudaErrorNoDevice)
            snprintf(why_not, why_size, "the driver finds no GPU%s",
                     getenv("CUDA_VISIBLE_DEVICES") ? " (CUDA_VISIBLE_DEVICES may hide them)" : "");
        else snprintf(why_not, why_size, "the driver cannot list GPUs: %s", cudaGetErrorString(e));
        (void)cudaGetLastError();
        return 0;
    }
    for (int i = 0; i < n && found < DEVICES_MAX; i++) {
        int sm = sm_of(i);
        if (sm >= GPU_SM_MIN) {
            ordinals[found++] = i;
        } else if (found == 0 && i == 0) {
            char name[96];
            device_name(i, name, sizeof name);
            snprintf(why_not, why_size, "'%s' is sm_%d, and this program needs sm_%d or newer", name, sm, GPU_SM_MIN);
        }
    }
    return found;
}

static uint32_t devices(char *why_not, size_t why_size)
{
    int ordinals[DEVICES_MAX];
    return usable(ordinals, why_not, why_size);
}

static bool has_op(enum op op)
{
    return cuda_kernel_of(op) != NULL;
}

/* ---- one of them ---- */

/* Starts the device, and asks for one kernel: an old driver cannot translate PTX of a newer compiler, and a build for
 * few chips has nothing else for the chips between them. */
static bool start(struct backend *be, struct error *err)
{
    int n_sm = 0;
    struct cudaFuncAttributes attributes;
    CUDA_TRY(be, cudaSetDevice(be->ordinal));
    CUDA_TRY(be, cudaDeviceGetAttribute(&n_sm, cudaDevAttrMultiProcessorCount, be->ordinal));
    be->n_sm = n_sm > 0 ? (uint32_t)n_sm : 1;
    cudaError_t e = cudaFuncGetAttributes(&attributes, cuda_kernels[0].function);
    if (e == cudaSuccess) return true;
    (void)cudaGetLastError();
    return error_set(err, ERR_DEVICE, "'%s' is sm_%d, and this program has code for sm_%s that it cannot use: %s",
                     be->name, sm_of(be->ordinal), GPU_SM_WORDS, cudaGetErrorString(e));
}

static bool backend_open(struct backend **out, uint32_t device, const struct backend_config *config, struct error *err)
{
    (void)config;
    int ordinals[DEVICES_MAX];
    char why[256] = "";
    uint32_t n = usable(ordinals, why, sizeof why);
    *out = NULL;
    if (device >= n)
        return error_set(err, ERR_DEVICE, "backend 'cuda': there is no device %u: %s", device,
                         n ? "fewer can be used" : why);
    struct backend *be = calloc(1, sizeof *be);
    if (!be) return error_memory(err, sizeof *be);
    be->ordinal = ordinals[device];
    device_name(be->ordinal, be->name, sizeof be->name);
    if (!start(be, err)) {
        free(be);
        return false;
    }
    *out = be;
    return true;
}

static void backend_close(struct backend *be)
{
    free(be);
}

static bool describe(struct backend *be, struct backend_device *out, struct error *err)
{
    size_t unused = 0, total = 0;
    CUDA_TRY(be, cudaSetDevice(be->ordinal));
    CUDA_TRY(be, cudaMemGetInfo(&unused, &total));
    *out = (struct backend_device){.memory = total, .unused = unused};
    snprintf(out->name, sizeof out->name, "%s", be->name);
    return true;
}

const struct backend_ops backend_cuda = {
    .name = "cuda",
    .devices = devices,
    .has_op = has_op,
    .open = backend_open,
    .close = backend_close,
    .describe = describe,
    .lanes = 3, /* one on its way to the device, one computing, one on its way back */
    .lane_open = cuda_lane_open,
    .lane_close = cuda_lane_close,
    .submit = cuda_lane_submit,
    .wait = cuda_lane_wait,
};
