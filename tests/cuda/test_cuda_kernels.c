/* Every CUDA kernel of the list against the scalar kernel of its operation, byte for byte. First all 65,536 inputs of
 * both 16-bit types, and all codes; then sizes around blocks, warps and grids x kinds of data. `make test` runs it on
 * emulated kernels, `make check-cuda` on a GPU. usage: test_cuda_kernels [PART OF A KERNEL'S NAME] */
#ifdef FAKE_CUDA
#include <stdbool.h>

#include "tests/cuda/fake_runtime.h"
#endif
#include "tests/cuda/cases.h"

#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

static struct cases cases;
static int failures;

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- data ---- */

enum kind {
    DATA_WEIGHTS,   /* roughly even, up to 0.06, with an outlier here and there */
    DATA_WIDE,      /* exponents all over the type */
    DATA_ZERO,      /* zeros of both signs, in every third block something small */
    DATA_DENORMAL,
    DATA_TIES,      /* on and beside the midpoints of the small types */
    DATA_LARGEST,
    DATA_ANY_BITS,  /* infinities and NaN too */
    DATA_ONE_NAN,
    DATA_ONE_INFINITY,
    DATA_COUNT
};
static const char *const kind_names[DATA_COUNT] = {"weights", "wide",     "zero",    "denormal",    "ties",
                                                   "largest", "any bits", "one NaN", "one infinity"};

static float datum(enum kind kind, uint64_t i, uint64_t n, uint64_t *seed)
{
    static const float mids[] = {0.25f, 0.75f, 1.25f,   1.75f,    2.5f,      3.5f,      5,
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

static bool has_blocks(const struct cuda_kernel *k)
{
    return k->op != OP_WIDEN && k->op != OP_AMAX && k->op != OP_ENCODE_FP8 && k->op != OP_DECODE_FP8 &&
           k->op != OP_INPUT_FP8;
}

/* The same data under the scales that belong to it, with all roundings and both static maxima, and under odd ones. */
static void run_variants(const struct cuda_kernel *k, struct kernel_args a, float g, const char *what, uint64_t *seed)
{
    static const float odd_scales[] = {1.0f, 3e-4f, 1e-41f, 0x1p-149f, 2e-39f, 1e30f, 3e38f};
    static const float odd_amaxes[] = {0x1p-4f, 0, 1e-41f, 1e-36f};
    for (int v = 0; v < 6 && failures < 20; v++) {
        a.rounding = (enum fp8_rounding)(v % 3);
        a.static_max = v % 2 ? NVFP4_FOUR_OVER_SIX_MAX : NVFP4_STATIC_MAX;
        a.amax = v < 2 ? g : odd_amaxes[random_next(seed) % 4];
        a.scale = has_blocks(k) ? nvfp4_tensor_scale(g) : fp8_scale(g);
        if (v >= 3) a.scale = odd_scales[random_next(seed) % 7];
        char where[160];
        snprintf(where, sizeof where, "%s, %s, %llu x %llu, scale %a, amax %a, variant %d", what, dtype_name(a.dtype),
                 (unsigned long long)a.n_rows, (unsigned long long)a.n_cols, (double)a.scale, (double)a.amax, v);
        if (!cases_run(&cases, k, &a, where)) failures++;
        if (k->op == OP_WIDEN || k->op == OP_AMAX) return;
    }
}

/* All codes of a 16-bit type: in order, so that blocks hold neighbours, and mixed, so that they do not. */
static void run_all_halves(const struct cuda_kernel *k, enum dtype dtype, uint64_t *seed)
{
    struct kernel_args a = {.n_rows = 16, .n_cols = 4096, .dtype = dtype};
    cases_shape(&cases, k, &a);
    for (uint32_t mixed = 0; mixed < 2; mixed++) {
        for (uint32_t i = 0; i < 65536; i++) {
            uint16_t h = (uint16_t)(mixed ? i * 40503u : i);
            memcpy(cases.arrays[SRC].host + 2 * i, &h, 2);
        }
        look(k, &a, seed);
        static const float gs[] = {1.0f, 0.0517578125f, 3e4f, 2e38f};
        for (int s = 0; s < 4; s++) run_variants(k, a, gs[s], mixed ? "all codes, mixed" : "all codes", seed);
    }
}

/* All packed bytes under all scale bytes. */
static void run_all_codes(const struct cuda_kernel *k, uint64_t *seed)
{
    struct kernel_args a = {.n_rows = 256, .n_cols = 512, .dtype = DTYPE_F32};
    cases_shape(&cases, k, &a);
    for (size_t i = 0; i < cases.arrays[SRC].bytes; i++) cases.arrays[SRC].host[i] = (uint8_t)i;
    for (size_t i = 0; i < cases.arrays[SRC_SCALE].bytes; i++) cases.arrays[SRC_SCALE].host[i] = (uint8_t)(i / 32);
    for (int s = 0; s < 3; s++) run_variants(k, a, s ? 1e-3f * (float)s : 1, "all codes", seed);
}

static void run_data(const struct cuda_kernel *k, struct kernel_args a, enum kind kind, uint64_t *seed)
{
    uint64_t n = a.n_rows * a.n_cols;
    cases_shape(&cases, k, &a);
    if (k->src == ROOM_DTYPE || k->src == ROOM_F32)
        for (uint64_t i = 0; i < n; i++) put(cases.arrays[SRC].host, a.dtype, i, datum(kind, i, n, seed));
    else
        for (uint64_t i = 0; i < cases.arrays[SRC].bytes; i++) cases.arrays[SRC].host[i] = (uint8_t)random_next(seed);
    for (uint64_t i = 0; i < cases.arrays[SRC_SCALE].bytes; i++)
        cases.arrays[SRC_SCALE].host[i] = (uint8_t)random_next(seed);
    float g = k->src == ROOM_DTYPE || k->src == ROOM_F32 ? look(k, &a, seed) : 1;
    run_variants(k, a, g, kind_names[kind], seed);
}

/* Around 4, 16, 256 threads, a warp's part of a row, and one grid of one multiprocessor (32,768 elements). */
static void run_sizes(const struct cuda_kernel *k, enum dtype dtype, uint64_t *seed)
{
    static const uint64_t any_cols[] = {0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 255, 256, 257, 1023, 1025};
    static const uint64_t block_cols[] = {0, 16, 32, 48, 112, 240, 256, 272, 1008, 1040};
    static const uint64_t large[][2] = {{1, 4095}, {3, 4097}, {1, 8191}, {2, 32773}, {5000, 3}, {1, 70001}};
    static const uint64_t rows[] = {0, 1, 2, 3, 7};
    bool blocks = has_blocks(k), slow = k->op == OP_SWEEP_NVFP4;
    size_t n_cols = blocks ? sizeof block_cols / sizeof *block_cols : sizeof any_cols / sizeof *any_cols;
    for (int kind = 0; kind < DATA_COUNT; kind++) {
        for (size_t c = 0; c < n_cols; c++)
            for (size_t r = 0; r < (slow ? 2 : 5); r++) {
                struct kernel_args a = {
                    .n_rows = rows[r], .n_cols = blocks ? block_cols[c] : any_cols[c], .dtype = dtype};
                run_data(k, a, (enum kind)kind, seed);
            }
        for (size_t l = 0; l < sizeof large / sizeof *large && !slow; l++) {
            if (kind != DATA_WEIGHTS && kind != DATA_ANY_BITS && kind != DATA_ONE_NAN) continue;
            struct kernel_args a = {.n_rows = large[l][0], .n_cols = large[l][1], .dtype = dtype};
            if (blocks) a.n_cols = (a.n_cols + 15) / 16 * 16;
            run_data(k, a, (enum kind)kind, seed);
        }
    }
}

static void run_kernel(const struct cuda_kernel *k)
{
    static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    uint64_t seed = (uint64_t)k->op + 1, cases_before = cases.n_cases, bytes_before = cases.n_bytes;
    int failures_before = failures;
    if (k->src == ROOM_DTYPE) {
        run_all_halves(k, DTYPE_BF16, &seed);
        run_all_halves(k, DTYPE_F16, &seed);
    }
    if (k->src == ROOM_BYTE || k->src == ROOM_NIBBLE) run_all_codes(k, &seed);
    for (int d = 0; d < 3; d++)
        if (k->src == ROOM_DTYPE || dtypes[d] == DTYPE_F32) run_sizes(k, dtypes[d], &seed);
    if (failures == failures_before)
        printf("ok %s: %llu cases, %llu bytes equal to the scalar kernel's\n", k->name,
               (unsigned long long)(cases.n_cases - cases_before), (unsigned long long)(cases.n_bytes - bytes_before));
}

int main(int argc, char **argv)
{
#ifdef FAKE_CUDA
    fake_reset();
#endif
    cases_open(&cases);
    for (const struct cuda_kernel *k = cuda_kernels; k->function; k++)
        if (argc < 2 || strstr(k->name, argv[1])) run_kernel(k);
    cases_close(&cases);
    if (argc < 2)
        for (int op = 0; op < OP_COUNT; op++) {
            const struct cuda_kernel *k = cuda_kernels;
            while (k->function && k->op != (enum op)op) k++;
            if (!k->function) printf("skip %s has no CUDA kernel\n", op_name((enum op)op));
        }
    return failures != 0;
}
