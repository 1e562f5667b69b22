/* The steps around byte-pair encoding, one at a time: pre-tokenizers, normalizers, decoders. What is expected was made
 * with Hugging Face `tokenizers` 0.23.3 (pre_tokenize_str, normalize_str, decode; ByteLevel's characters turned back
 * into bytes). Pieces are written with | between. */
#include "tests/tokenizer_text.h"

#include "engine/decode.h"
#include "engine/pretokenizer.h"
#include "engine/tokenizer_normalize.h"

struct row {
    const char *spec, *in, *out;
};

static bool join(void *ctx, struct bytes word, struct error *err)
{
    struct text *t = ctx;
    (void)err;
    assert_true(word.size > 0);
    if (t->size) text_put(t, "|", 1);
    text_put(t, word.data, word.size);
    return true;
}

static void check_split(const struct row *row)
{
    struct pretokenizer *p;
    struct pretokenizer_run *r;
    struct text got = TEXT_INIT;
    json_t *spec = quoted_json(row->spec);
    CHECK_OK(pretokenizer_open(&p, spec, e_));
    CHECK_OK(pretokenizer_run_open(&r, p, strlen(row->in), e_));
    CHECK_OK(pretokenizer_split(r, bytes_text(row->in), true, join, &got, e_));
    text_put(&got, "", 1);
    if (strcmp(got.data, row->out) != 0)
        fail_msg("%s of '%s': '%s', expected '%s'", row->spec, row->in, got.data, row->out);
    text_free(&got);
    pretokenizer_run_close(r);
    pretokenizer_close(p);
    json_decref(spec);
}

static void test_split(void **state)
{
    static const struct row rows[] = {
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'Removed','invert':false}", "--a-b--c-", "a|b|c"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'Removed','invert':true}", "--a-b--c-", "-|-|-|-|-|-"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'Isolated','invert':false}", "--a-b--c-",
         "-|-|a|-|b|-|-|c|-"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'Isolated','invert':true}", "--a-b--c-",
         "-|-|a|-|b|-|-|c|-"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'MergedWithPrevious','invert':false}", "--a-b--c-",
         "-|-|a-|b-|-|c-"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'MergedWithPrevious','invert':true}", "--a-b--c-",
         "-|-a|-b|-|-c|-"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'MergedWithNext','invert':false}", "--a-b--c-",
         "-|-a|-b|-|-c|-"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'MergedWithNext','invert':true}", "--a-b--c-",
         "-|-|a-|b-|-|c-"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'Contiguous','invert':false}", "--a-b--c-",
         "--|a|-|b|--|c|-"},
        {"{'type':'Split','pattern':{'String':'-'},'behavior':'Contiguous','invert':true}", "--a-b--c-",
         "--|a|-|b|--|c|-"},
        {"{'type':'Split','pattern':{'Regex':'\\\\d'},'behavior':'Isolated','invert':false}", "a12 3", "a|1|2| |3"},
        {"{'type':'Split','pattern':{'Regex':'\\\\d'},'behavior':'Contiguous','invert':false}", "a12 3", "a|12| |3"},
        {"{'type':'Split','pattern':{'String':'.'},'behavior':'Isolated','invert':false}", "a.b", "a|.|b"},
        {"{'type':'Split','pattern':{'Regex':'\\\\s+(?!\\\\S)|\\\\s+'},'behavior':'Isolated','invert':false}",
         "a   b \n", "a|  | |b| \n"},
        {"{'type':'Split','pattern':{'Regex':'\\\\p{L}+|\\\\p{N}{1,3}'},'behavior':'Isolated','invert':false}",
         "ab1234567\xc3\xa9\xd9\xa1\xe4\xb8\x80!", "ab|123|456|7|\xc3\xa9|\xd9\xa1|\xe4\xb8\x80|!"},
        {"{'type':'Split','pattern':{'Regex':'(?i:\\u0027s|\\u0027ll)'},'behavior':'Isolated','invert':false}",
         "it'S he'lL", "it|'S| he|'lL"},
        {"{'type':'Split','pattern':{'Regex':'x*'},'behavior':'Isolated','invert':false}", "axxb", "a|xx|b"},
        {"{'type':'Split','pattern':{'Regex':'^a|b$'},'behavior':'Isolated','invert':false}", "aab\naab",
         "a|a|b|\n|a|a|b"},
        {"{'type':'Split','pattern':{'Regex':'(?<=a)b|(?<!a)c'},'behavior':'Isolated','invert':false}", "abcbac",
         "a|b|c|bac"},
        {"{'type':'Split','pattern':{'Regex':'[^\\\\s\\\\w]'},'behavior':'Isolated','invert':false}",
         "a\xcc\x81_\xe2\x80\x8d-\xe2\x80\xbf", "a\xcc\x81_|\xe2\x80\x8d|-|\xe2\x80\xbf"},
        {"{'type':'Split','pattern':{'Regex':'[a-c\\\\-\\\\]]'},'behavior':'Removed','invert':false}", "xa]y-cd",
         "x|y|d"},
        {"{'type':'Split','pattern':{'Regex':'a{2}|b{2,}|c{,2}d'},'behavior':'Isolated','invert':false}",
         "aaa bbb ccccd", "aa|a |bbb| cc|ccd"},
        {"{'type':'Split','pattern':{'Regex':'(?>a+)a|b'},'behavior':'Isolated','invert':false}", "aaab", "aaa|b"},
        {"{'type':'Split','pattern':{'Regex':'\\\\x{1F600}|\\\\x41'},'behavior':'Isolated','invert':false}",
         "xA\xf0\x9f\x98\x80y", "x|A|\xf0\x9f\x98\x80|y"},
        {"{'type':'Split','pattern':{'Regex':'\\\\s'},'behavior':'Isolated','invert':false}",
         "\xc2\x85\xc2\xa0\xe1\xa0\x8e\xe2\x80\x8b\xe3\x80\x80",
         "\xc2\x85|\xc2\xa0|\xe1\xa0\x8e\xe2\x80\x8b|\xe3\x80\x80"},
        {"{'type':'Split','pattern':{'Regex':'\\\\p{Han}+'},'behavior':'Isolated','invert':false}",
         "a\xe4\xb8\x80\xe3\x80\x87\xe3\x81\x82", "a|\xe4\xb8\x80\xe3\x80\x87|\xe3\x81\x82"},
        {"{'type':'Split','pattern':{'Regex':'a+?'},'behavior':'Isolated','invert':false}", "aab", "a|a|b"},
        {"{'type':'Split','pattern':{'Regex':'..'},'behavior':'Isolated','invert':false}", "abc\nde", "ab|c\n|de"},
        {"{'type':'Digits','individual_digits':true}", "a12\331\243b", "a|1|2|\xd9\xa3|b"},
        {"{'type':'Digits','individual_digits':false}", "a12\331\243b\302\2754", "a|12\xd9\xa3|b|\302\2754"},
        {"{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true,'use_regex':true}",
         "it's  a\n b12!? \xc3\xa9", "it|'s| | a|\n| b|12|!?| \xc3\xa9"},
        {"{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true,'use_regex':true}", "a b", " a| b"},
        {"{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true,'use_regex':true}", " a", " a"},
        {"{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true,'use_regex':false}", "it's a", "it's a"},
        {"{'type':'Metaspace','replacement':'\\u2581','prepend_scheme':'always','split':true}", " a  b",
         "\342\226\201a|\xe2\x96\x81|\342\226\201b"},
        {"{'type':'Metaspace','replacement':'\\u2581','prepend_scheme':'always','split':true}", "a b",
         "\342\226\201a|\342\226\201b"},
        {"{'type':'Metaspace','replacement':'\\u2581','prepend_scheme':'first','split':true}", "a b",
         "\342\226\201a|\342\226\201b"},
        {"{'type':'Metaspace','replacement':'\\u2581','prepend_scheme':'never','split':true}", "a b",
         "a|\342\226\201b"},
        {"{'type':'Metaspace','replacement':'\\u2581','prepend_scheme':'always','split':false}", "a b c",
         "\342\226\201a\342\226\201b\342\226\201c"},
        {"{'type':'Sequence','pretokenizers':[{'type':'Split','pattern':{'Regex':'\\\\d'},'behavior':'Isolated','"
         "invert':false},{'type':'Split','pattern':{'String':' "
         "'},'behavior':'MergedWithNext','invert':false},{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':"
         "true,'use_regex':false}]}",
         "a b1 2c", "a| b|1| |2|c"},
        {"{'type':'Sequence','pretokenizers':[]}", "a b", "a b"},
        {"{'type':'WhitespaceSplit'}", " a\xe3\x80\x80\x62\n\nc ", "a|b|c"},
        {"{'type':'Split','pattern':{'Regex':'[\\\\p{L}&&[^ab\\\\p{Han}]]+|[\\\\p{L}&&[ab]]{2}'},'behavior':'Isolated',"
         "'invert':false}",
         "xyabcd\xe4\xb8\xad\x61\x61\x62", "xy|ab|cd|\xe4\xb8\xad|aa|b"},
        {"null", "a b", "a b"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_split(&rows[i]);
}

/* The start of the text counts for prepend_scheme "first" and for nothing else; expected by hand. */
static void test_metaspace_in_the_middle(void **state)
{
    static const struct row rows[] = {{"first", "a b", "a|\342\226\201b"},
                                      {"always", "a b", "\342\226\201a|\342\226\201b"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char text[128];
        struct pretokenizer *p;
        struct pretokenizer_run *r;
        struct text got = TEXT_INIT;
        snprintf(text, sizeof text, "{'type':'Metaspace','replacement':'\\u2581','prepend_scheme':'%s'}", rows[i].spec);
        json_t *spec = quoted_json(text);
        CHECK_OK(pretokenizer_open(&p, spec, e_));
        CHECK_OK(pretokenizer_run_open(&r, p, 3, e_));
        CHECK_OK(pretokenizer_split(r, bytes_text(rows[i].in), false, join, &got, e_));
        text_put(&got, "", 1);
        assert_string_equal(got.data, rows[i].out);
        text_free(&got);
        pretokenizer_run_close(r);
        pretokenizer_close(p);
        json_decref(spec);
    }
}

static void test_normalize(void **state)
{
    static const struct row rows[] = {
        {"{'type':'NFC'}", "e\xcc\x81 A\xcc\x8a\xcc\xa7 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 \xe2\x84\xab",
         "\xc3\xa9 \xc3\x85\xcc\xa7 \xea\xb0\x81 \xc3\x85"},
        {"{'type':'NFC'}", "q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87"},
        {"{'type':'NFC'}", "plain", "plain"},
        {"{'type':'Prepend','prepend':'_'}", "a", "_a"},
        {"{'type':'Prepend','prepend':'_'}", "", ""},
        {"{'type':'Replace','pattern':{'String':' '},'content':'\\u2581'}", " a  b",
         "\342\226\201a\342\226\201\342\226\201b"},
        {"{'type':'Replace','pattern':{'String':'aa'},'content':'b'}", "aaaaa", "bba"},
        {"{'type':'Replace','pattern':{'String':'a'},'content':''}", "aXa", "X"},
        {"{'type':'Sequence','normalizers':[{'type':'Prepend','prepend':' '},{'type':'Replace','pattern':{'String':' "
         "'},'content':'__'},{'type':'NFC'}]}",
         "a e\xcc\x81", "__a__\xc3\xa9"},
        {"{'type':'Sequence','normalizers':[]}", "x", "x"},
        {"{'type':'NFD'}", "\xc3\xa9 \xc3\x85 \xea\xb0\x81", "e\xcc\x81 A\xcc\x8a \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8"},
        {"{'type':'NFKC'}", "\xef\xac\x81 \xe2\x91\xa0\xef\xbc\x92 \xe2\x84\x83 e\xcc\x81", "fi 12 \xc2\xb0\x43 \xc3\xa9"},
        {"{'type':'NFKD'}", "\xef\xac\x81 \xc3\xa9 \xc2\xbd", "fi e\xcc\x81 1\xe2\x81\x84\x32"},
        {"{'type':'Lowercase'}", "ABC \xc3\x89 \xc4\xb0 \xce\xa3\xcf\x82 \xe1\xba\x9e",
         "abc \xc3\xa9 i\xcc\x87 \xcf\x83\xcf\x82 \xc3\x9f"},
        {"{'type':'StripAccents'}", "e\xcc\x81 \xc3\xa9 a\xe2\x83\x9d\xe0\xa4\x83", "e \xc3\xa9 a"},
        {"{'type':'Strip','strip_left':true,'strip_right':true}", "\xe3\x80\x80\xc2\xa0 a b \n", "a b"},
        {"{'type':'Strip','strip_left':true,'strip_right':false}", " a ", "a "},
        {"{'type':'Strip','strip_left':true,'strip_right':true}", " \xe3\x80\x80", ""},
        {"{'type':'Nmt'}", "a\x01\x0b\tb\xe2\x80\x8b\xef\xbb\xbf\xe2\x80\xa8\x63\xe2\x96\x81\x7f", "a b   c "},
        {"{'type':'Replace','pattern':{'Regex':' {2,}'},'content':'_'}", "a  b c   ", "a_b c_"},
        {"{'type':'Replace','pattern':{'Regex':'x*'},'content':'-'}", "axxb", "-a-b-"},
        {"null", "e\xcc\x81", "e\xcc\x81"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct normalizer n;
        struct normalize_run run = {0};
        struct bytes got;
        json_t *spec = quoted_json(rows[i].spec);
        CHECK_OK(normalizer_open(&n, spec, e_));
        json_decref(spec); /* the normalizer keeps what it needs */
        CHECK_OK(normalizer_apply(&n, &run, bytes_text(rows[i].in), &got, e_));
        if (got.size != strlen(rows[i].out)) fail_msg("%s of '%s': %zu bytes", rows[i].spec, rows[i].in, got.size);
        check_bytes(got.data, rows[i].out, got.size, rows[i].spec);
        normalize_run_close(&run);
        normalizer_close(&n);
    }
}

static void put_pieces(struct decode_pieces *p, const char *pieces)
{
    for (const char *end; *pieces; pieces = *end ? end + 1 : end) {
        end = strchrnul(pieces, '|');
        text_put(&p->text, pieces, (size_t)(end - pieces));
        CHECK_OK(decode_add(p, e_));
    }
}

static void test_decode(void **state)
{
    static const struct row rows[] = {
        {"null", "a|b", "a b"},
        {"{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true,'use_regex':true}",
         "\304\240a|\xc3\x83|\xc2\xa9|x y|\xe4\xb8\x80", " a\xc3\xa9x y\xe4\xb8\x80"},
        {"{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true,'use_regex':true}",
         "\xc3\x83|a|\xc3\xb0|\xc5\x81", "\357\277\275a\xef\xbf\xbd"},
        {"{'type':'ByteFallback'}", "a|<0xC3>|<0xA9>|<0xC3>|b|<0xc3>|<0x>|<0xGG>|<0x+9>|<0xFF>",
         "a\357\277\275\357\277\275\357\277\275b\xef\xbf\xbd<0x><0xGG>\xef\xbf\xbd\xef\xbf\xbd"},
        {"{'type':'Fuse'}", "a|b", "ab"},
        {"{'type':'Replace','pattern':{'String':'\\u2581'},'content':' '}", "\342\226\201a\xe2\x96\x81|b", " a b"},
        {"{'type':'Strip','content':' ','start':1,'stop':0}", "  a | b|  ", " a b "},
        {"{'type':'Strip','content':'x','start':1,'stop':2}", "xxaxxx|b", "xaxb"},
        {"{'type':'Metaspace','replacement':'\\u2581','prepend_scheme':'always','split':true}",
         "\342\226\201a|\342\226\201b\xe2\x96\x81|c", "a b c"},
        {"{'type':'Metaspace','replacement':'\\u2581','prepend_scheme':'never','split':true}",
         "\342\226\201a|\342\226\201b", " a b"},
        {"{'type':'Metaspace','replacement':'\\u2581','prepend_scheme':'first','split':true}",
         "a\xe2\x96\x81|\342\226\201b", "a b"},
        {"{'type':'Sequence','decoders':[{'type':'Replace','pattern':{'String':'\\u2581'},'content':' "
         "'},{'type':'ByteFallback'},{'type':'Fuse'},{'type':'Strip','content':' ','start':1,'stop':0}]}",
         "\342\226\201a|<0xE4>|<0xB8>|<0x80>|\342\226\201b", "a\xe4\xb8\x80 b"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct decoder d;
        struct decode_pieces p = {0};
        struct text got = TEXT_INIT;
        json_t *spec = quoted_json(rows[i].spec);
        CHECK_OK(decoder_open(&d, spec, e_));
        json_decref(spec);
        put_pieces(&p, rows[i].in);
        CHECK_OK(decoder_apply(&d, &p, &got, e_));
        text_put(&got, "", 1);
        if (strcmp(got.data, rows[i].out) != 0)
            fail_msg("%s of '%s': '%s', expected '%s'", rows[i].spec, rows[i].in, got.data, rows[i].out);
        text_free(&got);
        decode_pieces_free(&p);
        decoder_close(&d);
    }
}

/* More to strip than there is: nothing is left (the reference stops with a panic, so there is no value of its own). */
static void test_strip_all(void **state)
{
    struct decoder d;
    struct decode_pieces p = {0};
    struct text got = TEXT_INIT;
    (void)state;
    json_t *spec = quoted_json("{'type':'Strip','content':'x','start':1,'stop':2}");
    CHECK_OK(decoder_open(&d, spec, e_));
    json_decref(spec);
    put_pieces(&p, "xx|a");
    CHECK_OK(decoder_apply(&d, &p, &got, e_));
    text_put(&got, "", 1);
    assert_string_equal(got.data, "a");
    text_free(&got);
    decode_pieces_free(&p);
    decoder_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),     cmocka_unit_test(test_metaspace_in_the_middle),
        cmocka_unit_test(test_normalize), cmocka_unit_test(test_decode),
        cmocka_unit_test(test_strip_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
