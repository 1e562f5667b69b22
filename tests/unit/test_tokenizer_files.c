/* tekken.json, tiktoken.model, Unigram, and which file of a folder is used. Expected ids are by hand; models that a
 * library made are in tests/golden/tokenizers.py. */
#include "tests/tokenizer_text.h"

#include "core/crypto.h"
#include "core/file.h"
#include "core/text.h"
#include "engine/added_tokens.h"
#include "engine/token_ranks.h"

static void put_base64(struct text *t, const char *bytes, size_t n)
{
    char *text;
    CHECK_OK(base64_encode(bytes_of(bytes, n), &text, e_));
    text_put(t, text, strlen(text));
    free(text);
}

/* All bytes in order, then "ab", "abab" and "\xe4\xb8". */
static const char *const more[] = {"ab", "abab", "\xe4\xb8"};
enum { N_TOKENS = 259 };

static const char *token(uint32_t i, size_t *n)
{
    static char byte;
    *n = i < 256 ? 1 : strlen(more[i - 256]);
    byte = (char)i;
    return i < 256 ? &byte : more[i - 256];
}

static struct text tiktoken_file(void)
{
    struct text t = TEXT_INIT;
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        size_t n;
        const char *bytes = token(i, &n);
        put_base64(&t, bytes, n);
        text_add(&t, " %u\n", i);
    }
    return t;
}

static struct text tekken_file(const char *config, const char *specials)
{
    struct text t = TEXT_INIT;
    text_add(&t, "{\"image\":{\"x\":[1]},\"vocab\":[");
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        size_t n;
        const char *bytes = token(i, &n);
        text_add(&t, "%s{\"rank\":%u,\"token_bytes\":\"", i ? "," : "", i);
        put_base64(&t, bytes, n);
        text_add(&t, "\",\"token_str\":null}");
    }
    text_add(&t, "],\"config\":%s%s}", quoted(config), quoted(specials));
    return t;
}

static bool open_file(struct tokenizer **out, const char *name, const struct text *t, const char *config,
                      struct error *err)
{
    return tokenizer_open_file(out, name, bytes_of(t->data, t->size), bytes_text(quoted(config)), "test", err);
}

static char *decoded(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip)
{
    char *text;
    size_t size;
    CHECK_OK(tokenizer_decode(t, ids, n, skip, &text, &size, e_));
    return text;
}

#define KIMI_CONFIG                                                                                                    \
    "{'tokenizer_class':'TikTokenTokenizer','added_tokens_decoder':{'259':{'content':'[BOS]','special':true},"         \
    "'300':{'content':'<end>','special':false,'lstrip':true}}}"

static void test_tiktoken(void **state)
{
    static const uint32_t ids[] = {259, 0xe4, 0xb8, 300, 0x80};
    struct text file = tiktoken_file();
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    (void)state;
    CHECK_OK(open_file(&t, "tiktoken.model", &file, KIMI_CONFIG, e_));
    assert_string_equal(ids_of(t, "ababab"), "257 256");
    assert_string_equal(ids_of(t, "abab"), "257");
    assert_string_equal(ids_of_bytes(t, bytes_text("a [BOS]b<end>"), true), "97 32 259 98 300");
    assert_string_equal(ids_of(t, "<|reserved_token_260|><|reserved_token_514|>"), "260 514");
    assert_string_equal(ids_of(t, "\xe4\xb8\x80"), "258 128");
    char *all = decoded(t, ids, 5, false), *some = decoded(t, ids, 5, true);
    assert_string_equal(all, "[BOS]\xef\xbf\xbd<end>\xef\xbf\xbd");
    assert_string_equal(some, "\xe4\xb8\x80");
    free(all), free(some);
    text_free(&file);
}

/* Runs of more than 25,000 characters are cut as the published code cuts them: "abab" never crosses the cut. */
static void test_tiktoken_runs(void **state)
{
    struct text file = tiktoken_file(), text = TEXT_INIT;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    uint32_t *ids;
    size_t n;
    (void)state;
    CHECK_OK(open_file(&t, "tiktoken.model", &file, "", e_));
    for (uint32_t i = 0; i < 25001; i++) text_put(&text, i % 2 ? "a" : "b", 1);
    CHECK_OK(tokenizer_encode(t, bytes_of(text.data, text.size), false, &ids, &n, e_));
    /* b, 6249 times "abab", "ab", a | b */
    assert_int_equal(n, 1 + 6249 + 1 + 1 + 1);
    free(ids);
    text_free(&text);
    text_free(&file);
}

static void test_bad_tiktoken(void **state)
{
    static const struct {
        const char *file, *part;
    } rows[] = {
        {"", "there are no tokens"},          {"\n\n", "there are no tokens"},
        {"YQ== 0", "byte 00 is no token"},    {"YQ==0", "line 1: expected"},
        {"YQ== 0 1", "line 1: expected"},     {"YQ== x", "line 1: expected"},
        {"YQ== -1", "line 1: expected"},      {"YQ==  1", "line 1: expected"},
        {" YQ== 1", "line 1: expected"},      {"YQ==\t1", "line 1: expected"},
        {"YQ= 0", "not a base64 text"},       {"Y=== 0", "not a base64 text"},
        {"YR== 0", "not a base64 text"},      {"Y!== 0", "not a base64 text"},
        {"==== 0", "not a base64 text"},      {"YQ== 0\nYg== 0", "line 2: the id 0 is there twice"},
        {"YQ== 0\nYQ== 1", "is there twice"}, {"YQ== 1", "1 tokens, and the highest rank is 1"},
        {"YQ== 4194304", "rank 4194304"},     {"YQ== 18446744073709551616", "line 1: expected"},
    };
    struct text file = tiktoken_file();
    struct tokenizer *t;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text bad = TEXT_INIT;
        text_add(&bad, "%s", rows[i].file);
        CHECK_FAILS(open_file(&t, "tiktoken.model", &bad, "", e_), ERR_FORMAT, rows[i].part);
        assert_null(t);
        text_free(&bad);
    }
    CHECK_FAILS(open_file(&t, "tiktoken.model", &file, "{'tokenizer_class':'QWenTokenizer'}", e_), ERR_UNSUPPORTED,
                "'QWenTokenizer'");
    CHECK_FAILS(open_file(&t, "tiktoken.model", &file, "{'added_tokens_decoder':{'258':{'content':'x'}}}", e_),
                ERR_FORMAT, "from 259");
    CHECK_FAILS(open_file(&t, "tiktoken.model", &file,
                          "{'added_tokens_decoder':{'259':{'content':'<|reserved_token_260|>'}}}", e_),
                ERR_FORMAT, "is there twice");
    text_free(&file);
}

#define TEKKEN(size, specials, version)                                                                                \
    "{'pattern':'a(?=b)b|.|\\\\s','default_vocab_size':" #size ",'default_num_special_tokens':" #specials              \
    ",'version':'" version "'}"
#define SPECIALS ",'special_tokens':[{'rank':0,'token_str':'<unk>'},{'rank':1,'token_str':'<s>','is_control':true}]"

static void test_tekken(void **state)
{
    static const uint32_t ids[] = {1, 4 + 0xe4, 4 + 0xb8, 3, 4 + 0x80, 4 + 'a', 9999};
    struct text file = tekken_file(TEKKEN(262, 4, "v11"), SPECIALS), old = tekken_file(TEKKEN(279, 20, "v3"), "");
    CLEANUP(tokenizer) struct tokenizer *t = NULL, *u = NULL;
    uint32_t *list;
    size_t n;
    (void)state;
    CHECK_OK(open_file(&t, "tekken.json", &file, "", e_));
    /* The vocabulary is cut behind "abab"; words are the pattern's, so "abab" is never one. */
    assert_string_equal(ids_of_bytes(t, bytes_text("abab"), true), "1 260 260");
    assert_string_equal(ids_of(t, "<s>"), "64 119 66");
    assert_string_equal(ids_of(t, "\xe4\xb8\x80"), "232 188 132");
    CHECK_OK(tokenizer_encode_prompt(t, bytes_text("<s>ab<SPECIAL_3>"), &list, &n, e_));
    assert_true(n == 3 && list[0] == 1 && list[1] == 260 && list[2] == 3);
    free(list);
    char *all = decoded(t, ids, 7, false), *some = decoded(t, ids, 7, true);
    assert_string_equal(all, "<s>\xef\xbf\xbd<SPECIAL_3>\xef\xbf\xbd"
                             "a");
    assert_string_equal(some, "\xef\xbf\xbd\xef\xbf\xbd"
                              "a");
    free(all), free(some);
    CHECK_OK(open_file(&u, "tekken.json", &old, "", e_));
    CHECK_OK(tokenizer_encode_prompt(u, bytes_text("[INST]"), &list, &n, e_));
    assert_true(n == 1 && list[0] == 3);
    free(list);
    text_free(&file);
    text_free(&old);
}

static void test_bad_tekken(void **state)
{
    static const struct {
        const char *config, *specials, *part;
        enum error_code code;
    } rows[] = {
        {"[]", "", "'config': expected an object", ERR_FORMAT},
        {"{}", "", "'version' is missing", ERR_FORMAT},
        {TEKKEN(262, 4, "v99"), SPECIALS, "version 'v99'", ERR_UNSUPPORTED},
        {TEKKEN(264, 4, "v11"), SPECIALS, "vocab[259]: expected 260 tokens", ERR_FORMAT},
        {TEKKEN(4, 4, "v11"), SPECIALS, "4 special tokens of 4", ERR_FORMAT},
        {TEKKEN(99999999, 4, "v11"), SPECIALS, "default_vocab_size", ERR_FORMAT},
        {TEKKEN(259, 1, "v11"), SPECIALS, "special_tokens: 2, and config has room for 1", ERR_FORMAT},
        {TEKKEN(262, 4, "v11"), "", "'special_tokens' is missing", ERR_FORMAT},
        {TEKKEN(262, 4, "v11"), ",'special_tokens':{}", "expected a list", ERR_FORMAT},
        {TEKKEN(262, 4, "v11"), ",'special_tokens':[{'rank':1,'token_str':'x'}]", "'rank'", ERR_FORMAT},
        {TEKKEN(262, 4, "v11"), ",'special_tokens':[{'rank':0,'token_str':''}]", "0 bytes", ERR_FORMAT},
        {TEKKEN(262, 4, "v11"), ",'special_tokens':[{'rank':0,'token_str':'<SPECIAL_3>'}]", "is there twice",
         ERR_FORMAT},
        {TEKKEN(262, 4, "v11"), SPECIALS ",'vocab':[]", "'vocab' is there twice", ERR_FORMAT},
        {TEKKEN(262, 4, "v11"), SPECIALS ",'config':{}", "'config' is there twice", ERR_FORMAT},
        {TEKKEN(262, 4, "v11"), SPECIALS "}", "byte", ERR_FORMAT},
        {"{'pattern':'(a','default_vocab_size':262,'default_num_special_tokens':4,'version':'v11'}", SPECIALS,
         "pattern", ERR_UNSUPPORTED},
        {"{'pattern':'\\\\w','default_vocab_size':262,'default_num_special_tokens':4,'version':'v11'}", SPECIALS,
         "pattern", ERR_UNSUPPORTED},
    };
    struct tokenizer *t;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text file = tekken_file(rows[i].config, rows[i].specials);
        CHECK_FAILS(open_file(&t, "tekken.json", &file, "", e_), rows[i].code, rows[i].part);
        assert_null(t);
        text_free(&file);
    }
}

#define CONFIG "'config':" TEKKEN(5, 4, "v11") SPECIALS "}"

static void test_bad_tekken_vocab(void **state)
{
    static const struct {
        const char *file, *part;
    } rows[] = {
        {"", "byte 0"},
        {"[]", "expected an object"},
        {"{" CONFIG, "'vocab' is missing"},
        {"{'vocab':{}," CONFIG, "vocab: expected a list"},
        {"{'vocab':[]," CONFIG, "vocab[0]: expected 1 tokens"},
        {"{'vocab':[1]," CONFIG, "vocab[0]"},
        {"{'vocab':[{}]," CONFIG, "its rank is not 0"},
        {"{'vocab':[{'rank':1,'token_bytes':'AA=='}]," CONFIG, "its rank is not 0"},
        {"{'vocab':[{'rank':0}]," CONFIG, "'token_bytes' is missing"},
        {"{'vocab':[{'rank':0,'token_bytes':3}]," CONFIG, "'token_bytes' is missing"},
        {"{'vocab':[{'rank':0,'token_bytes':'A'}]," CONFIG, "vocab[0]: 'A' is not a base64 text"},
        {"{'vocab':[{'rank':0,'token_bytes':''}]," CONFIG, "is not a base64 text"},
        {"{'vocab':[{'rank':0,'token_bytes':'AQ=='}]," CONFIG, "expected the byte 00"},
        {"{'vocab':[{'rank':0,'token_bytes':'AAA='}]," CONFIG, "expected the byte 00"},
        {"{'vocab':[{'rank':0,'token_str':{},'token_bytes':'AA=='}]," CONFIG, "expected texts and numbers"},
        {"{'vocab':[{'rank':0,'token_bytes':'AA=='}]," CONFIG, "byte 01 is no token"},
    };
    struct tokenizer *t;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text file = TEXT_INIT;
        text_add(&file, "%s", quoted(rows[i].file));
        CHECK_FAILS(open_file(&t, "tekken.json", &file, "", e_), ERR_FORMAT, rows[i].part);
        assert_null(t);
        text_free(&file);
    }
    CHECK_FAILS(tokenizer_open_file(&t, "vocab.txt", bytes_text(""), bytes_text(""), "test", e_), ERR_UNSUPPORTED,
                "'vocab.txt'");
}

/* The best sum; of equal ones the way found first, and sums are not rounded on the way. What is unknown is one token,
 * or its bytes. A text that is there twice counts under the later id. */
static void test_unigram(void **state)
{
    static const struct {
        const char *options, *text, *ids;
    } rows[] = {
        {"'unk_id':0,'vocab':[['<unk>',0],['a',-1],['b',-1],['ab',-2],['abc',-5]]", "ab", "3"},
        {"'unk_id':0,'vocab':[['<unk>',0],['a',-1],['b',-1],['ab',-2.5],['abc',-5]]", "abab", "1 2 1 2"},
        {"'unk_id':0,'vocab':[['<unk>',0],['a',-1],['b',-1],['ab',-2],['abc',-5]]", "abcab", "4 3"},
        {"'unk_id':0,'vocab':[['<unk>',0],['a',-1],['aa',-1.5]]", "aaa", "1 2"},
        {"'unk_id':0,'vocab':[['<unk>',0],['a',-1]]", "xaxyxa", "0 1 0 1"},
        {"'unk_id':0,'byte_fallback':true,'vocab':[['<unk>',0],['a',-1],['<0x78>',-2]]", "xax", "2 1 2"},
        {"'unk_id':0,'byte_fallback':true,'vocab':[['<unk>',0],['a',-1],['<0x78>',-2]]", "xya", "0 1"},
        {"'unk_id':0,'vocab':[['<unk>',0],['a',-1],['a',-2]]", "a", "2"},
        /* Two unknown ones are worth more than the token that they spell together; the token is what comes out. */
        {"'unk_id':0,'vocab':[['<unk>',100],['xy',20]]", "xy", "1"},
        {"'unk_id':null,'vocab':[['a',-1]]", "aa", "0 0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char json[1 << 12];
        CLEANUP(tokenizer) struct tokenizer *t = NULL;
        snprintf(json, sizeof json, "{'model':{'type':'Unigram',%s}}", rows[i].options);
        CHECK_OK(open_text(&t, json, e_));
        if (strcmp(ids_of(t, rows[i].text), rows[i].ids) != 0)
            fail_msg("%s: '%s': %s, expected %s", json, rows[i].text, ids_of(t, rows[i].text), rows[i].ids);
    }
}

static void save(const char *dir, const char *name, struct bytes data)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_OK(file_save(path, data, 0644, e_));
}

static void check_used(const char *dir, const char *name, const char *ids)
{
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    CHECK_OK(folder_open(&f, dir, e_));
    assert_string_equal(tokenizer_file(f), name);
    CHECK_OK(tokenizer_open(&t, f, e_));
    assert_string_equal(ids_of(t, "ab"), ids);
}

/* The first row of the list whose file is there. */
static void test_which_file(void **state)
{
    struct text kimi = tiktoken_file(), tekken = tekken_file(TEKKEN(262, 4, "v11"), SPECIALS);
    const char *dir = check_folder();
    CLEANUP(folder) struct folder *f = NULL;
    struct tokenizer *t;
    (void)state;
    save(dir, "config.json", bytes_text("{}"));
    CHECK_OK(folder_open(&f, dir, e_));
    assert_null(tokenizer_file(f));
    CHECK_FAILS(tokenizer_open(&t, f, e_), ERR_FORMAT, "tokenizer.json");
    save(dir, "tokenizer.model", bytes_text("\x0a\x07\x0a\x05<unk>"));
    save(dir, "tiktoken.model", bytes_of(kimi.data, kimi.size));
    check_used(dir, "tiktoken.model", "256");
    save(dir, "tokenizer_config.json", bytes_text("{\"added_tokens_decoder\":{\"259\":{\"content\":\"ab\"}}}"));
    check_used(dir, "tiktoken.model", "259");
    save(dir, "tekken.json", bytes_of(tekken.data, tekken.size));
    check_used(dir, "tekken.json", "260");
    save(dir, "tokenizer.json", bytes_text(quoted("{'model':{'vocab':{'a':0,'b':7},'merges':[]}}")));
    check_used(dir, "tokenizer.json", "0 7");
    check_folder_remove(dir);
    text_free(&kimi);
    text_free(&tekken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiktoken), cmocka_unit_test(test_tiktoken_runs), cmocka_unit_test(test_bad_tiktoken),
        cmocka_unit_test(test_tekken),   cmocka_unit_test(test_bad_tekken),    cmocka_unit_test(test_bad_tekken_vocab),
        cmocka_unit_test(test_unigram),  cmocka_unit_test(test_which_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
