/* What tests may set in the runtime of fake_runtime.c, and what they may ask it. */
#ifndef TESTS_CUDA_FAKE_RUNTIME_H
#define TESTS_CUDA_FAKE_RUNTIME_H

#include <cuda_runtime_api.h>
#include <stdbool.h>

struct fake_cuda {
    int driver, runtime; /* 13000 is 13.0; driver 0: none is installed */
    int n_devices, n_sm;
    int sm[4]; /* 90 is sm_90, by device */
    size_t memory;
    const char *fail_call; /* this call fails once `fail_after` calls of it have gone well; NULL: none */
    int fail_after;
    cudaError_t fail_with;
    bool fail_run; /* the next kernel that runs ends in an illegal address, which the next wait says */
    /* to look at */
    size_t used;               /* bytes of device memory now taken */
    int host, streams, events; /* things that are open */
    int device;                /* of the last cudaSetDevice */
};
extern struct fake_cuda fake;
void fake_reset(void); /* one sm_90 device with 1 GiB, nothing fails */

#endif
