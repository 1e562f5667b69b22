/* The specification of what engines do to activations: loops over numeric/ and nothing else. */
#include "backends/cpu/element.h"
#include "backends/cpu/kernel_list.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

void input_nvfp4_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float x[NVFP4_BLOCK];
        element_widen_block(a->src, DTYPE_F32, b * NVFP4_BLOCK, x);
        nvfp4_input_block(x, a->scale, x);
        for (uint64_t i = 0; i < NVFP4_BLOCK; i++) element_store_f32(a->dst_f32, b * NVFP4_BLOCK + i, x[i]);
    }
}

void input_fp8_scalar(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    for (uint64_t i = 0; i < n; i++) element_store_f32(a->dst_f32, i, fp8_input(element_f32(a->src, i), a->scale));
}
