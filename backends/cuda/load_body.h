/* Sources of the kernels: 16 or 4 consecutive elements in registers, widened. */

GPU_FN float widen_16bit(uint32_t half, enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? bf16_decode((uint16_t)half) : f16_decode((uint16_t)half);
}

/* Elements i..i+15 of a 16-bit source as they are, two in a word; i is a multiple of 16. */
GPU_FN void load_pairs(const void *src, uint64_t i, uint32_t v[8])
{
    GPU_UNROLL(2)
    for (int k = 0; k < 2; k++) {
        struct gpu_words words = gpu_load_16((const uint8_t *)src + 2u * i + 16 * k);
        GPU_UNROLL(4)
        for (int j = 0; j < 4; j++) v[4 * k + j] = words.w[j];
    }
}

GPU_FN void widen_pairs(const uint32_t v[8], enum dtype dtype, float w[16])
{
    GPU_UNROLL(8)
    for (int k = 0; k < 8; k++) {
        w[2 * k] = widen_16bit(v[k] & 0xFFFFu, dtype);
        w[2 * k + 1] = widen_16bit(v[k] >> 16, dtype);
    }
}

/* Their largest magnitude. Shifted by one the signs are gone; what lies below a high half never matters, since only the
 * winner's upper 15 bits are kept. */
GPU_FN float pairs_amax(const uint32_t v[8], enum dtype dtype)
{
    uint32_t low = 0, high = 0;
    GPU_UNROLL(8)
    for (int k = 0; k < 8; k++) {
        low = v[k] << 17 > low ? v[k] << 17 : low;
        high = v[k] << 1 > high ? v[k] << 1 : high;
    }
    return widen_16bit((low > high ? low : high) >> 17, dtype);
}

/* Elements i..i+15 of a source of F32, BF16 or F16; i is a multiple of 16. */
GPU_FN void load_block(const void *src, enum dtype dtype, uint64_t i, float w[16])
{
    if (dtype == DTYPE_F32) {
        GPU_UNROLL(4)
        for (int k = 0; k < 4; k++) {
            struct gpu_words v = gpu_load_16((const uint8_t *)src + 4u * i + 16 * k);
            GPU_UNROLL(4)
            for (int j = 0; j < 4; j++) w[4 * k + j] = f32_from_bits(v.w[j]);
        }
        return;
    }
    uint32_t v[8];
    load_pairs(src, i, v);
    widen_pairs(v, dtype, w);
}

/* Elements i..i+3; i is a multiple of 4. */
GPU_FN void load_quad(const void *src, enum dtype dtype, uint64_t i, float w[4])
{
    if (dtype == DTYPE_F32) {
        struct gpu_words v = gpu_load_16((const uint8_t *)src + 4u * i);
        GPU_UNROLL(4)
        for (int j = 0; j < 4; j++) w[j] = f32_from_bits(v.w[j]);
        return;
    }
    uint32_t v[2];
    gpu_load_8((const uint8_t *)src + 2u * i, v);
    GPU_UNROLL(2)
    for (int j = 0; j < 2; j++) {
        w[2 * j] = widen_16bit(v[j] & 0xFFFFu, dtype);
        w[2 * j + 1] = widen_16bit(v[j] >> 16, dtype);
    }
}

/* Element i, for the last few of a source. */
GPU_FN float load_one(const void *src, enum dtype dtype, uint64_t i)
{
    return dtype == DTYPE_F32 ? ((const float *)src)[i] : widen_16bit(((const uint16_t *)src)[i], dtype);
}

GPU_FN void store_quad(float *dst, uint64_t i, const float w[4])
{
    uint32_t v[4];
    GPU_UNROLL(4)
    for (int j = 0; j < 4; j++) v[j] = f32_bits(w[j]);
    gpu_store_16(dst + i, v);
}
