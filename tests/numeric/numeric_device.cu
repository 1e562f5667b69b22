/* numeric/ as device code: one kernel per function that CUDA kernels will call, so that the compiler has to generate
 * each. check_cuda_host.sh compiles it for two architectures and reads the PTX; nothing runs it. */
#include "numeric/e2m1.h"
#include "numeric/e4m3.h"
#include "numeric/e5m2.h"
#include "numeric/e8m0.h"
#include "numeric/fold_scale.h"
#include "numeric/fp8.h"
#include "numeric/fp8_scaled.h"
#include "numeric/ggml_blocks.h"
#include "numeric/ggml_k.h"
#include "numeric/ggml_nvfp4.h"
#include "numeric/ggml_search.h"
#include "numeric/half.h"
#include "numeric/int4.h"
#include "numeric/mxfp4.h"
#include "numeric/mxfp8.h"
#include "numeric/numeric.h"
#include "numeric/nvfp4.h"
#include "numeric/nvfp4_cast.h"
#include "numeric/nvfp4_four_six.h"
#include "numeric/nvfp4_local.h"
#include "numeric/nvfp4_range.h"
#include "numeric/nvfp4_sweep.h"
#include "numeric/op.h"
#include "numeric/q8_0.h"

#define AT (blockIdx.x * blockDim.x + threadIdx.x)

extern "C" __global__ void encode_types(const float *x, unsigned char *b, unsigned short *h)
{
    unsigned i = AT;
    b[6 * i] = e2m1_encode(x[i]), b[6 * i + 1] = e4m3_encode(x[i]), b[6 * i + 2] = e5m2_encode(x[i]);
    b[6 * i + 3] = e8m0_encode_down(x[i]), b[6 * i + 4] = e8m0_encode_up(x[i]),
        b[6 * i + 5] = e8m0_encode_nearest(x[i]);
    h[2 * i] = bf16_encode(x[i]), h[2 * i + 1] = f16_encode(x[i]);
}

extern "C" __global__ void decode_types(const unsigned char *b, const unsigned short *h, float *x)
{
    unsigned i = AT;
    x[6 * i] = e2m1_decode(b[i]), x[6 * i + 1] = e4m3_decode(b[i]), x[6 * i + 2] = e5m2_decode(b[i]),
        x[6 * i + 3] = e8m0_decode(b[i]);
    x[6 * i + 4] = bf16_decode(h[i]), x[6 * i + 5] = f16_decode(h[i]);
}

extern "C" __global__ void encode_fp8(const float *x, const unsigned short *h, float amax, int rounding,
                                      unsigned char *b)
{
    unsigned i = AT;
    float scale = fp8_scale(amax);
    b[3 * i] = fp8_encode_f32(x[i], scale);
    b[3 * i + 1] = fp8_encode_bf16(h[i], scale, (enum fp8_rounding)rounding);
    b[3 * i + 2] = fp8_encode_f16(h[i], scale, (enum fp8_rounding)rounding);
}

extern "C" __global__ void encode_nvfp4(const float *w, float g, unsigned char *scale, unsigned char *packed)
{
    unsigned i = AT;
    nvfp4_encode_block(w + 16 * i, nvfp4_tensor_scale(g), scale + i, packed + 8 * i);
}

extern "C" __global__ void encode_nvfp4_static(const float *w, const float *amax, float g, float m,
                                               unsigned char *scale, unsigned char *packed)
{
    unsigned i = AT;
    nvfp4_encode_block_static(w + 16 * i, amax[i], g, m, scale + i, packed + 8 * i);
}

extern "C" __global__ void decode_nvfp4(const unsigned char *packed, const unsigned char *scale, float s2, float *w)
{
    unsigned i = AT;
    nvfp4_decode_block(packed + 8 * i, scale[i], s2, w + 16 * i);
}

extern "C" __global__ void input_types(const float *x, float input_scale, float *y)
{
    unsigned i = AT;
    nvfp4_input_block(x + 16 * i, input_scale, y + 16 * i);
    y[16 * i] = fp8_decode(3, y[16 * i]) + fp8_input(x[i], input_scale);
}

extern "C" __global__ void sweep_nvfp4(const float *w, float g, float m, float *amax)
{
    unsigned i = AT;
    amax[i] = nvfp4_sweep_block(w + 16 * i, g, m);
}

extern "C" __global__ void four_six_nvfp4(const float *w, float g, float *amax)
{
    unsigned i = AT;
    amax[i] = nvfp4_four_six_block(w + 16 * i, nvfp4_four_six_normal(g));
}

extern "C" __global__ void fp8_scaled(const float *w, const float *amax, int form, unsigned char *code, float *back)
{
    unsigned i = AT;
    float scale = fp8_scaled_scale(amax[i / 128], (enum fp8_scale_form)form);
    code[i] = fp8_scaled_encode(w[i], scale);
    back[i] = fp8_scaled_decode(code[i], scale);
}

extern "C" __global__ void mx_types(const float *w, int rule, unsigned char *scale, unsigned char *packed4,
                                    unsigned char *codes8, float *back)
{
    unsigned i = AT;
    mxfp4_encode_block(w + 32 * i, (enum mxfp4_rule)rule, scale + 2 * i, packed4 + 16 * i);
    mxfp8_encode_block(w + 32 * i, scale + 2 * i + 1, codes8 + 32 * i);
    mxfp4_decode_block(packed4 + 16 * i, scale[2 * i], back + 64 * i);
    mxfp8_decode_block(codes8 + 32 * i, scale[2 * i + 1], back + 64 * i + 32);
}

extern "C" __global__ void int4_types(const float *w, float amax, int type, unsigned char *code, float *back)
{
    unsigned i = AT;
    float scale = int4_scale(amax, (enum int4_scale_type)type);
    float lo = int4_low(0.0f, w[i]), hi = int4_high(0.0f, w[i + 1]);
    float zero_scale = int4_zero_scale(lo, hi, (enum int4_scale_type)type);
    unsigned char zero = int4_zero(lo, zero_scale);
    code[2 * i] = int4_code(w[i], scale), code[2 * i + 1] = int4_zero_code(w[i], zero_scale, zero);
    back[2 * i] = int4_decode(code[2 * i], scale);
    back[2 * i + 1] = int4_zero_decode(code[2 * i + 1], zero_scale, zero);
}

extern "C" __global__ void choose_nvfp4(const float *w, const float *h, float g, float s2, unsigned n, float *amax,
                                        unsigned char *scale, float *q, const float *hd)
{
    unsigned i = AT;
    amax[i] = nvfp4_range_block(w + 16 * i, g, 0.25f, 4.0f, n);
    scale[i] = nvfp4_local_scale(w + 16 * i, s2, h + 256 * i);
    nvfp4_descend_block(q + 16 * i, scale + i, hd + 16 * i, s2, h + 256 * i);
}

extern "C" __global__ void q8_0_types(const float *w, unsigned char *block, float *back)
{
    unsigned i = AT;
    q8_0_encode_block(w + 32 * i, block + 34 * i);
    q8_0_decode_block(block + 34 * i, back + 32 * i);
}

extern "C" __global__ void ggml_types(const float *w, unsigned char *b, float *back)
{
    unsigned i = AT;
    q4_0_encode_block(w + 32 * i, b + 18 * i), q4_0_decode_block(b + 18 * i, back + 32 * i);
    q5_0_encode_block(w + 32 * i, b + 22 * i), q5_0_decode_block(b + 22 * i, back + 32 * i);
    q5_1_encode_block(w + 32 * i, b + 24 * i), q5_1_decode_block(b + 24 * i, back + 32 * i);
    ggml_mxfp4_encode_block(w + 32 * i, b + 17 * i), ggml_mxfp4_decode_block(b + 17 * i, back + 32 * i);
    q4_1_decode_block(b + 20 * i, back + 32 * i), iq4_nl_decode_block(b + 18 * i, back + 32 * i);
    ggml_nvfp4_decode_block(b + 36 * i, w[i], back + 64 * i);
}

extern "C" __global__ void ggml_k_types(const float *w, unsigned char *b, float *back)
{
    unsigned i = AT;
    q4_k_encode_block(w + 256 * i, b + 144 * i), q4_k_decode_block(b + 144 * i, back + 256 * i);
    q5_k_encode_block(w + 256 * i, b + 176 * i), q5_k_decode_block(b + 176 * i, back + 256 * i);
    q6_k_encode_block(w + 256 * i, b + 210 * i), q6_k_decode_block(b + 210 * i, back + 256 * i);
    q2_k_decode_block(b + 84 * i, back + 256 * i), q3_k_decode_block(b + 110 * i, back + 256 * i);
    iq4_xs_decode_block(b + 136 * i, back + 256 * i);
}

extern "C" __global__ void folding(const float *w, const float *by, float *out)
{
    unsigned i = AT;
    out[8 * i] = fold_weight(w[i], by[i], by[i + 1]);
    out[8 * i + 1] = fold_norm(w[i], by[i]);
    out[8 * i + 2] = fold_norm_one(w[i], by[i]);
    out[8 * i + 3] = fold_norm_effect(w[i], out[8 * i + 1]);
    out[8 * i + 4] = fold_norm_one_effect(w[i], out[8 * i + 2]);
    out[8 * i + 5] = fold_power_of_two(by[i]);
    out[8 * i + 6] = fold_power_of_four(by[i]);
}
