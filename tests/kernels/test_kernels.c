/* Every kernel of the list against the scalar kernel of its operation, byte for byte: instruction sets x source types x
 * sizes around the block and vector widths x kinds of data x alignments. Sources end at an unreadable page, results lie
 * between canaries, so a read or write beyond the end is found too. */
#include "tests/checks.h"

#include "backends/cpu/ggml_kernel.h"
#include "backends/cpu/kernel.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

#include <math.h>
#include <sys/mman.h>

#define SOURCE_BYTES (1u << 20)
#define RESULT_BYTES (1u << 20)
#define CANARY 0xA5

/* ---- memory ---- */

/* The end of a readable area that is followed by an unreadable page. */
static uint8_t *fence_new(void)
{
    uint8_t *p = mmap(NULL, SOURCE_BYTES + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + SOURCE_BYTES, 4096, PROT_NONE) != 0) fail_msg("no memory for the test");
    return p + SOURCE_BYTES;
}

struct results { uint8_t *dst, *dst_scale, *dst_f32; size_t n_dst, n_scale, n_f32; };

static uint8_t *source_end, *scale_end, *amax_end;

static struct results results_new(void)
{
    return (struct results){.dst = malloc(RESULT_BYTES), .dst_scale = malloc(RESULT_BYTES),
                            .dst_f32 = malloc(RESULT_BYTES)};
}

/* ---- data ---- */

enum kind {
    DATA_WEIGHTS,        /* roughly normal, 0.02 */
    DATA_OUTLIERS,       /* the same with values a thousand times larger here and there */
    DATA_WIDE,           /* exponents all over the type */
    DATA_DENORMAL, DATA_ZERO, DATA_NEGATIVE_ZERO, DATA_LARGEST,
    DATA_ZERO_BLOCKS,    /* whole blocks of zeros of both signs among weights */
    DATA_TIES,           /* on and beside the midpoints of the small types */
    DATA_ANY_BITS,       /* infinities and NaN too */
    DATA_ONE_NAN, DATA_ONE_INFINITY, DATA_COUNT
};
static const char *const kind_names[DATA_COUNT] = {
    "weights", "outliers", "wide", "denormal", "zero", "negative zero", "largest", "zero blocks", "ties", "any bits",
    "one NaN", "one infinity",
};

static float normal(uint64_t *seed)
{
    float s = 0;
    for (int i = 0; i < 4; i++) s += (float)((double)(check_random(seed) >> 11) * 0x1p-53 - 0.5);
    return s * 0.035f;
}

static float datum(enum kind kind, uint64_t i, uint64_t n, uint64_t *seed)
{
    uint64_t r = check_random(seed);
    uint32_t sign = (uint32_t)(r >> 63) << 31;
    float inf = f32_from_bits(F32_INFINITY_BITS);
    switch (kind) {
    case DATA_WEIGHTS: case DATA_COUNT: return normal(seed);
    case DATA_OUTLIERS: return r % 37 == 0 ? 1000 * normal(seed) : normal(seed);
    case DATA_WIDE: return f32_from_bits(sign | ((uint32_t)(1 + r % 250) << 23) | (uint32_t)(r >> 20 & 0x7FFFFF));
    case DATA_DENORMAL: return f32_from_bits(sign | (uint32_t)(r & 0x7FFFFF) >> (r >> 40) % 23);
    case DATA_ZERO: return 0;
    case DATA_NEGATIVE_ZERO: return -0.0f;
    case DATA_LARGEST: return f32_from_bits(sign | (r % 3 ? 0x7F7F0000u : 0x7F7FFFFFu));
    case DATA_ZERO_BLOCKS:
        if (i / 16 % 3 == 1) return f32_from_bits(sign);
        return i / 16 % 3 == 2 ? normal(seed) * 1e-6f : normal(seed);
    case DATA_TIES: {
        static const float mids[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 6, 0x1p-10f, 0x1.8p-9f, 0x1.08p0f,
                                     0x1.18p0f, 464, 448};
        uint32_t u = f32_bits(mids[r % (sizeof mids / sizeof *mids)]) + (uint32_t)(r >> 20) % 3 - 1;
        return f32_from_bits(u | sign);
    }
    case DATA_ANY_BITS: return f32_from_bits((uint32_t)r);
    case DATA_ONE_NAN: return i == n / 2 ? f32_from_bits(F32_NAN_BITS | 5u | sign) : normal(seed);
    case DATA_ONE_INFINITY: return i == n / 2 ? f32_from_bits(sign | f32_bits(inf)) : normal(seed);
    }
    return 0;
}

static void element_put(uint8_t *p, enum dtype dtype, uint64_t i, float x)
{
    /* bf16: cut, so that NaN keeps odd payloads */
    uint16_t h = dtype == DTYPE_BF16 ? (uint16_t)(f32_bits(x) >> 16) : f16_encode(x);
    if (dtype == DTYPE_F32) memcpy(p + 4 * i, &x, 4);
    else memcpy(p + 2 * i, &h, 2);
}

static float element_get(const uint8_t *p, enum dtype dtype, uint64_t i)
{
    float x;
    uint16_t h;
    memcpy(&x, p + (dtype == DTYPE_F32 ? 4 * i : 0), dtype == DTYPE_F32 ? 4 : 0);
    if (dtype == DTYPE_F32) return x;
    memcpy(&h, p + 2 * i, 2);
    return dtype == DTYPE_BF16 ? bf16_decode(h) : f16_decode(h);
}

/* ---- what an operation reads and writes ---- */

/* Columns of a block; n_cols must be a multiple. */
static uint64_t op_block(enum op op)
{
    switch (op) {
    case OP_ENCODE_NVFP4: case OP_ENCODE_NVFP4_STATIC: case OP_SWEEP_NVFP4: case OP_DECODE_NVFP4: case OP_INPUT_NVFP4:
    case OP_FOUR_SIX_NVFP4: case OP_RANGE_NVFP4: return 16;
    case OP_ENCODE_MXFP4: case OP_DECODE_MXFP4: case OP_ENCODE_MXFP8: case OP_DECODE_MXFP8:
    case OP_ENCODE_Q8_0: case OP_DECODE_Q8_0: case OP_ENCODE_GGML: case OP_DECODE_GGML: return 32;
    case OP_ENCODE_INT4: case OP_DECODE_INT4: case OP_ENCODE_INT4_ZERO: case OP_DECODE_INT4_ZERO: return 16;
    default: return 1;
    }
}

static bool op_reads_dtype(enum op op)
{
    switch (op) {
    case OP_DECODE_NVFP4: case OP_DECODE_FP8: case OP_DECODE_FP8_CHANNEL: case OP_DECODE_FP8_BLOCK:
    case OP_DECODE_MXFP4: case OP_DECODE_MXFP8: case OP_DECODE_INT4: case OP_DECODE_INT4_ZERO:
    case OP_DECODE_Q8_0: case OP_DECODE_GGML: case OP_INPUT_NVFP4: case OP_INPUT_FP8: return false;
    default: return true;
    }
}

/* Number of variants (rounding, scale, maximum ...) that make a difference. */
static int op_variants(enum op op)
{
    switch (op) {
    case OP_WIDEN: case OP_AMAX: case OP_ENCODE_FP8_CHANNEL: case OP_DECODE_FP8_CHANNEL: case OP_DECODE_FP8_BLOCK:
    case OP_DECODE_INT4: case OP_DECODE_INT4_ZERO: case OP_DECODE_MXFP4: case OP_ENCODE_MXFP8: case OP_DECODE_MXFP8:
    case OP_ENCODE_Q8_0: case OP_DECODE_Q8_0: case OP_ENCODE_GGML: case OP_DECODE_GGML: return 1;
    case OP_ENCODE_FP8_BLOCK: case OP_ENCODE_MXFP4: return 2;
    default: return 3;
    }
}

static uint64_t blocks_of_128(const struct kernel_args *a)
{
    return (a->n_rows + 127) / 128 * ((a->n_cols + 127) / 128);
}

static bool op_decodes(enum op op)
{
    return !op_reads_dtype(op) && op != OP_INPUT_NVFP4 && op != OP_INPUT_FP8;
}

/* Bytes of a decoder's source. */
static uint64_t packed_bytes(enum op op, const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    if (op == OP_DECODE_Q8_0) return n / 32 * 34;
    if (op == OP_DECODE_GGML) return dtype_row_bytes(a->blocks, n);
    return op_block(op) == 1 || op == OP_DECODE_MXFP8 ? n : n / 2;
}

/* Numbers of byte scales and of f32 scales that a decoder reads. */
static uint64_t byte_scales(enum op op, const struct kernel_args *a)
{
    bool mx = op == OP_DECODE_MXFP4 || op == OP_DECODE_MXFP8;
    if (op == OP_DECODE_INT4_ZERO) return a->n_rows * a->n_cols / a->group;
    return op == OP_DECODE_NVFP4 || mx ? a->n_rows * a->n_cols / op_block(op) : 0;
}

static uint64_t f32_scales(enum op op, const struct kernel_args *a)
{
    if (op == OP_DECODE_INT4 || op == OP_DECODE_INT4_ZERO) return a->n_rows * a->n_cols / a->group;
    return op == OP_DECODE_FP8_CHANNEL ? a->n_rows : op == OP_DECODE_FP8_BLOCK ? blocks_of_128(a) : 0;
}

static struct results result_sizes(enum op op, const struct kernel_args *a)
{
    uint64_t n = a->n_rows * a->n_cols;
    switch (op) {
    case OP_ENCODE_NVFP4: case OP_ENCODE_NVFP4_STATIC: return (struct results){.n_dst = n / 2, .n_scale = n / 16};
    case OP_ENCODE_FP8: return (struct results){.n_dst = n};
    case OP_ENCODE_MXFP4: return (struct results){.n_dst = n / 2, .n_scale = n / 32};
    case OP_ENCODE_Q8_0: return (struct results){.n_dst = n / 32 * 34};
    case OP_ENCODE_GGML: return (struct results){.n_dst = dtype_row_bytes(a->blocks, n)};
    case OP_ENCODE_MXFP8: return (struct results){.n_dst = n, .n_scale = n / 32};
    case OP_ENCODE_FP8_CHANNEL: return (struct results){.n_dst = n, .n_f32 = 4 * a->n_rows};
    case OP_ENCODE_FP8_BLOCK: return (struct results){.n_dst = n, .n_f32 = 4 * blocks_of_128(a)};
    case OP_ENCODE_INT4: return (struct results){.n_dst = n / 2, .n_f32 = 4 * (n / a->group)};
    case OP_ENCODE_INT4_ZERO:
        return (struct results){.n_dst = n / 2, .n_scale = n / a->group, .n_f32 = 4 * (n / a->group)};
    case OP_SWEEP_NVFP4: case OP_FOUR_SIX_NVFP4: case OP_RANGE_NVFP4: return (struct results){.n_f32 = n / 4};
    case OP_AMAX: return (struct results){.n_f32 = 4 * a->n_rows};
    default: return (struct results){.n_f32 = 4 * n};
    }
}

/* ---- one comparison ---- */

static void run_into(kernel_fn run, struct kernel_args a, struct results *r, unsigned skew)
{
    memset(r->dst, CANARY, r->n_dst + 128);
    memset(r->dst_scale, CANARY, r->n_scale + 128);
    memset(r->dst_f32, CANARY, r->n_f32 + 128);
    a.dst = r->dst + 64 - skew;
    a.dst_scale = r->dst_scale + 64 - skew;
    a.dst_f32 = (float *)(void *)(r->dst_f32 + 64);
    run(&a);
}

static void compare(const uint8_t *got, const uint8_t *want, size_t n, const char *what, const char *where)
{
    for (size_t i = 0; i < n + 128; i++)
        if (got[i] != want[i])
            fail_msg("%s: %s byte %td of %zu is %02x, the scalar kernel writes %02x", where, what, (ptrdiff_t)i - 64,
                     n, got[i], want[i]);
}

static struct results fast, plain;

static void check_kernel(const struct kernel *k, kernel_fn scalar, const struct kernel_args *a, unsigned skew,
                         const char *where)
{
    uint64_t n = a->n_rows * a->n_cols;
    struct results sizes = result_sizes(k->op, a);
    assert_true(sizes.n_f32 + 128 <= RESULT_BYTES && sizes.n_dst + 128 <= RESULT_BYTES);
    fast.n_dst = plain.n_dst = sizes.n_dst;
    fast.n_scale = plain.n_scale = sizes.n_scale;
    fast.n_f32 = plain.n_f32 = sizes.n_f32;
    run_into(k->run, *a, &fast, skew);
    run_into(scalar, *a, &plain, skew);
    compare(fast.dst, plain.dst, sizes.n_dst, "packed", where);
    compare(fast.dst_scale, plain.dst_scale, sizes.n_scale, "scale", where);
    compare(fast.dst_f32, plain.dst_f32, sizes.n_f32, "f32", where);
    if (k->op != OP_INPUT_NVFP4 && k->op != OP_INPUT_FP8) return;
    struct kernel_args in_place = *a;                          /* results over the source give the same */
    in_place.src = in_place.dst_f32 = (float *)(void *)(fast.dst_f32 + 64);
    memcpy(fast.dst_f32 + 64, a->src, 4 * n);
    k->run(&in_place);
    compare(fast.dst_f32, plain.dst_f32, sizes.n_f32, "f32 in place", where);
}

/* ---- walking the list ---- */

/* Operations that have no vector kernel. A row that is missing by mistake fails
 * test_choice and check_isa; so does a vector kernel whose operation still stands here. */
static bool op_is_scalar_only(enum op op)
{
    return op == OP_DECODE_GGML;
}

static unsigned ops_with(uint64_t isa)
{
    unsigned n = 0;
    for (int op = 0; op < OP_COUNT; op++) n += isa == 0 || !op_is_scalar_only((enum op)op);
    return n;
}

/* Fills the source, scales and chosen maxima for one case; returns the largest finite magnitude. */
static float fill(struct kernel_args *a, const struct kernel *k, enum kind kind, unsigned skew, uint64_t *seed)
{
    uint64_t n = a->n_rows * a->n_cols, n_blocks = n / 16;
    bool decodes = op_decodes(k->op);
    uint64_t n_scales = byte_scales(k->op, a), n_f32 = f32_scales(k->op, a);
    uint64_t bytes = decodes ? packed_bytes(k->op, a) : n * dtype_bytes(a->dtype);
    uint8_t *src = source_end - bytes - skew, *amax = amax_end - 4 * (decodes ? n_f32 : n_blocks) - skew;
    float g = 0;
    a->src = src;
    a->src_scale = scale_end - n_scales - skew;
    a->block_amax = a->src_scale_f32 = (const float *)(void *)amax;
    if (decodes) {
        for (uint64_t i = 0; i < bytes; i++) src[i] = (uint8_t)check_random(seed);
        for (uint64_t b = 0; b < n_scales; b++) (scale_end - n_scales - skew)[b] = (uint8_t)check_random(seed);
        for (uint64_t b = 0; b < n_f32; b++) element_put(amax, DTYPE_F32, b, datum(kind, b, n_f32, seed));
        return 1;
    }
    for (uint64_t i = 0; i < n; i++) {
        element_put(src, a->dtype, i, datum(kind, i, n, seed));
        float x = f32_abs(element_get(src, a->dtype, i));
        if (x > g && isfinite(x)) g = x;
    }
    for (uint64_t b = 0; b < n_blocks; b++) {
        float m = 0;
        for (uint64_t i = 0; i < 16; i++) m = f32_amax(m, element_get(src, a->dtype, 16 * b + i));
        m *= check_random(seed) % 3 ? 1.0f : (float)(check_random(seed) % 1000) / 500.0f;
        memcpy(amax + 4 * b, &m, 4);
    }
    return g;
}

static void check_case(const struct kernel *k, kernel_fn scalar, struct kernel_args a, enum kind kind, unsigned skew)
{
    uint64_t seed = a.n_rows * 1000003 + a.n_cols * 17 + (uint64_t)kind + skew;
    float g = fill(&a, k, kind, skew, &seed);
    char where[256];
    static const float odd_scales[] = {1.0f, 3e-4f, 1e-41f, 0x1p-149f, 2e-39f, 1e30f, 3e38f};
    for (int which = 0; which < op_variants(k->op); which++) {
        a.rounding = (enum fp8_rounding)which;
        a.form = (enum fp8_scale_form)(which % 2);
        a.mxfp4_rule = (enum mxfp4_rule)(which % 2);
        a.int4_scale = (enum int4_scale_type)which;
        a.range_start = which == 2 ? 1.0f : 0.25f; /* RANGE_NVFP4 */
        a.range_stop = which == 2 ? 1.5f : 4.0f;
        a.range_count = which == 1 ? 5 : which == 2 ? 2 : 39;
        a.static_max = which == 1 ? NVFP4_FOUR_OVER_SIX_MAX : NVFP4_STATIC_MAX;
        static const float odd_amaxes[] = {0x1p-4f, 0, 1e-41f, 1e-36f};     /* a wrong g must not matter either */
        a.amax = which == 2 ? odd_amaxes[check_random(&seed) % 4] : g;
        a.scale = op_block(k->op) == 16 ? nvfp4_tensor_scale(g) : fp8_scale(g);
        if (which == 2 && k->op != OP_ENCODE_FP8) a.scale = odd_scales[check_random(&seed) % 7];
        snprintf(where, sizeof where, "%s, %s, %s, %llu x %llu, skew %u, variant %d", k->name, dtype_name(a.dtype),
                 kind_names[kind],
                 (unsigned long long)a.n_rows, (unsigned long long)a.n_cols, skew, which);
        check_kernel(k, scalar, &a, skew, where);
    }
    if (k->op != OP_ENCODE_FP8) return;
    for (size_t s = 0; s < sizeof odd_scales / sizeof *odd_scales; s++) {
        a.scale = odd_scales[s];
        a.rounding = (enum fp8_rounding)(s % 3);
        snprintf(where, sizeof where, "%s, %s, %s, %llu columns, scale %a", k->name, dtype_name(a.dtype),
                 kind_names[kind],
                 (unsigned long long)a.n_cols, (double)a.scale);
        check_kernel(k, scalar, &a, skew, where);
    }
}

static const uint64_t any_cols[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257,
                                    1000};
static const uint64_t block_cols[] = {0, 16, 32, 48, 112, 128, 144, 240, 256, 272, 512, 1008, 1024};
static const uint64_t row_counts[] = {0, 1, 2, 3, 7};
static const uint64_t tall_row_counts[] = {127, 128, 129, 257};     /* for blocks of 128 x 128, besides those */

static void walk_tall(const struct kernel *k, kernel_fn scalar)
{
    static const uint64_t cols[] = {1, 16, 127, 128, 129, 257};
    for (unsigned i = 0; i < 4 * 6; i++)
        for (int kind = 0; kind < DATA_COUNT; kind++) {
            static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
            struct kernel_args a = {.n_rows = tall_row_counts[i % 4], .n_cols = cols[i / 4],
                                    .dtype = op_reads_dtype(k->op) ? dtypes[(i + (unsigned)kind) % 3] : DTYPE_F32};
            check_case(k, scalar, a, (enum kind)kind, i % 4);
        }
}

static void walk(const struct kernel *k, kernel_fn scalar)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    bool blocks = op_block(k->op) > 1;
    if (k->op == OP_ENCODE_FP8_BLOCK || k->op == OP_DECODE_FP8_BLOCK) walk_tall(k, scalar);
    const uint64_t *cols = blocks ? block_cols : any_cols;
    size_t n_cols = blocks ? sizeof block_cols / sizeof *block_cols : sizeof any_cols / sizeof *any_cols;
    for (size_t d = 0; d < (op_reads_dtype(k->op) ? 3 : 1); d++)
        for (size_t c = 0; c < n_cols; c++)
            for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++)
                for (int kind = 0; kind < DATA_COUNT; kind++) {
                    struct kernel_args a = {.n_rows = row_counts[r], .n_cols = cols[c], .dtype = dtypes[d]};
                    a.group = 32u << (r + c + (size_t)kind) % 3;
                    if (a.n_cols % a.group != 0) a.group = (uint32_t)a.n_cols / 2; /* no multiple of a vector */
                    unsigned skew = (unsigned)(r + c + (size_t)kind) % 4;
                    if (a.n_cols % op_block(k->op) != 0) continue;
                    if (k->op == OP_SWEEP_NVFP4 && a.n_rows * a.n_cols > 1100) continue;    /* the plain one is slow */
                    check_case(k, scalar, a, (enum kind)kind, skew);
                }
}

/* The same for one operation that stands for many types. */
static void walk_ggml(const struct kernel *k, kernel_fn scalar)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    unsigned n = 0;
    for (int t = DTYPE_Q8_0; t < DTYPE_COUNT; t++) {
        enum dtype blocks = (enum dtype)t;
        if (k->op == OP_ENCODE_GGML ? !ggml_encodes(blocks) : !dtype_is_decoded(blocks)) continue;
        n++;
        for (uint64_t c = 0; c <= 5; c++)
            for (uint64_t r = 0; r <= 3; r++)
                for (int kind = 0; kind < DATA_COUNT; kind++) {
                    struct kernel_args a = {.n_rows = r, .n_cols = c * dtype_block_elems(blocks),
                                            .dtype = op_reads_dtype(k->op) ? dtypes[(c + r + (uint64_t)kind) % 3] : DTYPE_F32,
                                            .blocks = blocks};
                    check_case(k, scalar, a, (enum kind)kind, (unsigned)(r + c) % 4);
                }
    }
    assert_int_equal(n, k->op == OP_ENCODE_GGML ? 8 : 14);
}

static kernel_fn scalar_of(enum op op)
{
    for (const struct kernel *k = kernels; k->run; k++)
        if (k->op == op && k->isa == 0) return k->run;
    fail_msg("%s has no scalar kernel", op_name(op));
    return NULL;
}

static void check_isa(uint64_t isa)
{
    uint64_t have = isa_detected();
    if ((isa & ~have) != 0) {
        print_message("# %s: not on this machine\n", isa_name(isa));
        skip();
    }
    source_end = fence_new(), scale_end = fence_new(), amax_end = fence_new();
    fast = results_new(), plain = results_new();
    unsigned n = 0;
    for (const struct kernel *k = kernels; k->run; k++) {
        if (k->isa != isa) continue;
        if (k->op == OP_ENCODE_GGML || k->op == OP_DECODE_GGML) walk_ggml(k, scalar_of(k->op));
        else walk(k, scalar_of(k->op));
        n++;
    }
    assert_int_equal(n, ops_with(isa));
    free(fast.dst), free(fast.dst_scale), free(fast.dst_f32);
    free(plain.dst), free(plain.dst_scale), free(plain.dst_f32);
    munmap(source_end - SOURCE_BYTES, SOURCE_BYTES + 4096);
    munmap(scale_end - SOURCE_BYTES, SOURCE_BYTES + 4096);
    munmap(amax_end - SOURCE_BYTES, SOURCE_BYTES + 4096);
}

static void test_scalar(void **state)      /* against itself: the walk, the canaries and the fences */
{
    (void)state;
    check_isa(0);
}

static void test_avx2(void **state)
{
    (void)state;
    check_isa(ISA_AVX2);
}

static void test_avx512(void **state)
{
    (void)state;
    check_isa(ISA_AVX2 | ISA_AVX512);
}

static void test_neon(void **state)
{
    (void)state;
    check_isa(ISA_NEON);
}

/* Every subset of the instruction sets gets the fastest kernel it allows, and nothing it does not. */
static void test_choice(void **state)
{
    (void)state;
    static const struct { uint64_t have, want; } subsets[] = {
#if defined(__aarch64__)
        {0, 0}, {ISA_AVX2, 0}, {ISA_NEON, ISA_NEON},
#else
        {0, 0}, {ISA_AVX512, 0}, {ISA_AVX2, ISA_AVX2}, {ISA_AVX2 | ISA_AVX512, ISA_AVX2 | ISA_AVX512}, {ISA_NEON, 0},
#endif
    };
    for (size_t i = 0; i < sizeof subsets / sizeof *subsets; i++)
        for (int op = 0; op < OP_COUNT; op++) {
            kernel_fn got = kernel_for((enum op)op, subsets[i].have);
            const struct kernel *k = kernels;
            while (k->run && k->run != got) k++;
            assert_non_null(k->run);
            assert_int_equal(k->op, op);
            assert_int_equal(k->isa, op_is_scalar_only((enum op)op) ? 0 : subsets[i].want);
        }
}

static void test_isa_names(void **state)
{
    (void)state;
    static const struct { const char *word; uint64_t cap; } words[] = {
        {"scalar", 0}, {"avx2", ISA_AVX2}, {"avx512", ISA_AVX2 | ISA_AVX512},
        {"avx512bf16", ISA_AVX2 | ISA_AVX512 | ISA_BF16}, {"neon", ISA_NEON}, {"AVX2", 0}, {"nonsense", 0}, {"avx5", 0},
    };
    uint64_t isa = 0;
    unsetenv("INGOT_ISA");
    uint64_t all = isa_detected();
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        assert_int_equal(isa_parse(words[i].word, &isa), i < 5);
        if (i < 5) assert_string_equal(isa_name(isa), words[i].word);
        setenv("INGOT_ISA", words[i].word, 1);
        assert_int_equal(isa_detected(), all & words[i].cap);
    }
    setenv("INGOT_ISA", "", 1);
    assert_int_equal(isa_detected(), all);
    unsetenv("INGOT_ISA");
    for (int op = 0; op < OP_COUNT; op++) assert_true(strlen(op_name((enum op)op)) > 3);
    assert_string_equal(op_name(OP_COUNT), "unknown");
}

int main(void)
{
    unsetenv("INGOT_ISA");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar), cmocka_unit_test(test_avx2), cmocka_unit_test(test_avx512),
        cmocka_unit_test(test_neon),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_isa_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
