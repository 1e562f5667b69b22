/* tokenizer.json from the tokenizer inside a GGUF file: the original when the file carries it
 * (tokenizer.huggingface.json), else byte-level BPE put together from tokens, merges and the name of the pre-tokenizer.
 */
#include "core/text.h"
#include "formats/gguf_arch.h"
#include "formats/gguf_folder.h"
#include "formats/gguf_pre.h"

#include <stdio.h>

/* tokenizer.ggml.token_type */
enum token_type { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED, TOKEN_UNUSED, TOKEN_BYTE };

struct vocab {
    const struct gguf *g;
    const struct gguf_value *tokens, *types, *merges;
    const struct gguf_pre *pre;
    struct text *out;
    struct error *err;
};

/* With its quotes. */
static void put_string(struct text *t, struct bytes s)
{
    text_put(t, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        text_put(t, s.data + from, i - from);
        text_add(t, "\\u%04x", c);
        from = i + 1;
    }
    text_put(t, s.data + from, s.size - from);
    text_put(t, "\"", 1);
}

static bool type_of(const struct vocab *v, uint64_t i, uint64_t *out)
{
    *out = TOKEN_NORMAL;
    return !v->types || gguf_u64_at(v->types, i, 255, out, v->err);
}

static bool is_added(uint64_t type)
{
    return type == TOKEN_CONTROL || type == TOKEN_USER_DEFINED || type == TOKEN_UNKNOWN;
}

static bool put_added(const struct vocab *v)
{
    size_t at = 0;
    const char *comma = "";
    text_add(v->out, "\"added_tokens\":[");
    for (uint64_t i = 0; i < v->tokens->n; i++) {
        struct bytes s;
        uint64_t type;
        if (!gguf_next_text(v->tokens, &at, &s, v->err) || !type_of(v, i, &type)) return false;
        if (!is_added(type) || s.size == 0) continue;
        text_add(v->out, "%s{\"id\":%llu,\"content\":", comma, (unsigned long long)i);
        put_string(v->out, s);
        text_add(v->out,
                 ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":%s}",
                 type == TOKEN_USER_DEFINED ? "false" : "true");
        comma = ",";
    }
    text_add(v->out, "],");
    return true;
}

static bool put_vocab(const struct vocab *v)
{
    size_t at = 0;
    const char *comma = "";
    text_add(v->out, "\"vocab\":{");
    for (uint64_t i = 0; i < v->tokens->n; i++) {
        struct bytes s;
        uint64_t type;
        if (!gguf_next_text(v->tokens, &at, &s, v->err) || !type_of(v, i, &type)) return false;
        /* Those without use only fill up to the model's size. Added ones are here too: that gives them their ids. */
        if (type == TOKEN_UNUSED || (is_added(type) && s.size == 0)) continue;
        text_add(v->out, "%s", comma);
        put_string(v->out, s);
        text_add(v->out, ":%llu", (unsigned long long)i);
        comma = ",";
    }
    text_add(v->out, "},");
    return true;
}

/* "left right": neither side holds a space, which is spelled as another letter in byte-level vocabularies. */
static bool put_merges(const struct vocab *v)
{
    size_t at = 0;
    text_add(v->out, "\"merges\":[");
    for (uint64_t i = 0; i < v->merges->n; i++) {
        struct bytes s;
        if (!gguf_next_text(v->merges, &at, &s, v->err)) return false;
        const uint8_t *space = memchr(s.data, ' ', s.size);
        if (!space || space == s.data || space + 1 == s.data + s.size ||
            memchr(space + 1, ' ', (size_t)(s.data + s.size - space - 1)))
            return error_set(v->err, ERR_FORMAT, "key 'tokenizer.ggml.merges': element %llu is not two parts",
                             (unsigned long long)i);
        text_add(v->out, "%s[", i ? "," : "");
        put_string(v->out, bytes_of(s.data, (size_t)(space - s.data)));
        text_add(v->out, ",");
        put_string(v->out, bytes_of(space + 1, (size_t)(s.data + s.size - space - 1)));
        text_add(v->out, "]");
    }
    text_add(v->out, "]}");
    return true;
}

static bool put_json(const struct vocab *v, const char *key, json_t *value)
{
    char *text = NULL;
    size_t n;
    bool ok = value && json_canonical(value, &text, &n, v->err);
    if (ok) {
        text_add(v->out, "\"%s\":", key);
        text_put(v->out, text, n);
        text_add(v->out, ",");
    }
    free(text);
    json_decref(value);
    return ok || (value ? false : error_memory(v->err, 0));
}

/* The token that begins every text, when there is one. */
static bool post_processor(const struct vocab *v, json_t **out)
{
    bool add = v->pre->add_bos, has;
    uint64_t bos, type;
    size_t at = 0;
    struct bytes s = {0};
    *out =
        json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex", 0);
    if (!gguf_opt_bool(v->g, "tokenizer.ggml.add_bos_token", &add, &has, v->err) ||
        !gguf_opt_u64(v->g, "tokenizer.ggml.bos_token_id", UINT32_MAX, &bos, &has, v->err))
        return false;
    if (!add || !has) return true;
    if (bos >= v->tokens->n)
        return error_set(v->err, ERR_FORMAT, "key 'tokenizer.ggml.bos_token_id' is %llu of %llu tokens",
                         (unsigned long long)bos, (unsigned long long)v->tokens->n);
    for (uint64_t i = 0; i <= bos; i++)
        if (!gguf_next_text(v->tokens, &at, &s, v->err)) return false;
    if (!type_of(v, bos, &type)) return false;
    json_decref(*out);
    json_t *name = json_stringn((const char *)s.data, s.size), *special = json_object();
    json_object_setn_new(special, (const char *)s.data, s.size,
                         json_pack("{s:O,s:[I],s:[O]}", "id", name, "ids", (json_int_t)bos, "tokens", name));
    *out = json_pack("{s:s,s:[{s:{s:O,s:i}},{s:{s:s,s:i}}],s:[{s:{s:O,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}}],s:O}", "type",
                     "TemplateProcessing", "single", "SpecialToken", "id", name, "type_id", 0, "Sequence", "id", "A",
                     "type_id", 0, "pair", "SpecialToken", "id", name, "type_id", 0, "Sequence", "id", "A", "type_id",
                     0, "Sequence", "id", "B", "type_id", 1, "special_tokens", special);
    json_decref(name);
    json_decref(special);
    return true;
}

static bool put_all(const struct vocab *v)
{
    json_t *post = NULL;
    text_add(v->out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,");
    bool ok = put_added(v) &&
              put_json(v, "normalizer", v->pre->nfc ? json_pack("{s:s}", "type", "NFC") : json_null()) &&
              put_json(v, "pre_tokenizer", gguf_pre_json(v->pre)) && post_processor(v, &post);
    if (!ok) {
        json_decref(post);
        return false;
    }
    return put_json(v, "post_processor", post) &&
           put_json(v, "decoder",
                    json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1,
                              "use_regex", 1)) &&
           (text_add(v->out,
                     "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                     "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
                     "\"byte_fallback\":false,\"ignore_merges\":%s,",
                     v->pre->ignore_merges ? "true" : "false"),
            put_vocab(v)) &&
           put_merges(v) && (text_add(v->out, "}\n"), true);
}

static bool text_is(struct bytes t, const char *word)
{
    return t.size == strlen(word) && memcmp(t.data, word, t.size) == 0;
}

#define DO_THIS "put the model's tokenizer.json into a folder with it"

static void explain(char why[256], const char *before, struct bytes word, const char *behind)
{
    snprintf(why, 256, "the GGUF file's %s '%.*s'%s: " DO_THIS, before, (int)u64_min(word.size, 32),
             (const char *)word.data, behind);
}

static bool as_many(const struct gguf_value *v, const struct gguf_value *tokens)
{
    return v && tokens && v->is_array && v->n == tokens->n;
}

/* Byte-level BPE. Nothing is put when it cannot be, and `why` says why. */
static bool make_json(struct vocab *v, char why[256])
{
    struct bytes pre = bytes_text("default");
    bool has;
    if (!gguf_opt_text(v->g, "tokenizer.ggml.pre", &pre, &has, v->err)) return false;
    v->pre = gguf_pre_find((const char *)pre.data, pre.size);
    v->merges = gguf_find(v->g, "tokenizer.ggml.merges");
    if (!v->pre) explain(why, "pre-tokenizer", pre, " is not known here");
    else if (!v->tokens || !v->merges || (v->types && v->types->n != v->tokens->n))
        snprintf(why, 256, "the GGUF file's tokenizer lacks tokens, merges or types: " DO_THIS);
    else return put_all(v);
    return true;
}

static bool make(struct vocab *v, const char **name, char **out, size_t *out_size, char why[256])
{
    struct bytes model = {0}, whole;
    bool has;
    if (!gguf_opt_text(v->g, "tokenizer.huggingface.json", &whole, &has, v->err)) return false;
    if (has) {
        text_put(v->out, whole.data, whole.size);
        return true;
    }
    if (!gguf_opt_text(v->g, "tokenizer.ggml.model", &model, &has, v->err)) return false;
    v->tokens = gguf_find(v->g, "tokenizer.ggml.tokens");
    v->types = gguf_find(v->g, "tokenizer.ggml.token_type");
    if (text_is(model, "gpt2")) return make_json(v, why);
    if (text_is(model, "llama") && as_many(v->types, v->tokens) &&
        as_many(gguf_find(v->g, "tokenizer.ggml.scores"), v->tokens)) {
        *name = "tokenizer.model";
        return gguf_spm(v->g, out, out_size, v->err);
    }
    if (model.size == 0 || text_is(model, "none") || text_is(model, "no_vocab"))
        snprintf(why, 256, "the GGUF file holds no tokenizer: " DO_THIS);
    else if (text_is(model, "llama")) explain(why, "tokenizer", model, " lacks tokens, scores or types");
    else explain(why, "tokenizer is of a kind that is not read here,", model, "");
    return true;
}

bool gguf_tokenizer(const struct gguf *g, const char **name, char **out, size_t *out_size, char why[256],
                    struct error *err)
{
    struct text text = TEXT_INIT;
    struct vocab v = {.g = g, .out = &text, .err = err};
    *out = NULL;
    *name = "tokenizer.json";
    bool ok = make(&v, name, out, out_size, why);
    if (ok && text.size) return text_take(&text, out, out_size, err);
    text_free(&text);
    return ok;
}
