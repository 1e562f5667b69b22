/* The CUDA backend through its lanes: the scalar kernels' bytes, for every sequence of steps that quantizing uses; and,
 * on the fake runtime of `make test`, what it says and gives back when something is missing or fails. */
#include "tests/checks.h"

#include "backends/backend.h"
#include "backends/cpu/kernel.h"
#include "core/dtype.h"

#ifdef FAKE_CUDA
#include "tests/cuda/fake_runtime.h"
#endif

#define ROWS 24u
#define COLS 288u
#define ELEMS ((uint64_t)ROWS * COLS)

static const struct lane_sizes room = {
    .src = 4 * ELEMS + 512, .dst = ELEMS, .dst_scale = ELEMS / 16, .dst_f32 = 4 * ELEMS, .block_amax = ELEMS / 4};

static void start(void)
{
#ifdef FAKE_CUDA
    fake_reset();
#endif
}

static struct backend *opened(void)
{
    struct backend *be = NULL;
    CHECK_OK(backend_cuda.open(&be, 0, &(struct backend_config){0}, e_));
    return be;
}

static struct lane *lane_of(struct backend *be)
{
    struct lane *l = NULL;
    CHECK_OK(backend_cuda.lane_open(&l, be, &room, e_));
    memset(l->dst, 0x11, room.dst), memset(l->dst_scale, 0x11, room.dst_scale), memset(l->dst_f32, 0x11, room.dst_f32);
    return l;
}

static void fill(uint8_t *src, enum op op, uint64_t seed)
{
    for (uint64_t i = 0; i < ELEMS + 128; i++) { /* bf16 or f32 of both signs up to 4, or any codes */
        uint32_t r = (uint32_t)check_random(&seed);
        uint16_t h = (uint16_t)(r & 0x807F) | (uint16_t)(0x3C00 + (r >> 16) % 0x480);
        uint32_t f = (uint32_t)h << 16 | (r >> 16 & 0xFFFFu);
        if (op == OP_DECODE_NVFP4 || op == OP_DECODE_FP8 || op == OP_INPUT_NVFP4 || op == OP_INPUT_FP8)
            memcpy(src + 4 * i, &f, 4);
        else memcpy(src + 2 * i, &h, 2);
    }
}

struct sequence {
    const char *name;
    uint32_t n;
    enum op ops[LANE_STEPS_MAX];
};
static const struct sequence sequences[] = {
    {"amax", 1, {OP_AMAX}},
    {"nvfp4", 2, {OP_AMAX, OP_ENCODE_NVFP4}},
    {"sweep", 2, {OP_SWEEP_NVFP4, OP_ENCODE_NVFP4_STATIC}},
    {"four six", 2, {OP_FOUR_SIX_NVFP4, OP_ENCODE_NVFP4_STATIC}},
    {"range", 2, {OP_RANGE_NVFP4, OP_ENCODE_NVFP4_STATIC}},
    {"fp8", 1, {OP_ENCODE_FP8}},
    {"fp8 channel", 1, {OP_ENCODE_FP8_CHANNEL}},
    {"fp8 block", 1, {OP_ENCODE_FP8_BLOCK}},
    {"mxfp4", 1, {OP_ENCODE_MXFP4}},
    {"mxfp8", 1, {OP_ENCODE_MXFP8}},
    {"int4", 1, {OP_ENCODE_INT4}},
    {"int4 zero", 1, {OP_ENCODE_INT4_ZERO}},
    {"widen", 1, {OP_WIDEN}},
    {"decode nvfp4", 1, {OP_DECODE_NVFP4}},
    {"decode fp8", 1, {OP_DECODE_FP8}},
    {"input nvfp4", 1, {OP_INPUT_NVFP4}},
    {"input fp8", 1, {OP_INPUT_FP8}},
};
#define N_SEQUENCES (sizeof sequences / sizeof *sequences)

static uint32_t steps_of(const struct sequence *s, struct lane_step steps[LANE_STEPS_MAX], uint32_t n_rows)
{
    for (uint32_t i = 0; i < s->n; i++)
        steps[i] = (struct lane_step){.op = s->ops[i],
                                      .args = {.n_rows = n_rows,
                                               .n_cols = COLS,
                                               .dtype = DTYPE_BF16,
                                               .scale = 0.0015f,
                                               .amax = 4.0f,
                                               .static_max = s->ops[0] == OP_FOUR_SIX_NVFP4 ? 256.0f : 448.0f,
                                               .range_start = 0.5f,
                                               .range_stop = 2.0f,
                                               .range_count = 7,
                                               .group = 16,
                                               .rounding = FP8_MODELOPT_CPU}};
    return s->n;
}

/* What the scalar kernels give for the same source, beside the 0x11 that lane_of put everywhere. */
struct plain {
    uint8_t *dst, *dst_scale;
    float *dst_f32, *block_amax;
};

static struct plain plain_new(void)
{
    struct plain p = {malloc(room.dst), malloc(room.dst_scale), malloc(room.dst_f32), malloc(room.block_amax)};
    memset(p.dst, 0x11, room.dst), memset(p.dst_scale, 0x11, room.dst_scale), memset(p.dst_f32, 0x11, room.dst_f32);
    return p;
}

static void plain_free(struct plain *p)
{
    free(p->dst), free(p->dst_scale), free(p->dst_f32), free(p->block_amax);
}

static void plain_run(struct plain *p, const uint8_t *src, const struct lane_step *steps, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        bool chooses = steps[i].op == OP_SWEEP_NVFP4 || steps[i].op == OP_FOUR_SIX_NVFP4 || steps[i].op == OP_RANGE_NVFP4;
        struct kernel_args a = steps[i].args;
        a.src = src, a.src_scale = src + lane_src_scale_at(&a), a.block_amax = p->block_amax;
        a.dst = p->dst, a.dst_scale = p->dst_scale, a.dst_f32 = chooses ? p->block_amax : p->dst_f32;
        kernel_for(steps[i].op, 0)(&a);
    }
}

static void same_results(const struct lane *got, const struct plain *want, const char *name)
{
    check_bytes(got->dst, want->dst, room.dst, name);
    check_bytes(got->dst_scale, want->dst_scale, room.dst_scale, name);
    check_bytes(got->dst_f32, want->dst_f32, room.dst_f32, name);
}

static void test_same_as_scalar(void **state)
{
    (void)state;
    start();
    struct backend *gpu = opened();
    for (size_t i = 0; i < N_SEQUENCES; i++) {
        struct lane *l = lane_of(gpu);
        struct plain want = plain_new();
        struct lane_step steps[LANE_STEPS_MAX];
        fill(l->src, sequences[i].ops[0], 5 + i);
        for (uint32_t n_rows = ROWS;; n_rows /= 3) { /* fewer rows of the same source: no upload; at last none */
            uint32_t n = steps_of(&sequences[i], steps, n_rows);
            CHECK_OK(backend_cuda.submit(l, steps, n, n_rows == ROWS || sequences[i].ops[0] == OP_DECODE_NVFP4, e_));
            plain_run(&want, l->src, steps, n);
            CHECK_OK(backend_cuda.wait(l, e_));
            same_results(l, &want, sequences[i].name);
            if (n_rows == 0) break;
        }
        backend_cuda.lane_close(l);
        plain_free(&want);
    }
    backend_cuda.close(gpu);
}

/* Three lanes at work at once, waited for in another order. */
static void test_lanes_at_once(void **state)
{
    (void)state;
    start();
    struct backend *gpu = opened();
    struct lane *lanes[3];
    struct plain want[3];
    struct lane_step steps[LANE_STEPS_MAX];
    for (uint32_t i = 0; i < 3; i++) {
        lanes[i] = lane_of(gpu), want[i] = plain_new();
        fill(lanes[i]->src, OP_AMAX, 100 + i);
        uint32_t n = steps_of(&sequences[1 + i], steps, ROWS);
        CHECK_OK(backend_cuda.submit(lanes[i], steps, n, true, e_));
        plain_run(&want[i], lanes[i]->src, steps, n);
    }
    for (uint32_t i = 3; i-- > 0;) {
        CHECK_OK(backend_cuda.wait(lanes[i], e_));
        CHECK_OK(backend_cuda.wait(lanes[i], e_)); /* nothing is left to wait for */
        same_results(lanes[i], &want[i], "three lanes");
        backend_cuda.lane_close(lanes[i]);
        plain_free(&want[i]);
    }
    backend_cuda.close(gpu);
}

static void test_too_large(void **state)
{
    (void)state;
    start();
    struct backend *gpu = opened();
    struct lane *l = lane_of(gpu);
    for (size_t i = 0; i < N_SEQUENCES; i++) {
        static const uint64_t rows[] = {100 * ROWS, UINT64_MAX / COLS, UINT64_MAX};
        for (size_t r = 0; r < 3; r++) {
            struct lane_step steps[LANE_STEPS_MAX];
            uint32_t n = steps_of(&sequences[i], steps, ROWS);
            steps[n - 1].args.n_rows = rows[r];
            CHECK_FAILS(backend_cuda.submit(l, steps, n, true, e_), ERR_INTERNAL, "is larger than its lane");
        }
    }
    CHECK_OK(backend_cuda.wait(l, e_));
    backend_cuda.lane_close(l);
    backend_cuda.lane_close(NULL);
    backend_cuda.close(gpu);
    backend_cuda.close(NULL);
}

#ifdef FAKE_CUDA

static void nothing_left(const char *after)
{
    if (fake.used || fake.host || fake.streams || fake.events)
        fail_msg("after %s: %zu bytes, %d host areas, %d streams, %d events are left", after, fake.used, fake.host,
                 fake.streams, fake.events);
}

/* Why there is no device, and which of several can be used. */
static void test_devices(void **state)
{
    (void)state;
    static const struct {
        int driver, n_devices, sm[4];
        const char *fail_call;
        uint32_t n;
        const char *why;
    } cases[] = {
        {13000, 1, {90}, NULL, 1, ""},
        {13050, 2, {90, 100}, NULL, 2, ""},
        {14000, 1, {80}, NULL, 1, ""},
        {0, 0, {0}, NULL, 0, "no NVIDIA driver is installed"},
        {12080,
         1,
         {90},
         NULL,
         0,
         "the NVIDIA driver is made for CUDA 12.8, and this program, built with CUDA 13.5, needs one for CUDA 13.0 or "
         "newer"},
        {13000, 0, {0}, NULL, 0, "the driver finds no GPU"},
        {13000, 1, {75}, NULL, 0, "'Fake GPU 0' is sm_75, and this program needs sm_80 or newer"},
        {13000, 3, {70, 90, 75}, NULL, 1, ""},
        {13000, 1, {90}, "cudaGetDeviceCount", 0, "the driver cannot list GPUs: unknown error"},
        {13000, 1, {90}, "cudaDriverGetVersion", 0,
         "the NVIDIA driver does not say its version: unknown error"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[256] = "";
        fake_reset();
        fake.driver = cases[i].driver, fake.n_devices = cases[i].n_devices;
        memcpy(fake.sm, cases[i].sm, sizeof fake.sm);
        fake.fail_call = cases[i].fail_call, fake.fail_with = cudaErrorUnknown;
        assert_int_equal(backend_cuda.devices(why, sizeof why), cases[i].n);
        if (cases[i].n == 0) assert_string_equal(why, cases[i].why);
    }
    fake_reset();
    fake.n_devices = 3, fake.sm[0] = 70, fake.sm[2] = 75;
    struct backend *be = opened();
    struct backend_device d;
    CHECK_OK(backend_cuda.describe(be, &d, e_));
    assert_string_equal(d.name, "Fake GPU 1"); /* device 0 of the backend is the first that can be used */
    assert_true(d.memory == 1u << 30 && d.unused == 1u << 30);
    backend_cuda.close(be);
    CHECK_FAILS(backend_cuda.open(&be, 1, &(struct backend_config){0}, e_), ERR_DEVICE, "there is no device 1");
    assert_null(be);
    fake.fail_call = "cudaFuncGetAttributes", fake.fail_with = cudaErrorNoKernelImageForDevice;
    CHECK_FAILS(backend_cuda.open(&be, 0, &(struct backend_config){0}, e_), ERR_DEVICE,
                "'Fake GPU 1' is sm_90, and this program has code for sm_");
}

static void test_memory(void **state)
{
    (void)state;
    fake_reset();
    struct backend *gpu = opened();
    struct lane *l = NULL, *second = NULL;
    const struct lane_sizes large = {.src = 500u << 20, .dst = 200u << 20, .dst_scale = 20u << 20};
    CHECK_OK(backend_cuda.lane_open(&l, gpu, &large, e_));
    CHECK_FAILS(
        backend_cuda.lane_open(&second, gpu, &large, e_), ERR_DEVICE,
        "'Fake GPU 0': a lane needs 720.00 MiB of its memory; the next 500.00 MiB of that do not fit: 304.00 MiB "
        "of 1.00 GiB are free");
    assert_null(second);
    assert_int_equal(fake.used, 720u << 20);                   /* the first is whole, of the second nothing is left */
    CHECK_OK(backend_cuda.lane_open(&second, gpu, &room, e_)); /* a smaller one still fits */
    backend_cuda.lane_close(second);
    backend_cuda.lane_close(l);
    backend_cuda.close(gpu);
    nothing_left("lanes");
}

/* Every call of the runtime that a run makes fails once, the first and a later time. */
static void test_every_call_fails(void **state)
{
    (void)state;
    static const char *const calls[] = {
        "cudaSetDevice",
        "cudaDeviceGetAttribute",
        "cudaFuncGetAttributes",
        "cudaStreamCreateWithFlags",
        "cudaEventCreateWithFlags",
        "cudaMalloc",
        "cudaHostAlloc",
        "cudaMemcpyAsync",
        "cudaMemsetAsync",
        "cudaLaunchKernel",
        "cudaEventRecord",
        "cudaEventSynchronize",
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (int after = 0; after < 3; after++) {
            struct error err = ERROR_INIT;
            struct backend *gpu = NULL;
            struct lane *l = NULL;
            struct lane_step steps[LANE_STEPS_MAX];
            fake_reset();
            fake.fail_call = calls[i], fake.fail_after = after, fake.fail_with = cudaErrorUnknown;
            bool ok = backend_cuda.open(&gpu, 0, &(struct backend_config){0}, &err) &&
                      backend_cuda.lane_open(&l, gpu, &room, &err);
            for (int round = 0; ok && round < 3; round++) {
                memset(l->src, 0, room.src);
                ok = backend_cuda.submit(l, steps, steps_of(&sequences[1], steps, ROWS), true, &err) &&
                     backend_cuda.wait(l, &err);
            }
            bool looked_at_later = strcmp(calls[i], "cudaDeviceGetAttribute") == 0 && after < 2;
            if (ok && fake.fail_call == NULL) fail_msg("%s failed and nobody said so", calls[i]);
            if (!ok && (err.code != ERR_DEVICE || !*err.text)) fail_msg("%s: '%s'", calls[i], err.text);
            if (!ok && !looked_at_later && !strstr(err.text, "unknown error")) fail_msg("%s: '%s'", calls[i], err.text);
            backend_cuda.lane_close(l);
            backend_cuda.close(gpu);
            nothing_left(calls[i]);
        }
}

static void test_kernel_error(void **state)
{
    (void)state;
    fake_reset();
    struct backend *gpu = opened();
    struct lane *l = lane_of(gpu);
    struct lane_step steps[LANE_STEPS_MAX];
    memset(l->src, 0, room.src);
    fake.fail_run = 1;
    CHECK_OK(backend_cuda.submit(l, steps, steps_of(&sequences[2], steps, ROWS), true, e_));
    CHECK_FAILS(backend_cuda.wait(l, e_), ERR_DEVICE,
                "'Fake GPU 0': sweep_nvfp4, encode_nvfp4_static: an illegal memory access was encountered");
    CHECK_FAILS(backend_cuda.submit(l, steps, 1, true, e_), ERR_DEVICE, "an illegal memory access");
    backend_cuda.lane_close(l);
    backend_cuda.close(gpu);
    nothing_left("an error of a kernel");
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_scalar),   cmocka_unit_test(test_lanes_at_once),
        cmocka_unit_test(test_too_large),
#ifdef FAKE_CUDA
        cmocka_unit_test(test_devices),          cmocka_unit_test(test_memory),
        cmocka_unit_test(test_every_call_fails), cmocka_unit_test(test_kernel_error),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
