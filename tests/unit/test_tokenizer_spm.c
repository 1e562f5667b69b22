/* SentencePiece files written byte by byte: what they may be, and what a stranger may have made of them. Expected ids
 * are by hand from the rules in engine/spm.h and engine/bpe.h; models that a library made are in
 * tests/golden/tokenizers.py. */
#include "tests/tokenizer_text.h"

#include "core/text.h"
#include "engine/charsmap.h"
#include "engine/spm_file.h"

static void put_varint(struct text *t, uint64_t v)
{
    for (; v > 127; v >>= 7) text_put(t, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
    text_put(t, &(uint8_t){(uint8_t)v}, 1);
}

static void put_number(struct text *t, uint32_t field, uint64_t v)
{
    put_varint(t, (uint64_t)field << 3);
    put_varint(t, v);
}

static void put_bytes(struct text *t, uint32_t field, const void *data, size_t n)
{
    put_varint(t, (uint64_t)field << 3 | 2);
    put_varint(t, n);
    text_put(t, data, n);
}

static void put_piece(struct text *t, const char *text, float score, uint32_t type)
{
    struct text p = TEXT_INIT;
    put_bytes(&p, 1, text, strlen(text));
    put_varint(&p, 2 << 3 | 5);
    text_put(&p, &score, 4); /* tests run on little-endian machines */
    if (type) put_number(&p, 3, type);
    put_bytes(t, 1, p.data, p.size);
    text_free(&p);
}

/* trainer_spec: model type and byte fallback. */
static void put_trainer(struct text *t, uint32_t model, bool bytes)
{
    struct text p = TEXT_INIT;
    put_number(&p, 3, model);
    put_number(&p, 35, bytes);
    put_bytes(t, 2, p.data, p.size);
    text_free(&p);
}

/* normalizer_spec: a table of rules, add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces. */
static void put_normalizer(struct text *t, struct bytes map, bool prefix, bool remove, bool escape)
{
    struct text p = TEXT_INIT;
    if (map.size) put_bytes(&p, 2, map.data, map.size);
    put_number(&p, 3, prefix);
    put_number(&p, 4, remove);
    put_number(&p, 5, escape);
    put_bytes(t, 3, p.data, p.size);
    text_free(&p);
}

static bool open_model(struct tokenizer **out, const struct text *t, const char *config, struct error *err)
{
    return tokenizer_open_file(out, "tokenizer.model", bytes_of(t->data, t->size), bytes_text(quoted(config)), "test",
                               err);
}

static const struct bytes no_map = {NULL, 0};

static struct text small_model(uint32_t model)
{
    struct text t = TEXT_INIT;
    put_piece(&t, "<unk>", 0, SPM_UNKNOWN);
    put_piece(&t, "<s>", 0, SPM_CONTROL);
    put_piece(&t, "</s>", 0, SPM_CONTROL);
    put_piece(&t, "ab", -1, 0);
    put_piece(&t, "bc", -1, SPM_NORMAL);
    put_piece(&t, "a", -3, 0);
    put_piece(&t, "c", -4, 0);
    put_piece(&t, "\xe2\x96\x81", -5, 0);
    put_piece(&t, "xx", -1, SPM_USER_DEFINED);
    put_trainer(&t, model, false);
    put_normalizer(&t, no_map, false, false, true);
    return t;
}

struct row {
    const char *text, *ids;
};

/* "b" is no piece, yet joins its neighbours; equal scores: the left pair goes first. The lone b and what nobody knows
 * become one unknown piece together. User-defined pieces are taken whole. */
static void test_bpe(void **state)
{
    static const struct row rows[] = {
        {"abc", "3 6"},  {"bc", "4"},    {"b", "0"},       {"abbc", "3 4"}, {"b\xe4\xb8\x80z", "0"},
        {"abab", "3 3"}, {"xxx", "8 0"}, {"a b", "5 7 0"}, {"<s>", "0"},    {"", ""}};
    struct text model = small_model(SPM_BPE);
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    (void)state;
    CHECK_OK(open_model(&t, &model, "", e_));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_string_equal(ids_of(t, rows[i].text), rows[i].ids);
    assert_string_equal(ids_of_bytes(t, bytes_text("a"), true), "1 5");
    text_free(&model);
}

/* What tokenizer_config.json adds: tokens in the raw text, and what stands around it. Control pieces count in prompts.
 */
static void test_config(void **state)
{
    static const char config[] = "{'add_bos_token':false,'add_eos_token':true,'added_tokens_decoder':{"
                                 "'2':{'content':'</s>','special':true},'9':{'content':'<x>','lstrip':true}}}";
    struct text model = small_model(SPM_BPE);
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    uint32_t *ids;
    char *text;
    size_t n;
    (void)state;
    CHECK_OK(open_model(&t, &model, config, e_));
    assert_string_equal(ids_of_bytes(t, bytes_text("a <x>a</s>"), true), "5 9 5 2 2");
    assert_string_equal(ids_of(t, "<s>a"), "0 5");
    CHECK_OK(tokenizer_encode_prompt(t, bytes_text("<s>a</s>"), &ids, &n, e_));
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 1);
    CHECK_OK(tokenizer_decode(t, ids, n, false, &text, &n, e_));
    assert_string_equal(text, "a</s>");
    free(text);
    CHECK_OK(tokenizer_decode(t, (const uint32_t[]){2, 5, 9, 1, 77}, 5, true, &text, &n, e_));
    assert_string_equal(text, "a<x>");
    free(text);
    free(ids);
    text_free(&model);
}

static void test_bad_config(void **state)
{
    static const struct row rows[] = {
        {"[]", "expected an object"},
        {"{'add_bos_token':1}", "'add_bos_token'"},
        {"{'added_tokens_decoder':[]}", "expected an object"},
        {"{'added_tokens_decoder':{'x':{'content':'a'}}}", "expected an id"},
        {"{'added_tokens_decoder':{'4194304':{'content':'a'}}}", "expected an id"},
        {"{'added_tokens_decoder':{'3':{}}}", "'content'"},
        {"{'added_tokens_decoder':{'3':{'content':''}}}", "content has 0 bytes"},
        {"{'added_tokens_decoder':{'3':{'content':'a'},'03':{'content':'b'}}}", "the id 3 is there twice"},
        {"{'added_tokens_decoder':{'3':{'content':'a'},'4':{'content':'a'}}}", "'a' is there twice"},
        {"{", "ends too early"},
    };
    struct text model = small_model(SPM_BPE);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tokenizer *t;
        CHECK_FAILS(open_model(&t, &model, rows[i].text, e_), ERR_FORMAT, rows[i].ids);
        assert_null(t);
    }
    text_free(&model);
}

/* "abc": 3 + 1 is less than 1 + 4. Unknown: ten below the worst, and one for as many as stand together;
 * of two equal ways, the one whose last token begins earlier. */
static void test_unigram(void **state)
{
    static const struct row rows[] = {{"abc", "5 4"}, {"b", "0"},     {"bb", "0"},
                                      {"xx", "8"},    {"xxx", "0 8"}, {"ac", "5 6"}};
    struct text model = small_model(SPM_UNIGRAM);
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    (void)state;
    CHECK_OK(open_model(&t, &model, "", e_));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_string_equal(ids_of(t, rows[i].text), rows[i].ids);
    text_free(&model);
}

/* Every beginning of a good file, and every file with one byte changed: opened or refused with a sentence. */
static void test_cut_and_changed(void **state)
{
    struct text model = small_model(SPM_BPE);
    uint64_t seed = 7;
    uint32_t n_open = 0;
    (void)state;
    for (size_t n = 0; n <= model.size; n++) {
        struct error e = ERROR_INIT;
        struct tokenizer *t;
        struct text cut = {.data = model.data, .size = n};
        bool ok = open_model(&t, &cut, "", &e);
        n_open += ok;
        if (!ok && (t || e.code != ERR_FORMAT || strncmp(e.text, "test: ", 6) != 0)) fail_msg("%zu: '%s'", n, e.text);
        tokenizer_close(t);
    }
    /* The whole file, and it without its end, whose parts have usual values. */
    assert_true(n_open >= 1 && n_open < 10);
    for (uint32_t i = 0; i < 20000; i++) {
        struct error e = ERROR_INIT;
        struct tokenizer *t;
        size_t at = check_random(&seed) % model.size;
        char kept = model.data[at];
        model.data[at] = (char)check_random(&seed);
        if (!open_model(&t, &model, "", &e) && !e.text[0]) fail_msg("byte %zu: no sentence", at);
        tokenizer_close(t);
        model.data[at] = kept;
    }
    text_free(&model);
}

static void check_refused(struct text *model, enum error_code code, const char *part)
{
    struct tokenizer *t;
    CHECK_FAILS(open_model(&t, model, "", e_), code, part);
    assert_null(t);
    text_free(model);
}

static struct text one(const char *bytes, size_t n)
{
    struct text t = TEXT_INIT;
    text_put(&t, bytes, n);
    return t;
}
#define FILE_OF(bytes) &(struct text[]){one(bytes, sizeof(bytes) - 1)}[0]

static void test_broken_messages(void **state)
{
    (void)state;
    check_refused(FILE_OF(""), ERR_FORMAT, "there are no pieces");
    check_refused(FILE_OF("\x0a"), ERR_FORMAT, "byte 1: the message ends inside a number");
    check_refused(FILE_OF("\x0a\x05"), ERR_FORMAT, "a field of 5 bytes, and 0 are left");
    check_refused(FILE_OF("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), ERR_FORMAT,
                  "a field of 18446744073709551615 bytes");
    check_refused(FILE_OF("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), ERR_FORMAT, "more than 64 bits");
    check_refused(FILE_OF("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), ERR_FORMAT, "more than 64 bits");
    check_refused(FILE_OF("\x02\x00"), ERR_FORMAT, "without a valid number");
    check_refused(FILE_OF("\x0b\x0c"), ERR_FORMAT, "a kind that these files do not have");
    check_refused(FILE_OF("\x0f"), ERR_FORMAT, "a kind that these files do not have");
    check_refused(FILE_OF("\x08\x01"), ERR_FORMAT, "piece: wire type 0, expected 2");
    check_refused(FILE_OF("\x0a\x02\x08\x01"), ERR_FORMAT, "pieces[0]: piece: wire type 0");
    check_refused(FILE_OF("\x0a\x02\x0a\x05"), ERR_FORMAT, "pieces[0]");
    check_refused(FILE_OF("\x0a\x05\x0a\x01q\x18\x07"), ERR_FORMAT, "pieces[0]: type 7, expected 1 to 6");
    check_refused(FILE_OF("\x0a\x05\x0a\x01q\x10\x01"), ERR_FORMAT, "pieces[0]: score: wire type 0");
    check_refused(FILE_OF("\x0a\x03\x0a\x01\xff"), ERR_FORMAT, "pieces[0]: piece is not UTF-8");
    check_refused(FILE_OF("\x0a\x02\x0a\x00"), ERR_FORMAT, "pieces[0]: 0 bytes of text");
    check_refused(FILE_OF("\x0a\x04\x0a\x02q\x00"), ERR_FORMAT, "a NUL in its text");
    check_refused(FILE_OF("\x0a\x08\x0a\x01q\x15\x00\x00\xc0\x7f"), ERR_FORMAT, "not a number");
    check_refused(FILE_OF("\x12\x02\x18\x09"), ERR_FORMAT, "trainer_spec: model_type 9");
    check_refused(FILE_OF("\x1a\x02\x10\x01"), ERR_FORMAT, "normalizer_spec: precompiled_charsmap: wire type 0");
}

static void test_models(void **state)
{
    struct text t;
    (void)state;
    t = small_model(SPM_BPE), put_piece(&t, "a", 0, 0);
    check_refused(&t, ERR_FORMAT, "'a' is there twice, with ids 5 and 9");
    t = small_model(SPM_BPE), put_piece(&t, "<unk2>", 0, SPM_UNKNOWN);
    check_refused(&t, ERR_FORMAT, "2 unknown pieces");
    t = small_model(SPM_BPE), put_piece(&t, "<0x41>", 0, SPM_BYTE);
    check_refused(&t, ERR_FORMAT, "1 byte pieces, expected 0");
    t = small_model(SPM_BPE), put_trainer(&t, SPM_BPE, true);
    check_refused(&t, ERR_FORMAT, "0 byte pieces, expected 256");
    t = small_model(SPM_BPE), put_piece(&t, "un", 0, SPM_UNUSED);
    check_refused(&t, ERR_UNSUPPORTED, "pieces[9]: unused pieces");
    t = small_model(SPM_WORD);
    check_refused(&t, ERR_UNSUPPORTED, "model_type 3 is not supported");
    t = small_model(SPM_UNIGRAM), put_piece(&t, "inf", -1.0f / 0.0f, 0);
    check_refused(&t, ERR_FORMAT, "pieces[9]: the score is not finite");
    t = small_model(SPM_BPE), put_normalizer(&t, bytes_of("\x08\0\0\0abcd", 8), true, true, true);
    check_refused(&t, ERR_FORMAT, "precompiled_charsmap");
    t = small_model(SPM_BPE), put_bytes(&t, 5, "\x12\x01z", 3);
    check_refused(&t, ERR_UNSUPPORTED, "a denormalizer");
    char *piece = calloc(1, SPM_PIECE_BYTES_MAX + 2);
    memset(piece, 'q', SPM_PIECE_BYTES_MAX + 1);
    t = small_model(SPM_BPE), put_piece(&t, piece, 0, 0);
    check_refused(&t, ERR_FORMAT, "4097 bytes of text");
    /* Pieces that would take minutes to be taken apart. */
    t = small_model(SPM_BPE);
    piece[SPM_PIECE_BYTES_MAX] = '\0';
    for (uint32_t i = 0; i < 200; i++) {
        piece[0] = (char)('!' + i % 90), piece[1] = (char)('!' + i / 90);
        put_piece(&t, piece, 0, 0);
    }
    check_refused(&t, ERR_UNSUPPORTED, "its texts are too long");
    free(piece);
}

/* A double array of 256 units at most: unit 0 is the root with offset 1; see charsmap.c for the bits. */
static size_t make_map(uint8_t *blob, const uint32_t *units, uint32_t n, const char *texts, size_t n_texts)
{
    uint32_t size = 4 * n;
    memcpy(blob, &size, 4);
    memcpy(blob + 4, units, size);
    memcpy(blob + 4 + size, texts, n_texts);
    return 4 + size + n_texts;
}

static void test_charsmap(void **state)
{
    /* 'a' (unit 1 ^ 'a') -> "X", and "ab" -> "": the child's offset is 4, so its value is at 0x60 ^ 4, 'b' at 0x64 ^
     * 'b'. */
    static uint32_t units[256];
    uint8_t blob[2048];
    struct charsmap m;
    struct bytes to;
    (void)state;
    memset(units, 0xff, sizeof units);
    units[0] = 1u << 10;
    units[1 ^ 'a'] = 'a' | 1u << 8 | 4u << 10;
    units[(1 ^ 'a') ^ 4] = 1u << 31 | 1;
    units[(1 ^ 'a') ^ 4 ^ 'b'] = 'b' | 1u << 8 | 3u << 10;
    units[(1 ^ 'a') ^ 4 ^ 'b' ^ 3] = 1u << 31 | 0;
    size_t n = make_map(blob, units, 256, "\0X\0", 3);
    CHECK_OK(charsmap_open(&m, bytes_of(blob, n), e_));
    assert_int_equal(charsmap_find(&m, bytes_text("abc"), true, &to), 2);
    assert_int_equal(to.size, 0);
    assert_int_equal(charsmap_find(&m, bytes_text("abc"), false, &to), 1);
    assert_int_equal(to.size, 1);
    assert_int_equal(charsmap_find(&m, bytes_text("ac"), true, &to), 1);
    assert_int_equal(charsmap_find(&m, bytes_text("b"), true, &to), 0);
    /* A rule that would end inside a character, one that points past the texts, and a unit that leads to itself. */
    units[(1 ^ 'a') ^ 4 ^ 'b' ^ 3] = 1u << 31 | 3;
    n = make_map(blob, units, 256, "\0X\0", 3);
    CHECK_OK(charsmap_open(&m, bytes_of(blob, n), e_));
    assert_int_equal(charsmap_find(&m, bytes_text("abc"), true, &to), 1);
    units[1 ^ 'a'] = 'a' | 'a' << 10;
    units[0] = (1u ^ 'a' ^ 'a') << 10;
    n = make_map(blob, units, 256, "\0X\0", 3);
    CHECK_OK(charsmap_open(&m, bytes_of(blob, n), e_));
    assert_int_equal(charsmap_find(&m, bytes_text("aaaaaaaaaaaaaaaa"), true, &to), 0);
    n = make_map(blob, units, 256, "\xe4\xb8", 2);
    CHECK_FAILS(charsmap_open(&m, bytes_of(blob, n), e_), ERR_FORMAT, "not UTF-8");
    CHECK_FAILS(charsmap_open(&m, bytes_of(blob, 4 + 1024), e_), ERR_FORMAT, "cannot hold a table of 1024 bytes");
}

/* A random table never leads outside, and what it makes is UTF-8. */
static void test_random_charsmap(void **state)
{
    static uint32_t units[256];
    uint64_t seed = 3;
    uint8_t blob[2048];
    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        struct text model = TEXT_INIT;
        CLEANUP(tokenizer) struct tokenizer *t = NULL;
        for (uint32_t k = 0; k < 256; k++) units[k] = (uint32_t)check_random(&seed) & 0x80007fffu;
        for (uint32_t k = 0; k < 256; k += 3) units[k] = (k ^ 1) | 1u << 8 | (uint32_t)(check_random(&seed) % 64) << 10;
        size_t n = make_map(blob, units, 256, "a\0\xe4\xb8\x80\0 \0", 8);
        put_piece(&model, "<unk>", 0, SPM_UNKNOWN);
        put_piece(&model, "a", 0, 0);
        put_normalizer(&model, bytes_of(blob, n), true, true, true);
        CHECK_OK(open_model(&t, &model, "", e_));
        (void)ids_of(t, "abc \xc3\xa9\xe4\xb8\x80 a  b\xf0\x9f\x99\x82");
        text_free(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe),     cmocka_unit_test(test_config),          cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_unigram), cmocka_unit_test(test_cut_and_changed), cmocka_unit_test(test_broken_messages),
        cmocka_unit_test(test_models),  cmocka_unit_test(test_charsmap),        cmocka_unit_test(test_random_charsmap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
