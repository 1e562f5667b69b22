/* The CPU as a backend: what a lane gives is what the kernel gives when it is called directly, byte for byte, for every
 * operation, instruction set and thread count; words that choose a backend. */
#include "tests/checks.h"

#include "backends/backend.h"
#include "backends/cpu/kernel.h"

#define ELEMS ((uint64_t)1 << 19) /* enough for several tasks of the pool */

static const struct lane_sizes room = {
    .src = 5 * ELEMS, .dst = ELEMS, .dst_scale = ELEMS / 16, .dst_f32 = 4 * ELEMS, .block_amax = ELEMS / 4};

static struct backend *cpu(struct pool *pool, uint64_t isa)
{
    struct backend *be;
    CHECK_OK(backend_cpu.open(&be, 0, &(struct backend_config){.pool = pool, .isa = isa}, e_));
    return be;
}

/* Of one code in a decoder's source; 0: not a decoder. */
static uint64_t code_bits(enum op op)
{
    switch (op) {
    case OP_DECODE_NVFP4: case OP_DECODE_MXFP4: case OP_DECODE_INT4: case OP_DECODE_INT4_ZERO: return 4;
    case OP_DECODE_FP8: case OP_DECODE_FP8_CHANNEL: case OP_DECODE_FP8_BLOCK: case OP_DECODE_MXFP8: case OP_DECODE_Q8_0:
    case OP_DECODE_GGML:
        return 8;
    default: return 0;
    }
}

static bool reads_dtype(enum op op)
{
    return !code_bits(op) && op != OP_INPUT_NVFP4 && op != OP_INPUT_FP8;
}

static uint64_t block_of(enum op op)
{
    return op == OP_ENCODE_MXFP4 || op == OP_DECODE_MXFP4 || op == OP_ENCODE_MXFP8 || op == OP_DECODE_MXFP8 ||
                   op == OP_ENCODE_Q8_0 || op == OP_DECODE_Q8_0 || op == OP_ENCODE_GGML || op == OP_DECODE_GGML
               ? 32
               : 16;
}

static bool chooses(enum op op)
{
    return op == OP_SWEEP_NVFP4 || op == OP_FOUR_SIX_NVFP4 || op == OP_RANGE_NVFP4;
}

/* Finite values of every type around 0.02; any byte where codes are decoded. */
static void fill(uint8_t *src, enum op op, enum dtype dtype)
{
    uint64_t seed = 7;
    if (code_bits(op)) {
        for (uint64_t i = 0; i < room.src; i++) src[i] = (uint8_t)check_random(&seed);
        return;
    }
    for (uint64_t i = 0; i < ELEMS; i++) {
        float f = (float)(int64_t)(check_random(&seed) % 20001) / 100000.0f - 0.1f;
        uint32_t u;
        uint16_t half;
        memcpy(&u, &f, sizeof u);
        half = dtype == DTYPE_BF16 ? (uint16_t)(u >> 16) : (uint16_t)(check_random(&seed) & 0xbbff); /* below 2 */
        if (dtype == DTYPE_F32) memcpy(src + 4 * i, &u, 4);
        else memcpy(src + 2 * i, &half, 2);
    }
}

/* What the kernels themselves give: all rows in one call, in memory of the test. */
struct direct {
    uint8_t *dst, *dst_scale;
    float *dst_f32, *block_amax;
};

static struct direct direct_run(const uint8_t *src, const struct lane_step *steps, uint32_t n, uint64_t isa)
{
    struct direct d = {calloc(1, room.dst), calloc(1, room.dst_scale), calloc(1, room.dst_f32),
                       calloc(1, room.block_amax)};
    for (uint32_t i = 0; i < n; i++) {
        struct kernel_args a = steps[i].args;
        uint64_t elems = a.n_rows * a.n_cols, scales = (elems * code_bits(steps[i].op) / 8 + 255) / 256 * 256;
        a.src = src;
        a.src_scale_f32 = (const float *)(const void *)(src + scales);
        a.src_scale = src + scales + (steps[i].op == OP_DECODE_INT4_ZERO ? (elems / 16 * 4 + 255) / 256 * 256 : 0);
        a.dst = d.dst;
        a.dst_scale = d.dst_scale;
        a.block_amax = d.block_amax;
        a.dst_f32 = chooses(steps[i].op) ? d.block_amax : d.dst_f32;
        kernel_for(steps[i].op, isa)(&a);
    }
    return d;
}

static void direct_free(struct direct *d)
{
    free(d->dst);
    free(d->dst_scale);
    free(d->dst_f32);
    free(d->block_amax);
}

static void same(const void *got, const void *want, uint64_t n, const char *what)
{
    if (memcmp(got, want, n) != 0) check_bytes(got, want, n, what);
}

/* One submit on a lane whose results were zero. */
static void check_steps(struct lane *l, const struct lane_step *steps, uint32_t n, uint64_t isa)
{
    memset(l->dst, 0, room.dst);
    memset(l->dst_scale, 0, room.dst_scale);
    memset(l->dst_f32, 0, room.dst_f32);
    CHECK_OK(backend_cpu.submit(l, steps, n, true, e_));
    CHECK_OK(backend_cpu.wait(l, e_));
    struct direct d = direct_run(l->src, steps, n, isa);
    same(l->dst, d.dst, room.dst, op_name(steps[n - 1].op));
    same(l->dst_scale, d.dst_scale, room.dst_scale, op_name(steps[n - 1].op));
    same(l->dst_f32, d.dst_f32, room.dst_f32, op_name(steps[n - 1].op));
    bool written = false; /* the first rows are never all zero */
    for (uint64_t i = 0; i < 64; i++) written |= l->dst[i] || l->dst_f32[i] != 0;
    assert_true(written || steps[0].args.n_rows == 0 || steps[0].args.n_cols == 0);
    direct_free(&d);
}

static void check_op(struct lane *l, enum op op, enum dtype dtype, uint64_t rows, uint64_t cols, uint64_t isa)
{
    struct lane_step steps[2] = {{op, {.n_rows = rows,
                                       .n_cols = cols,
                                       .dtype = dtype,
                                       .scale = 3e-4f,
                                       .amax = 0.5f,
                                       .static_max = op == OP_FOUR_SIX_NVFP4 ? 256.0f : 448.0f,
                                       .rounding = FP8_MODELOPT_CPU,
                                       .form = FP8_SCALE_UE8M0,
                                       .mxfp4_rule = MXFP4_OCP,
                                       .group = 16,
                                       .blocks = DTYPE_Q4_0}}};
    steps[1] = steps[0];
    if (op == OP_ENCODE_NVFP4_STATIC) return; /* comes behind those that choose */
    steps[1].op = OP_ENCODE_NVFP4_STATIC;
    check_steps(l, steps, chooses(op) ? 2 : 1, isa);
}

static const struct {
    uint64_t rows, cols;
} shapes[] = {{0, 16}, {3, 0}, {1, 16}, {1, 4096}, {77, 48}, {257, 1024}, {200, 2048}, {8192, 32}};

/* The search is slow: its largest shape once, shared by several tasks, and none of them with the plain kernel. */
static void check_shapes(struct lane *l, enum op op, enum dtype dtype, uint64_t isa)
{
    uint64_t most = op != OP_SWEEP_NVFP4 ? ELEMS : !isa ? 4096 : dtype == DTYPE_BF16 ? 257 * 1024 : 77 * 48;
    fill(l->src, op, dtype);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        if (shapes[s].rows * shapes[s].cols <= most && shapes[s].cols % block_of(op) == 0)
            check_op(l, op, dtype, shapes[s].rows, shapes[s].cols, isa);
}

static void test_same_as_kernels(void **state)
{
    (void)state;
    static const uint64_t isas[] = {0, ISA_AVX2, ISA_AVX2 | ISA_AVX512};
    static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct pool *pool;
        CHECK_OK(pool_open(&pool, threads, e_));
        for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
            if (isas[i] & ~isa_detected()) continue;
            struct backend *be = cpu(pool, isas[i]);
            struct lane *l;
            CHECK_OK(backend_cpu.lane_open(&l, be, &room, e_));
            for (int op = 0; op < OP_COUNT; op++)
                for (size_t d = 0; d < (reads_dtype((enum op)op) ? 3 : 1); d++)
                    check_shapes(l, (enum op)op, reads_dtype((enum op)op) ? dtypes[d] : DTYPE_F32, isas[i]);
            backend_cpu.lane_close(l);
            backend_cpu.close(be);
        }
        pool_close(pool);
    }
}

/* One upload, two submits: what measures a tensor leaves its source for what encodes it. */
static void test_source_stays(void **state)
{
    (void)state;
    struct backend *be = cpu(NULL, isa_detected());
    struct lane *l;
    struct lane_step amax = {OP_AMAX, {.n_rows = 16, .n_cols = 64, .dtype = DTYPE_BF16}};
    CHECK_OK(backend_cpu.lane_open(&l, be, &room, e_));
    CHECK_OK(backend_cpu.wait(l, e_)); /* nothing was submitted */
    fill(l->src, OP_AMAX, DTYPE_BF16);
    CHECK_OK(backend_cpu.submit(l, &amax, 1, true, e_));
    CHECK_OK(backend_cpu.wait(l, e_));
    struct lane_step encode = {OP_ENCODE_FP8, {.n_rows = 16, .n_cols = 64, .dtype = DTYPE_BF16, .scale = 1e-3f}};
    CHECK_OK(backend_cpu.submit(l, &encode, 1, false, e_));
    CHECK_OK(backend_cpu.wait(l, e_));
    struct direct d = direct_run(l->src, &encode, 1, isa_detected());
    check_bytes(l->dst, d.dst, 16 * 64, "encoded from a source that stayed");
    direct_free(&d);
    backend_cpu.lane_close(l);
    backend_cpu.close(be);
}

static void test_room(void **state)
{
    (void)state;
    struct backend *be = cpu(NULL, 0);
    struct lane *l;
    CHECK_OK(backend_cpu.lane_open(&l, be, &(struct lane_sizes){.src = 100, .dst = 50, .dst_f32 = 8}, e_));
    struct kernel_args a = {.n_rows = 3, .n_cols = 16, .dtype = DTYPE_BF16, .scale = 1};
    CHECK_OK(backend_cpu.submit(l, &(struct lane_step){OP_ENCODE_FP8, a}, 1, true, e_));
    static const enum op too_large[] = {OP_AMAX,           OP_WIDEN,          OP_ENCODE_NVFP4,       OP_DECODE_NVFP4,
                                        OP_SWEEP_NVFP4,    OP_FOUR_SIX_NVFP4, OP_ENCODE_FP8_CHANNEL, OP_DECODE_FP8_BLOCK,
                                        OP_DECODE_INT4_ZERO};
    for (size_t i = 0; i < sizeof too_large / sizeof *too_large; i++)
        CHECK_FAILS(backend_cpu.submit(l, &(struct lane_step){too_large[i], a}, 1, true, e_), ERR_INTERNAL,
                    "larger than its lane");
    a.n_rows = UINT64_MAX / 8;
    CHECK_FAILS(backend_cpu.submit(l, &(struct lane_step){OP_ENCODE_FP8, a}, 1, true, e_), ERR_INTERNAL, "larger");
    backend_cpu.lane_close(l);
    backend_cpu.lane_close(NULL);
    backend_cpu.close(be);
    backend_cpu.close(NULL);
}

static void test_find(void **state)
{
    (void)state;
    struct backend_choice c;
    char why[256] = "";
    CHECK_OK(backend_find("cpu", &c, e_));
    assert_ptr_equal(c.ops, &backend_cpu);
    assert_true(c.first == 0 && c.n == 1 && !c.is_auto);
    CHECK_OK(backend_find("cpu:0", &c, e_));
    assert_true(c.ops == &backend_cpu && c.first == 0 && c.n == 1);
    const struct backend_ops *best = backends[0];
    for (uint32_t i = 0; backends[i]->devices(why, sizeof why) == 0; i++) best = backends[i + 1];
    static const char *const any[] = {NULL, "auto"};
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(backend_find(any[i], &c, e_));
        assert_ptr_equal(c.ops, best);
        assert_true(c.is_auto && c.first == 0 && c.n >= 1);
    }
    CHECK_FAILS(backend_find("cpu:1", &c, e_), ERR_DEVICE, "there is no device 1");
    CHECK_FAILS(backend_find("cpu:999", &c, e_), ERR_DEVICE, "there is no device 999");
    static const char *const no_number[] = {"cpu:", "cpu:x", "cpu:0x", "cpu:-1", "cpu:+0", "cpu: 0", "cpu:4294967296"};
    for (size_t i = 0; i < sizeof no_number / sizeof *no_number; i++)
        CHECK_FAILS(backend_find(no_number[i], &c, e_), ERR_USAGE, "expected the number of a device");
    static const char *const unknown[] = {"", "gpu", "CPU", "cp", "cpux", "auto:0", ":0", "cuda2"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK_FAILS(backend_find(unknown[i], &c, e_), ERR_USAGE, "there is no backend");
    for (const struct backend_ops *const *b = backends; *b; b++) {
        if ((*b)->devices(why, sizeof why)) continue;
        CHECK_FAILS(backend_find((*b)->name, &c, e_), ERR_DEVICE, "is not available: ");
        assert_true(strlen(why) > 10 && why[strlen(why) - 1] != '.');
    }
}

/* The list ends with the CPU, which has every operation and says what it is. */
static void test_list(void **state)
{
    (void)state;
    uint32_t n = 0;
    while (backends[n]) n++;
    assert_ptr_equal(backends[n - 1], &backend_cpu);
    for (int op = 0; op < OP_COUNT; op++) assert_true(backend_cpu.has_op((enum op)op));
    struct backend *be = cpu(NULL, 0);
    struct backend_device d;
    CHECK_OK(backend_cpu.describe(be, &d, e_));
    assert_string_equal(d.name, "scalar");
    assert_true(d.memory == 0);
    backend_cpu.close(be);
    CHECK_FAILS(backend_cpu.open(&be, 1, &(struct backend_config){0}, e_), ERR_DEVICE, "no device 1");
    assert_null(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_kernels), cmocka_unit_test(test_source_stays), cmocka_unit_test(test_room),
        cmocka_unit_test(test_find),            cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
