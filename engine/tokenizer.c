#include "engine/tokenizer_impl.h"

#include "engine/unicode.h"

struct encoding {
    const struct tokenizer *t;
    struct pretokenizer_run *pre;
    struct bpe_run *bpe;
    struct normalize_run normalize;
    struct token_ids *ids;
};

static bool add_word(void *ctx, struct bytes word, struct error *err)
{
    struct encoding *e = ctx;
    return bpe_encode(e->bpe, word, e->ids, err);
}

/* Text between the tokens that are looked for in the raw text. */
static bool encode_between(struct encoding *e, struct bytes text, bool at_start, struct error *err)
{
    struct added_cut cut;
    struct added_piece piece;
    struct bytes made;
    if (!normalizer_apply(&e->t->normalizer, &e->normalize, text, &made, err)) return false;
    added_cut_begin(&cut, &e->t->added.normalized, made);
    while (added_cut_next(&cut, &piece)) {
        bool first = at_start && piece.text.data == made.data;
        if (piece.token ? !token_ids_add(e->ids, piece.token->id, err)
                        : !pretokenizer_split(e->pre, piece.text, first, add_word, e, err))
            return false;
    }
    return true;
}

static bool add_all(struct token_ids *ids, const struct token_ids *more, struct error *err)
{
    for (size_t i = 0; i < more->n; i++)
        if (!token_ids_add(ids, more->data[i], err)) return false;
    return true;
}

static bool encode(struct encoding *e, struct bytes text, bool add_special, struct error *err)
{
    struct added_cut cut;
    struct added_piece piece;
    /* One token for three bytes is common; and the list is never NULL. */
    if (!token_ids_reserve(e->ids, text.size / 3 + 16, err) ||
        (add_special && !add_all(e->ids, &e->t->post.before, err)) ||
        !pretokenizer_run_open(&e->pre, e->t->pre, text.size, err) ||
        !bpe_run_open(&e->bpe, &e->t->bpe, text.size, err))
        return false;
    added_cut_begin(&cut, &e->t->added.raw, text);
    while (added_cut_next(&cut, &piece))
        if (piece.token ? !token_ids_add(e->ids, piece.token->id, err)
                        : !encode_between(e, piece.text, piece.text.data == text.data, err))
            return false;
    return add_special ? add_all(e->ids, &e->t->post.after, err) : true;
}

bool tokenizer_encode(const struct tokenizer *t, struct bytes text, bool add_special, uint32_t **ids, size_t *n,
                      struct error *err)
{
    struct token_ids list = {0};
    struct encoding e = {.t = t, .ids = &list};
    *ids = NULL;
    *n = 0;
    if (text.size > TOKENIZER_TEXT_MAX)
        return error_set(err, ERR_UNSUPPORTED, "a text of %zu bytes, at most %zu are tokenized at once", text.size,
                         TOKENIZER_TEXT_MAX);
    size_t broken = utf8_broken(text);
    if (broken < text.size) return error_set(err, ERR_FORMAT, "the text is not UTF-8: byte %zu", broken);
    bool ok = encode(&e, text, add_special, err);
    pretokenizer_run_close(e.pre);
    bpe_run_close(e.bpe);
    normalize_run_close(&e.normalize);
    if (!ok) {
        free(list.data);
        return false;
    }
    *ids = list.data;
    *n = list.n;
    return true;
}

static bool collect(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special,
                    struct decode_pieces *p, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct added_token *a = added_token_by_id(&t->added, ids[i]);
        if (a && a->special && skip_special) continue;
        struct bytes text = a ? a->content : token_text(&t->vocab.texts, ids[i]);
        if (!text.data) continue;
        text_put(&p->text, text.data, text.size);
        if (!decode_add(p, err)) return false;
    }
    return true;
}

bool tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, char **text,
                      size_t *n_text, struct error *err)
{
    struct decode_pieces p = {0};
    struct text out = TEXT_INIT;
    *text = NULL;
    *n_text = 0;
    bool ok = collect(t, ids, n, skip_special, &p, err) && decoder_apply(&t->decoder, &p, &out, err) &&
              text_take(&out, text, n_text, err);
    decode_pieces_free(&p);
    text_free(&out);
    return ok;
}
