/* What backend_cuda.c and lane_cuda.c share: an opened GPU, and how a failing call becomes an error. */
#ifndef BACKENDS_CUDA_CUDA_DEVICE_H
#define BACKENDS_CUDA_CUDA_DEVICE_H

#include "backends/backend.h"

#include <cuda_runtime_api.h>

struct backend {
    int ordinal; /* CUDA's number of the device */
    uint32_t n_sm;
    char name[128];
};

bool cuda_lane_open(struct lane **out, struct backend *be, const struct lane_sizes *sizes, struct error *err);
void cuda_lane_close(struct lane *l);
bool cuda_lane_submit(struct lane *l, const struct lane_step *steps, uint32_t n_steps, bool upload, struct error *err);
bool cuda_lane_wait(struct lane *l, struct error *err);

/* ERR_DEVICE "'NVIDIA H200': cudaMalloc: out of memory"; false. Clears what the runtime remembers of it. */
bool cuda_failed(const struct backend *be, const char *what, cudaError_t e, struct error *err);

/* Leaves the function with the error of a failing call. */
#define CUDA_TRY(be, call)                                                                                             \
    do {                                                                                                               \
        cudaError_t e_ = (call);                                                                                       \
        if (e_ != cudaSuccess) return cuda_failed(be, #call, e_, err);                                                 \
    } while (0)

#endif
