#include "engine/tokenizer_impl.h"

#include "engine/unicode.h"

/* The added token of an id. The reference goes by the text: one that the vocabulary of a Unigram model has twice is
 * special under both ids. */
static const struct added_token *added_of(const struct tokenizer *t, uint32_t id)
{
    const struct added_token *a = added_token_by_id(&t->added, id);
    if (a || t->model != MODEL_UNIGRAM) return a;
    struct bytes text = token_text(&t->vocab.texts, id);
    uint32_t last = text.data ? token_index_find(&t->vocab.index, text.data, text.size) : id;
    return last == id ? NULL : added_token_by_id(&t->added, last);
}

/* The texts of the tokens, for the decoder. */
static bool collect(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special,
                    struct decode_pieces *p, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct added_token *a = added_of(t, ids[i]);
        if (a && a->special && skip_special) continue;
        struct bytes text = a ? a->content : token_text(&t->vocab.texts, ids[i]);
        if (!text.data) continue;
        text_put(&p->text, text.data, text.size);
        if (!decode_add(p, err)) return false;
    }
    return true;
}

static bool decode_pieces(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, struct text *out,
                          struct error *err)
{
    struct decode_pieces p = {0};
    bool ok = collect(t, ids, n, skip_special, &p, err) && decoder_apply(&t->decoder, &p, out, err);
    decode_pieces_free(&p);
    return ok;
}

static void put_lossy(struct text *out, struct text *bytes)
{
    if (bytes->size) utf8_put_lossy(out, bytes_of(bytes->data, bytes->size));
    bytes->size = 0;
}

/* Tokens that are bytes: all of them together are the text. */
static void decode_bytes(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, struct text *out)
{
    struct text bytes = TEXT_INIT;
    for (size_t i = 0; i < n; i++) {
        const struct added_token *a = added_token_by_id(&t->added, ids[i]);
        struct bytes token = a ? a->content : token_text(&t->bpe.own_texts, ids[i]);
        if (a && t->special_apart) put_lossy(out, &bytes);
        if (!a || !a->special || !skip_special) text_put(&bytes, token.data, token.size);
    }
    put_lossy(out, &bytes);
    out->failed = out->failed || bytes.failed;
    text_free(&bytes);
}

/* Control pieces stand for nothing, with or without special tokens: nobody asked for them by name. */
static void decode_spm(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, struct text *out)
{
    struct spm_decoding d = {.spm = t->spm, .out = out};
    for (size_t i = 0; i < n; i++) {
        const struct added_token *a = added_token_by_id(&t->added, ids[i]);
        bool named = a && !a->in_prompts;
        if (named && a->special && skip_special) continue;
        if (named) spm_decode_text(&d, a->content);
        else if (ids[i] < t->spm->n_pieces) spm_decode_piece(&d, ids[i], token_text(&t->vocab.texts, ids[i]));
    }
    spm_decode_end(&d);
}

bool tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, char **text,
                      size_t *n_text, struct error *err)
{
    struct text out = TEXT_INIT;
    bool ok = true;
    *text = NULL;
    *n_text = 0;
    if (t->bytes) decode_bytes(t, ids, n, skip_special, &out);
    else if (t->spm) decode_spm(t, ids, n, skip_special, &out);
    else ok = decode_pieces(t, ids, n, skip_special, &out, err);
    ok = ok && text_take(&out, text, n_text, err);
    text_free(&out);
    return ok;
}
