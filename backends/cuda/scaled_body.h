/* ENCODE_FP8_CHANNEL, ENCODE_FP8_BLOCK and their decoders. Encoding has three passes: maxima into dst_f32, maxima into
 * scales in place, codes. The second reading of the source comes from the L2 cache for all but the largest pieces. */

GPU_KERNEL(scale_fp8_channel_cuda)
{
    for (uint64_t r = gpu_thread(); r < a.n_rows; r += gpu_threads())
        a.dst_f32[r] = fp8_scaled_scale(a.dst_f32[r], FP8_SCALE_F32);
}

GPU_KERNEL(scale_fp8_block_cuda)
{
    uint64_t n = gpu_div_up(a.n_rows, FP8_BLOCK) * gpu_div_up(a.n_cols, FP8_BLOCK);
    for (uint64_t t = gpu_thread(); t < n; t += gpu_threads()) a.dst_f32[t] = fp8_scaled_scale(a.dst_f32[t], a.form);
}

/* ---- a scale per row: a warp takes a part of a row ---- */

GPU_FN void encode_fp8_channel_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t parts = gpu_row_parts(a->n_cols), n = a->n_rows * parts;
    uint32_t lane = (uint32_t)(gpu_thread() % 32u);
    for (uint64_t p = gpu_thread() / 32u; p < n; p += gpu_threads() / 32u) {
        uint64_t row = p / parts, begin = row * a->n_cols + p % parts * GPU_ROW_PART;
        uint64_t end = (row + 1u) * a->n_cols - begin < GPU_ROW_PART ? (row + 1u) * a->n_cols : begin + GPU_ROW_PART;
        float scale = a->dst_f32[row];
        if (a->n_cols % 16u == 0u) {
            for (uint64_t i = begin + 16u * lane; i < end; i += 16u * 32u) encode_fp8_16(a, dtype, i, scale);
        } else {
            for (uint64_t i = begin + lane; i < end; i += 32u)
                a->dst[i] = fp8_scaled_encode(load_one(a->src, dtype, i), scale);
        }
    }
}

GPU_KERNEL(encode_fp8_channel_cuda)
{
    if (a.dtype == DTYPE_BF16) encode_fp8_channel_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) encode_fp8_channel_of(&a, DTYPE_F16);
    else encode_fp8_channel_of(&a, DTYPE_F32);
}

GPU_FN void decode_quad(const struct kernel_args *a, uint64_t i, float scale)
{
    uint32_t codes = gpu_load_4((const uint8_t *)a->src + i);
    float w[4];
    GPU_UNROLL(4)
    for (int j = 0; j < 4; j++) w[j] = fp8_scaled_decode((uint8_t)(codes >> (8 * j)), scale);
    store_quad(a->dst_f32, i, w);
}

GPU_KERNEL(decode_fp8_channel_cuda)
{
    uint64_t parts = gpu_row_parts(a.n_cols), n = a.n_rows * parts;
    uint32_t lane = (uint32_t)(gpu_thread() % 32u);
    const uint8_t *src = (const uint8_t *)a.src;
    for (uint64_t p = gpu_thread() / 32u; p < n; p += gpu_threads() / 32u) {
        uint64_t row = p / parts, begin = row * a.n_cols + p % parts * GPU_ROW_PART;
        uint64_t end = (row + 1u) * a.n_cols - begin < GPU_ROW_PART ? (row + 1u) * a.n_cols : begin + GPU_ROW_PART;
        float scale = a.src_scale_f32[row];
        if (a.n_cols % 4u == 0u) {
            for (uint64_t i = begin + 4u * lane; i < end; i += 4u * 32u) decode_quad(&a, i, scale);
        } else {
            for (uint64_t i = begin + lane; i < end; i += 32u) a.dst_f32[i] = fp8_scaled_decode(src[i], scale);
        }
    }
}

/* ---- a scale per tile of 128 x 128: a warp takes GPU_STRIP_ROWS rows of a tile, four columns per thread ---- */

struct strip {
    uint64_t tile, row, row_end, col; /* col: this thread's first */
    uint32_t n;                       /* how many of its four columns exist */
    bool whole;                       /* all four, and where vectors can go */
};

GPU_FN uint64_t strip_count(const struct kernel_args *a)
{
    return gpu_div_up(a->n_rows, GPU_STRIP_ROWS) * gpu_div_up(a->n_cols, GPU_TILE);
}

GPU_FN struct strip strip_at(const struct kernel_args *a, uint64_t s)
{
    struct strip p;
    uint64_t across = gpu_div_up(a->n_cols, GPU_TILE);
    p.row = s / across * GPU_STRIP_ROWS;
    p.row_end = a->n_rows - p.row < GPU_STRIP_ROWS ? a->n_rows : p.row + GPU_STRIP_ROWS;
    p.tile = p.row / GPU_TILE * across + s % across;
    p.col = s % across * GPU_TILE + gpu_thread() % 32u * 4u;
    p.n = p.col >= a->n_cols ? 0u : a->n_cols - p.col < 4u ? (uint32_t)(a->n_cols - p.col) : 4u;
    p.whole = p.n == 4u && a->n_cols % 4u == 0u;
    return p;
}

/* The thread's columns of one row; what is not there is zero, which no maximum minds. */
GPU_FN void strip_load(const struct kernel_args *a, enum dtype dtype, const struct strip *p, uint64_t row, float w[4])
{
    uint64_t i = row * a->n_cols + p->col;
    if (p->whole) {
        load_quad(a->src, dtype, i, w);
        return;
    }
    GPU_UNROLL(4)
    for (uint32_t j = 0; j < 4u; j++) w[j] = j < p->n ? load_one(a->src, dtype, i + j) : 0.0f;
}

GPU_FN void amax_tile_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = strip_count(a);
    for (uint64_t s = gpu_thread() / 32u; s < n; s += gpu_threads() / 32u) {
        struct strip p = strip_at(a, s);
        uint32_t m = 0;
        for (uint64_t row = p.row; row < p.row_end; row++) {
            float w[4];
            strip_load(a, dtype, &p, row, w);
            GPU_UNROLL(4)
            for (int j = 0; j < 4; j++)
                if (f32_magnitude_bits(w[j]) > m) m = f32_magnitude_bits(w[j]);
        }
        gpu_warp_max_to(a->dst_f32 + p.tile, m > F32_INFINITY_BITS ? F32_NAN_BITS : m);
    }
}

GPU_KERNEL(amax_tile_cuda)
{
    if (a.dtype == DTYPE_BF16) amax_tile_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) amax_tile_of(&a, DTYPE_F16);
    else amax_tile_of(&a, DTYPE_F32);
}

GPU_FN void encode_fp8_block_of(const struct kernel_args *a, enum dtype dtype)
{
    uint64_t n = strip_count(a);
    for (uint64_t s = gpu_thread() / 32u; s < n; s += gpu_threads() / 32u) {
        struct strip p = strip_at(a, s);
        float scale = a->dst_f32[p.tile];
        for (uint64_t row = p.row; row < p.row_end; row++) {
            uint64_t i = row * a->n_cols + p.col;
            float w[4];
            strip_load(a, dtype, &p, row, w);
            uint32_t codes = gpu_e4m3_pair(w[0] / scale, w[1] / scale) | gpu_e4m3_pair(w[2] / scale, w[3] / scale)
                                                                             << 16;
            if (p.whole) gpu_store_4(a->dst + i, codes);
            else
                for (uint32_t j = 0; j < p.n; j++) a->dst[i + j] = (uint8_t)(codes >> (8u * j));
        }
    }
}

GPU_KERNEL(encode_fp8_block_cuda)
{
    if (a.dtype == DTYPE_BF16) encode_fp8_block_of(&a, DTYPE_BF16);
    else if (a.dtype == DTYPE_F16) encode_fp8_block_of(&a, DTYPE_F16);
    else encode_fp8_block_of(&a, DTYPE_F32);
}

GPU_KERNEL(decode_fp8_block_cuda)
{
    uint64_t n = strip_count(&a);
    const uint8_t *src = (const uint8_t *)a.src;
    for (uint64_t s = gpu_thread() / 32u; s < n; s += gpu_threads() / 32u) {
        struct strip p = strip_at(&a, s);
        float scale = a.src_scale_f32[p.tile];
        for (uint64_t row = p.row; row < p.row_end; row++) {
            uint64_t i = row * a.n_cols + p.col;
            if (p.whole) decode_quad(&a, i, scale);
            else
                for (uint32_t j = 0; j < p.n; j++) a.dst_f32[i + j] = fp8_scaled_decode(src[i + j], scale);
        }
    }
}
