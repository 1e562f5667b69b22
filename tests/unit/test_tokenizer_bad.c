/* Files that are broken, hostile, or ask for what is not done: an error that names the place, never a crash or a hang.
 * What the errors say is ours alone; only the codes and the places are checked. */
#include "tests/tokenizer_text.h"

#include "core/text.h"
#include "engine/pretokenizer_pattern.h"

#include <time.h>

struct row {
    const char *json, *part;
};

static void check_refused(enum error_code code, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct error err = ERROR_INIT;
        struct tokenizer *t = NULL;
        if (open_text(&t, rows[i].json, &err)) fail_msg("%s: opened, expected '%s'", rows[i].json, rows[i].part);
        assert_null(t);
        if (err.code != code || !strstr(err.text, rows[i].part) || strncmp(err.text, "test: ", 6) != 0)
            fail_msg("%s: %s: '%s', expected %s: '%s'", rows[i].json, error_code_name(err.code), err.text,
                     error_code_name(code), rows[i].part);
    }
}
#define CHECK_REFUSED(code, rows) check_refused(code, rows, sizeof(rows) / sizeof *(rows))

#define MODEL "'model':{'vocab':{'a':0,'b':1,'ab':2},'merges':[['a','b']]}"
#define VOCAB(text) "{'model':{'vocab':" text ",'merges':[]}}"
#define MERGES(text) "{'model':{'vocab':{'a':0,'b':1,'ab':2},'merges':" text "}}"
#define OPTION(text) "{'model':{" text ",'vocab':{'a':0},'merges':[]}}"

static void test_model(void **state)
{
    static const struct row rows[] = {
        {"", "byte 0"},
        {"{", "byte 1"},
        {"[]", "expected an object"},
        {"3", "expected an object"},
        {"{}", "'model' is missing"},
        {"{" MODEL "} x", "byte"},
        {"{'model':[]}", "model: expected an object"},
        {"{'model':null}", "model: expected an object"},
        {"{" MODEL "," MODEL "}", "'model' is there twice"},
        {"{" MODEL ",'decoder':null,'decoder':null}", "'decoder' is there twice"},
        {"{'model':{'merges':[]}}", "'vocab' is missing"},
        {"{'model':{'vocab':{'a':0}}}", "'merges' is missing"},
        {"{'model':{'vocab':{'a':0},'vocab':{},'merges':[]}}", "'vocab' is there twice"},
        {VOCAB("[]"), "model.vocab: expected an object"},
        {VOCAB("null"), "model.vocab"},
        {VOCAB("{}"), "is empty"},
        {VOCAB("{'a':0,'b':0}"), "'b' and 'a' have the same id, 0"},
        {VOCAB("{'a':0,'a':1}"), "'a' is there twice"},
        {VOCAB("{'a':0,'\\u0061':1}"), "'a' is there twice"},
        {VOCAB("{'a':-1}"), "found -1"},
        {VOCAB("{'a':4194304}"), "found 4194304"},
        {VOCAB("{'a':18446744073709551616}"), "found 18446744073709551616"},
        {VOCAB("{'a':1e3}"), "found 1e3"},
        {VOCAB("{'a':0.5}"), "found 0.5"},
        {VOCAB("{'a':'0'}"), "'a': expected a number"},
        {VOCAB("{'a':null}"), "expected a number"},
        {VOCAB("{'a':[0]}"), "expected a number"},
        {MERGES("{}"), "model.merges: expected a list"},
        {MERGES("null"), "model.merges: expected a list"},
        {MERGES("[['a','b'],['b','x']]"), "model.merges[1]: 'x' is not in the vocabulary"},
        {MERGES("[['b','a']]"), "model.merges[0]: 'ba' is not in the vocabulary"},
        {MERGES("[['a']]"), "model.merges[0]: expected a pair"},
        {MERGES("[['a','b','ab']]"), "expected a pair"},
        {MERGES("[['a',1]]"), "expected a pair"},
        {MERGES("[[]]"), "expected a pair"},
        {MERGES("[1]"), "expected a text"},
        {MERGES("['ab']"), "expected two texts with one space"},
        {MERGES("['a b c']"), "one space"},
        {MERGES("[null]"), "expected a text"},
        {OPTION("'type':1"), "'type'"},
        {OPTION("'dropout':'x'"), "'dropout'"},
        {OPTION("'unk_token':7"), "'unk_token'"},
        {OPTION("'fuse_unk':0"), "'fuse_unk'"},
        {OPTION("'byte_fallback':'no'"), "'byte_fallback'"},
        {OPTION("'ignore_merges':[]"), "'ignore_merges'"},
        {OPTION("'continuing_subword_prefix':{}"), "'continuing_subword_prefix'"},
        {OPTION("'new':1"), "'new'"},
        {"{'version':1," MODEL "}", "'version'"},
        {"{'more':1," MODEL "}", "'more'"},
    };
    static const struct row unsupported[] = {
        {OPTION("'type':'WordPiece'"), "type 'WordPiece'"},
        {OPTION("'dropout':0.1"), "dropout 0.1"},
        {OPTION("'end_of_word_suffix':'</w>'"), "end_of_word_suffix"},
        {OPTION("'continuing_subword_prefix':'##'"), "continuing_subword_prefix"},
        {"{'version':'2.0'," MODEL "}", "'2.0'"},
        {"{'model':{'byte_fallback':true,'vocab':{'a':0},'merges':[]},"
         "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':true}}",
         "byte_fallback together with"},
    };
    (void)state;
    CHECK_REFUSED(ERR_FORMAT, rows);
    CHECK_REFUSED(ERR_UNSUPPORTED, unsupported);
}

#define ADD(list) "{" MODEL ",'added_tokens':" list "}"
#define FLAGS "'single_word':false,'lstrip':false,'rstrip':false,'special':true"
#define TOKEN(id, content) "{'id':" id ",'content':" content ",'normalized':false," FLAGS "}"
#define SHRINK "'normalizer':{'type':'Replace','pattern':{'String':'x'},'content':''},"

static void test_added(void **state)
{
    static const struct row rows[] = {
        {ADD("{}"), "added_tokens: expected a list"},
        {ADD("'x'"), "added_tokens: expected a list"},
        {ADD("[1]"), "added_tokens[0]"},
        {ADD("[{}]"), "added_tokens[0]: token: key 'id' is missing"},
        {ADD("[" TOKEN("'3'", "'x'") "]"), "'id'"},
        {ADD("[" TOKEN("-1", "'x'") "]"), "'id'"},
        {ADD("[" TOKEN("4194304", "'x'") "]"), "'id'"},
        {ADD("[" TOKEN("99999999999999999999", "'x'") "]"), "9999"},
        {ADD("[" TOKEN("3", "3") "]"), "'content'"},
        {ADD("[" TOKEN("3", "''") "]"), "content has 0 bytes"},
        {ADD("[" TOKEN("4", "'x'") "]"), "'x' has the id 4, expected 3"},
        {ADD("[" TOKEN("3", "'a'") "]"), "'a' has the id 3, expected 0"},
        {ADD("[" TOKEN("3", "'x'") "," TOKEN("3", "'y'") "]"), "added_tokens[1]: 'y' has the id 3, expected 4"},
        {ADD("[" TOKEN("3", "'x'") "," TOKEN("4", "'x'") "]"), "'x' is there twice"},
        {ADD("[" TOKEN("0", "'a'") "," TOKEN("0", "'a'") "]"), "the id 0 is there twice"},
        {ADD("[{'id':3,'content':'x','normalized':false}]"), "'single_word' is missing"},
        {ADD("[{'id':3,'content':'x','normalized':1," FLAGS "}]"), "'normalized'"},
        {ADD("[{'id':3,'content':'x','normalized':true,'more':1," FLAGS "}]"), "'more'"},
        {"{" MODEL "," SHRINK "'added_tokens':[{'id':3,'content':'x','normalized':true," FLAGS "}]}",
         "makes nothing of it"},
        {"{" MODEL ",'normalizer':{'type':'Replace','pattern':{'String':'x'},'content':'y'},'added_tokens':["
         "{'id':3,'content':'x','normalized':true," FLAGS "},{'id':4,'content':'y','normalized':true," FLAGS "}]}",
         "'y' is there twice"},
    };
    (void)state;
    CHECK_REFUSED(ERR_FORMAT, rows);
}

#define PRE(step) "{" MODEL ",'pre_tokenizer':" step "}"
#define NORM(step) "{" MODEL ",'normalizer':" step "}"
#define POST(step) "{" MODEL ",'post_processor':" step "}"
#define DECODE(step) "{" MODEL ",'decoder':" step "}"
#define UNIGRAM(members) "{'model':{'type':'Unigram'," members "}"
#define SPECIAL(ids)                                                                                                   \
    "{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'x'}},{'Sequence':{'id':'A'}}],"                     \
    "'special_tokens':{'x':{'ids':" ids "}}}"
#define SINGLE(list) "{'type':'TemplateProcessing','single':" list ",'special_tokens':{}}"

static void test_steps(void **state)
{
    static const struct row rows[] = {
        {PRE("1"), "pre_tokenizer"},
        {PRE("[]"), "pre_tokenizer"},
        {PRE("{}"), "pre_tokenizer: step: key 'type'"},
        {PRE("{'type':1}"), "'type'"},
        {PRE("{'type':'Sequence'}"), "'pretokenizers'"},
        {PRE("{'type':'Sequence','pretokenizers':[{'type':'Sequence','pretokenizers':[7]}]}"),
         "pretokenizers[0]: pretokenizers[0]"},
        {PRE("{'type':'Split','pattern':'x','behavior':'Removed','invert':false}"), "'pattern'"},
        {PRE("{'type':'Split','pattern':{},'behavior':'Removed','invert':false}"), "pattern"},
        {PRE("{'type':'Split','pattern':{'String':'a','Regex':'b'},'behavior':'Removed','invert':false}"), "pattern"},
        {PRE("{'type':'Split','pattern':{'String':1},'behavior':'Removed','invert':false}"), "'String'"},
        {PRE("{'type':'Split','pattern':{'String':'a'},'behavior':1,'invert':false}"), "'behavior'"},
        {PRE("{'type':'Split','pattern':{'String':'a'},'behavior':'Removed','invert':'no'}"), "'invert'"},
        {PRE("{'type':'Split','pattern':{'String':'a'},'behavior':'Removed','invert':false,'x':1}"), "'x'"},
        {PRE("{'type':'Digits','individual_digits':1}"), "'individual_digits'"},
        {PRE("{'type':'ByteLevel'}"), "'add_prefix_space'"},
        {PRE("{'type':'Metaspace','replacement':'ab'}"), "one character"},
        {PRE("{'type':'Metaspace','replacement':''}"), "one character"},
        {PRE("{'type':'Metaspace','replacement':'_','add_prefix_space':false}"), "prepend_scheme is 'always'"},
        {NORM("'NFC'"), "normalizer"},
        {NORM("{'type':'NFC','x':1}"), "'x'"},
        {NORM("{'type':'Prepend','prepend':1}"), "'prepend'"},
        {NORM("{'type':'NFKD','x':1}"), "'x'"},
        {NORM("{'type':'Strip','strip_left':true}"), "'strip_right'"},
        {NORM("{'type':'Precompiled'}"), "'precompiled_charsmap'"},
        {NORM("{'type':'Precompiled','precompiled_charsmap':'%%'}"), "base64"},
        {NORM("{'type':'Precompiled','precompiled_charsmap':'AAAA'}"), "precompiled_charsmap: 3 bytes"},
        {NORM("{'type':'Precompiled','precompiled_charsmap':'/////wAAAAA='}"), "a table of 4294967295 bytes"},
        {NORM("{'type':'Precompiled','precompiled_charsmap':'BAAAAAAAAABh'}"), "ends with NUL"},
        {NORM("{'type':'Replace','pattern':{'String':'a'},'content':null}"), "'content'"},
        {POST("{'type':'TemplateProcessing'}"), "'single'"},
        {POST(SINGLE("[1]")), "single[0]"},
        {POST(SINGLE("[{'SpecialToken':{'id':'y'}}]")), "single[0]"},
        {POST(SPECIAL("[3]")), "from 0 to 2, found 3"},
        {POST(SPECIAL("[-1]")), "found -1"},
        {POST(SPECIAL("['a']")), "from 0 to 2"},
        {POST(SPECIAL("1")), "'ids'"},
        {DECODE("{'type':'Strip','content':'ab','start':0,'stop':0}"), "one character"},
        {DECODE("{'type':'Strip','content':'a','start':-1,'stop':0}"), "'start'"},
        {DECODE("{'type':'Fuse','x':1}"), "'x'"},
        {DECODE("{'type':'Sequence','decoders':{}}"), "'decoders'"},
    };
    static const struct row unsupported[] = {
        {PRE("{'type':'Whitespace'}"), "pre_tokenizer: type 'Whitespace'"},
        {NORM("{'type':'BertNormalizer'}"), "normalizer: type 'BertNormalizer'"},
        {POST("{'type':'BertProcessing'}"), "post_processor: type 'BertProcessing'"},
        {DECODE("{'type':'CTC'}"), "decoder: type 'CTC'"},
        {PRE("{'type':'Sequence','pretokenizers':[{'type':'UnicodeScripts'}]}"),
         "pretokenizers[0]: type 'UnicodeScripts'"},
        {PRE("{'type':'Split','pattern':{'String':'a'},'behavior':'Doubled','invert':false}"), "'Doubled'"},
        {PRE("{'type':'Metaspace','replacement':'_','prepend_scheme':'maybe'}"), "'maybe'"},
        {PRE("{'type':'Sequence','pretokenizers':[{'type':'ByteLevel','add_prefix_space':false},"
             "{'type':'Digits','individual_digits':true}]}"),
         "'Digits' behind ByteLevel"},
        {DECODE("{'type':'Replace','pattern':{'Regex':'a+'},'content':'b'}"), "a regular pattern"},
        {NORM("{'type':'Replace','pattern':{'Regex':'\\\\b'},'content':'b'}"), "pattern"},
        {UNIGRAM("'unk_id':0,'vocab':[['a',0]]") ",'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':true}}",
         "Unigram with the pre-tokenizer ByteLevel"},
        {NORM("{'type':'Replace','pattern':{'String':''},'content':'b'}"), "an empty pattern"},
        {POST(SINGLE("[]")), "without sequence A"},
        {POST(SINGLE("[{'Sequence':{'id':'B'}}]")), "found 'B'"},
        {POST("{'type':'Sequence','processors':[" SPECIAL("[]") "," SPECIAL("[]") "]}"), "a second TemplateProcessing"},
    };
    (void)state;
    CHECK_REFUSED(ERR_FORMAT, rows);
    CHECK_REFUSED(ERR_UNSUPPORTED, unsupported);
}

static void test_unigram(void **state)
{
    static const struct row rows[] = {
        {UNIGRAM("'unk_id':0") "}", "'vocab' is missing"},
        {UNIGRAM("'vocab':[['a',0]],'merges':[]") "}", "no 'merges'"},
        {UNIGRAM("'vocab':{}") "}", "a list of texts with scores"},
        {UNIGRAM("'vocab':[]") "}", "is empty"},
        {UNIGRAM("'vocab':[['a',0],1]") "}", "model.vocab[1]"},
        {UNIGRAM("'vocab':[['a']]") "}", "model.vocab[0]"},
        {UNIGRAM("'vocab':[['a','b']]") "}", "model.vocab[0]"},
        {UNIGRAM("'vocab':[[0,'a']]") "}", "model.vocab[0]"},
        {UNIGRAM("'vocab':[['a',0,1]]") "}", "model.vocab[0]"},
        {UNIGRAM("'vocab':[['a',1e999]]") "}", "model.vocab[0]"},
        {UNIGRAM("'vocab':[['a',-1e99999999999999999999]]") "}", "model.vocab[0]"},
        {UNIGRAM("'unk_id':1,'vocab':[['a',0]]") "}", "'unk_id' is 1"},
        {UNIGRAM("'unk_id':-1,'vocab':[['a',0]]") "}", "'unk_id'"},
        {UNIGRAM("'unk_id':'a','vocab':[['a',0]]") "}", "'unk_id'"},
        {UNIGRAM("'byte_fallback':1,'vocab':[['a',0]]") "}", "'byte_fallback'"},
        {UNIGRAM("'more':1,'vocab':[['a',0]]") "}", "'more'"},
    };
    struct tokenizer *t;
    uint32_t *ids;
    size_t n;
    (void)state;
    CHECK_REFUSED(ERR_FORMAT, rows);
    CHECK_OK(open_text(&t, UNIGRAM("'vocab':[['a',0]]") "}", e_));
    CHECK_FAILS(tokenizer_encode(t, bytes_text("ab"), false, &ids, &n, e_), ERR_FORMAT, "there is no unk_id");
    assert_null(ids);
    tokenizer_close(t);
}

/* repeated: `unit` n times between the other two. */
static char *repeated(const char *before, const char *unit, size_t n, const char *after)
{
    struct text t = TEXT_INIT;
    text_put(&t, before, strlen(before));
    for (size_t i = 0; i < n; i++) text_put(&t, unit, strlen(unit));
    text_put(&t, after, strlen(after) + 1);
    assert_false(t.failed);
    return t.data;
}

static void test_limits(void **state)
{
    static const char nested[] = "{'type':'Sequence','pretokenizers':[";
    (void)state;
    char *steps = repeated(
        "{" MODEL ",'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Digits','individual_digits':true}",
        ",{'type':'Digits','individual_digits':true}", 64, "]}}");
    char *depth = repeated("{" MODEL ",'pre_tokenizer':", nested, 9, "]}]}]}]}]}]}]}]}]}}");
    char *token =
        repeated("{" MODEL ",'added_tokens':[{'id':3,'content':'", "x", 4097, "','normalized':false," FLAGS "}]}");
    char *ids =
        repeated("{" MODEL ",'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'x'}},"
                 "{'Sequence':{'id':'A'}}],'special_tokens':{'x':{'ids':[0",
                 ",0", 1024, "]}}}}");
    char *deep = repeated("{'decoder':", "[", 200, "}");
    const struct row unsupported[] = {
        {steps, "more than 64 steps"}, {depth, "deeper than 8 levels"}, {ids, "more than 1024 ids"}};
    const struct row rows[] = {{token, "content has 4097 bytes"}, {deep, "nested"}};
    CHECK_REFUSED(ERR_UNSUPPORTED, unsupported);
    CHECK_REFUSED(ERR_FORMAT, rows);
    free(steps), free(depth), free(token), free(ids), free(deep);
}

/* Too large to be read at all; the memory is never touched. */
static void test_file_too_large(void **state)
{
    struct tokenizer *t;
    (void)state;
    CHECK_FAILS(tokenizer_open_bytes(&t, bytes_of("", TOKENIZER_FILE_MAX + 1), "test", e_), ERR_FORMAT, "at most");
}

static bool open_pattern(struct tokenizer **out, const char *pattern, struct error *err)
{
    char json[1 << 14];
    snprintf(json, sizeof json, PRE("{'type':'Split','pattern':{'Regex':'%s'},'behavior':'Isolated','invert':false}"),
             pattern);
    return open_text(out, json, err);
}

/* What does not compile, and what Oniguruma and PCRE2 may read differently. */
static void test_patterns(void **state)
{
    static const char *const unsupported[] = {
        "(a",
        "a)",
        "[a",
        "*a",
        "a**",
        "a{3,2}",
        "a{1001}",
        "a{1,1001}",
        "a{2}?",
        "a{2,3}+",
        "a{",
        "a{x}",
        "(?<n>a)",
        "(?#c)",
        "(?i)a",
        "(*FAIL)",
        "\\\\1",
        "\\\\b",
        "\\\\X",
        "\\\\h",
        "\\\\R",
        "\\\\K",
        "\\\\G",
        "[[:alpha:]]",
        "[a&&b]",
        "[]a]",
        "[z-a]",
        "[a-\\\\d]",
        "\\\\p{Xyz1}",
        "\\\\pL",
        "\\\\p{L",
        "\\\\xff",
        "\\\\x{110000}",
        "\\\\x{d800}",
        "a\\\\",
        "(?i:ss)",
        "(?i:\\\\u00df)",
        "(?i:\\\\p{L})",
        "(?<=a)*",
        "\\\\C",
    };
    struct tokenizer *t;
    (void)state;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        struct error err = ERROR_INIT;
        if (open_pattern(&t, unsupported[i], &err)) fail_msg("pattern %s: compiled", unsupported[i]);
        if ((err.code != ERR_UNSUPPORTED && err.code != ERR_FORMAT) || !strstr(err.text, "pattern"))
            fail_msg("pattern %s: %s: %s", unsupported[i], error_code_name(err.code), err.text);
    }
    /* Passed on as they are, and refused by PCRE2 itself. */
    CHECK_FAILS(open_pattern(&t, "\\\\p{Klingon}", e_), ERR_FORMAT, "the pattern is not valid");
    CHECK_FAILS(open_pattern(&t, "(?<=a+)b", e_), ERR_FORMAT, "the pattern is not valid");
    char *longest = repeated("", "a", PATTERN_BYTES_MAX + 1, ""), *groups = repeated("", "(", 33, "");
    CHECK_FAILS(open_pattern(&t, longest, e_), ERR_UNSUPPORTED, "a pattern of 2049 bytes");
    CHECK_FAILS(open_pattern(&t, groups, e_), ERR_UNSUPPORTED, "a group in so many others");
    free(longest), free(groups);
}

/* Patterns that go back and forth without end: an error after work in proportion to the text. Each would take hours. */
static void test_endless_patterns(void **state)
{
    static const struct {
        const char *pattern, *unit;
        uint32_t n;
        const char *after;
    } rows[] = {
        {"(a|a)*[bx]", "a", 1000, "cb"},
        {"(a|a)*[bx]", "a", 100000, "cb"},
        {"(a+)+[bx]", "a", 100000, "cb"},
        {"a+[bx]", "a", 1000000, "cb"},
        {"a*a*[bx]", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", 20000, "b"},
        {"(a*)*[bx]", "a", 5000000, "cb"},
        {"(?=(a|a)*[bx])c|[bx]", "a", 100000, "cb"},
        {"(a?){30}a{30}[bx]", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", 10000, "b"},
    };
    struct timespec start, end;
    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CLEANUP(tokenizer) struct tokenizer *t = NULL;
        CLEANUP(free) char *text = repeated("", rows[i].unit, rows[i].n, rows[i].after);
        uint32_t *ids;
        size_t n;
        CHECK_OK(open_pattern(&t, rows[i].pattern, e_));
        CHECK_FAILS(tokenizer_encode(t, bytes_text(text), false, &ids, &n, e_), ERR_UNSUPPORTED,
                    "the pattern gives up at byte");
        assert_null(ids);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (end.tv_sec - start.tv_sec > 120) fail_msg("took %ld s", (long)(end.tv_sec - start.tv_sec));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),    cmocka_unit_test(test_added),
        cmocka_unit_test(test_unigram),  cmocka_unit_test(test_steps),
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_file_too_large),
        cmocka_unit_test(test_patterns), cmocka_unit_test(test_endless_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
