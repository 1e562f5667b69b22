/* ENCODE_INT4, ENCODE_INT4_ZERO and their decoders. A thread encodes a group and reads it twice, as the groups may be
 * long; the second reading comes from a cache. Groups of a multiple of 16 elements are read in vectors. */

GPU_FN float group_amax(const struct kernel_args *a, enum dtype dtype, uint64_t first)
{
    float amax = 0.0f;
    if (a->group % 16u == 0u) {
        for (uint32_t i = 0; i < a->group; i += 16u) {
            float w[16];
            load_block(a->src, dtype, first + i, w);
            amax = f32_amax(amax, block_amax_of(w));
        }
        return amax;
    }
    for (uint32_t i = 0; i < a->group; i++) amax = f32_amax(amax, load_one(a->src, dtype, first + i));
    return amax;
}

GPU_FN void encode_int4_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = gpu_groups(a);
    for (uint64_t g = gpu_thread(); g < n; g += gpu_threads()) {
        uint64_t first = g * a->group;
        float scale = int4_scale(group_amax(a, dtype, first), a->int4_scale);
        a->dst_f32[g] = scale;
        for (uint32_t i = 0; a->group % 16u == 0u && i < a->group; i += 16u) {
            float w[16];
            uint32_t out[2] = {0, 0};
            load_block(a->src, dtype, first + i, w);
            GPU_UNROLL(16)
            for (int k = 0; k < 16; k++) out[k / 8] |= (uint32_t)int4_code(w[k], scale) << (k % 8 * 4);
            gpu_store_8(a->dst + (first + i) / 2u, out);
        }
        for (uint32_t i = 0; a->group % 16u != 0u && i < a->group; i += 2u) {
            uint8_t low = int4_code(load_one(a->src, dtype, first + i), scale);
            uint8_t high = int4_code(load_one(a->src, dtype, first + i + 1u), scale);
            a->dst[(first + i) / 2u] = (uint8_t)(low | high << 4);
        }
    }
}

GPU_KERNEL(encode_int4_cuda)
{
    if (a.dtype == DTYPE_BF16) encode_int4_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) encode_int4_of(&a, DTYPE_F16);
    else encode_int4_of(&a, DTYPE_F32);
}

GPU_FN void encode_int4_zero_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = gpu_groups(a);
    for (uint64_t g = gpu_thread(); g < n; g += gpu_threads()) {
        uint64_t first = g * a->group;
        float lo = 0.0f, hi = 0.0f;
        for (uint32_t i = 0; i < a->group; i++) {
            float w = load_one(a->src, dtype, first + i);
            lo = int4_low(lo, w), hi = int4_high(hi, w);
        }
        float scale = int4_zero_scale(lo, hi, a->int4_scale);
        uint8_t zero = int4_zero(lo, scale);
        a->dst_f32[g] = scale;
        a->dst_scale[g] = zero;
        for (uint32_t i = 0; i < a->group; i += 2u) {
            uint8_t low = int4_zero_code(load_one(a->src, dtype, first + i), scale, zero);
            uint8_t high = int4_zero_code(load_one(a->src, dtype, first + i + 1u), scale, zero);
            a->dst[(first + i) / 2u] = (uint8_t)(low | high << 4);
        }
    }
}

GPU_KERNEL(encode_int4_zero_cuda)
{
    if (a.dtype == DTYPE_BF16) encode_int4_zero_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) encode_int4_zero_of(&a, DTYPE_F16);
    else encode_int4_zero_of(&a, DTYPE_F32);
}

/* An element of group g; has_zero: with zero points. */
GPU_FN float decode_int4_one(const struct kernel_args *a, uint64_t g, uint32_t code, bool has_zero)
{
    if (has_zero) return int4_zero_decode((uint8_t)code, a->src_scale_f32[g], a->src_scale[g]);
    return int4_decode((uint8_t)code, a->src_scale_f32[g]);
}

/* Four elements take one division, and one of 32 bits where that is enough: a division of 64 costs a hundred
 * instructions. */
GPU_FN void decode_int4_of(const struct kernel_args *a, bool has_zero)
{
    uint64_t n = gpu_groups(a) * a->group, n_quads = n / 4u;
    const uint8_t *src = (const uint8_t *)a->src;
    for (uint64_t q = gpu_thread(); q < n_quads; q += gpu_threads()) {
        uint32_t packed = gpu_load_2(src + 2u * q);
        uint64_t i = 4u * q, g = n >> 32 ? i / a->group : (uint32_t)i / a->group;
        uint32_t in_group = (uint32_t)(i - g * a->group);
        float w[4];
        GPU_UNROLL(4)
        for (uint32_t j = 0; j < 4u; j++) {
            w[j] = decode_int4_one(a, g, packed >> (4u * j) & 15u, has_zero);
            if (++in_group == a->group) in_group = 0, g++;
        }
        store_quad(a->dst_f32, i, w);
    }
    uint64_t last = n_quads * 4u + gpu_thread();
    if (last < n) {
        uint32_t byte = src[last / 2u];
        a->dst_f32[last] = decode_int4_one(a, last / a->group, last % 2u ? byte >> 4 : byte & 15u, has_zero);
    }
}

GPU_KERNEL(decode_int4_cuda)
{
    decode_int4_of(&a, false);
}

GPU_KERNEL(decode_int4_zero_cuda)
{
    decode_int4_of(&a, true);
}
