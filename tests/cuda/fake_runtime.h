/* What tests may set in the runtime of fake_runtime.c, and what they may ask it. */
#ifndef TESTS_CUDA_FAKE_RUNTIME_H
#define TESTS_CUDA_FAKE_RUNTIME_H

#include <cuda_runtime_api.h>
#include <stdbool.h>

#define FAKE_DEVICES 4

/* Streams and memory belong to the device that was current when they were made; a call that mixes devices is refused,
 * as on a machine with several GPUs. */
struct fake_cuda {
    int driver, runtime; /* 13000 is 13.0; driver 0: none is installed */
    int n_devices, n_sm;
    int sm[FAKE_DEVICES]; /* 90 is sm_90, by device */
    size_t memory; /* of each device */
    const char *fail_call; /* this call fails once `fail_after` calls of it have gone well; NULL: none */
    int fail_after;
    cudaError_t fail_with;
    int fail_run; /* the n-th kernel from now on ends in an illegal address, which the next wait says; 0: none */
    /* to look at */
    size_t used;               /* bytes of device memory now taken, on all devices */
    size_t used_on[FAKE_DEVICES];
    int host, streams, events; /* things that are open */
    int device;                /* of the last cudaSetDevice */
};
extern struct fake_cuda fake;
void fake_reset(void); /* one sm_90 device with 1 GiB, nothing fails */

#endif
