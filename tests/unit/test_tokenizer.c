/* Whole tokenizers. Unless a test says otherwise, what is expected was made with Hugging Face `tokenizers` 0.23.3 on
 * the same documents. */
#include "tests/tokenizer_text.h"

#include "core/text.h"
#include "engine/bpe.h"
#include "engine/unicode.h"

#include <time.h>

struct row {
    const char *text, *ids;
};

static void check_rows(const char *json, const struct row *rows, size_t n)
{
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    CHECK_OK(open_text(&t, json, e_));
    for (size_t i = 0; i < n; i++) {
        const char *got = ids_of(t, rows[i].text);
        if (strcmp(got, rows[i].ids) != 0) fail_msg("'%s': ids %s, expected %s", rows[i].text, got, rows[i].ids);
    }
}
#define CHECK_ROWS(json, rows) check_rows(json, rows, sizeof(rows) / sizeof *(rows))

#define LETTERS "'vocab':{'a':0,'b':1,'c':2,'d':3,'ab':4,'bc':5,'abc':6,'cd':7,'aa':8,'aaaa':9,'dd':10},"
#define PAIRS "'merges':[['b','c'],['a','b'],['ab','c'],['c','d'],['a','a'],['aa','aa']]"
#define JOINED "'merges':['#version: 0.2','b c','a b','ab c','c d','a a','aa aa']"

static void test_merges(void **state)
{
    static const struct row rows[] = {
        {"abc", "0 5"},   {"abcd", "0 5 3"}, {"aaaaaaa", "9 8 0"}, {"aabc", "8 5"}, {"bcd", "5 3"}, {"dd", "3 3"},
        {"ddd", "3 3 3"}, {"", ""},          {"xaby", "4"},
    };
    static const struct row whole[] = {{"dd", "10"}, {"ddd", "3 3 3"}, {"abc", "6"}};
    (void)state;
    CHECK_ROWS("{'version':'1.0','model':{'type':'BPE'," LETTERS PAIRS "}}", rows);
    CHECK_ROWS("{'model':{" JOINED "," LETTERS "'dropout':null}}", rows); /* any order, and the older spelling */
    CHECK_ROWS("{'model':{'ignore_merges':true," LETTERS PAIRS "}}", whole);
}

static void test_unknown(void **state)
{
#define UNKNOWN_VOCAB "'vocab':{'a':0,'b':1,'<unk>':2,'<0x78>':3,'<0xC3>':4,'<0xA9>':5},'merges':[]"
#define WITH(options) "{'model':{'type':'BPE'," options "," UNKNOWN_VOCAB "}}"
    static const struct row bytes[] = {
        {"axb", "0 3 1"}, {"a\303\251b", "0 4 5 1"}, {"ayzb", "0 2 2 1"}, {"ayxzb", "0 3 2 2 1"}};
    static const struct row fused[] = {{"ayzb", "0 2 1"}, {"ayxzb", "0 3 2 1"}};
    static const struct row plain[] = {{"ayzb", "0 2 2 1"}, {"x", "2"}};
    static const struct row dropped[] = {{"ayxb", "0 3 1"}};
    (void)state;
    CHECK_ROWS(WITH("'byte_fallback':true,'unk_token':'<unk>'"), bytes);
    CHECK_ROWS(WITH("'byte_fallback':true,'unk_token':'<unk>','fuse_unk':true"), fused);
    CHECK_ROWS(WITH("'unk_token':'<unk>'"), plain);
    CHECK_ROWS(WITH("'byte_fallback':true"), dropped);
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    uint32_t *ids;
    size_t n;
    CHECK_OK(open_text(&t, WITH("'unk_token':'<gone>'"), e_));
    assert_string_equal(ids_of(t, "ab"), "0 1");
    CHECK_FAILS(tokenizer_encode(t, bytes_text("ay"), false, &ids, &n, e_), ERR_FORMAT,
                "unk_token '<gone>' is needed and not in the vocabulary");
    assert_null(ids);
}

/* Ids from 15 on. The flags of each: w single_word, l lstrip, r rstrip, n normalized, s special. */
static const struct {
    const char *content, *flags;
} added[] = {{"<s>", "s"},  {"<l>", "ls"},  {"<r>", "r"}, {"<w>", "w"},
             {"<n> ", "n"}, {"<s><s>", ""}, {"ab", "w"},  {"<\\u00e9>", "n"}};
static const char normalizer[] = "'normalizer':{'type':'Sequence','normalizers':["
                                 "{'type':'Replace','pattern':{'String':' '},'content':'_'},{'type':'NFC'}]},";
static const char model[] =
    "'model':{'vocab':{'a':0,'b':1,' ':2,'A':3,'<':4,'>':5,'s':6,'_':7,'e':8,'l':9,'r':10,'w':11,'n':12,"
    "'\\u00e9':13,'\\n':14},'merges':[]}";
#define TEMPLATE                                                                                                       \
    "{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'<s>'}},{'Sequence':{'id':'A'}},"                    \
    "{'SpecialToken':{'id':'end'}}],'pair':[],'special_tokens':{'<s>':{'ids':[15]},'end':{'ids':[0,1]}}}"
#define BYTE_LEVEL "{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true,'use_regex':true}"

/* The tokenizer of those parts and a post-processor. */
static struct tokenizer *open_parts(const char *norm, const char *post)
{
    static const char *const names[] = {"single_word", "lstrip", "rstrip", "normalized", "special"};
    struct text json = TEXT_INIT;
    struct tokenizer *t;
    text_add(&json, "{%s'post_processor':%s,%s,'added_tokens':[", norm, post, model);
    for (uint32_t i = 0; i < sizeof added / sizeof *added; i++) {
        text_add(&json, "%s{'id':%u,'content':'%s'", i ? "," : "", 15 + i, added[i].content);
        for (int k = 0; k < 5; k++)
            text_add(&json, ",'%s':%s", names[k], strchr(added[i].flags, "wlrns"[k]) ? "true" : "false");
        text_add(&json, "}");
    }
    text_put(&json, "]}", 3);
    CHECK_OK(open_text(&t, json.data, e_));
    text_free(&json);
    return t;
}

static void test_added(void **state)
{
    static const struct row rows[] = {
        {"a<s>b", "0 15 1"},
        {"<s><s><s>", "20 15"},
        {"a \n<l> b", "0 16 7 1"},
        {"a <r>\n b", "0 7 17 1"},
        {"a<w>b", "0 4 11 5 1"},
        {" <w> ", "7 18 7"},
        {"<n> a", "19 0"},
        {"<n>_a", "19 0"},
        {"ab", "21"},
        {"aab", "0 0 1"},
        {"ab b", "21 7 1"},
        {"ab<s>", "21 15"},
        {"\303\251ab", "13 0 1"},
        {"<e\xcc\x81>", "22"},
        {"a  <l><r>  <l>", "0 16 17 16"},
        {"<s", "4 6"},
        {"", ""},
        {"<s>", "15"},
    };
    (void)state;
    CLEANUP(tokenizer) struct tokenizer *t = open_parts(normalizer, "null");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_string_equal(ids_of(t, rows[i].text), rows[i].ids);
}

static void test_post_processor(void **state)
{
    static const char *const processors[] = {TEMPLATE, "{'type':'Sequence','processors':[" BYTE_LEVEL "," TEMPLATE "]}",
                                             BYTE_LEVEL, "null"};
    static const struct row special[] = {{"a", "15 0 0 1"}, {"", "15 0 1"}, {"<s>", "15 15 0 1"}};
    static const struct row none[] = {{"a", "0"}, {"", ""}, {"<s>", "15"}};
    (void)state;
    for (size_t i = 0; i < sizeof processors / sizeof *processors; i++) {
        CLEANUP(tokenizer) struct tokenizer *t = open_parts(normalizer, processors[i]);
        for (size_t k = 0; k < 3; k++) {
            const struct row *want = i < 2 ? &special[k] : &none[k];
            assert_string_equal(ids_of_bytes(t, bytes_text(want->text), true), want->ids);
            assert_string_equal(ids_of_bytes(t, bytes_text(want->text), false), none[k].ids);
        }
    }
}

static char *decoded(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip)
{
    char *text;
    size_t size;
    CHECK_OK(tokenizer_decode(t, ids, n, skip, &text, &size, e_));
    assert_int_equal(strlen(text), size);
    return text;
}

static void test_decode_special(void **state)
{
    static const uint32_t ids[] = {15, 0, 17}, strange[] = {0, 23, 4000000000u, 1};
    CLEANUP(tokenizer) struct tokenizer *t = open_parts("", "null");
    (void)state;
    char *all = decoded(t, ids, 3, false), *some = decoded(t, ids, 3, true), *holes = decoded(t, strange, 4, false),
         *none = decoded(t, NULL, 0, false);
    assert_string_equal(all, "<s> a <r>");
    assert_string_equal(some, "a <r>");
    assert_string_equal(holes, "a b"); /* as decode() of the reference: what names no token is left out */
    assert_string_equal(none, "");
    free(all), free(some), free(holes), free(none);
}

/* A byte-level tokenizer: byte b has the id b, then six merged ones. */
static struct tokenizer *byte_level(void)
{
    struct text json = TEXT_INIT;
    struct tokenizer *t;
    text_add(&json, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"vocab\":{");
    for (uint32_t b = 0; b < 256; b++) text_add(&json, "\"\\u%04x\":%u,", byte_to_char((uint8_t)b), b);
    text_add(&json, "\"\\u0120a\":256,\"\\u0120ab\":257,\"ab\":258,\"\\u00c3\\u00a9\":259,\"aa\":260,\"aaaa\":261},"
                    "\"merges\":[[\"\\u0120\",\"a\"],[\"a\",\"b\"],[\"\\u0120a\",\"b\"],[\"\\u00c3\",\"\\u00a9\"],"
                    "[\"a\",\"a\"],[\"aa\",\"aa\"]]}}");
    CHECK_OK(tokenizer_open_bytes(&t, bytes_of(json.data, json.size), "test", e_));
    text_free(&json);
    return t;
}

static void test_byte_level(void **state)
{
    static const struct row rows[] = {
        {"ab ab", "258 257"},
        {"\xc3\xa9 \xc3\xbc", "259 32 195 188"},
        {"aaaaa", "261 97"},
        {"a\n\n ab", "97 10 10 257"},
        {" a", "256"},
        {"\304\240a", "196 160 97"},
        {"", ""},
    };
    CLEANUP(tokenizer) struct tokenizer *t = byte_level();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_string_equal(ids_of(t, rows[i].text), rows[i].ids);
    assert_string_equal(ids_of_bytes(t, bytes_of("\0\x7f", 2), false), "0 127");
    /* Half a character by itself is no text. */
    char *text = decoded(t, (const uint32_t[]){195, 97, 240, 159}, 4, false);
    assert_string_equal(text, "\357\277\275a\xef\xbf\xbd");
    free(text);
}

/* By the definition of UTF-8 (Unicode 3.9, table 3-7): the offset of the first byte that begins no character. */
static void test_not_utf8(void **state)
{
    static const struct {
        const char *text;
        size_t size, at;
    } rows[] = {
        {"\x80", 1, 0},         {"ab\xff", 3, 2},           {"a\xc0\x80", 3, 1},        {"\xe0\x9f\xbf", 3, 0},
        {"\xed\xa0\x80", 3, 0}, {"\xf0\x8f\xbf\xbf", 4, 0}, {"\xf4\x90\x80\x80", 4, 0}, {"\xf5\x80\x80\x80", 4, 0},
        {"abcdefgh\xc3", 9, 8}, {"\xc3\xa9\xe4\xb8", 4, 2}, {"a\0\xf0\x9f\x98", 5, 2},
    };
    CLEANUP(tokenizer) struct tokenizer *t = byte_level();
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[64];
        uint32_t *ids;
        size_t n;
        snprintf(want, sizeof want, "not UTF-8: byte %zu", rows[i].at);
        CHECK_FAILS(tokenizer_encode(t, bytes_of(rows[i].text, rows[i].size), true, &ids, &n, e_), ERR_FORMAT, want);
        assert_null(ids);
    }
}

/* Characters of one to four bytes, many of them close to each other so that merges and words occur. */
static uint32_t random_char(uint64_t *seed)
{
    static const uint32_t spans[][2] = {
        {'a', 3}, {' ', 1}, {0, 128}, {0x80, 0x780}, {0x800, 0xd000}, {0xe000, 0x2000}, {0x10000, 0x100000}, {0xe9, 1}};
    const uint32_t *s = spans[check_random(seed) % 8];
    return s[0] + (uint32_t)(check_random(seed) % s[1]);
}

static void test_round_trip(void **state)
{
    CLEANUP(tokenizer) struct tokenizer *t = byte_level();
    uint64_t seed = 1;
    (void)state;
    for (uint32_t i = 0; i < 2000; i++) {
        struct text text = TEXT_INIT;
        uint32_t *ids;
        char *back;
        size_t n, size;
        for (uint64_t k = check_random(&seed) % 64; k > 0; k--) utf8_put(&text, random_char(&seed));
        CHECK_OK(tokenizer_encode(t, bytes_of(text.data, text.size), false, &ids, &n, e_));
        CHECK_OK(tokenizer_decode(t, ids, n, false, &back, &size, e_));
        assert_int_equal(size, text.size);
        check_bytes(back, text.data, size, "text");
        free(ids);
        free(back);
        text_free(&text);
    }
}

static double seconds_of(const struct tokenizer *t, uint8_t letter, size_t size, size_t *n)
{
    struct timespec a, b;
    uint8_t *text = malloc(size);
    uint32_t *ids;
    assert_non_null(text);
    memset(text, letter, size);
    clock_gettime(CLOCK_MONOTONIC, &a);
    CHECK_OK(tokenizer_encode(t, bytes_of(text, size), false, &ids, n, e_));
    clock_gettime(CLOCK_MONOTONIC, &b);
    free(ids);
    free(text);
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
}

/* One word of a megabyte: sixteen times the text may take a hundred times as long, where quadratic work would take 256
 * times (and minutes). The counts are by hand: a word of a's becomes groups of four. */
static void test_long_word(void **state)
{
    CLEANUP(tokenizer) struct tokenizer *t = byte_level();
    size_t n;
    (void)state;
    for (const char *letter = "a \n0"; *letter; letter++) {
        double small = seconds_of(t, (uint8_t)*letter, 64u << 10, &n);
        assert_int_equal(n, *letter == 'a' ? 16u << 10 : 64u << 10);
        double large = seconds_of(t, (uint8_t)*letter, 1u << 20, &n);
        assert_int_equal(n, *letter == 'a' ? 256u << 10 : 1u << 20);
        if (large > 100 * small && large > 5)
            fail_msg("'%c': %.3f s, then %.3f s for 16 times as much", *letter, small, large);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges),         cmocka_unit_test(test_unknown),        cmocka_unit_test(test_added),
        cmocka_unit_test(test_post_processor), cmocka_unit_test(test_decode_special), cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_not_utf8),       cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_long_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
