#include "engine/tekken.h"

#include "engine/token_ranks.h"
#include "engine/tokenizer_impl.h"

/* Special tokens that versions up to 7 leave out of the file. */
static const char *const old_specials[] = {"<unk>",
                                           "<s>",
                                           "</s>",
                                           "[INST]",
                                           "[/INST]",
                                           "[AVAILABLE_TOOLS]",
                                           "[/AVAILABLE_TOOLS]",
                                           "[TOOL_RESULTS]",
                                           "[/TOOL_RESULTS]",
                                           "[TOOL_CALLS]",
                                           "[IMG]",
                                           "<pad>",
                                           "[IMG_BREAK]",
                                           "[IMG_END]",
                                           "[PREFIX]",
                                           "[MIDDLE]",
                                           "[SUFFIX]",
                                           "[SYSTEM_PROMPT]",
                                           "[/SYSTEM_PROMPT]",
                                           "[TOOL_CONTENT]"};
static const char *const versions[] = {"v1", "v2", "v3", "v7", "v11", "v13", "v15"};
#define SPECIALS_BEFORE "v7" /* the last version that may leave them out */

/* The parts of the file: the vocabulary as a place in the text, the others parsed. */
struct parts {
    json_t *config, *specials;
    struct json_scan vocab;
    bool has_vocab;
};

static bool parse_value(struct json_scan *s, const char *key, json_t **out, struct error *err)
{
    size_t start = s->at;
    if (*out) return error_set(err, ERR_FORMAT, "key '%s' is there twice", key);
    return json_scan_skip(s) &&
           json_parse(bytes_of(s->text.data + start, s->at - start), JSON_DIALECT_STRICT, key, out, err);
}

static bool read_parts(struct json_scan *s, struct parts *p, struct error *err)
{
    enum json_token t;
    if (json_scan_next(s) != JSON_TOKEN_OBJECT)
        return s->problem ? false : error_set(err, ERR_FORMAT, "expected an object");
    while ((t = json_scan_next(s)) == JSON_TOKEN_KEY) {
        struct bytes key = s->token;
        bool ok;
        if (json_token_is(key, "config")) {
            ok = parse_value(s, "config", &p->config, err);
        } else if (json_token_is(key, "special_tokens")) {
            ok = parse_value(s, "special_tokens", &p->specials, err);
        } else if (json_token_is(key, "vocab")) {
            if (p->has_vocab) return error_set(err, ERR_FORMAT, "key 'vocab' is there twice");
            p->vocab = *s;
            p->has_vocab = true;
            ok = json_scan_skip(s);
        } else {
            ok = json_scan_skip(s); /* images, audio, settings of chats */
        }
        if (!ok) return false;
    }
    return t == JSON_TOKEN_OBJECT_END && json_scan_next(s) == JSON_TOKEN_END;
}

struct sizes {
    const char *pattern;
    uint64_t vocab, specials;
    bool old;
};

static bool read_config(const json_t *config, struct sizes *out, struct error *err)
{
    const char *version;
    size_t i = 0, n = sizeof versions / sizeof *versions;
    if (!json_is_object(config)) return error_set(err, ERR_FORMAT, "key 'config': expected an object");
    if (!json_get_string(config, "version", "config", &version, err) ||
        !json_get_string(config, "pattern", "config", &out->pattern, err) ||
        !json_get_u64(config, "default_vocab_size", "config", 1, TOKENIZER_IDS_MAX, &out->vocab, err) ||
        !json_get_u64(config, "default_num_special_tokens", "config", 0, ADDED_TOKENS_MAX, &out->specials, err))
        return false;
    while (i < n && strcmp(version, versions[i]) != 0) i++;
    if (i == n) return error_set(err, ERR_UNSUPPORTED, "config: version '%.20s' is not supported", version);
    for (out->old = false; i < n && !out->old; i++) out->old = strcmp(versions[i], SPECIALS_BEFORE) == 0;
    if (out->specials >= out->vocab)
        return error_set(err, ERR_FORMAT, "config: %llu special tokens of %llu tokens in all",
                         (unsigned long long)out->specials, (unsigned long long)out->vocab);
    return true;
}

/* One token of the vocabulary; its brace has been read. */
static bool read_token(struct bpe *b, struct json_scan *s, uint32_t rank, uint32_t shift, struct error *err)
{
    bool has_rank = false;
    struct bytes base64 = bytes_of(NULL, 0);
    uint64_t found = 0;
    while (json_scan_next(s) == JSON_TOKEN_KEY) {
        struct bytes key = s->token;
        enum json_token t = json_scan_next(s);
        if (json_token_is(key, "rank")) has_rank = t == JSON_TOKEN_NUMBER && json_token_u64(s->token, &found);
        else if (json_token_is(key, "token_bytes") && t == JSON_TOKEN_STRING) base64 = s->token;
        else if (t == JSON_TOKEN_OBJECT || t == JSON_TOKEN_ARRAY)
            return error_set(err, ERR_FORMAT, "vocab[%u]: expected texts and numbers", rank);
    }
    if (!has_rank || found != rank) return error_set(err, ERR_FORMAT, "vocab[%u]: its rank is not %u", rank, rank);
    if (!base64.data) return error_set(err, ERR_FORMAT, "vocab[%u]: key 'token_bytes' is missing", rank);
    if (!token_ranks_add(b, rank + shift, base64, err)) return error_wrap(err, "vocab[%u]", rank);
    struct token_text text = b->own_texts.texts[rank + shift];
    if (rank < 256 && (text.size != 1 || b->own_texts.pool[text.at] != rank))
        return error_set(err, ERR_FORMAT, "vocab[%u]: expected the byte %02x", rank, rank);
    return true;
}

static bool read_vocab(struct bpe *b, struct json_scan *s, const struct sizes *sz, struct error *err)
{
    struct json_scan ahead = *s;
    uint32_t n = 0, most = (uint32_t)(sz->vocab - sz->specials);
    if (json_scan_next(s) != JSON_TOKEN_ARRAY) return error_set(err, ERR_FORMAT, "vocab: expected a list");
    if (!json_scan_skip(&ahead) || !token_ranks_begin(b, ahead.at - s->start, err)) return false;
    while (n < most && json_scan_next(s) == JSON_TOKEN_OBJECT)
        if (!read_token(b, s, n++, (uint32_t)sz->specials, err)) return false;
    if (n < most) return error_set(err, ERR_FORMAT, "vocab[%u]: expected %u tokens", n, most);
    return token_ranks_finish(b, "vocab", err);
}

static bool add_special(struct added_tokens *a, uint32_t id, const char *name, struct error *err)
{
    struct added_token t = {.content = bytes_text(name), .id = id, .special = true, .in_prompts = true};
    return added_tokens_add(a, &t, err) ? true : error_wrap(err, "special_tokens[%u]", id);
}

static bool read_specials(struct tokenizer *t, const json_t *list, const struct sizes *sz, struct error *err)
{
    bool given = list && !json_is_null(list);
    size_t n = given ? json_array_size(list) : sizeof old_specials / sizeof *old_specials;
    if (!given && !sz->old) return error_set(err, ERR_FORMAT, "key 'special_tokens' is missing");
    if (given && !json_is_array(list)) return error_set(err, ERR_FORMAT, "special_tokens: expected a list");
    if (n > sz->specials)
        return error_set(err, ERR_FORMAT, "special_tokens: %zu, and config has room for %llu", n,
                         (unsigned long long)sz->specials);
    if (!added_tokens_begin(&t->added, sz->specials, err)) return false;
    for (uint32_t i = 0; i < sz->specials; i++) {
        char filler[32];
        const char *name = given || i >= n ? filler : old_specials[i];
        uint64_t rank = i;
        snprintf(filler, sizeof filler, "<SPECIAL_%u>", i);
        if (given && i < n &&
            (!json_get_string(json_array_get(list, i), "token_str", "special_tokens", &name, err) ||
             !json_get_u64(json_array_get(list, i), "rank", "special_tokens", i, i, &rank, err)))
            return error_wrap(err, "special_tokens[%u]", i);
        if (!add_special(&t->added, i, name, err)) return false;
        if (strcmp(name, "<s>") == 0 && !token_ids_add(&t->post.before, i, err)) return false;
    }
    return added_tokens_finish(&t->added, err);
}

bool tekken_open(struct tokenizer *t, struct bytes file, const json_t *config, struct error *err)
{
    struct parts p = {0};
    struct sizes sz = {0};
    struct json_scan s;
    (void)config;
    json_scan_begin(&s, file, false);
    bool ok = read_parts(&s, &p, err);
    if (!ok && s.problem) error_set(err, ERR_FORMAT, "byte %zu: %s", s.at, s.problem);
    if (ok && !p.has_vocab) ok = error_set(err, ERR_FORMAT, "key 'vocab' is missing");
    ok = ok && read_config(p.config, &sz, err) && read_vocab(&t->bpe, &p.vocab, &sz, err) &&
         read_specials(t, p.specials, &sz, err) && pretokenizer_open_matches(&t->pre, sz.pattern, err);
    t->bytes = t->special_apart = true;
    json_decref(p.config);
    json_decref(p.specials);
    return ok;
}
