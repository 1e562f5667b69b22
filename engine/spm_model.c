#include "engine/spm_model.h"

#include "engine/unicode.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define WHAT "pieces"
/* kUnkPenalty */
#define UNK_PENALTY 10.0f

static uint32_t unknown_piece(const struct spm_file *f)
{
    uint32_t i = 0;
    while (f->pieces[i].type != SPM_UNKNOWN) i++;
    return i;
}

static bool is_found(const void *ctx, uint32_t id)
{
    const struct spm_file *f = ctx;
    return f->pieces[id].type == SPM_NORMAL || f->pieces[id].type == SPM_USER_DEFINED;
}

static int by_char(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Characters inside pieces that are no pieces themselves: they can be merged all the same. */
static bool lone_chars(const struct spm_file *f, const struct vocab *v, struct token_ids *out, struct error *err)
{
    for (uint32_t i = 0; i < f->n_pieces; i++) {
        struct bytes text = f->pieces[i].text;
        if (f->pieces[i].type != SPM_NORMAL) continue;
        for (size_t at = 0, size; at < text.size; at += size) {
            size = utf8_lead_size(text.data[at]);
            uint32_t id = token_index_find(&v->index, text.data + at, size);
            if ((id == ID_NONE || !is_found(f, id)) && !token_ids_add(out, utf8_char(text.data + at, size), err))
                return false;
        }
    }
    if (out->n == 0) return true;
    qsort(out->data, out->n, sizeof *out->data, by_char);
    size_t kept = 1;
    for (size_t i = 1; i < out->n; i++)
        if (out->data[i] != out->data[kept - 1]) out->data[kept++] = out->data[i];
    out->n = kept;
    return true;
}

/* The pieces that can be made, and those characters. */
static bool copy_texts(struct token_texts *to, const struct spm_file *f, const struct vocab *v,
                       const struct token_ids *chars, struct error *err)
{
    struct text pool = TEXT_INIT;
    const struct token_texts *from = &v->texts;
    uint32_t n = from->n + (uint32_t)chars->n;
    if (!token_texts_reserve(to, from->pool_size + 4 * chars->n, err) || !token_texts_grow(to, n - 1, err))
        return false;
    memcpy(to->pool, from->pool, from->pool_size);
    for (uint32_t i = 0; i < from->n; i++)
        if (is_found(f, i)) to->texts[i] = from->texts[i];
    for (size_t i = 0; i < chars->n; i++) {
        size_t before = pool.size;
        utf8_put(&pool, chars->data[i]);
        to->texts[from->n + i] =
            (struct token_text){from->pool_size + (uint32_t)before, (uint32_t)(pool.size - before)};
    }
    if (!pool.failed && pool.size) memcpy(to->pool + from->pool_size, pool.data, pool.size);
    to->pool_size = from->pool_size + (uint32_t)pool.size;
    bool ok = !pool.failed;
    text_free(&pool);
    return ok ? true : error_memory(err, 4 * chars->n);
}

struct scored {
    float score;
    uint32_t id;
};

/* As there, by the bits: -0 is less than 0. */
static bool is_less(float a, float b)
{
    return a < b || (a == b && signbit(a) && !signbit(b));
}

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return is_less(x->score, y->score) - is_less(y->score, x->score);
}

/* The largest score has rank 0; equal scores have equal ranks. */
static bool rank_pieces(const struct spm_file *f, uint32_t n, uint32_t **ranks, struct error *err)
{
    struct scored *s = malloc((f->n_pieces + 1u) * sizeof *s);
    uint32_t n_scored = 0, rank = 0;
    *ranks = malloc(n * sizeof **ranks);
    if (!s || !*ranks) {
        free(s);
        return error_memory(err, n * (sizeof *s + sizeof **ranks));
    }
    memset(*ranks, 0xff, n * sizeof **ranks);
    for (uint32_t i = 0; i < f->n_pieces; i++)
        if (f->pieces[i].type == SPM_NORMAL) s[n_scored++] = (struct scored){f->pieces[i].score, i};
    qsort(s, n_scored, sizeof *s, by_score);
    for (uint32_t i = 0; i < n_scored; i++) {
        if (i && is_less(s[i].score, s[i - 1].score)) rank++;
        (*ranks)[s[i].id] = rank;
    }
    free(s);
    return true;
}

bool spm_bpe_open(struct bpe *b, const struct spm_file *f, const struct vocab *v, struct error *err)
{
    struct token_ids chars = {0};
    uint32_t *ranks = NULL;
    for (uint32_t i = 0; i < f->n_pieces; i++)
        if (f->pieces[i].type == SPM_UNUSED && f->pieces[i].text.data[0])
            return error_set(err, ERR_UNSUPPORTED, "pieces[%u]: unused pieces of a BPE model are not supported", i);
    b->unk = unknown_piece(f);
    b->n_pieces = f->n_pieces;
    b->byte_fallback = f->byte_fallback;
    b->unk_token = strndup((const char *)f->pieces[b->unk].text.data, f->pieces[b->unk].text.size);
    for (uint32_t i = 0; i < 256; i++) b->byte_ids[i] = f->byte_fallback ? vocab_byte(v, (uint8_t)i) : ID_NONE;
    bool ok = b->unk_token ? true : error_memory(err, SPM_PIECE_BYTES_MAX);
    ok = ok && lone_chars(f, v, &chars, err) && copy_texts(&b->own_texts, f, v, &chars, err) &&
         rank_pieces(f, b->own_texts.n, &ranks, err) && bpe_from_ranks(b, ranks, true, WHAT, err);
    free(chars.data);
    free(ranks);
    return ok;
}

bool spm_unigram_open(struct unigram *u, const struct spm_file *f, const struct vocab *v, struct error *err)
{
    float least = FLT_MAX;
    uint32_t n_found = 0;
    u->scores = malloc(f->n_pieces * sizeof *u->scores);
    if (!u->scores) return error_memory(err, f->n_pieces * sizeof *u->scores);
    for (uint32_t i = 0; i < f->n_pieces; i++) {
        n_found += is_found(f, i);
        if (!isfinite(f->pieces[i].score)) return error_set(err, ERR_FORMAT, "pieces[%u]: the score is not finite", i);
        if (f->pieces[i].type == SPM_NORMAL && f->pieces[i].score < least) least = f->pieces[i].score;
    }
    if (n_found == 0) return error_set(err, ERR_FORMAT, "there are no normal pieces");
    /* A user-defined piece is worth more than anything else, a long one more than two short ones. */
    for (uint32_t i = 0; i < f->n_pieces; i++) {
        float user = (float)(0.1 * (double)(f->pieces[i].text.size - 1));
        u->scores[i] = (double)(f->pieces[i].type == SPM_USER_DEFINED ? user : f->pieces[i].score);
    }
    u->unk_score = (double)(least - UNK_PENALTY);
    u->unk = unknown_piece(f);
    u->byte_fallback = f->byte_fallback;
    u->sentencepiece = true;
    return unigram_prepare(u, v, is_found, f, err);
}
