/* Every CUDA kernel, and the array that names them; all that nvcc compiles. The bodies are headers because the tests
 * compile the same text for the host (tests/cuda/emulate.c). Flags matter: docs/numerics.md, "Ground rules". */
#include "backends/cuda/kernel_table.h"
#include "backends/cuda/kernel_words.cuh"
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

#define CUDA_KERNEL(op, fn, shape, zero, src, src_scale, src_scale_f32, amax, dst, dst_scale, dst_f32)                 \
    {op,                                                                                                               \
     (const void *)fn,                                                                                                 \
     #fn,                                                                                                              \
     shape,                                                                                                            \
     zero,                                                                                                             \
     (enum gpu_room)(src),                                                                                             \
     (enum gpu_room)(src_scale),                                                                                       \
     (enum gpu_room)(src_scale_f32),                                                                                   \
     (enum gpu_room)(amax),                                                                                            \
     (enum gpu_room)(dst),                                                                                             \
     (enum gpu_room)(dst_scale),                                                                                       \
     (enum gpu_room)(dst_f32)},
const struct cuda_kernel cuda_kernels[] = {
#include "backends/cuda/kernels.inc"
    {OP_COUNT, nullptr, nullptr, GPU_BLOCKS, false, ROOM_NONE, ROOM_NONE, ROOM_NONE, ROOM_NONE, ROOM_NONE, ROOM_NONE,
     ROOM_NONE},
};
