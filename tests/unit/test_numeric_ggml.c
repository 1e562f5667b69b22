/* ggml's blocks against ggml's own reference functions (tests/vectors/ggml), with every instruction set of this machine; NVFP4's
 * order of nibbles there and back. */
#include "tests/checks.h"

#include "backends/cpu/kernel.h"
#include "core/file.h"
#include "core/json.h"
#include "formats/ggml_type.h"
#include "numeric/ggml_nvfp4.h"

#include <fcntl.h>

static const uint64_t isas[] = {0, ISA_AVX2, ISA_AVX2 | ISA_AVX512, ISA_NEON};

static size_t unhex(const char *hex, void *dst, size_t max)
{
    uint8_t *out = dst;
    size_t n = strlen(hex) / 2;
    assert_true(n <= max);
    for (size_t i = 0; i < n; i++) {
        unsigned b;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &b), 1);
        out[i] = (uint8_t)b;
    }
    return n;
}

static enum dtype type_named(const char *name)
{
    for (uint32_t id = 0; id < 64; id++) {
        const struct ggml_type *t = ggml_type_find(id);
        if (t && strcmp(dtype_name(t->dtype), name) == 0) return t->dtype;
    }
    fail_msg("no type %s", name);
    return DTYPE_COUNT;
}

static json_t *load(void)
{
    CLEANUP_BUFFER struct buffer text = {0};
    json_t *doc = NULL;
    CHECK_OK(file_load(AT_FDCWD, "tests/vectors/ggml/ggml.json", 1 << 20, &text, e_));
    CHECK_OK(json_parse(buffer_view(&text), JSON_DIALECT_STRICT, "ggml.json", &doc, e_));
    return doc;
}

static void check_all(const json_t *blocks, bool encode, size_t least)
{
    assert_true(json_array_size(blocks) >= least);
    for (size_t i = 0; i < json_array_size(blocks); i++) {
        const json_t *b = json_array_get(blocks, i);
        const char *name = json_string_value(json_object_get(b, "type"));
        float w[256], f32[256];
        uint8_t packed[256], bytes[256];
        char what[96];
        enum dtype type = type_named(name);
        uint32_t n = dtype_block_elems(type), size = dtype_block_bytes(type);
        assert_int_equal(unhex(json_string_value(json_object_get(b, "f32")), w, sizeof w), n * sizeof *w);
        assert_int_equal(unhex(json_string_value(json_object_get(b, "bytes")), packed, sizeof packed), size);
        for (size_t k = 0; k < sizeof isas / sizeof *isas; k++) {
            if (isas[k] & ~isa_detected()) continue;
            snprintf(what, sizeof what, "%s %s, block %zu, %s", encode ? "encode" : "decode", name, i, isa_name(isas[k]));
            struct kernel_args a = {.n_rows = 1, .n_cols = n, .dtype = DTYPE_F32, .blocks = type, .scale = 1};
            a.src = encode ? (const void *)w : packed;
            a.dst = bytes;
            a.dst_f32 = f32;
            kernel_for(encode ? OP_ENCODE_GGML : OP_DECODE_GGML, isas[k])(&a);
            if (encode) check_bytes(bytes, packed, size, what);
            else check_bytes(f32, w, n * sizeof *w, what);
        }
    }
}

static void test_encode(void **state)
{
    (void)state;
    CLEANUP(json) json_t *doc = load();
    check_all(json_object_get(doc, "encode"), true, 60);
}

static void test_decode(void **state)
{
    (void)state;
    CLEANUP(json) json_t *doc = load();
    check_all(json_object_get(doc, "decode"), false, 39);
}

/* Any bytes: packing undoes unpacking, and both orders name the same numbers. */
static void test_nvfp4(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int round = 0; round < 1000; round++) {
        uint8_t block[36], codes[32], scales[4], back[36];
        float ours[64], theirs[64];
        for (int i = 0; i < 36; i++) block[i] = (uint8_t)check_random(&seed);
        for (int g = 0; g < 4; g++) block[g] = (uint8_t)(1 + (block[g] & 0x7F) % 0x7D);
        ggml_nvfp4_unpack(block, codes, scales);
        ggml_nvfp4_pack(codes, scales, back);
        check_bytes(back, block, 36, "packed again");
        for (uint32_t g = 0; g < 4; g++) nvfp4_decode_block(codes + 8 * g, scales[g], 1.0f, ours + 16 * g);
        ggml_nvfp4_decode_block(block, 1.0f, theirs);
        for (int i = 0; i < 64; i++) assert_true(ours[i] == theirs[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_nvfp4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
