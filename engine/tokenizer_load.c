#include "core/json_scan.h"
#include "engine/tokenizer_impl.h"

#include <stdio.h>

/* A tokenizer.json in parts: the two large ones as places in the text, everything else parsed. A file of 30 MB would
 * take 200 MB as a tree. */
struct parts {
    json_t *rest;                   /* the document without "model" */
    json_t *model;                  /* "model" without these: */
    struct json_scan vocab, merges; /* about to give the first token of their values */
    bool has_vocab, has_merges;
};

static const char *const top_keys[] = {"version",       "truncation",     "padding", "added_tokens", "normalizer",
                                       "pre_tokenizer", "post_processor", "decoder", "model",        NULL};

static bool put_value(json_t *obj, const char *key, struct bytes value, struct error *err)
{
    json_t *v;
    if (json_object_get(obj, key)) return error_set(err, ERR_FORMAT, "key '%s' is there twice", key);
    return json_parse(value, JSON_DIALECT_STRICT, key, &v, err) && json_put(obj, key, v, err);
}

static bool take_place(struct json_scan *s, struct json_scan *place, bool *has, const char *key, struct error *err)
{
    if (*has) return error_set(err, ERR_FORMAT, "key '%s' is there twice", key);
    *place = *s;
    *has = true;
    return json_scan_skip(s);
}

/* Reads the members of an object whose bracket has been read; `model` is for the top level. */
static bool read_members(struct json_scan *s, struct parts *p, json_t *out, bool top, struct error *err)
{
    enum json_token t;
    while ((t = json_scan_next(s)) == JSON_TOKEN_KEY) {
        char key[64];
        if (s->token.size >= sizeof key) return error_set(err, ERR_UNSUPPORTED, "a key of %zu bytes", s->token.size);
        json_unescape(s->token, key);
        bool ok;
        if (top && strcmp(key, "model") == 0) {
            if (p->model) return error_set(err, ERR_FORMAT, "key 'model' is there twice");
            p->model = json_object();
            if (!p->model) return error_memory(err, 1);
            if (json_scan_next(s) != JSON_TOKEN_OBJECT)
                return s->problem ? false : error_set(err, ERR_FORMAT, "model: expected an object");
            ok = read_members(s, p, p->model, false, err);
        } else if (!top && strcmp(key, "vocab") == 0) {
            ok = take_place(s, &p->vocab, &p->has_vocab, key, err);
        } else if (!top && strcmp(key, "merges") == 0) {
            ok = take_place(s, &p->merges, &p->has_merges, key, err);
        } else {
            size_t start = s->at;
            ok = json_scan_skip(s) && put_value(out, key, bytes_of(s->text.data + start, s->at - start), err);
        }
        if (!ok) return false;
    }
    return t == JSON_TOKEN_OBJECT_END;
}

static bool read_parts(struct bytes json, struct parts *p, struct error *err)
{
    struct json_scan s;
    struct error inner = ERROR_INIT;
    json_scan_begin(&s, json, false);
    p->rest = json_object();
    if (!p->rest) return error_memory(err, 1);
    bool ok = true;
    if (json_scan_next(&s) != JSON_TOKEN_OBJECT)
        ok = s.problem ? false : error_set(&inner, ERR_FORMAT, "expected an object");
    ok = ok && read_members(&s, p, p->rest, true, &inner) && json_scan_next(&s) == JSON_TOKEN_END;
    if (ok) return true;
    if (s.problem) return error_set(err, ERR_FORMAT, "byte %zu: %s", s.at, s.problem);
    if (err) *err = inner;
    return false;
}

static bool read_model(struct tokenizer *t, struct parts *p, struct error *err)
{
    const char *type = "BPE"; /* the oldest files do not say */
    if (!p->model) return error_set(err, ERR_FORMAT, "key 'model' is missing");
    if (!json_opt_string(p->model, "type", "model", &type, err)) return false;
    if (strcmp(type, "BPE") == 0) t->model = MODEL_BPE;
    else if (strcmp(type, "Unigram") == 0) t->model = MODEL_UNIGRAM;
    else
        return error_set(err, ERR_UNSUPPORTED, "model: type '%.100s' is not supported, only BPE and Unigram are", type);
    bool bpe = t->model == MODEL_BPE;
    if (bpe ? !bpe_open(&t->bpe, p->model, err) : !unigram_open(&t->unigram, p->model, err)) return false;
    if (!p->has_vocab || (bpe && !p->has_merges))
        return error_set(err, ERR_FORMAT, "model: key '%s' is missing", p->has_vocab ? "merges" : "vocab");
    if (!bpe && p->has_merges) return error_set(err, ERR_FORMAT, "model: a Unigram model has no 'merges'");
    if (!bpe) return unigram_read(&t->unigram, &t->vocab, &p->vocab, err);
    return vocab_read(&t->vocab, &p->vocab, err) && bpe_read_merges(&t->bpe, &t->vocab, &p->merges, err);
}

/* Once the pre-tokenizer is known. */
static bool prepare_model(struct tokenizer *t, struct error *err)
{
    bool byte_level = pretokenizer_is_byte_level(t->pre);
    if (t->model == MODEL_BPE) return bpe_prepare(&t->bpe, &t->vocab, byte_level, err);
    if (byte_level)
        return error_set(err, ERR_UNSUPPORTED, "model: Unigram with the pre-tokenizer ByteLevel is not supported");
    return unigram_prepare(&t->unigram, &t->vocab, NULL, NULL, err);
}

static uint32_t ids_of(const struct tokenizer *t)
{
    return t->added.n_ids > t->vocab.texts.n ? t->added.n_ids : t->vocab.texts.n;
}

static bool check_version(const json_t *rest, struct error *err)
{
    const char *version = "1.0";
    if (!json_opt_string(rest, "version", "top level", &version, err)) return false;
    return strcmp(version, "1.0") == 0
               ? true
               : error_set(err, ERR_UNSUPPORTED, "version '%.20s' is not supported, only 1.0 is", version);
}

static bool load(struct tokenizer *t, struct bytes json, struct parts *p, struct error *err)
{
    if (!read_parts(json, p, err) || !json_known_keys(p->rest, "top level", top_keys, err) ||
        !check_version(p->rest, err))
        return false;
    const json_t *r = p->rest;
    return read_model(t, p, err) && normalizer_open(&t->normalizer, json_object_get(r, "normalizer"), err) &&
           added_tokens_open(&t->added, json_object_get(r, "added_tokens"), &t->vocab, &t->normalizer, err) &&
           pretokenizer_open(&t->pre, json_object_get(r, "pre_tokenizer"), err) && prepare_model(t, err) &&
           postprocess_open(&t->post, json_object_get(r, "post_processor"), ids_of(t), err) &&
           decoder_open(&t->decoder, json_object_get(r, "decoder"), err);
}

bool tokenizer_json_open(struct tokenizer *t, struct bytes json, const json_t *config, struct error *err)
{
    struct parts p = {0};
    (void)config;
    bool ok = load(t, json, &p, err);
    json_decref(p.rest);
    json_decref(p.model);
    return ok;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t) return;
    vocab_free(&t->vocab);
    added_tokens_close(&t->added);
    normalizer_close(&t->normalizer);
    pretokenizer_close(t->pre);
    bpe_close(&t->bpe);
    unigram_close(&t->unigram);
    spm_close(t->spm);
    postprocess_close(&t->post);
    decoder_close(&t->decoder);
    free(t);
}
