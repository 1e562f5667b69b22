/* tokenizer.json as llama.cpp's tokenizer.* values. Two kinds: byte-level BPE ("gpt2"), whose pre-tokenizer must be one
 * that llama.cpp has a name for, and SentencePiece's BPE with byte fallback ("llama"), whose merges become scores. The
 * file itself goes along whole, as tokenizer.huggingface.json, so that reading it back loses nothing. */
#include "formats/gguf_pre.h"
#include "formats/gguf_write.h"

#include <stdio.h>

#define WHAT "tokenizer.json"
#define SCORE_UNMERGED (-1e9f) /* no merge leads to it: last in any contest */

enum token_type { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED, TOKEN_UNUSED, TOKEN_BYTE };

struct vocab_out {
    struct gguf_writer *w;
    const struct gguf_vocab_source *source;
    json_t *doc;
    const json_t *model, *vocab;
    uint64_t n; /* tokens, also those without text */
    struct bytes *tokens;
    int32_t *types;
    float *scores;
    struct arena *arena;
    struct error *err;
};

static const char *word(const json_t *obj, const char *key)
{
    const char *v = json_string_value(json_object_get(obj, key));
    return v ? v : "";
}

static bool put_token(struct vocab_out *v, const char *text, size_t size, const json_t *id, int32_t type)
{
    json_int_t i = json_integer_value(id);
    if (!json_is_integer(id) || i < 0 || (uint64_t)i >= v->n)
        return error_set(v->err, ERR_FORMAT, WHAT ": token '%.64s' has id %s, the model has %llu rows", text,
                         json_brief(id), (unsigned long long)v->n);
    v->tokens[i] = bytes_of(text, size);
    v->types[i] = type;
    return true;
}

static bool is_byte(const char *text)
{
    static const char digits[] = "0123456789ABCDEFabcdef"; /* and no sign or space: as llama.cpp's converter */
    return strlen(text) == 6 && strncmp(text, "<0x", 3) == 0 && strspn(text + 3, digits) == 2 && text[5] == '>';
}

static bool fill_vocab(struct vocab_out *v, bool spm)
{
    const char *key, *unk = word(v->model, "unk_token");
    json_t *id;
    json_object_foreach ((json_t *)(uintptr_t)v->vocab, key, id) {
        int32_t type = spm && strcmp(key, unk) == 0 ? TOKEN_UNKNOWN : spm && is_byte(key) ? TOKEN_BYTE : TOKEN_NORMAL;
        if (!put_token(v, key, strlen(key), id, type)) return false;
    }
    const json_t *added = json_object_get(v->doc, "added_tokens");
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i), *text = json_object_get(a, "content");
        int32_t type = json_is_true(json_object_get(a, "special")) ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
        if (!json_is_string(text)) return error_set(v->err, ERR_FORMAT, WHAT ": added token %zu has no content", i);
        if (spm && strcmp(json_string_value(text), unk) == 0) type = TOKEN_UNKNOWN;
        if (!put_token(v, json_string_value(text), json_string_length(text), json_object_get(a, "id"), type))
            return false;
    }
    for (uint64_t i = 0; i < v->n; i++) {
        if (v->types[i]) continue;
        char *pad = arena_printf(v->arena, "[PAD%llu]", (unsigned long long)i); /* as llama.cpp's converter calls it */
        if (!pad) return error_memory(v->err, 0);
        v->tokens[i] = bytes_text(pad);
        v->types[i] = TOKEN_UNUSED;
    }
    return true;
}

/* ---- merges ---- */

/* A space inside a part would end it: U+0120 stands for it, as in byte-level vocabularies. */
static bool join(struct vocab_out *v, const char *left, const char *right, struct bytes *out)
{
    size_t n = strlen(left), k = strlen(right), at = 0;
    char *text = arena_alloc(v->arena, 2 * (n + k) + 2, 1);
    if (!text) return error_memory(v->err, n + k);
    for (size_t i = 0; i < n + k; i++) {
        char c = i < n ? left[i] : right[i - n];
        if (i == n) text[at++] = ' ';
        if (c == ' ') memcpy(text + at, "\xC4\xA0", 2), at += 2;
        else text[at++] = c;
    }
    *out = bytes_of(text, at);
    return true;
}

static bool pair_of(struct vocab_out *v, size_t i, const char **left, const char **right)
{
    const json_t *m = json_array_get(json_object_get(v->model, "merges"), i);
    if (json_is_array(m) && json_array_size(m) == 2) {
        *left = json_string_value(json_array_get(m, 0));
        *right = json_string_value(json_array_get(m, 1));
        if (*left && *right && **left && **right) return true;
    }
    const char *text = json_string_value(m), *space = text ? strchr(text, ' ') : NULL;
    if (space && space != text && space[1] && !strchr(space + 1, ' ')) {
        *left = arena_copy(v->arena, text, (size_t)(space - text));
        *right = space + 1;
        return *left ? true : error_memory(v->err, 0);
    }
    return error_set(v->err, ERR_FORMAT, WHAT ": merge %zu is not two parts", i);
}

static bool put_merges(struct vocab_out *v)
{
    size_t n = json_array_size(json_object_get(v->model, "merges"));
    CLEANUP(free) struct bytes *merges = malloc((n + 1) * sizeof *merges);
    if (!merges) return error_memory(v->err, n * sizeof *merges);
    for (size_t i = 0; i < n; i++) {
        const char *left, *right;
        if (!pair_of(v, i, &left, &right) || !join(v, left, right, &merges[i])) return false;
    }
    gguf_put_text_array(v->w, "tokenizer.ggml.merges", merges, n);
    return true;
}

/* The earlier a token is merged, the higher it scores: then llama.cpp, which joins by score, joins in the same order.
 */
static bool put_scores(struct vocab_out *v)
{
    size_t n = json_array_size(json_object_get(v->model, "merges"));
    for (uint64_t i = 0; i < v->n; i++) v->scores[i] = v->types[i] == TOKEN_NORMAL ? SCORE_UNMERGED : 0;
    for (size_t i = 0; i < n; i++) {
        const char *left, *right;
        if (!pair_of(v, i, &left, &right)) return false;
        char *text = arena_printf(v->arena, "%s%s", left, right);
        if (!text) return error_memory(v->err, 0);
        const json_t *id = json_object_get(v->vocab, text);
        if (!id) return error_set(v->err, ERR_FORMAT, WHAT ": merge %zu makes no token of the vocabulary", i);
        float *score = &v->scores[json_integer_value(id)]; /* in range: fill_vocab */
        if (*score == SCORE_UNMERGED) *score = -(float)i;
    }
    gguf_put_f32_array(v->w, "tokenizer.ggml.scores", v->scores, v->n);
    return true;
}

/* ---- special tokens ---- */

static bool id_of(const struct vocab_out *v, const char *text, uint32_t *id)
{
    const json_t *added = json_object_get(v->doc, "added_tokens");
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        if (strcmp(word(a, "content"), text) != 0) continue;
        *id = (uint32_t)json_integer_value(json_object_get(a, "id"));
        return true;
    }
    const json_t *found = json_object_get(v->vocab, text);
    if (found) *id = (uint32_t)json_integer_value(found);
    return found != NULL;
}

/* What the post-processor puts in front (end 0) or behind (end 1) of a text, or NULL. */
static const char *put_around(const json_t *post, int end)
{
    const char *found = NULL;
    const json_t *list = json_object_get(post, "processors"), *single = json_object_get(post, "single");
    for (size_t i = 0; i < json_array_size(list) && !found; i++) found = put_around(json_array_get(list, i), end);
    size_t n = json_array_size(single);
    if (n < 2) return found;
    const char *token = word(json_object_get(json_array_get(single, end ? n - 1 : 0), "SpecialToken"), "id");
    return *token ? token : found;
}

/* `first` is a token's text, or NULL; then tokenizer_config.json's word for it (a text, or an object with one), then
 * config.json's id. */
static void put_special(const struct vocab_out *v, const char *first, const char *name, const char *id_name,
                        const char *key)
{
    const json_t *said = json_object_get(v->source->tokenizer_config, name);
    const char *text = json_is_object(said) ? word(said, "content") : json_string_value(said);
    const json_t *id = json_object_get(v->source->config, id_name);
    uint32_t i;
    if (json_is_array(id)) id = json_array_get(id, 0);
    if (first && id_of(v, first, &i)) gguf_put_u32(v->w, key, i);
    else if (text && *text && id_of(v, text, &i)) gguf_put_u32(v->w, key, i);
    else if (json_is_integer(id) && json_integer_value(id) >= 0 && (uint64_t)json_integer_value(id) < v->n)
        gguf_put_u32(v->w, key, (uint32_t)json_integer_value(id));
}

static void put_specials(const struct vocab_out *v)
{
    const json_t *post = json_object_get(v->doc, "post_processor");
    const char *bos = put_around(post, 0), *eos = put_around(post, 1);
    put_special(v, bos, "bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id");
    put_special(v, eos, "eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id");
    put_special(v, NULL, "unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id");
    put_special(v, NULL, "pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id");
    gguf_put_bool(v->w, "tokenizer.ggml.add_bos_token", bos != NULL);
    gguf_put_bool(v->w, "tokenizer.ggml.add_eos_token", eos != NULL);
}

/* ---- the two kinds ---- */

/* SentencePiece's spaces are a letter of their own, put in by the normalizer or by a Metaspace pre-tokenizer. */
static bool is_spm(const struct vocab_out *v)
{
    return json_is_true(json_object_get(v->model, "byte_fallback"));
}

static bool adds_space(const struct vocab_out *v)
{
    const json_t *steps = json_object_get(json_object_get(v->doc, "normalizer"), "normalizers"),
                 *pre = json_object_get(v->doc, "pre_tokenizer");
    for (size_t i = 0; i < json_array_size(steps); i++)
        if (strcmp(word(json_array_get(steps, i), "type"), "Prepend") == 0) return true;
    return strcmp(word(pre, "type"), "Metaspace") == 0 && strcmp(word(pre, "prepend_scheme"), "never") != 0;
}

static bool put_all(struct vocab_out *v)
{
    bool spm = is_spm(v);
    const struct gguf_pre *pre = spm ? NULL : gguf_pre_of(json_object_get(v->doc, "pre_tokenizer"));
    if (!spm && !pre)
        return error_set(v->err, ERR_UNSUPPORTED,
                         WHAT
                         ": llama.cpp has no name for this pre_tokenizer; --no-tokenizer leaves the tokenizer out");
    gguf_put_text(v->w, "tokenizer.ggml.model", bytes_text(spm ? "llama" : "gpt2"));
    gguf_put_text(v->w, "tokenizer.ggml.pre", bytes_text(spm ? "default" : pre->names[0]));
    if (!fill_vocab(v, spm)) return false;
    gguf_put_text_array(v->w, "tokenizer.ggml.tokens", v->tokens, v->n);
    if (spm && !put_scores(v)) return false;
    gguf_put_i32_array(v->w, "tokenizer.ggml.token_type", v->types, v->n);
    if (!spm && !put_merges(v)) return false;
    if (spm) gguf_put_bool(v->w, "tokenizer.ggml.add_space_prefix", adds_space(v));
    put_specials(v);
    return true;
}

static bool write_vocab(struct vocab_out *v)
{
    v->model = json_object_get(v->doc, "model");
    v->vocab = json_object_get(v->model, "vocab");
    if (strcmp(word(v->model, "type"), "BPE") != 0 || !json_is_object(v->vocab))
        return error_set(v->err, ERR_UNSUPPORTED, WHAT ": a model of type '%.32s' is not written as GGUF here",
                         word(v->model, "type"));
    v->arena = arena_new();
    v->tokens = calloc(v->n, sizeof *v->tokens);
    v->types = calloc(v->n, sizeof *v->types);
    v->scores = calloc(v->n, sizeof *v->scores);
    bool ok = v->arena && v->tokens && v->types && v->scores ? put_all(v) : error_memory(v->err, v->n * 24);
    arena_free(v->arena);
    free(v->tokens);
    free(v->types);
    free(v->scores);
    return ok;
}

bool gguf_write_vocab(struct gguf_writer *w, const struct gguf_vocab_source *s, uint64_t vocab_size, struct error *err)
{
    if (s->json.size == 0) {
        gguf_put_text(w, "tokenizer.ggml.model", bytes_text("none"));
        return true;
    }
    CLEANUP(json) json_t *doc = NULL;
    struct vocab_out v = {.w = w, .source = s, .n = vocab_size, .err = err};
    if (!json_parse(s->json, JSON_DIALECT_STRICT, WHAT, &doc, err)) return false;
    v.doc = doc;
    if (!write_vocab(&v)) return false;
    gguf_put_text(w, "tokenizer.huggingface.json", s->json);
    if (s->chat_template.size) gguf_put_text(w, "tokenizer.chat_template", s->chat_template);
    return true;
}
