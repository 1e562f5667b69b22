/* The specification of the decoders: loops over numeric/ and nothing else. */
#include "backends/cpu/element.h"
#include "backends/cpu/kernel_list.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

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
