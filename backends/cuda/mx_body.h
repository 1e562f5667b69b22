/* ENCODE_MXFP4, ENCODE_MXFP8 and their decoders. A thread encodes a whole block of 32. */

/* 2^(127 - b), by which multiplying gives the same bits as dividing by the scale 2^(b - 127): both are the exact
 * quotient rounded once. NaN for 255. */
GPU_FN float mx_reciprocal(uint8_t b)
{
    if (b == E8M0_NAN) return f32_from_bits(F32_NAN_BITS);
    return f32_from_bits(b == E8M0_MAX ? 0x00400000u : (uint32_t)(254u - b) << 23);
}

GPU_FN void load_block_32(const void *src, enum dtype dtype, uint64_t i, float w[32])
{
    load_block(src, dtype, i, w);
    load_block(src, dtype, i + 16u, w + 16);
}

GPU_FN float block_amax_32(const float w[32])
{
    return f32_amax(block_amax_of(w), block_amax_of(w + 16));
}

GPU_FN uint32_t mxfp4_pair(float lo, float hi, enum mxfp4_rule rule)
{
    if (rule == MXFP4_OCP) return gpu_e2m1_pair(lo, hi);
    return mxfp4_code(lo, MXFP4_MODELOPT) | (uint32_t)mxfp4_code(hi, MXFP4_MODELOPT) << 4;
}

GPU_FN void encode_mxfp4_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP4_BLOCK);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        float w[32];
        uint32_t out[4] = {0, 0, 0, 0};
        load_block_32(a->src, dtype, b * MXFP4_BLOCK, w);
        uint8_t scale = mxfp4_scale(block_amax_32(w), a->mxfp4_rule);
        float r = mx_reciprocal(scale);
        GPU_UNROLL(16)
        for (int k = 0; k < 16; k++)
            out[k / 4] |= mxfp4_pair(w[2 * k] * r, w[2 * k + 1] * r, a->mxfp4_rule) << (k % 4 * 8);
        a->dst_scale[b] = scale;
        gpu_store_16(a->dst + b * MXFP4_BLOCK_BYTES, out);
    }
}

GPU_KERNEL(encode_mxfp4_cuda)
{
    if (a.dtype == DTYPE_BF16) encode_mxfp4_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) encode_mxfp4_of(&a, DTYPE_F16);
    else encode_mxfp4_of(&a, DTYPE_F32);
}

GPU_FN void encode_mxfp8_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / MXFP8_BLOCK);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        float w[32];
        load_block_32(a->src, dtype, b * MXFP8_BLOCK, w);
        uint8_t scale = e8m0_encode_up(block_amax_32(w) / E4M3_MAX);
        float r = mx_reciprocal(scale);
        a->dst_scale[b] = scale;
        GPU_UNROLL(2)
        for (int half = 0; half < 2; half++) {
            uint32_t out[4];
            GPU_UNROLL(4)
            for (int j = 0; j < 4; j++) {
                const float *q = w + 16 * half + 4 * j;
                out[j] = gpu_e4m3_pair(q[0] * r, q[1] * r) | gpu_e4m3_pair(q[2] * r, q[3] * r) << 16;
            }
            gpu_store_16(a->dst + b * MXFP8_BLOCK + 16 * half, out);
        }
    }
}

GPU_KERNEL(encode_mxfp8_cuda)
{
    if (a.dtype == DTYPE_BF16) encode_mxfp8_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) encode_mxfp8_of(&a, DTYPE_F16);
    else encode_mxfp8_of(&a, DTYPE_F32);
}

GPU_KERNEL(decode_mxfp4_cuda)
{
    uint64_t n_quads = a.n_rows * (a.n_cols / MXFP4_BLOCK) * 8u;
    for (uint64_t q = gpu_thread(); q < n_quads; q += gpu_threads()) {
        uint32_t packed = gpu_load_2((const uint8_t *)a.src + 2u * q);
        uint8_t scale = a.src_scale[q / 8u];
        float e = e8m0_decode(scale), w[4];
        GPU_UNROLL(4)
        for (int j = 0; j < 4; j++) {
            w[j] = e2m1_decode((uint8_t)(packed >> (4 * j) & 15u)) * e;
            if (scale == E8M0_NAN) w[j] = f32_from_bits(F32_NAN_BITS);
        }
        store_quad(a.dst_f32, q * 4u, w);
    }
}

GPU_KERNEL(decode_mxfp8_cuda)
{
    uint64_t n_quads = a.n_rows * (a.n_cols / MXFP8_BLOCK) * 8u;
    for (uint64_t q = gpu_thread(); q < n_quads; q += gpu_threads()) {
        uint32_t codes = gpu_load_4((const uint8_t *)a.src + 4u * q);
        float e = e8m0_decode(a.src_scale[q / 8u]), w[4];
        GPU_UNROLL(4)
        for (int j = 0; j < 4; j++) {
            w[j] = e4m3_decode((uint8_t)(codes >> (8 * j))) * e;
            if (f32_is_nan(w[j])) w[j] = f32_from_bits(F32_NAN_BITS);
        }
        store_quad(a.dst_f32, q * 4u, w);
    }
}
