/* Every CUDA kernel of the list against the scalar kernel of its operation, byte for byte. First all 65,536 inputs of
 * both 16-bit types, and all codes; then sizes around blocks, warps and grids x kinds of data. `make test` runs it on
 * emulated kernels, `make check-cuda` on a GPU. usage: test_cuda_kernels [PART OF AN OPERATION'S NAME [--few]] */
#ifdef FAKE_CUDA
#include <stdbool.h>

#include "tests/cuda/fake_runtime.h"
#endif
#include "tests/cuda/cases.h"

#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

static struct cases cases;
static int failures;
static bool few; /* --few: two kinds of data and no full set of inputs, for compute-sanitizer */

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- data ---- */

enum kind {
    DATA_WEIGHTS, /* roughly even, up to 0.06, with an outlier here and there */
    DATA_WIDE,    /* exponents all over the type */
    DATA_ZERO,    /* zeros of both signs, in every third block something small */
    DATA_DENORMAL,
    DATA_TIES, /* on and beside the midpoints of the small types */
    DATA_LARGEST,
    DATA_ANY_BITS, /* infinities and NaN too */
    DATA_ONE_NAN,
    DATA_ONE_INFINITY,
    DATA_COUNT
};
static const char *const kind_names[DATA_COUNT] = {"weights", "wide",     "zero",    "denormal",    "ties",
                                                   "largest", "any bits", "one NaN", "one infinity"};

static float datum(enum kind kind, uint64_t i, uint64_t n, uint64_t *seed)
{
    static const float mids[] = {0.25f, 0.75f, 1.25f,    1.75f,     2.5f,      3.5f,      5,
                                 6,     448,   0x1p-10f, 0x1.8p-9f, 0x1.08p0f, 0x1.18p0f, 464};
    uint64_t r = random_next(seed);
    uint32_t sign = (uint32_t)(r >> 63) << 31;
    float weight = (float)((double)(r >> 11) * 0x1p-53 - 0.5) * 0.12f;
    switch (kind) {
    case DATA_WEIGHTS: return r % 97 == 0 ? weight * 500 : weight;
    case DATA_WIDE: return f32_from_bits(sign | (uint32_t)(1 + r % 250) << 23 | (uint32_t)(r >> 20 & 0x7FFFFF));
    case DATA_ZERO: return i / 16 % 3 == 2 ? weight * 1e-6f : f32_from_bits(sign);
    case DATA_DENORMAL: return f32_from_bits(sign | (uint32_t)(r & 0x7FFFFF) >> (r >> 40) % 23);
    case DATA_TIES: return f32_from_bits(sign | (f32_bits(mids[r % 14]) + (uint32_t)(r >> 20) % 3 - 1));
    case DATA_LARGEST: return f32_from_bits(sign | (r % 3 ? 0x7F7F0000u : 0x7F7FFFFFu));
    case DATA_ANY_BITS: return f32_from_bits((uint32_t)r);
    case DATA_ONE_NAN: return i == n / 2 ? f32_from_bits(F32_NAN_BITS | 5u | sign) : weight;
    case DATA_ONE_INFINITY: return i == n / 2 ? f32_from_bits(sign | F32_INFINITY_BITS) : weight;
    case DATA_COUNT: break;
    }
    return 0;
}

static void put(uint8_t *p, enum dtype dtype, uint64_t i, float x)
{
    /* bf16: cut, so that a NaN keeps odd payloads */
    uint16_t h = dtype == DTYPE_BF16 ? (uint16_t)(f32_bits(x) >> 16) : f16_encode(x);
    if (dtype == DTYPE_F32) memcpy(p + 4 * i, &x, 4);
    else memcpy(p + 2 * i, &h, 2);
}

static float get(const uint8_t *p, enum dtype dtype, uint64_t i)
{
    uint16_t h;
    float x;
    if (dtype == DTYPE_F32) return memcpy(&x, p + 4 * i, 4), x;
    memcpy(&h, p + 2 * i, 2);
    return dtype == DTYPE_BF16 ? bf16_decode(h) : f16_decode(h);
}

/* The largest finite magnitude of the source, and block maxima of which some are not the block's own. */
static float look(const struct cuda_kernel *k, const struct kernel_args *a, uint64_t *seed)
{
    const uint8_t *src = cases.arrays[SRC].host;
    float g = 0;
    for (uint64_t i = 0; i < a->n_rows * a->n_cols; i++) {
        float x = f32_abs(get(src, a->dtype, i));
        if (x > g && f32_bits(x) < F32_INFINITY_BITS) g = x;
    }
    for (uint64_t b = 0; k->block_amax && b < a->n_rows * a->n_cols / 16; b++) {
        float m = 0;
        for (uint64_t i = 0; i < 16; i++) m = f32_amax(m, get(src, a->dtype, 16 * b + i));
        if (random_next(seed) % 3 == 0) m *= (float)(random_next(seed) % 1000) / 500.0f;
        memcpy(cases.arrays[BLOCK_AMAX].host + 4 * b, &m, 4);
    }
    return g;
}

/* ---- cases ---- */

/* How many columns share a scale or a maximum; n_cols is a multiple of it. */
static uint32_t block_of(const struct cuda_kernel *k)
{
    if (k->dst_f32 == ROOM_F32_GROUP || k->src_scale_f32 == ROOM_F32_GROUP) return 32;
    if (k->dst_scale == ROOM_BYTE_32 || k->src_scale == ROOM_BYTE_32) return 32;
    return k->dst_scale == ROOM_BYTE_16 || k->src_scale == ROOM_BYTE_16 || k->dst_f32 == ROOM_AMAX_16 ||
                   k->op == OP_INPUT_NVFP4
               ? 16
               : 1;
}

/* The same data under the scales that belong to it, with all roundings and both static maxima, and under odd ones. */
static void run_variants(const struct cuda_kernel *k, struct kernel_args a, float g, const char *what, bool quick,
                         uint64_t *seed)
{
    static const float odd_scales[] = {1.0f, 3e-4f, 1e-41f, 0x1p-149f, 2e-39f, 1e30f, 3e38f};
    static const float odd_amaxes[] = {0x1p-4f, 0, 1e-41f, 1e-36f};
    for (int v = 0; v < 6 && failures < 20; v++) {
        a.rounding = (enum fp8_rounding)(v % 3);
        a.form = (enum fp8_scale_form)(v % 2);
        a.mxfp4_rule = (enum mxfp4_rule)(v % 2);
        a.int4_scale = (enum int4_scale_type)(v % 3);
        a.range_start = v % 2 ? 1.0f : 0.25f; /* RANGE_NVFP4 */
        a.range_stop = v % 2 ? 1.5f : 4.0f;
        a.range_count = v % 2 ? 2 : 39;
        a.static_max = v % 2 ? NVFP4_FOUR_OVER_SIX_MAX : NVFP4_STATIC_MAX;
        a.amax = v < 2 ? g : odd_amaxes[random_next(seed) % 4];
        a.scale = block_of(k) == 16 ? nvfp4_tensor_scale(g) : fp8_scale(g);
        if (v >= 3) a.scale = odd_scales[random_next(seed) % 7];
        char where[160];
        snprintf(where, sizeof where, "%s, %s, %llu x %llu, scale %a, amax %a, variant %d", what, dtype_name(a.dtype),
                 (unsigned long long)a.n_rows, (unsigned long long)a.n_cols, (double)a.scale, (double)a.amax, v);
        if (!cases_run(&cases, k, &a, where)) failures++;
        if (k->op == OP_WIDEN || k->op == OP_AMAX) return;
        if (v == 1 && a.group == 0 && block_of(k) != 16 && k->op != OP_ENCODE_FP8 && k->op != OP_DECODE_FP8 &&
            k->op != OP_INPUT_FP8)
            return; /* no scale of the caller's */
        if (v == 2 && quick) return;
    }
}

/* All codes of a 16-bit type: in order, so that blocks hold neighbours, and mixed, so that they do not. */
static void run_all_halves(const struct cuda_kernel *k, enum dtype dtype, uint64_t *seed)
{
    struct kernel_args a = {.n_rows = 16, .n_cols = 4096, .dtype = dtype, .group = 64};
    cases_shape(&cases, k, &a);
    for (uint32_t mixed = 0; mixed < 2; mixed++) {
        for (uint32_t i = 0; i < 65536; i++) {
            uint16_t h = (uint16_t)(mixed ? i * 40503u : i);
            memcpy(cases.arrays[SRC].host + 2 * i, &h, 2);
        }
        look(k, &a, seed);
        static const float gs[] = {1.0f, 0.0517578125f, 3e4f, 2e38f};
        bool slow = k->op == OP_SWEEP_NVFP4; /* the scalar kernel is */
        for (int s = 0; s < (slow ? 1 : 4); s++)
            run_variants(k, a, gs[s], mixed ? "all codes, mixed" : "all codes", slow, seed);
    }
}

/* All packed bytes under all scale bytes. */
static void run_all_codes(const struct cuda_kernel *k, uint64_t *seed)
{
    struct kernel_args a = {.n_rows = 256, .n_cols = 512, .dtype = DTYPE_F32, .group = 32};
    cases_shape(&cases, k, &a);
    for (size_t i = 0; i < cases.arrays[SRC].bytes; i++) cases.arrays[SRC].host[i] = (uint8_t)i;
    for (size_t i = 0; i < cases.arrays[SRC_SCALE].bytes; i++) cases.arrays[SRC_SCALE].host[i] = (uint8_t)(i / 32);
    for (size_t i = 0; i < cases.arrays[SRC_SCALE_F32].bytes; i++)
        cases.arrays[SRC_SCALE_F32].host[i] = (uint8_t)random_next(seed);
    for (int s = 0; s < 3; s++) run_variants(k, a, s ? 1e-3f * (float)s : 1, "all codes", false, seed);
}

static void run_data(const struct cuda_kernel *k, struct kernel_args a, enum kind kind, uint64_t *seed)
{
    static const uint32_t groups[] = {32, 2, 8, 16, 32};
    uint64_t n = a.n_rows * a.n_cols;
    if (block_of(k) == 32 && k->dst_scale != ROOM_BYTE_32 && k->src_scale != ROOM_BYTE_32)
        a.group = a.n_cols % 128 == 0 ? 128 : groups[(a.n_rows + (uint64_t)kind) % 5];
    cases_shape(&cases, k, &a);
    if (k->src == ROOM_DTYPE || k->src == ROOM_F32)
        for (uint64_t i = 0; i < n; i++) put(cases.arrays[SRC].host, a.dtype, i, datum(kind, i, n, seed));
    else
        for (uint64_t i = 0; i < cases.arrays[SRC].bytes; i++) cases.arrays[SRC].host[i] = (uint8_t)random_next(seed);
    for (uint64_t i = 0; i < cases.arrays[SRC_SCALE].bytes; i++)
        cases.arrays[SRC_SCALE].host[i] = (uint8_t)random_next(seed);
    for (uint64_t i = 0; i < cases.arrays[SRC_SCALE_F32].bytes; i++) /* something usual, or any bits */
        cases.arrays[SRC_SCALE_F32].host[i] = (uint8_t)(kind != DATA_WEIGHTS ? random_next(seed)
                                                        : i % 4 == 3         ? 0x3C
                                                                             : i);
    float g = k->src == ROOM_DTYPE || k->src == ROOM_F32 ? look(k, &a, seed) : 1;
    run_variants(k, a, g, kind_names[kind], n > 10000, seed);
}

/* Around 4, 16, 32, 256 threads, a tile of 128 x 128 and its strips, a warp's part of a row, and one grid of one
 * multiprocessor (32,768 elements). */
static void run_sizes(const struct cuda_kernel *k, enum dtype dtype, uint64_t *seed)
{
    static const uint64_t any_cols[] = {0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 255, 256, 257, 1023, 1025};
    static const uint64_t block_cols[] = {0, 1, 2, 3, 7, 8, 15, 16, 17, 63, 65};
    static const uint64_t large[][2] = {{1, 4095},  {3, 4097},  {1, 8191},  {2, 32773},  {5000, 3},
                                        {1, 70001}, {128, 128}, {129, 132}, {300, 1000}, {17, 4224}};
    static const uint64_t rows[] = {1, 3, 0, 2, 7};
    uint32_t block = block_of(k);
    bool slow = k->op == OP_SWEEP_NVFP4;
    size_t n_cols = block > 1 ? sizeof block_cols / sizeof *block_cols : sizeof any_cols / sizeof *any_cols;
    for (int kind = 0; kind < DATA_COUNT; kind++) {
        if (few && kind != DATA_WEIGHTS && kind != DATA_ANY_BITS) continue;
        for (size_t c = 0; c < n_cols; c++)
            for (size_t r = 0; r < (slow ? 2 : kind == DATA_WEIGHTS || kind == DATA_ANY_BITS ? 5 : 3); r++) {
                uint64_t cols = block > 1 ? block_cols[c] * block : any_cols[c];
                run_data(k, (struct kernel_args){.n_rows = rows[r], .n_cols = cols, .dtype = dtype}, (enum kind)kind,
                         seed);
            }
        for (size_t l = 0; l < sizeof large / sizeof *large && !slow; l++) {
            if (kind != DATA_WEIGHTS && kind != DATA_ANY_BITS && kind != DATA_ONE_NAN) continue;
            struct kernel_args a = {.n_rows = large[l][0], .n_cols = large[l][1], .dtype = dtype};
            a.n_cols = (a.n_cols + block - 1) / block * block;
            run_data(k, a, (enum kind)kind, seed);
        }
    }
}

static void run_op(const struct cuda_kernel *k)
{
    static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    uint64_t seed = (uint64_t)k->op + 1, cases_before = cases.n_cases, bytes_before = cases.n_bytes;
    int failures_before = failures;
    if (k->src == ROOM_DTYPE && !few) {
        run_all_halves(k, DTYPE_BF16, &seed);
        run_all_halves(k, DTYPE_F16, &seed);
    }
    if (!few && (k->src == ROOM_BYTE || k->src == ROOM_NIBBLE)) run_all_codes(k, &seed);
    for (int d = 0; d < 3; d++)
        if (k->src == ROOM_DTYPE || dtypes[d] == DTYPE_F32) run_sizes(k, dtypes[d], &seed);
    if (failures == failures_before)
        printf("ok cuda %s: %llu cases, %llu bytes equal to the scalar kernel's\n", op_name(k->op),
               (unsigned long long)(cases.n_cases - cases_before), (unsigned long long)(cases.n_bytes - bytes_before));
}

int main(int argc, char **argv)
{
#ifdef FAKE_CUDA
    fake_reset();
#endif
    few = argc > 2 && strcmp(argv[2], "--few") == 0;
    cases_open(&cases);
    for (int op = 0; op < OP_COUNT; op++) {
        const struct cuda_kernel *k = cuda_kernel_of((enum op)op);
        if (argc > 1 && !strstr(op_name((enum op)op), argv[1])) continue;
        if (k) run_op(k);
        else printf("skip cuda %s: it has no kernel yet\n", op_name((enum op)op));
    }
    cases_close(&cases);
    return failures != 0;
}
