/* ENCODE_NVFP4, ENCODE_NVFP4_STATIC, ENCODE_FP8. A thread takes 16 elements: for bf16 that is two 16-byte loads that
 * share a 32-byte sector with nobody, and one 8- or 16-byte store. */

/* nvfp4_pack_block; scales so small or large that the thresholds are not exact divide. */
GPU_FN void pack_block(const float w[16], uint8_t scale, float s2, uint8_t *dst)
{
    float e = nvfp4_block_scale(scale, s2);
    uint32_t out[2] = {0, 0};
    if (e >= 0x1p-90f && e <= 0x1p100f) {
        const struct nvfp4_steps s = nvfp4_steps_of(e);
        GPU_UNROLL(16)
        for (int i = 0; i < 16; i++) out[i / 8] |= nvfp4_code_by(&s, w[i]) << (i % 8 * 4);
    } else {
        GPU_UNROLL(8)
        for (int k = 0; k < 8; k++) {
            uint32_t pair = nvfp4_code(w[2 * k] / e) | (uint32_t)nvfp4_code(w[2 * k + 1] / e) << 4;
            out[k / 4] |= pair << (k % 4 * 8);
        }
    }
    gpu_store_8(dst, out);
}

GPU_FN float block_amax_of(const float w[16])
{
    float amax = 0.0f;
    GPU_UNROLL(16)
    for (int i = 0; i < 16; i++) amax = f32_amax(amax, w[i]);
    return amax;
}

GPU_FN void encode_nvfp4_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        float w[16];
        load_block(a->src, dtype, b * NVFP4_BLOCK, w);
        uint8_t scale = nvfp4_scale_dynamic(block_amax_of(w), a->scale);
        a->dst_scale[b] = scale;
        pack_block(w, scale, a->scale, a->dst + b * NVFP4_BLOCK_BYTES);
    }
}

GPU_FN void encode_nvfp4_static_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    float s2 = nvfp4_static_tensor_scale(a->amax, a->static_max);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        float w[16];
        load_block(a->src, dtype, b * NVFP4_BLOCK, w);
        uint8_t scale = nvfp4_scale_static(a->block_amax[b], a->amax, a->static_max);
        a->dst_scale[b] = scale;
        pack_block(w, scale, s2, a->dst + b * NVFP4_BLOCK_BYTES);
    }
}

/* The quotient that fp8_encode_* rounds to E4M3; `scale` has had fp8_divisor. */
GPU_FN float fp8_quotient(float w, float scale, enum dtype dtype, enum fp8_rounding rounding)
{
    float q = w / scale;
    if (rounding == FP8_SINGLE || dtype == DTYPE_F32) return q;
    return dtype == DTYPE_BF16 ? bf16_decode(bf16_encode(q)) : f16_decode(f16_encode(q));
}

GPU_FN float fp8_divisor(float scale, enum dtype dtype, enum fp8_rounding rounding)
{
    if (rounding != FP8_MODELOPT_CUDA || dtype == DTYPE_F32) return scale;
    return dtype == DTYPE_BF16 ? bf16_decode(bf16_encode(scale)) : f16_decode(f16_encode(scale));
}

/* e4m3(w / scale) of elements i..i+15. */
GPU_FN void encode_fp8_16(const struct kernel_args *a, enum dtype dtype, uint64_t i, float scale)
{
    float w[16];
    uint32_t out[4];
    load_block(a->src, dtype, i, w);
    GPU_UNROLL(4)
    for (int j = 0; j < 4; j++) {
        const float *q = w + 4 * j;
        out[j] = gpu_e4m3_pair(q[0] / scale, q[1] / scale) | gpu_e4m3_pair(q[2] / scale, q[3] / scale) << 16;
    }
    gpu_store_16(a->dst + i, out);
}

GPU_FN void encode_fp8_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = a->n_rows * a->n_cols, n_blocks = n / 16u;
    float scale = fp8_divisor(a->scale, dtype, a->rounding);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        float w[16];
        uint32_t out[4];
        load_block(a->src, dtype, b * 16u, w);
        GPU_UNROLL(16)
        for (int i = 0; i < 16; i++) w[i] = fp8_quotient(w[i], scale, dtype, a->rounding);
        GPU_UNROLL(4)
        for (int j = 0; j < 4; j++)
            out[j] = gpu_e4m3_pair(w[4 * j], w[4 * j + 1]) | gpu_e4m3_pair(w[4 * j + 2], w[4 * j + 3]) << 16;
        gpu_store_16(a->dst + b * 16u, out);
    }
    uint64_t last = n_blocks * 16u + gpu_thread();
    if (last < n) a->dst[last] = e4m3_encode(fp8_quotient(load_one(a->src, dtype, last), scale, dtype, a->rounding));
}

GPU_KERNEL(encode_nvfp4_cuda)
{
    if (a.dtype == DTYPE_BF16) encode_nvfp4_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) encode_nvfp4_of(&a, DTYPE_F16);
    else encode_nvfp4_of(&a, DTYPE_F32);
}

GPU_KERNEL(encode_nvfp4_static_cuda)
{
    if (a.dtype == DTYPE_BF16) encode_nvfp4_static_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) encode_nvfp4_static_of(&a, DTYPE_F16);
    else encode_nvfp4_static_of(&a, DTYPE_F32);
}

GPU_KERNEL(encode_fp8_cuda)
{
    if (a.dtype == DTYPE_BF16) encode_fp8_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) encode_fp8_of(&a, DTYPE_F16);
    else encode_fp8_of(&a, DTYPE_F32);
}
