/* WIDEN, AMAX, and what chooses NVFP4 block maxima: SWEEP_NVFP4, FOUR_SIX_NVFP4, RANGE_NVFP4. */

GPU_FN void widen_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = a->n_rows * a->n_cols, n_quads = n / 4u;
    for (uint64_t q = gpu_thread(); q < n_quads; q += gpu_threads()) {
        float w[4];
        load_quad(a->src, dtype, q * 4u, w);
        store_quad(a->dst_f32, q * 4u, w);
    }
    uint64_t last = n_quads * 4u + gpu_thread();
    if (last < n) a->dst_f32[last] = load_one(a->src, dtype, last);
}

GPU_KERNEL(widen_cuda)
{
    if (a.dtype == DTYPE_BF16) widen_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) widen_of(&a, DTYPE_F16);
    else widen_of(&a, DTYPE_F32);
}

/* The largest magnitude of 16 bytes of source: of two 16-bit elements per word, whose magnitudes order as integers, NaN
 * included, or of one f32. */
GPU_FN uint32_t amax_words(struct gpu_words v, enum dtype dtype, uint32_t m)
{
    GPU_UNROLL(4)
    for (int j = 0; j < 4; j++) {
        uint32_t low = dtype == DTYPE_F32 ? v.w[j] & ~F32_SIGN_BIT : v.w[j] & 0x7FFFu;
        uint32_t high = dtype == DTYPE_F32 ? 0u : v.w[j] >> 16 & 0x7FFFu;
        if (low > m) m = low;
        if (high > m) m = high;
    }
    return m;
}

GPU_FN uint32_t amax_one(const void *src, enum dtype dtype, uint64_t i, uint32_t m)
{
    uint32_t x =
        dtype == DTYPE_F32 ? f32_magnitude_bits(((const float *)src)[i]) : ((const uint16_t *)src)[i] & 0x7FFFu;
    return x > m ? x : m;
}

/* This thread's share of elements begin..end, as the bits of an f32; every NaN is F32_NAN_BITS. Rows may begin
 * anywhere, so the elements before the first and behind the last whole 16 bytes are taken one by one. */
GPU_FN uint32_t amax_part(const void *src, enum dtype dtype, uint64_t begin, uint64_t end, uint32_t lane)
{
    uint32_t per_vector = dtype == DTYPE_F32 ? 4u : 8u, m = 0;
    uint64_t first = (begin + per_vector - 1u) / per_vector, last = end / per_vector;
    if (begin + lane < first * per_vector && begin + lane < end) m = amax_one(src, dtype, begin + lane, m);
    GPU_UNROLL(4)
    for (uint64_t v = first + lane; v < last; v += 32u)
        m = amax_words(gpu_load_16((const uint8_t *)src + 16u * v), dtype, m);
    if (last >= first && last * per_vector + lane < end) m = amax_one(src, dtype, last * per_vector + lane, m);
    if (dtype != DTYPE_F32) m = f32_bits(widen_16bit(m, dtype));
    return m > F32_INFINITY_BITS ? F32_NAN_BITS : m;
}

/* A warp takes a part of a row at a time. The maxima of parts meet in dst_f32, which begins as zeros (the launcher's
 * work) and in which NaN > infinity > numbers, compared as integers; so any order gives the same. */
GPU_FN void amax_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t parts = gpu_row_parts(a->n_cols), n = a->n_rows * parts;
    uint32_t lane = (uint32_t)(gpu_thread() % 32u);
    for (uint64_t p = gpu_thread() / 32u; p < n; p += gpu_threads() / 32u) {
        uint64_t row = p / parts, begin = p % parts * GPU_ROW_PART;
        uint64_t end = a->n_cols - begin < GPU_ROW_PART ? a->n_cols : begin + GPU_ROW_PART;
        gpu_warp_max_to(a->dst_f32 + row,
                        amax_part(a->src, dtype, row * a->n_cols + begin, row * a->n_cols + end, lane));
    }
}

GPU_KERNEL(amax_cuda)
{
    if (a.dtype == DTYPE_BF16) amax_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) amax_of(&a, DTYPE_F16);
    else amax_of(&a, DTYPE_F32);
}

/* ---- sweep ---- */

struct sweep_sums {
    float error, zeros; /* over all terms; over those of elements that round to 0 */
};

/* Terms of elements first..first+7, in the order that numeric/nvfp4_sweep.h defines. */
GPU_FN struct sweep_sums sweep_add(struct sweep_sums s, const float w[16], float e, int first)
{
    GPU_UNROLL(8)
    for (int i = 0; i < 8; i++) {
        float x = f32_abs(w[first + i]);
        uint8_t code = e2m1_magnitude(x / e);
        float t = e2m1_decode(code) * e;
        float d = x - t;
        float d2 = d * d;
        s.error = s.error + d2;
        if (code == 0u) s.zeros = s.zeros + d2;
    }
    return s;
}

/* nvfp4_sweep_block with candidates left out that cannot win; why that chooses the same is argued in
 * backends/cpu/observe_sweep_body.h: upwards a candidate must be better than the best, downwards as good. */
GPU_FN float sweep_block(const float w[16], float g, float m)
{
    const struct sweep_sums nothing = {0.0f, 0.0f};
    float amax = block_amax_of(w), best_error = f32_from_bits(F32_INFINITY_BITS);
    uint32_t start = amax == 0.0f ? 1u : nvfp4_scale_static(amax, g, m), best = 1u;
    for (uint32_t c = start; c <= NVFP4_CANDIDATES; c++) {
        float e = nvfp4_candidate_scale(nvfp4_candidate_amax((uint8_t)c, g, m));
        struct sweep_sums s = sweep_add(nothing, w, e, 0);
        if (!(s.error >= best_error)) {
            s = sweep_add(s, w, e, 8);
            if (s.error < best_error) best_error = s.error, best = c;
        }
        if (s.zeros >= best_error || 0.25f >= amax / e) break;
    }
    for (uint32_t c = start - 1u; c >= 1u; c--) {
        float e = nvfp4_candidate_scale(nvfp4_candidate_amax((uint8_t)c, g, m));
        float clip = amax - 6.0f * e;
        if (0.0f < clip && best_error < clip * clip) break;
        struct sweep_sums s = sweep_add(nothing, w, e, 0);
        if (best_error < s.error) continue;
        s = sweep_add(s, w, e, 8);
        if (best_error >= s.error) best_error = s.error, best = c;
    }
    return nvfp4_candidate_amax((uint8_t)best, g, m);
}

GPU_FN void sweep_nvfp4_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        float w[16];
        load_block(a->src, dtype, b * NVFP4_BLOCK, w);
        a->dst_f32[b] = sweep_block(w, a->amax, a->static_max);
    }
}

GPU_KERNEL(sweep_nvfp4_cuda)
{
    if (a.dtype == DTYPE_BF16) sweep_nvfp4_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) sweep_nvfp4_of(&a, DTYPE_F16);
    else sweep_nvfp4_of(&a, DTYPE_F32);
}

/* ---- four over six ---- */

GPU_FN void four_six_nvfp4_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    float normal = nvfp4_four_six_normal(a->amax);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        float w[16];
        load_block(a->src, dtype, b * NVFP4_BLOCK, w);
        a->dst_f32[b] = nvfp4_four_six_block(w, normal);
    }
}

GPU_KERNEL(four_six_nvfp4_cuda)
{
    if (a.dtype == DTYPE_BF16) four_six_nvfp4_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) four_six_nvfp4_of(&a, DTYPE_F16);
    else four_six_nvfp4_of(&a, DTYPE_F32);
}

/* ---- multiples of the maximum ---- */

GPU_FN void range_nvfp4_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n_blocks = a->n_rows * (a->n_cols / NVFP4_BLOCK);
    for (uint64_t b = gpu_thread(); b < n_blocks; b += gpu_threads()) {
        float w[16];
        load_block(a->src, dtype, b * NVFP4_BLOCK, w);
        a->dst_f32[b] = nvfp4_range_block(w, a->amax, a->range_start, a->range_stop, a->range_count);
    }
}

GPU_KERNEL(range_nvfp4_cuda)
{
    if (a.dtype == DTYPE_BF16) range_nvfp4_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) range_nvfp4_of(&a, DTYPE_F16);
    else range_nvfp4_of(&a, DTYPE_F32);
}
