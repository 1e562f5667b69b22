#include "tests/checks.h"

#include "formats/hf_config.h"

static char dir[64];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, check_folder());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    check_folder_remove(dir);
    return 0;
}

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (!f || fwrite(text, 1, strlen(text), f) != strlen(text) || fclose(f) != 0) fail_msg("cannot write %s", path);
}

static bool open_config(struct hf_config *c, struct error *err)
{
    CLEANUP(folder) struct folder *f = NULL;
    return folder_open(&f, dir, err) && hf_config_open(c, f, err);
}

static void test_open(void **state)
{
    (void)state;
    struct hf_config c;
    put("config.json", "{\"time_step_limit\": [0.0, Infinity], \"x\": 1}\n");
    CHECK_OK(open_config(&c, e_));
    assert_null(c.generation);
    assert_null(c.tokenizer_config);
    assert_null(c.quant);
    assert_string_equal((char *)c.config_text.data, "{\"time_step_limit\": [0.0, Infinity], \"x\": 1}\n");
    double d;
    assert_true(json_number(json_array_get(json_object_get(c.config, "time_step_limit"), 1), &d) && d > 1e308);
    hf_config_close(&c);
    hf_config_close(&c);
    put("generation_config.json", "{\"a\":1}");
    put("tokenizer_config.json", "{\"b\":1}");
    put("hf_quant_config.json", "{\"c\":1}");
    CHECK_OK(open_config(&c, e_));
    assert_true(json_has(c.generation, "a") && json_has(c.tokenizer_config, "b") && json_has(c.quant, "c"));
    hf_config_close(&c);
}

static void test_refuses(void **state)
{
    (void)state;
    struct hf_config c;
    CHECK_FAILS(open_config(&c, e_), ERR_FORMAT, "file 'config.json' does not exist");
    static const char *const names[] = {"config.json", "generation_config.json", "tokenizer_config.json", "hf_quant_config.json"};
    static const struct { const char *text, *why; } rows[] = {
        {"", "ends too early"}, {"[]", "expected an object, found an array"}, {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{} {}", "text after the value"},
        {"{\"a\":+Infinity}", "not a JSON value"}, {"{\"a\":\"\xff\"}", "invalid UTF-8"}};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            put("config.json", "{}");
            put(names[i], rows[k].text);
            CHECK_FAILS(open_config(&c, e_), ERR_FORMAT, rows[k].why);
            struct error e = ERROR_INIT;
            assert_false(open_config(&c, &e));
            assert_non_null(strstr(e.text, names[i]));
            assert_null(c.config);
            put(names[i], "{}");
        }
}

static void test_token_ids(void **state)
{
    (void)state;
    static const struct { const char *config, *generation; uint32_t n, ids[3]; const char *why; } rows[] = {
        {"{}", NULL, 0, {0}, NULL},
        {"{\"eos_token_id\":2}", NULL, 1, {2}, NULL},
        {"{\"eos_token_id\":2}", "{\"eos_token_id\":[2,11]}", 2, {2, 11}, NULL},
        {"{\"eos_token_id\":[5,5,6]}", "{\"eos_token_id\":null}", 2, {5, 6}, NULL},
        {"{\"eos_token_id\":2}", "{}", 1, {2}, NULL},
        {"{\"text_config\":{\"eos_token_id\":7}}", NULL, 1, {7}, NULL},
        {"{\"llm_config\":{\"eos_token_id\":8}}", NULL, 1, {8}, NULL},
        {"{\"eos_token_id\":1,\"text_config\":{\"eos_token_id\":7}}", NULL, 1, {1}, NULL},
        {"{\"text_config\":3}", NULL, 0, {0}, NULL},
        {"{\"eos_token_id\":[]}", NULL, 0, {0}, NULL},
        {"{\"eos_token_id\":-1}", NULL, 0, {0}, "config.json: key 'eos_token_id': expected a token id, found -1"},
        {"{}", "{\"eos_token_id\":\"2\"}", 0, {0}, "generation_config.json: key 'eos_token_id': expected a token id, found \"2\""},
        {"{\"eos_token_id\":2.0}", NULL, 0, {0}, "expected a token id"},
        {"{\"eos_token_id\":Infinity}", NULL, 0, {0}, "expected a token id"},
        {"{\"eos_token_id\":[1,[2]]}", NULL, 0, {0}, "expected a token id, found an array"},
        {"{\"eos_token_id\":4294967296}", NULL, 0, {0}, "expected a token id"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct hf_config c;
        uint32_t ids[3], n = 9;
        put("config.json", rows[i].config);
        put("generation_config.json", rows[i].generation ? rows[i].generation : "{}");
        CHECK_OK(open_config(&c, e_));
        if (rows[i].why) CHECK_FAILS(hf_config_eos(&c, ids, 3, &n, e_), ERR_FORMAT, rows[i].why);
        else {
            CHECK_OK(hf_config_eos(&c, ids, 3, &n, e_));
            assert_int_equal(n, rows[i].n);
            for (uint32_t k = 0; k < n; k++) assert_int_equal(ids[k], rows[i].ids[k]);
        }
        hf_config_close(&c);
    }
    struct hf_config c;
    uint32_t ids[3], n, bos;
    bool has = true;
    put("config.json", "{\"eos_token_id\":[1,2,3,4]}");
    put("generation_config.json", "{}");
    CHECK_OK(open_config(&c, e_));
    CHECK_FAILS(hf_config_eos(&c, ids, 3, &n, e_), ERR_UNSUPPORTED, "more than 3 ids");
    CHECK_OK(hf_config_bos(&c, &bos, &has, e_));
    assert_false(has);
    hf_config_close(&c);
    put("config.json", "{\"bos_token_id\":1}");
    put("generation_config.json", "{\"bos_token_id\":5}");
    CHECK_OK(open_config(&c, e_));
    CHECK_OK(hf_config_bos(&c, &bos, &has, e_));
    assert_true(has && bos == 5);
    hf_config_close(&c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_open), TEST(test_refuses), TEST(test_token_ids)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
