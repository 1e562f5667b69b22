#include "engine/tokenizer_impl.h"

#include "engine/unicode.h"

struct encoding {
    const struct tokenizer *t;
    const struct added_set *raw; /* what is cut out of the text as it is */
    struct pretokenizer_run *pre;
    struct bpe_run *bpe;
    struct unigram_run *unigram;
    struct normalize_run normalize;
    struct token_ids *ids;
};

static bool add_word(void *ctx, struct bytes word, struct error *err)
{
    struct encoding *e = ctx;
    return e->unigram ? unigram_encode(e->unigram, word, e->ids, err) : bpe_encode(e->bpe, word, e->ids, err);
}

static bool normalize(struct encoding *e, struct bytes text, struct bytes *made, struct error *err)
{
    struct text *out = &e->normalize.buffers[0];
    if (!e->t->spm) return normalizer_apply(&e->t->normalizer, &e->normalize, text, made, err);
    out->size = 0;
    spm_normalize(e->t->spm, text, out);
    *made = bytes_of(out->data, out->size);
    return out->failed ? error_memory(err, text.size) : true;
}

/* Text between the tokens that are looked for in the raw text. */
static bool encode_between(struct encoding *e, struct bytes text, bool at_start, struct error *err)
{
    static const struct added_set none;
    const struct tokenizer *t = e->t;
    /* User-defined pieces are cut out for BPE; for Unigram their scores do the same. */
    const struct added_set *set = !t->spm                 ? &t->added.normalized
                                  : t->model == MODEL_BPE ? &t->spm->user.normalized
                                                          : &none;
    struct added_cut cut;
    struct added_piece piece;
    struct bytes made;
    if (!normalize(e, text, &made, err)) return false;
    added_cut_begin(&cut, set, made);
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

static bool open_runs(struct encoding *e, size_t text_size, struct error *err)
{
    e->normalize.text_size = text_size;
    return pretokenizer_run_open(&e->pre, e->t->pre, text_size, err) &&
           (e->t->model == MODEL_UNIGRAM ? unigram_run_open(&e->unigram, &e->t->unigram, err)
                                         : bpe_run_open(&e->bpe, &e->t->bpe, text_size, err));
}

static bool encode_chunk(struct encoding *e, struct bytes text, bool at_start, struct error *err)
{
    struct added_cut cut;
    struct added_piece piece;
    added_cut_begin(&cut, e->raw, text);
    while (added_cut_next(&cut, &piece))
        if (piece.token ? !token_ids_add(e->ids, piece.token->id, err)
                        : !encode_between(e, piece.text, at_start && piece.text.data == text.data, err))
            return false;
    return true;
}

/* What Python calls a space: White_Space and four separators of information. */
static bool is_blank(uint32_t c)
{
    return unicode_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

/* Bytes of the chunk that begins at `at`; *chars counts from the last place where all is counted anew. */
static size_t chunk_size(const struct tokenizer *t, struct bytes text, size_t at, uint32_t *chars)
{
    uint32_t run = 0;
    bool blank = false;
    size_t end = at;
    for (size_t size; end < text.size; end += size, ++*chars) {
        size = utf8_lead_size(text.data[end]);
        bool now = is_blank(utf8_char(text.data + end, size));
        if (*chars == t->chunk_chars) {
            *chars = 0;
            break;
        }
        run = now == blank ? run + 1 : 1;
        blank = now;
        if (run > t->run_chars) break;
    }
    return end - at;
}

static bool encode_text(struct encoding *e, struct bytes text, struct error *err)
{
    uint32_t chars = 0;
    if (!e->t->chunk_chars) return encode_chunk(e, text, true, err);
    for (size_t at = 0, n; at < text.size; at += n) {
        n = chunk_size(e->t, text, at, &chars);
        if (!encode_chunk(e, bytes_of(text.data + at, n), at == 0, err)) return false;
    }
    return true;
}

static bool encode(struct encoding *e, struct bytes text, bool add_special, struct error *err)
{
    /* One token for three bytes is common; and the list is never NULL. */
    if (!token_ids_reserve(e->ids, text.size / 3 + 16, err) || !open_runs(e, text.size, err)) return false;
    return (!add_special || add_all(e->ids, &e->t->post.before, err)) && encode_text(e, text, err) &&
           (!add_special || add_all(e->ids, &e->t->post.after, err));
}

static bool encode_with(const struct tokenizer *t, const struct added_set *raw, struct bytes text, bool add_special,
                        uint32_t **ids, size_t *n, struct error *err)
{
    struct token_ids list = {0};
    struct encoding e = {.t = t, .raw = raw, .ids = &list};
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
    unigram_run_close(e.unigram);
    normalize_run_close(&e.normalize);
    if (!ok) {
        free(list.data);
        return false;
    }
    *ids = list.data;
    *n = list.n;
    return true;
}

bool tokenizer_encode(const struct tokenizer *t, struct bytes text, bool add_special, uint32_t **ids, size_t *n,
                      struct error *err)
{
    return encode_with(t, &t->added.raw, text, add_special, ids, n, err);
}

bool tokenizer_encode_prompt(const struct tokenizer *t, struct bytes text, uint32_t **ids, size_t *n, struct error *err)
{
    return encode_with(t, &t->added.prompt, text, false, ids, n, err);
}
