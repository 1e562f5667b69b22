#include "engine/tokenizer.h"
#include "engine/unigram.h"

#include <math.h>

/* kUnkPenalty of both references. */
#define UNK_PENALTY 10.0

bool unigram_open(struct unigram *u, const json_t *model, struct error *err)
{
    static const char *const keys[] = {"type", "unk_id", "byte_fallback", NULL};
    uint64_t unk = ID_NONE;
    if (!json_known_keys(model, "model", keys, err) ||
        !json_opt_u64(model, "unk_id", "model", 0, TOKENIZER_IDS_MAX - 1, &unk, err) ||
        !json_opt_bool(model, "byte_fallback", "model", &u->byte_fallback, err))
        return false;
    u->unk = (uint32_t)unk;
    return true;
}

/* A number as serde_json reads it without its feature float_roundtrip, which is how the reference is built: the digits
 * as an integer, then one multiplication or division by a power of ten, both rounded. The last bit may differ from the
 * nearest double, and ties between words hang on it. */
static bool read_score(struct bytes raw, double *out)
{
    const uint8_t *p = raw.data, *end = p + raw.size;
    bool negative = p < end && *p == '-';
    uint64_t digits = 0;
    int64_t exponent = 0, written = 0;
    bool fraction = false, full = false;
    for (p += negative; p < end && (*p == '.' || (*p >= '0' && *p <= '9')); p++) {
        if (*p == '.') {
            fraction = true;
            full = false;
            continue;
        }
        uint64_t digit = *p - '0';
        /* What does not fit is dropped, but the places before the point count. */
        full = full || digits > (UINT64_MAX - digit) / 10;
        if (!full) digits = digits * 10 + digit;
        if (fraction ? !full : full) exponent += fraction ? -1 : 1;
    }
    if (p < end) {
        bool minus = ++p < end && *p == '-';
        for (p += p < end && (*p == '-' || *p == '+'); p < end && written < 100000; p++)
            written = written * 10 + *p - '0';
        exponent += minus ? -written : written;
    }
    double f = (double)digits;
    for (; exponent < -308 && f != 0; exponent += 308) f /= 1e308;
    if (f != 0 && exponent > 308) return false;
    if (f != 0) {
        char power[16];
        snprintf(power, sizeof power, "1e%d", (int)(exponent < 0 ? -exponent : exponent));
        double ten = strtod(power, NULL);
        f = exponent < 0 ? f / ten : f * ten;
    }
    *out = negative ? -f : f;
    return isfinite(f);
}

static bool fail_item(const struct vocab *v, struct error *err)
{
    return error_set(err, ERR_FORMAT, "model.vocab[%u]: expected a text and its score", v->texts.n);
}

static bool add_item(struct unigram *u, struct vocab *v, struct json_scan *s, uint32_t *room, struct error *err)
{
    struct token_texts *t = &v->texts;
    uint32_t id = t->n;
    if (id == TOKENIZER_IDS_MAX)
        return error_set(err, ERR_UNSUPPORTED, "model.vocab: more than %u tokens", TOKENIZER_IDS_MAX);
    if (id == *room) {
        *room = *room ? 2 * *room : 1024;
        double *p = realloc(u->scores, *room * sizeof *p);
        if (!p) return error_memory(err, *room * sizeof *p);
        u->scores = p;
    }
    if (json_scan_next(s) != JSON_TOKEN_STRING) return fail_item(v, err);
    struct bytes text = s->token;
    if (json_scan_next(s) != JSON_TOKEN_NUMBER || !read_score(s->token, &u->scores[id])) return fail_item(v, err);
    if (json_scan_next(s) != JSON_TOKEN_ARRAY_END) return fail_item(v, err);
    uint32_t size = (uint32_t)json_unescape(text, (char *)t->pool + t->pool_size);
    if (!token_texts_grow(t, id, err)) return false;
    t->texts[id] = (struct token_text){t->pool_size, size};
    t->pool_size += size;
    v->n_tokens++;
    return true;
}

bool unigram_read(struct unigram *u, struct vocab *v, struct json_scan *s, struct error *err)
{
    struct json_scan ahead = *s;
    uint32_t room = 0;
    if (json_scan_next(s) != JSON_TOKEN_ARRAY)
        return error_set(err, ERR_FORMAT, "model.vocab: expected a list of texts with scores");
    if (!json_scan_skip(&ahead) || !token_texts_reserve(&v->texts, ahead.at - s->start, err)) return false;
    for (enum json_token t; (t = json_scan_next(s)) != JSON_TOKEN_ARRAY_END;)
        if (t != JSON_TOKEN_ARRAY ? !fail_item(v, err) : !add_item(u, v, s, &room, err)) return false;
    if (v->n_tokens == 0) return error_set(err, ERR_FORMAT, "model.vocab: is empty");
    if (u->unk != ID_NONE && u->unk >= v->texts.n)
        return error_set(err, ERR_FORMAT, "model: key 'unk_id' is %u, and the vocabulary has %u tokens", u->unk,
                         v->texts.n);
    /* Trainers write special tokens a second time where the text has them. */
    return token_index_build(&v->index, &v->texts, TWICE_LAST, "model.vocab", err);
}

bool unigram_prepare(struct unigram *u, const struct vocab *v, bool (*takes)(const void *ctx, uint32_t id),
                     const void *ctx, struct error *err)
{
    u->vocab = v;
    if (!u->sentencepiece) {
        double least = INFINITY;
        for (uint32_t id = 0; id < v->texts.n; id++) least = u->scores[id] < least ? u->scores[id] : least;
        u->unk_score = least - UNK_PENALTY;
    }
    for (uint32_t i = 0; i < 256; i++) u->byte_ids[i] = vocab_byte(v, (uint8_t)i);
    return byte_trie_build(&u->trie, &v->texts, takes, ctx, "model.vocab", err);
}
