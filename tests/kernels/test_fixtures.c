/* Quantized fixtures that another program wrote (make_fixtures.py with PyTorch): decoded by our kernels and encoded
 * again, every byte comes back. That fixes the layout of codes and scales, ragged edges included, and the rules of the
 * encoders. Needs the shared fixtures; without them this is skipped. */
#include "tests/checks.h"
#include "tests/kernels/source.h"

#include "backends/cpu/kernel.h"
#include "numeric/fp8_scaled.h"

static bool open_fixture(struct source *s, const char *name)
{
    const char *shared = check_shared();
    char folder[PATH_SIZE];
    if (!shared) return false;
    snprintf(folder, sizeof folder, "%s/fixtures/%s", shared, name);
    *s = (struct source){.n = 0};
    source_open(s, folder);
    return true;
}

/* DeepSeek's blocks of 128 x 128 with fp32 scales; the fixture's weights are no multiples of 128. The maximum 448 * s
 * was rounded once, so that dividing it by 448 may miss s by one unit; the codes are the same. */
static void test_fp8_block(void **state)
{
    (void)state;
    struct source s;
    unsigned n = 0, ragged = 0;
    if (!open_fixture(&s, "deepseek_v3_fp8")) skip();
    for (uint32_t i = 0; i < s.n; i++) {
        const char *name;
        json_t *t;
        json_object_foreach(s.header[i], name, t) {
            char scale_name[PATH_SIZE];
            struct weight w, scale;
            snprintf(scale_name, sizeof scale_name, "%s_scale_inv", name);
            if (!source_find(&s, scale_name, &scale) || !source_find(&s, name, &w)) continue;
            uint64_t elements = w.rows * w.cols, scales = scale.rows * scale.cols;
            assert_true(scale.rows == (w.rows + 127) / 128 && scale.cols == (w.cols + 127) / 128);
            float *f32 = malloc(4 * elements), *new_scale = malloc(4 * scales);
            uint8_t *codes = malloc(elements);
            struct kernel_args d = {.n_rows = w.rows, .n_cols = w.cols, .src = w.data, .dst_f32 = f32,
                                    .src_scale_f32 = (const float *)(const void *)scale.data};
            struct kernel_args e = {.n_rows = w.rows, .n_cols = w.cols, .src = f32, .dtype = DTYPE_F32, .dst = codes,
                                    .dst_f32 = new_scale};
            kernel_for(OP_DECODE_FP8_BLOCK, isa_detected())(&d);
            kernel_for(OP_ENCODE_FP8_BLOCK, isa_detected())(&e);
            check_bytes(codes, w.data, elements, name);
            for (uint64_t k = 0; k < scales; k++) {
                int32_t off = (int32_t)load_le32(scale.data + 4 * k) - (int32_t)f32_bits(new_scale[k]);
                if (off < -1 || off > 1) fail_msg("%s: scale %u is off by %d units", name, (unsigned)k, off);
            }
            n++, ragged += w.rows > 128 && w.rows % 128 && w.cols > 128 && w.cols % 128;
            free(f32), free(new_scale), free(codes);
        }
    }
    source_close(&s);
    print_message("# %u weights in FP8 blocks come back, %u of them ragged both ways\n", n, ragged);
    assert_true(n > 20 && ragged > 5);
}

/* GPT-OSS: blocks [experts, rows, cols/32, 16] and scales [experts, rows, cols/32], by the OCP rule. */
static void test_mxfp4(void **state)
{
    (void)state;
    struct source s;
    unsigned n = 0;
    if (!open_fixture(&s, "gpt_oss_mxfp4")) skip();
    for (uint32_t i = 0; i < s.n; i++) {
        const char *name;
        json_t *t;
        json_object_foreach(s.header[i], name, t) {
            char scale_name[PATH_SIZE];
            struct weight w, scale;
            size_t stem = strlen(name);
            if (stem < 7 || strcmp(name + stem - 7, "_blocks") != 0) continue;
            snprintf(scale_name, sizeof scale_name, "%.*s_scales", (int)(stem - 7), name);
            assert_true(source_find(&s, scale_name, &scale) && source_find(&s, name, &w));
            uint64_t blocks = w.rows;
            assert_true(w.cols == 16 && blocks == scale.rows * scale.cols);
            float *f32 = malloc(4 * 32 * blocks);
            uint8_t *packed = malloc(16 * blocks), *bytes = malloc(blocks);
            struct kernel_args d = {.n_rows = 1, .n_cols = 32 * blocks, .src = w.data, .src_scale = scale.data,
                                    .dst_f32 = f32};
            struct kernel_args e = {.n_rows = 1, .n_cols = 32 * blocks, .src = f32, .dtype = DTYPE_F32,
                                    .mxfp4_rule = MXFP4_OCP, .dst = packed, .dst_scale = bytes};
            kernel_for(OP_DECODE_MXFP4, isa_detected())(&d);
            kernel_for(OP_ENCODE_MXFP4, isa_detected())(&e);
            check_bytes(bytes, scale.data, blocks, scale_name);
            check_bytes(packed, w.data, 16 * blocks, name);
            n++;
            free(f32), free(packed), free(bytes);
        }
    }
    source_close(&s);
    print_message("# %u weights in MXFP4 come back\n", n);
    assert_true(n > 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fp8_block), cmocka_unit_test(test_mxfp4)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
