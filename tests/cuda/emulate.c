/* kernels.cu for the host: the same bodies, the same list. */
#include "tests/cuda/emulate.h"

#include "backends/cuda/kernel_table.h"
#include "numeric/fp8_scaled.h"
#include "numeric/int4.h"
#include "numeric/mxfp4.h"
#include "numeric/mxfp8.h"
#include "numeric/nvfp4_four_six.h"
#include "numeric/nvfp4_range.h"
#include "numeric/nvfp4_sweep.h"

#include "backends/cuda/load_body.h"

#include "backends/cuda/nvfp4_steps_body.h"

#include "backends/cuda/encode_body.h"

#include "backends/cuda/observe_body.h"

#include "backends/cuda/scaled_body.h"

#include "backends/cuda/mx_body.h"

#include "backends/cuda/int4_body.h"

#include "backends/cuda/decode_body.h"

struct emulated emulated;

#define CUDA_KERNEL(op, fn, shape, zero, src, src_scale, src_scale_f32, amax, dst, dst_scale, dst_f32)                 \
    {op,     __extension__(const void *) fn, #fn, shape, zero, src, src_scale, src_scale_f32, amax, dst, dst_scale,    \
     dst_f32},
const struct cuda_kernel cuda_kernels[] = {
#include "backends/cuda/kernels.inc"
    {.op = OP_COUNT},
};

void emulate_blocks(const void *function, uint32_t n_blocks, uint32_t first, const struct kernel_args *args)
{
    void (*run)(struct kernel_args) = __extension__(void (*)(struct kernel_args)) function;
    emulated.n_blocks = n_blocks;
    for (emulated.block = first; emulated.block < n_blocks; emulated.block++) {
        memset(emulated.warp_calls, 0, sizeof emulated.warp_calls);
        for (emulated.thread = 0; emulated.thread < GPU_THREADS; emulated.thread++) run(*args);
        for (uint32_t t = 0; t < GPU_THREADS; t++)
            if (emulated.warp_calls[t] != emulated.warp_calls[t / 32 * 32])
                emulate_stop("threads of a warp disagree how often it meets");
    }
}

void emulate_launch(const void *function, uint32_t n_blocks, const struct kernel_args *args)
{
    emulate_blocks(function, n_blocks, 0, args);
}
