/* The encoders against ModelOpt itself: for every golden export, each quantized weight that has a plain source tensor
 * of the same name is encoded with the export's own tensor scale, by every instruction set, and its bytes are compared
 * by SHA-256. Needs the shared goldens and fixtures; without them this is skipped. (Shared scales of fused weights, and
 * fused source tensors, are the plan's matter and are tested with the quantize command.) */
#include "tests/checks.h"
#include "tests/kernels/source.h"

#include "backends/cpu/kernel.h"
#include "core/crypto.h"
#include "numeric/fp8.h"
#include "numeric/nvfp4.h"

static const json_t *part(const json_t *tensors, const char *name, const char *suffix)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s%s", name, suffix);
    return json_object_get(tensors, path);
}

static void check_digest(const uint8_t *data, size_t n, const json_t *want, const char *what)
{
    struct digest got, expected;
    CHECK_OK(sha256_of(bytes_of(data, n), &got, e_));
    assert_true(digest_parse(json_string_value(json_object_get(want, "sha256")), &expected));
    if (!digest_equal(&got, &expected)) fail_msg("%s: not the bytes of ModelOpt", what);
}

static float scalar_of(const json_t *t)
{
    return f32_from_bits((uint32_t)json_integer_value(json_object_get(t, "bits")));
}

enum { KIND_NVFP4, KIND_FP8_BF16, KIND_FP8_F32, KIND_MXFP4, KIND_COUNT };
struct tally { unsigned checked[KIND_COUNT], own_scale[KIND_COUNT]; };

/* A weight whose scales are bytes of an own tensor; they come from its blocks alone. */
static void check_mxfp4(const json_t *tensors, const char *name, const json_t *scales, const struct weight *w,
                        uint64_t isa, const char *golden)
{
    uint64_t n = w->rows * w->cols;
    uint8_t *packed = malloc(n / 2 + 1), *bytes = malloc(n / 32 + 1);
    char what[2 * PATH_SIZE + 40];
    snprintf(what, sizeof what, "%s: %s (%s)", golden, name, isa_name(isa));
    struct kernel_args a = {.n_rows = w->rows, .n_cols = w->cols, .src = w->data, .dtype = w->dtype,
                            .mxfp4_rule = MXFP4_MODELOPT, .dst = packed, .dst_scale = bytes};
    kernel_for(OP_ENCODE_MXFP4, isa)(&a);
    check_digest(bytes, n / 32, scales, what);
    check_digest(packed, n / 2, json_object_get(tensors, name), what);
    free(packed);
    free(bytes);
}

/* U8 scales: "weight_scale" beside "weight", or "x_weight_scale" beside the stacked experts' "x", which are quantized
 * along their last dimension as they are stored. NULL for anything else. */
static const json_t *mxfp4_scales(const json_t *tensors, const char *name)
{
    const json_t *s = part(tensors, name, "_scale");
    if (!s) s = part(tensors, name, "_weight_scale");
    const char *type = json_string_value(json_object_get(json_object_get(tensors, name), "dtype"));
    const char *scale_type = json_string_value(json_object_get(s, "dtype"));
    return scale_type && strcmp(type, "U8") == 0 && strcmp(scale_type, "U8") == 0 ? s : NULL;
}

/* One weight with one instruction set; -1 when it is not one of the two types or its scale is not a scalar. */
static int check_weight(const json_t *tensors, const char *name, const struct weight *w, uint64_t isa, float *scale,
                        const char *golden)
{
    const char *type = json_string_value(json_object_get(json_object_get(tensors, name), "dtype"));
    const json_t *scales = part(tensors, name, "_scale"), *scale_2 = part(tensors, name, "_scale_2");
    bool nvfp4 = strcmp(type, "U8") == 0 && json_object_get(scale_2, "bits");
    bool fp8 = strcmp(type, "F8_E4M3") == 0 && json_object_get(scales, "bits");
    if (!nvfp4 && !fp8) return -1;
    uint64_t n = w->rows * w->cols;
    uint8_t *packed = malloc(n + 1), *block_scales = malloc(n / 16 + 1);
    char what[2 * PATH_SIZE + 40];
    snprintf(what, sizeof what, "%s: %s (%s)", golden, name, isa_name(isa));
    *scale = scalar_of(nvfp4 ? scale_2 : scales);
    struct kernel_args a = {.n_rows = w->rows, .n_cols = w->cols, .src = w->data, .dtype = w->dtype, .scale = *scale,
                            .rounding = FP8_MODELOPT_CPU, .dst = packed, .dst_scale = block_scales};
    kernel_for(nvfp4 ? OP_ENCODE_NVFP4 : OP_ENCODE_FP8, isa)(&a);
    check_digest(packed, nvfp4 ? n / 2 : n, json_object_get(tensors, name), what);
    if (nvfp4) check_digest(block_scales, n / 16, scales, what);
    free(packed);
    free(block_scales);
    return nvfp4 ? KIND_NVFP4 : w->dtype == DTYPE_BF16 ? KIND_FP8_BF16 : KIND_FP8_F32;
}

static float weight_amax(const struct weight *w)
{
    float amax = 0;
    struct kernel_args a = {.n_rows = 1, .n_cols = w->rows * w->cols, .src = w->data, .dtype = w->dtype,
                            .dst_f32 = &amax};
    kernel_for(OP_AMAX, isa_detected())(&a);
    return amax;
}

static void check_golden(const char *path, const struct source *s, uint64_t isa, struct tally *tally)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *golden = NULL;
    json_t *tensors = NULL, *t;
    const char *name;
    CHECK_OK(file_load(AT_FDCWD, path, 1u << 26, &text, e_));
    CHECK_OK(json_parse(buffer_view(&text), JSON_DIALECT_HF, path, &golden, e_));
    CHECK_OK(json_get_object(golden, "tensors", path, &tensors, e_));
    json_object_foreach(tensors, name, t) {
        size_t n = strlen(name);
        struct weight w;
        float scale = 0;
        if (!source_find(s, name, &w)) continue;
        const json_t *bytes = mxfp4_scales(tensors, name);
        if (bytes && dtype_is_plain_float(w.dtype)) {
            check_mxfp4(tensors, name, bytes, &w, isa, path);
            tally->checked[KIND_MXFP4]++, tally->own_scale[KIND_MXFP4]++;
            continue;
        }
        if (n < 7 || strcmp(name + n - 7, ".weight") != 0) continue;
        if (w.n_dims != 2 || !dtype_is_plain_float(w.dtype)) continue;
        int kind = check_weight(tensors, name, &w, isa, &scale, path);
        if (kind < 0) continue;
        tally->checked[kind]++;
        /* The tensor scale is that of the weight itself or of a larger fused partner, never smaller. */
        float amax = weight_amax(&w), own = kind == KIND_NVFP4 ? nvfp4_tensor_scale(amax) : fp8_scale(amax);
        if (scale < own) fail_msg("%s: %s: scale %a, its own weights give %a", path, name, (double)scale, (double)own);
        tally->own_scale[kind] += f32_bits(scale) == f32_bits(own);
    }
}

static void check_isa(uint64_t isa)
{
    const char *shared = check_shared();
    char pattern[PATH_SIZE], folder[PATH_SIZE] = "", fixture[PATH_SIZE];
    glob_t g;
    if (!shared || (isa & ~isa_detected()) != 0) skip();
    snprintf(pattern, sizeof pattern, "%s/golden/modelopt/*/*.json", shared);
    if (glob(pattern, 0, NULL, &g) != 0) skip();
    struct source s = {.n = 0};
    struct tally tally = {{0}, {0}};
    for (size_t i = 0; i < g.gl_pathc; i++) {
        const char *end = strrchr(g.gl_pathv[i], '/'), *start = end;
        while (start[-1] != '/') start--;
        snprintf(fixture, sizeof fixture, "%s/fixtures/%.*s", shared, (int)(end - start), start);
        if (strcmp(fixture, folder) != 0) {
            source_close(&s);
            source_open(&s, fixture);
            strcpy(folder, fixture);
        }
        check_golden(g.gl_pathv[i], &s, isa, &tally);
    }
    source_close(&s);
    globfree(&g);
    for (int k = 0; k < KIND_COUNT; k++) {
        static const char *const names[KIND_COUNT] = {"NVFP4", "FP8 of bf16", "FP8 of f32", "MXFP4"};
        print_message("# %s: %u %s weights equal, %u with a scale of their own\n", isa_name(isa), tally.checked[k],
                      names[k],
                      tally.own_scale[k]);
        assert_true(tally.checked[k] > 20 && tally.own_scale[k] > 10);
    }
}

static void test_scalar(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scalar), cmocka_unit_test(test_avx2),
                                       cmocka_unit_test(test_avx512)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
