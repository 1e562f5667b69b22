/* ENCODE_NVFP4, ENCODE_NVFP4_STATIC, ENCODE_FP8. A thread takes 16 elements: for bf16 that is two 16-byte loads that
 * share a 32-byte sector with nobody, and one 8- or 16-byte store. */

/* By division: for scales so small or large that the thresholds are not exact. */
GPU_FN void pack_divided(const float w[16], float e, uint8_t *dst)
{
    uint32_t out[2] = {0, 0};
    GPU_UNROLL(8)
    for (int k = 0; k < 8; k++) {
        uint32_t pair = nvfp4_code(w[2 * k] / e) | (uint32_t)nvfp4_code(w[2 * k + 1] / e) << 4;
        out[k / 4] |= pair << (k % 4 * 8);
    }
    gpu_store_8(dst, out);
}

/* nvfp4_pack_block. */
GPU_FN void pack_block(const float w[16], uint8_t scale, float s2, uint8_t *dst)
{
    float e = nvfp4_block_scale(scale, s2);
    if (e >= 0x1p-90f && e <= 0x1p100f) {
        const struct nvfp4_steps s = nvfp4_steps_of(e);
        uint32_t out[2] = {0, 0};
        GPU_UNROLL(16)
        for (int i = 0; i < 16; i++) out[i / 8] |= nvfp4_code_by(&s, w[i]) << (i % 8 * 4);
        gpu_store_8(dst, out);
    } else {
        pack_divided(w, e, dst);
    }
}

/* The same from a 16-bit source; the elements' amax, as a NaN has no place in the order. */
GPU_FN void pack_pairs(const uint32_t v[8], enum dtype dtype, float amax, uint8_t scale, float s2, uint8_t *dst)
{
    float e = nvfp4_block_scale(scale, s2);
    if (e >= 0x1p-90f && e <= 0x1p100f && !f32_is_nan(amax)) {
        const struct nvfp4_pairs p = nvfp4_pairs_of(e, dtype);
        uint32_t x[8], out[2];
        GPU_UNROLL(8)
        for (int k = 0; k < 8; k++) x[k] = nvfp4_codes_by(&p, v[k]);
        out[0] = nvfp4_codes_pack(x), out[1] = nvfp4_codes_pack(x + 4);
        gpu_store_8(dst, out);
        return;
    }
    float w[16];
    widen_pairs(v, dtype, w);
    pack_divided(w, e, dst);
}

GPU_FN float block_amax_of(const float w[16])
{
    float amax = 0.0f;
    GPU_UNROLL(16)
    for (int i = 0; i < 16; i++) amax = f32_amax(amax, w[i]);
    return amax;
}

/* A block of the source: 16-bit ones stay as they are. */
struct nvfp4_source {
    uint32_t v[8];
    float w[16], amax;
};

GPU_FN struct nvfp4_source nvfp4_load(const struct kernel_args *a, enum dtype dtype, uint64_t b)
{
    struct nvfp4_source s;
    if (dtype == DTYPE_F32) {
        load_block(a->src, dtype, b * NVFP4_BLOCK, s.w);
        s.amax = block_amax_of(s.w);
    } else {
        load_pairs(a->src, b * NVFP4_BLOCK, s.v);
        s.amax = pairs_amax(s.v, dtype);
    }
    return s;
}

GPU_FN void nvfp4_store(const struct kernel_args *a, enum dtype dtype, uint64_t b, const struct nvfp4_source *s,
                        uint8_t scale, float s2)
{
    uint8_t *dst = a->dst + b * NVFP4_BLOCK_BYTES;
    a->dst_scale[b] = scale;
    if (dtype == DTYPE_F32) pack_block(s->w, scale, s2, dst);
    else pack_pairs(s->v, dtype, s->amax, scale, s2, dst);
}

GPU_FN void encode_nvfp4_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        const struct nvfp4_source s = nvfp4_load(a, dtype, b);
        nvfp4_store(a, dtype, b, &s, nvfp4_scale_dynamic(s.amax, a->scale), a->scale);
    }
}

GPU_FN void encode_nvfp4_static_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    float s2 = nvfp4_static_tensor_scale(a->amax, a->static_max);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        const struct nvfp4_source s = nvfp4_load(a, dtype, b);
        nvfp4_store(a, dtype, b, &s, nvfp4_scale_static(a->block_amax[b], a->amax, a->static_max), s2);
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
