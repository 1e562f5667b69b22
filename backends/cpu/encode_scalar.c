/* The specification of the encoders: loops over numeric/ and nothing else. */
#include "backends/cpu/element.h"
#include "backends/cpu/kernel_list.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

void encode_nvfp4_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[NVFP4_BLOCK];
        element_widen_block(a->src, a->dtype, b * NVFP4_BLOCK, w);
        nvfp4_encode_block(w, a->scale, a->dst_scale + b, a->dst + b * NVFP4_BLOCK_BYTES);
    }
}

void encode_nvfp4_static_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[NVFP4_BLOCK];
        element_widen_block(a->src, a->dtype, b * NVFP4_BLOCK, w);
        nvfp4_encode_block_static(w, element_f32(a->block_amax, b), a->amax, a->static_max, a->dst_scale + b,
                                  a->dst + b * NVFP4_BLOCK_BYTES);
    }
}

void encode_fp8_scalar(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    for (uint64_t i = 0; i < n; i++) {
        if (a->dtype == DTYPE_F32) a->dst[i] = fp8_encode_f32(element_f32(a->src, i), a->scale);
        else if (a->dtype == DTYPE_BF16) a->dst[i] = fp8_encode_bf16(element_u16(a->src, i), a->scale, a->rounding);
        else a->dst[i] = fp8_encode_f16(element_u16(a->src, i), a->scale, a->rounding);
    }
}
