/* The specification of the decoders: loops over numeric/ and nothing else. */
#include "backends/cpu/element.h"
#include "backends/cpu/kernel_list.h"
#include "numeric/fp8.h"
#include "numeric/fp8_scaled.h"
#include "numeric/mxfp4.h"
#include "numeric/mxfp8.h"
#include "numeric/nvfp4.h"
#include "numeric/q8_0.h"

void decode_nvfp4_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    const uint8_t *src = a->src;
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[NVFP4_BLOCK];
        nvfp4_decode_block(src + b * NVFP4_BLOCK_BYTES, a->src_scale[b], a->scale, w);
        for (uint64_t i = 0; i < NVFP4_BLOCK; i++) element_store_f32(a->dst_f32, b * NVFP4_BLOCK + i, w[i]);
    }
}

void decode_fp8_scalar(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    const uint8_t *src = a->src;
    for (uint64_t i = 0; i < n; i++) element_store_f32(a->dst_f32, i, fp8_decode(src[i], a->scale));
}

void decode_fp8_channel_scalar(const struct kernel_args *a)
{
    const uint8_t *src = a->src;
    for (uint64_t r = 0; r < a->n_rows; r++) {
        float scale = element_f32(a->src_scale_f32, r);
        for (uint64_t i = r * a->n_cols; i < (r + 1) * a->n_cols; i++)
            element_store_f32(a->dst_f32, i, fp8_scaled_decode(src[i], scale));
    }
}

void decode_fp8_block_scalar(const struct kernel_args *a)
{
    uint64_t across = a->n_cols / FP8_BLOCK + (a->n_cols % FP8_BLOCK != 0);
    const uint8_t *src = a->src;
    for (uint64_t r = 0; r < a->n_rows; r++)
        for (uint64_t c = 0; c < a->n_cols; c++) {
            float scale = element_f32(a->src_scale_f32, r / FP8_BLOCK * across + c / FP8_BLOCK);
            uint64_t i = r * a->n_cols + c;
            element_store_f32(a->dst_f32, i, fp8_scaled_decode(src[i], scale));
        }
}

void decode_mxfp4_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP4_BLOCK);
    const uint8_t *src = a->src;
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[MXFP4_BLOCK];
        mxfp4_decode_block(src + b * MXFP4_BLOCK_BYTES, a->src_scale[b], w);
        for (uint64_t i = 0; i < MXFP4_BLOCK; i++) element_store_f32(a->dst_f32, b * MXFP4_BLOCK + i, w[i]);
    }
}

void decode_mxfp8_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP8_BLOCK);
    const uint8_t *src = a->src;
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[MXFP8_BLOCK];
        mxfp8_decode_block(src + b * MXFP8_BLOCK, a->src_scale[b], w);
        for (uint64_t i = 0; i < MXFP8_BLOCK; i++) element_store_f32(a->dst_f32, b * MXFP8_BLOCK + i, w[i]);
    }
}

void decode_q8_0_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / Q8_0_BLOCK);
    const uint8_t *src = a->src;
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[Q8_0_BLOCK];
        q8_0_decode_block(src + b * Q8_0_BLOCK_BYTES, w);
        for (uint64_t i = 0; i < Q8_0_BLOCK; i++) element_store_f32(a->dst_f32, b * Q8_0_BLOCK + i, w[i]);
    }
}
