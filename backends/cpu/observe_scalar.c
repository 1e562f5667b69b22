/* The specification of what looks at weights before they are encoded: loops over numeric/ and nothing else. */
#include "backends/cpu/element.h"
#include "backends/cpu/kernel_list.h"
#include "numeric/nvfp4_four_six.h"
#include "numeric/nvfp4_range.h"
#include "numeric/nvfp4_sweep.h"

void widen_scalar(const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    for (uint64_t i = 0; i < n; i++) element_store_f32(a->dst_f32, i, element_widen(a->src, a->dtype, i));
}

void amax_scalar(const struct kernel_args *a)
{
    for (uint64_t r = 0; r < a->n_rows; r++) {
        float amax = 0.0f;
        for (uint64_t c = 0; c < a->n_cols; c++)
            amax = f32_amax(amax, element_widen(a->src, a->dtype, r * a->n_cols + c));
        element_store_f32(a->dst_f32, r, f32_is_nan(amax) ? f32_from_bits(F32_NAN_BITS) : amax);
    }
}

void sweep_nvfp4_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[NVFP4_BLOCK];
        element_widen_block(a->src, a->dtype, b * NVFP4_BLOCK, w);
        element_store_f32(a->dst_f32, b, nvfp4_sweep_block(w, a->amax, a->static_max));
    }
}

void four_six_nvfp4_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    float normal = nvfp4_four_six_normal(a->amax);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[NVFP4_BLOCK];
        element_widen_block(a->src, a->dtype, b * NVFP4_BLOCK, w);
        element_store_f32(a->dst_f32, b, nvfp4_four_six_block(w, normal));
    }
}

void range_nvfp4_scalar(const struct kernel_args *a)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = 0; b < n_blocks; b++) {
        float w[NVFP4_BLOCK];
        element_widen_block(a->src, a->dtype, b * NVFP4_BLOCK, w);
        element_store_f32(a->dst_f32, b, nvfp4_range_block(w, a->amax, a->range_start, a->range_stop, a->range_count));
    }
}
