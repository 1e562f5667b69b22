/* ggml's blocks: the specification, type by type. A type is a row of table[]. */
#include "backends/cpu/element.h"
#include "backends/cpu/ggml_kernel.h"
#include "backends/cpu/kernel_list.h"
#include "numeric/ggml_nvfp4.h"
#include "numeric/ggml_search.h"
#include "numeric/q8_0.h"

static void bare_nvfp4(const uint8_t *in, float *out)
{
    ggml_nvfp4_decode_block(in, 1.0f, out);
}

static const struct {
    enum dtype type;
    void (*encode)(const float *w, uint8_t *out); /* NULL: not written */
    void (*decode)(const uint8_t *in, float *out);
} table[] = {
    {DTYPE_Q8_0, q8_0_encode_block, q8_0_decode_block},
    {DTYPE_Q4_0, q4_0_encode_block, q4_0_decode_block},
    {DTYPE_Q4_1, NULL, q4_1_decode_block},
    {DTYPE_Q5_0, q5_0_encode_block, q5_0_decode_block},
    {DTYPE_Q5_1, q5_1_encode_block, q5_1_decode_block},
    {DTYPE_Q2_K, NULL, q2_k_decode_block},
    {DTYPE_Q3_K, NULL, q3_k_decode_block},
    {DTYPE_Q4_K, q4_k_encode_block, q4_k_decode_block},
    {DTYPE_Q5_K, q5_k_encode_block, q5_k_decode_block},
    {DTYPE_Q6_K, q6_k_encode_block, q6_k_decode_block},
    {DTYPE_IQ4_NL, NULL, iq4_nl_decode_block},
    {DTYPE_IQ4_XS, NULL, iq4_xs_decode_block},
    {DTYPE_GGML_MXFP4, ggml_mxfp4_encode_block, ggml_mxfp4_decode_block},
    {DTYPE_GGML_NVFP4, NULL, bare_nvfp4},
};

static size_t row_of(enum dtype type)
{
    size_t i = 0;
    while (i + 1 < sizeof table / sizeof *table && table[i].type != type) i++;
    return i;
}

bool ggml_encodes(enum dtype type)
{
    size_t i = row_of(type);
    return table[i].type == type && table[i].encode;
}

void encode_ggml_scalar(const struct kernel_args *a)
{
    size_t row = row_of(a->blocks);
    uint64_t elems = dtype_block_elems(a->blocks), n_blocks = a->n_rows * (a->n_cols / elems);
    float w[GGML_SUPER];
    for (uint64_t b = 0; b < n_blocks; b++) {
        for (uint64_t i = 0; i < elems; i++) w[i] = element_widen(a->src, a->dtype, b * elems + i);
        table[row].encode(w, a->dst + b * dtype_block_bytes(a->blocks));
    }
}

void decode_ggml_scalar(const struct kernel_args *a)
{
    size_t row = row_of(a->blocks);
    uint64_t elems = dtype_block_elems(a->blocks), n_blocks = a->n_rows * (a->n_cols / elems);
    bool scaled = a->blocks == DTYPE_GGML_NVFP4 && a->scale != 0.0f;
    const uint8_t *src = a->src;
    float w[GGML_SUPER];
    for (uint64_t b = 0; b < n_blocks; b++) {
        table[row].decode(src + b * dtype_block_bytes(a->blocks), w);
        for (uint64_t i = 0; scaled && i < elems; i++) w[i] *= a->scale;
        memcpy((uint8_t *)a->dst_f32 + 4 * b * elems, w, 4 * elems);
    }
}
