/* Q8_0 against ggml's own reference (tests/vectors/q8_0), and against a slow search for the nearest code. */
#include "tests/checks.h"

#include "core/file.h"
#include "core/json.h"
#include "numeric/q8_0.h"

#include <fcntl.h>
#include <math.h>

static size_t unhex(const char *hex, uint8_t *out, size_t max)
{
    size_t n = strlen(hex) / 2;
    assert_true(n <= max);
    for (size_t i = 0; i < n; i++) {
        unsigned b;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &b), 1);
        out[i] = (uint8_t)b;
    }
    return n;
}

static void test_vectors(void **state)
{
    (void)state;
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *doc = NULL;
    CHECK_OK(file_load(AT_FDCWD, "tests/vectors/q8_0/q8_0.json", 1 << 20, &text, e_));
    CHECK_OK(json_parse(buffer_view(&text), JSON_DIALECT_STRICT, "q8_0.json", &doc, e_));
    const json_t *blocks = json_object_get(doc, "blocks");
    assert_true(json_array_size(blocks) >= 16);
    for (size_t i = 0; i < json_array_size(blocks); i++) {
        const json_t *b = json_array_get(blocks, i);
        float w[32], back[32], decoded[32];
        uint8_t want[34], got[34];
        char what[32];
        unhex(json_string_value(json_object_get(b, "f32")), (uint8_t *)w, sizeof w);
        unhex(json_string_value(json_object_get(b, "back")), (uint8_t *)back, sizeof back);
        assert_int_equal(unhex(json_string_value(json_object_get(b, "q8_0")), want, 34), 34);
        q8_0_encode_block(w, got);
        snprintf(what, sizeof what, "block %zu", i);
        check_bytes(got, want, 34, what);
        q8_0_decode_block(want, decoded);
        check_bytes(decoded, back, sizeof back, what);
    }
}

/* roundf of the C library, which the header may not use. */
static void test_round(void **state)
{
    (void)state;
    for (float x = -128; x <= 128; x += 0x1p-9f) {
        float steps[] = {nextafterf(x, -1e9f), x, nextafterf(x, 1e9f)};
        for (int k = 0; k < 3; k++) {
            float r = roundf(steps[k]);
            int want = fabsf(steps[k]) >= 128 ? 0 : r > 127 ? 127 : (int)r;
            if (q8_0_round(steps[k]) != want)
                fail_msg("%a rounds to %d, expected %d", (double)steps[k], q8_0_round(steps[k]), want);
        }
    }
    assert_int_equal(q8_0_round(NAN), 0);
    assert_int_equal(q8_0_round(INFINITY), 0);
    assert_int_equal(q8_0_round(-INFINITY), 0);
}

/* Every code times every scale is exact in fp32, so that decoding is. */
static void test_decode_exact(void **state)
{
    (void)state;
    for (uint32_t d = 0; d < 0x7C00; d++) {
        uint8_t in[34] = {(uint8_t)d, (uint8_t)(d >> 8)};
        float out[32];
        for (int q = -128; q < 128; q += 32) {
            for (int k = 0; k < 32; k++) in[2 + k] = (uint8_t)(q + k);
            q8_0_decode_block(in, out);
            for (int k = 0; k < 32; k++)
                if ((double)out[k] != (double)f16_decode((uint16_t)d) * (q + k)) fail_msg("d %04x, code %d", d, q + k);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_round),
                                       cmocka_unit_test(test_decode_exact)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
