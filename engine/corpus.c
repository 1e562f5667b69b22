#include "engine/corpus.h"

#include "core/file.h"
#include "core/memory.h"
#include "core/text.h"
#include "engine/tokenizer.h"

#include <fcntl.h>

struct loader {
    struct corpus *corpus;
    const struct corpus_options *opt;
    const struct tokenizer *tokenizer; /* NULL: ids only */
    bool has_bos;
    uint32_t bos, capacity;
    const char *file;
};

void corpus_close(struct corpus *c)
{
    for (uint32_t i = 0; i < c->n_texts; i++) free((void *)(uintptr_t)c->texts[i].ids);
    free(c->texts);
    *c = (struct corpus){0};
}

static bool full(const struct loader *l)
{
    return l->opt->max_texts && l->corpus->n_texts >= l->opt->max_texts;
}

/* Takes ids over; cuts them to the limit. */
static bool add_ids(struct loader *l, uint32_t *ids, size_t n, struct error *err)
{
    struct corpus *c = l->corpus;
    if (c->n_texts == CORPUS_TEXTS_MAX) {
        free(ids);
        return error_set(err, ERR_FORMAT, "'%.256s' has more than %u texts", l->file, CORPUS_TEXTS_MAX);
    }
    if (c->n_texts == l->capacity) {
        uint32_t capacity = l->capacity ? 2 * l->capacity : 64;
        struct text_ids *p = realloc(c->texts, capacity * sizeof *p);
        if (!p) {
            free(ids);
            return error_memory(err, capacity * sizeof *p);
        }
        c->texts = p;
        l->capacity = capacity;
    }
    if (n > l->opt->max_tokens) n = l->opt->max_tokens;
    c->texts[c->n_texts++] = (struct text_ids){ids, (uint32_t)n};
    c->n_tokens += n;
    return true;
}

/* Tokens of a text with the beginning-of-text token in front. */
static bool tokens_of(const struct loader *l, struct bytes text, uint32_t **out, size_t *n_out, struct error *err)
{
    uint32_t *ids = NULL;
    size_t n = 0;
    if (!tokenizer_encode(l->tokenizer, text, true, &ids, &n, err)) return false;
    bool add = l->has_bos && (n == 0 || ids[0] != l->bos);
    uint32_t *whole = malloc((n + 1) * sizeof *whole);
    if (whole) {
        if (add) whole[0] = l->bos;
        if (n) memcpy(whole + add, ids, n * sizeof *ids);
    }
    free(ids);
    *out = whole;
    *n_out = n + add;
    return whole ? true : error_memory(err, n * sizeof *whole);
}

static bool add_text(struct loader *l, struct bytes text, struct error *err)
{
    uint32_t *ids;
    size_t n;
    if (!tokens_of(l, text, &ids, &n, err)) return false;
    if (n > 0) return add_ids(l, ids, n, err);
    free(ids);
    return error_set(err, ERR_FORMAT, "the text has no tokens");
}

static bool add_list(struct loader *l, const json_t *list, struct error *err)
{
    size_t n = json_array_size(list);
    uint32_t *ids = malloc((n + 1) * sizeof *ids);
    if (!ids) return error_memory(err, n * sizeof *ids);
    size_t good = 0;
    for (; good < n; good++) {
        const json_t *v = json_array_get(list, good);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX) break;
        ids[good] = (uint32_t)json_integer_value(v);
    }
    if (n > 0 && good == n) return add_ids(l, ids, n, err);
    free(ids);
    if (good < n)
        return error_set(err, ERR_FORMAT, "item %zu: expected a token id, found %s", good + 1,
                         json_brief(json_array_get(list, good)));
    return error_set(err, ERR_FORMAT, "expected a list of token ids, found %s",
                     json_is_array(list) ? "an empty one" : json_brief(list));
}

static bool add_line(struct loader *l, struct bytes line, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    if (!json_parse(line, JSON_DIALECT_STRICT, "line", &doc, err)) return false;
    const json_t *text = json_object_get(doc, "text"), *ids = json_object_get(doc, "input_ids");
    if (json_is_string(text)) return add_text(l, bytes_of(json_string_value(text), json_string_length(text)), err);
    if (ids) return add_list(l, ids, err);
    if (json_is_object(doc) && json_has(doc, "messages"))
        return error_set(err, ERR_UNSUPPORTED, "chat messages are not rendered yet; give texts");
    return error_set(err, ERR_FORMAT, "expected an object with \"text\" or \"input_ids\"");
}

static bool read_lines(struct loader *l, struct bytes data, struct error *err)
{
    const char *p = (const char *)data.data, *end = p + data.size;
    for (uint64_t line = 1; p < end && !full(l); line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        struct bytes one = bytes_of(p, (size_t)(stop - p));
        p = stop + 1;
        if (one.size == 0 || (one.size == 1 && one.data[0] == '\r')) continue;
        if (!add_line(l, one, err)) return error_wrap(err, "'%.256s': line %llu", l->file, (unsigned long long)line);
    }
    return true;
}

static bool read_lists(struct loader *l, struct bytes data, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    if (!json_parse(data, JSON_DIALECT_STRICT, l->file, &doc, err)) return false;
    if (!json_is_array(doc))
        return error_set(err, ERR_FORMAT, "'%.256s': expected a list of lists of token ids", l->file);
    for (size_t i = 0; i < json_array_size(doc) && !full(l); i++)
        if (!add_list(l, json_array_get(doc, i), err)) return error_wrap(err, "'%.256s': text %zu", l->file, i + 1);
    return true;
}

/* A plain text file is tokenized whole and divided into texts of max_tokens. */
static bool read_plain(struct loader *l, struct bytes data, struct error *err)
{
    uint32_t *ids = NULL;
    size_t n;
    if (!tokens_of(l, data, &ids, &n, err)) return error_wrap(err, "'%.256s'", l->file);
    size_t first = l->has_bos && n && ids[0] == l->bos, room = l->opt->max_tokens - first;
    bool ok = true;
    for (size_t at = first; ok && at < n && !full(l); at += room) {
        size_t count = n - at < room ? n - at : room;
        uint32_t *piece = malloc((count + 1) * sizeof *piece);
        if (!piece) {
            ok = error_memory(err, count * sizeof *piece);
            break;
        }
        if (first) piece[0] = l->bos;
        memcpy(piece + first, ids + at, count * sizeof *piece);
        ok = add_ids(l, piece, count + first, err);
    }
    free(ids);
    return ok;
}

static bool finish(struct loader *l, struct error *err)
{
    struct corpus *c = l->corpus;
    struct sha256 *h;
    if (c->n_texts == 0) return error_set(err, ERR_FORMAT, "'%.256s' holds no texts", l->file);
    if (!sha256_open(&h, err)) return false;
    for (uint32_t i = 0; i < c->n_texts; i++) {
        sha256_add(h, &c->texts[i].n, sizeof c->texts[i].n); /* this program runs on little-endian machines only */
        sha256_add(h, c->texts[i].ids, c->texts[i].n * sizeof *c->texts[i].ids);
    }
    return sha256_close(h, &c->digest, err);
}

typedef bool (*read_fn)(struct loader *l, struct bytes data, struct error *err);

static bool load(struct loader *l, read_fn read, struct error *err)
{
    CLEANUP_BUFFER struct buffer data = {0};
    if (file_load(AT_FDCWD, l->file, CORPUS_BYTES_MAX, &data, err) && read(l, buffer_view(&data), err) &&
        finish(l, err))
        return true;
    corpus_close(l->corpus);
    return false;
}

static bool open_tokenizer(struct loader *l, const struct model *m, struct tokenizer **t, struct error *err)
{
    if (!tokenizer_open(t, m->folder, err)) return false;
    l->tokenizer = *t;
    return hf_config_bos(&m->hf, &l->bos, &l->has_bos, err);
}

bool corpus_load(struct corpus *out, const char *path, const struct model *model, const struct corpus_options *opt,
                 struct error *err)
{
    *out = (struct corpus){0};
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    struct loader l = {.corpus = out, .opt = opt, .file = path};
    if (text_ends_with(path, ".json")) return load(&l, read_lists, err);
    return open_tokenizer(&l, model, &t, err) &&
           load(&l, text_ends_with(path, ".jsonl") ? read_lines : read_plain, err);
}

bool corpus_from_texts(struct corpus *out, const char *const *texts, const struct model *model,
                       const struct corpus_options *opt, struct error *err)
{
    *out = (struct corpus){0};
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    struct loader l = {.corpus = out, .opt = opt, .file = "built-in texts"};
    bool ok = open_tokenizer(&l, model, &t, err);
    for (; ok && *texts; texts++) ok = add_text(&l, bytes_text(*texts), err);
    if (ok && finish(&l, err)) return true;
    corpus_close(out);
    return false;
}

bool corpus_load_ids(struct corpus *out, const char *path, const struct corpus_options *opt, struct error *err)
{
    *out = (struct corpus){0};
    struct loader l = {.corpus = out, .opt = opt, .file = path};
    return load(&l, read_lists, err);
}

bool corpus_next_tokens(const struct corpus *c, uint32_t **out, struct error *err)
{
    if (!memory_alloc(out, c->n_tokens, sizeof **out, err)) return false;
    uint64_t row = 0;
    for (uint32_t t = 0; t < c->n_texts; t++)
        for (uint32_t k = 0; k < c->texts[t].n; k++)
            (*out)[row++] = k + 1 < c->texts[t].n ? c->texts[t].ids[k + 1] : NO_NEXT_TOKEN;
    return true;
}

uint64_t corpus_longest(const struct corpus *c)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < c->n_texts; i++)
        if (c->texts[i].n > most) most = c->texts[i].n;
    return most;
}
