/* DECODE_NVFP4, DECODE_FP8, INPUT_NVFP4, INPUT_FP8. What they write is four times what they read or as much, so a
 * thread takes four elements and a warp's stores are one run of 512 bytes; INPUT_NVFP4 needs a block's maximum and
 * takes 16. */

GPU_KERNEL(decode_nvfp4_cuda)
{
    uint64_t n_quads = a.n_rows * (a.n_cols / NVFP4_BLOCK) * 4u;
    for (uint64_t q = gpu_thread(); q < n_quads; q += gpu_threads()) {
        uint32_t packed = gpu_load_2((const uint8_t *)a.src + 2u * q);
        float e = nvfp4_block_scale(a.src_scale[q / 4u], a.scale), w[4];
        GPU_UNROLL(4)
        for (int j = 0; j < 4; j++) w[j] = e2m1_decode((uint8_t)(packed >> (4 * j) & 15u)) * e;
        store_quad(a.dst_f32, q * 4u, w);
    }
}

GPU_KERNEL(decode_fp8_cuda)
{
    uint64_t n = a.n_rows * a.n_cols, n_quads = n / 4u;
    const uint8_t *src = (const uint8_t *)a.src;
    for (uint64_t q = gpu_thread(); q < n_quads; q += gpu_threads()) {
        uint32_t codes = gpu_load_4(src + 4u * q);
        float w[4];
        GPU_UNROLL(4)
        for (int j = 0; j < 4; j++) w[j] = fp8_decode((uint8_t)(codes >> (8 * j)), a.scale);
        store_quad(a.dst_f32, q * 4u, w);
    }
    uint64_t last = n_quads * 4u + gpu_thread();
    if (last < n) a.dst_f32[last] = fp8_decode(src[last], a.scale);
}

GPU_KERNEL(input_nvfp4_cuda)
{
    uint64_t n_blocks = a.n_rows * (a.n_cols / NVFP4_BLOCK);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        float x[16];
        GPU_UNROLL(4)
        for (int k = 0; k < 4; k++) {
            struct gpu_words v = gpu_load_16_own((const float *)a.src + 16u * b + 4 * k);
            GPU_UNROLL(4)
            for (int j = 0; j < 4; j++) x[4 * k + j] = f32_from_bits(v.w[j]);
        }
        nvfp4_input_block(x, a.scale, x);
        GPU_UNROLL(4)
        for (uint32_t k = 0; k < 4; k++) store_quad(a.dst_f32, 16u * b + 4u * k, x + 4u * k);
    }
}

GPU_KERNEL(input_fp8_cuda)
{
    uint64_t n = a.n_rows * a.n_cols, n_quads = n / 4u;
    for (uint64_t q = gpu_thread(); q < n_quads; q += gpu_threads()) {
        struct gpu_words v = gpu_load_16_own((const float *)a.src + 4u * q);
        float w[4];
        GPU_UNROLL(4)
        for (int j = 0; j < 4; j++) w[j] = fp8_input(f32_from_bits(v.w[j]), a.scale);
        store_quad(a.dst_f32, q * 4u, w);
    }
    uint64_t last = n_quads * 4u + gpu_thread();
    if (last < n) a.dst_f32[last] = fp8_input(((const float *)a.src)[last], a.scale);
}
