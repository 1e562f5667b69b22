/* The specification of the encoders: loops over numeric/ and nothing else. */
#include "backends/cpu/element.h"
#include "backends/cpu/kernel_list.h"
#include "numeric/fp8.h"
#include "numeric/fp8_scaled.h"
#include "numeric/mxfp4.h"
#include "numeric/mxfp8.h"
#include "numeric/nvfp4.h"
#include "numeric/q8_0.h"

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

void encode_fp8_channel_scalar(const struct kernel_args *a)
{
    for (uint64_t r = 0; r < a->n_rows; r++) {
        float amax = 0.0f;
        for (uint64_t c = 0; c < a->n_cols; c++)
            amax = f32_amax(amax, element_widen(a->src, a->dtype, r * a->n_cols + c));
        float scale = fp8_scaled_scale(amax, FP8_SCALE_F32);
        element_store_f32(a->dst_f32, r, scale);
        for (uint64_t i = r * a->n_cols; i < (r + 1) * a->n_cols; i++)
            a->dst[i] = fp8_scaled_encode(element_widen(a->src, a->dtype, i), scale);
    }
}

/* Rows and columns [r0, r1) x [c0, c1); returns the scale. */
static float encode_fp8_one_block(const struct kernel_args *a, uint64_t r0, uint64_t r1, uint64_t c0, uint64_t c1)
{
    float amax = 0.0f;
    for (uint64_t r = r0; r < r1; r++)
        for (uint64_t c = c0; c < c1; c++) amax = f32_amax(amax, element_widen(a->src, a->dtype, r * a->n_cols + c));
    float scale = fp8_scaled_scale(amax, a->form);
    for (uint64_t r = r0; r < r1; r++)
        for (uint64_t i = r * a->n_cols + c0; i < r * a->n_cols + c1; i++)
            a->dst[i] = fp8_scaled_encode(element_widen(a->src, a->dtype, i), scale);
    return scale;
}

void encode_fp8_block_scalar(const struct kernel_args *a)
{
    uint64_t block = 0;
    for (uint64_t r = 0; r < a->n_rows; r += FP8_BLOCK)
        for (uint64_t c = 0; c < a->n_cols; c += FP8_BLOCK) {
            uint64_t r1 = a->n_rows - r < FP8_BLOCK ? a->n_rows : r + FP8_BLOCK;
            uint64_t c1 = a->n_cols - c < FP8_BLOCK ? a->n_cols : c + FP8_BLOCK;
            element_store_f32(a->dst_f32, block++, encode_fp8_one_block(a, r, r1, c, c1));
        }
}

void encode_mxfp4_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP4_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[MXFP4_BLOCK];
        element_widen_block32(a->src, a->dtype, b * MXFP4_BLOCK, w);
        mxfp4_encode_block(w, a->mxfp4_rule, a->dst_scale + b, a->dst + b * MXFP4_BLOCK_BYTES);
    }
}

void encode_mxfp8_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP8_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[MXFP8_BLOCK];
        element_widen_block32(a->src, a->dtype, b * MXFP8_BLOCK, w);
        mxfp8_encode_block(w, a->dst_scale + b, a->dst + b * MXFP8_BLOCK);
    }
}

void encode_q8_0_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / Q8_0_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[Q8_0_BLOCK];
        element_widen_block32(a->src, a->dtype, b * Q8_0_BLOCK, w);
        q8_0_encode_block(w, a->dst + b * Q8_0_BLOCK_BYTES);
    }
}
