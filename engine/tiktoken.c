#include "engine/tiktoken.h"

#include "engine/token_config.h"
#include "engine/token_ranks.h"
#include "engine/tokenizer_impl.h"

/* All from tokenization_kimi.py as published with Kimi K2. */
#define LETTER_END "\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define UPPER "[\\p{Lu}\\p{Lt}" LETTER_END
#define LOWER "[\\p{Ll}" LETTER_END
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define ENDING "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
static const char kimi_pattern[] =
    "[\\p{Han}]+|" BEFORE UPPER "*" LOWER "+" ENDING "|" BEFORE UPPER "+" LOWER "*" ENDING
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
#define RESERVED 256u
#define CHUNK_CHARS 400000u
#define RUN_CHARS 25000u

/* Up to the next space or the end of the line. */
static struct bytes word_at(struct bytes file, size_t *at)
{
    size_t start = *at;
    while (*at < file.size && file.data[*at] > ' ') ++*at;
    return bytes_of(file.data + start, *at - start);
}

static bool read_line(struct bpe *b, struct bytes file, size_t *at, uint32_t line, struct error *err)
{
    uint64_t id;
    struct bytes base64 = word_at(file, at), rank = bytes_of(NULL, 0);
    if (*at < file.size && file.data[*at] == ' ') {
        ++*at;
        rank = word_at(file, at);
    }
    bool ended = *at == file.size || file.data[*at] == '\n' ||
                 (file.data[*at] == '\r' && *at + 1 < file.size && file.data[*at + 1] == '\n');
    if (!base64.size || !rank.size || !ended || !json_token_u64(rank, &id))
        return error_set(err, ERR_FORMAT, "line %u: expected a base64 text, a space and a number", line);
    if (id >= TOKENIZER_IDS_MAX - RESERVED)
        return error_set(err, ERR_FORMAT, "line %u: rank %llu, expected 0 to %u", line, (unsigned long long)id,
                         TOKENIZER_IDS_MAX - RESERVED - 1);
    return token_ranks_add(b, (uint32_t)id, base64, err) ? true : error_wrap(err, "line %u", line);
}

static bool read_lines(struct bpe *b, struct bytes file, uint32_t *n, struct error *err)
{
    uint32_t line = 1;
    for (size_t at = 0; at < file.size; line++) {
        if (file.data[at] != '\n' && file.data[at] != '\r') {
            if (!read_line(b, file, &at, line, err)) return false;
            ++*n;
        }
        const uint8_t *end = memchr(file.data + at, '\n', file.size - at);
        at = end ? (size_t)(end - file.data) + 1 : file.size;
    }
    return *n ? true : error_set(err, ERR_FORMAT, "there are no tokens");
}

/* The reserved tokens that the configuration gives no name are called by their number. */
static bool add_special(struct added_tokens *a, const json_t *config, uint32_t n, struct error *err)
{
    bool named[RESERVED] = {false};
    if (!added_tokens_begin(a, token_config_count(config) + RESERVED, err) ||
        !token_config_add(a, config, n, false, err))
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        a->tokens[i].special = true;
        if (a->tokens[i].id - n < RESERVED) named[a->tokens[i].id - n] = true;
    }
    for (uint32_t i = 0; i < RESERVED; i++) {
        char name[48];
        snprintf(name, sizeof name, "<|reserved_token_%u|>", n + i);
        struct added_token t = {.content = bytes_text(name), .id = n + i, .special = true};
        if (!named[i] && !added_tokens_add(a, &t, err)) return false;
    }
    return added_tokens_finish(a, err);
}

static bool check_class(const json_t *config, struct error *err)
{
    const char *name = "TikTokenTokenizer";
    if (config && !json_opt_string(config, "tokenizer_class", "tokenizer_config.json", &name, err)) return false;
    return strcmp(name, "TikTokenTokenizer") == 0
               ? true
               : error_set(err, ERR_UNSUPPORTED, "tokenizer_class '%.100s' is not supported, only TikTokenTokenizer is",
                           name);
}

bool tiktoken_open(struct tokenizer *t, struct bytes file, const json_t *config, struct error *err)
{
    uint32_t n = 0;
    if (!check_class(config, err) || !token_ranks_begin(&t->bpe, file.size, err) || !read_lines(&t->bpe, file, &n, err))
        return false;
    /* The special tokens' ids follow from the number of tokens: there must be no gap. */
    if (t->bpe.own_texts.n != n)
        return error_set(err, ERR_FORMAT, "%u tokens, and the highest rank is %u", n, t->bpe.own_texts.n - 1);
    t->bytes = true;
    t->chunk_chars = CHUNK_CHARS;
    t->run_chars = RUN_CHARS;
    return token_ranks_finish(&t->bpe, "tokens", err) && add_special(&t->added, config, n, err) &&
           pretokenizer_open_matches(&t->pre, kimi_pattern, err);
}
