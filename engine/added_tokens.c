#include "engine/added_tokens.h"

#include "engine/tokenizer.h"
#include "engine/unicode.h"

static bool read_token(const json_t *item, struct added_token *out, struct error *err)
{
    static const char *const keys[] = {"id",     "content",    "single_word", "lstrip",
                                       "rstrip", "normalized", "special",     NULL};
    const char *content;
    uint64_t id;
    if (!json_get_u64(item, "id", "token", 0, TOKENIZER_IDS_MAX - 1, &id, err) ||
        !json_get_string(item, "content", "token", &content, err) || !json_known_keys(item, "token", keys, err) ||
        !json_get_bool(item, "single_word", "token", &out->single_word, err) ||
        !json_get_bool(item, "lstrip", "token", &out->lstrip, err) ||
        !json_get_bool(item, "rstrip", "token", &out->rstrip, err) ||
        !json_get_bool(item, "normalized", "token", &out->normalized, err) ||
        !json_get_bool(item, "special", "token", &out->special, err))
        return false;
    out->content = bytes_text(content);
    out->id = (uint32_t)id;
    return true;
}

bool added_tokens_begin(struct added_tokens *a, size_t capacity, struct error *err)
{
    *a = (struct added_tokens){.arena = arena_new()};
    if (capacity > ADDED_TOKENS_MAX) return error_set(err, ERR_FORMAT, "added_tokens: more than %u", ADDED_TOKENS_MAX);
    a->capacity = (uint32_t)capacity;
    if (a->arena) a->tokens = arena_alloc(a->arena, capacity + 1, sizeof *a->tokens);
    return a->tokens ? true : error_memory(err, capacity * sizeof *a->tokens);
}

bool added_tokens_add(struct added_tokens *a, const struct added_token *t, struct error *err)
{
    struct added_token *out = &a->tokens[a->n];
    if (a->n == a->capacity) return error_set(err, ERR_INTERNAL, "more added tokens than were asked for");
    if (t->content.size == 0 || t->content.size > ADDED_TOKEN_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "content has %zu bytes, expected 1 to %u", t->content.size,
                         ADDED_TOKEN_BYTES_MAX);
    char *copy = arena_copy(a->arena, (const char *)t->content.data, t->content.size);
    if (!copy) return error_memory(err, t->content.size);
    *out = *t;
    out->content = out->match = bytes_of(copy, t->content.size);
    a->n++;
    return true;
}

static bool normalize_match(struct added_tokens *a, const struct normalizer *n, struct added_token *t,
                            struct error *err)
{
    struct normalize_run run = {0};
    struct bytes made;
    bool ok = normalizer_apply(n, &run, t->content, &made, err);
    if (ok && made.size == 0) ok = error_set(err, ERR_FORMAT, "the normalizer makes nothing of it");
    if (ok) {
        char *copy = arena_copy(a->arena, (const char *)made.data, made.size);
        t->match = bytes_of(copy, made.size);
        ok = copy ? true : error_memory(err, made.size);
    }
    normalize_run_close(&run);
    return ok;
}

/* The reference takes a token's id from the vocabulary, else counts on from the vocabulary's size or from the highest
 * added one. Where the file says something else, nobody can tell which is meant. */
static bool check_id(const struct vocab *v, const struct added_token *t, uint32_t *next, struct error *err)
{
    uint32_t id = token_index_find(&v->index, t->content.data, t->content.size);
    if (id == ID_NONE) id = (*next)++;
    if (id != t->id)
        return error_set(err, ERR_FORMAT, "'%.200s' has the id %u, expected %u", (const char *)t->content.data, t->id,
                         id);
    return true;
}

static int by_bytes(struct bytes a, struct bytes b)
{
    int c = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return c ? c : (a.size > b.size) - (a.size < b.size);
}

static int by_match(const void *a, const void *b)
{
    return by_bytes((*(const struct added_token *const *)a)->match, (*(const struct added_token *const *)b)->match);
}

static bool build_set(const struct added_tokens *a, struct added_set *set, bool normalized, bool prompts,
                      struct error *err)
{
    set->tokens = arena_alloc(a->arena, a->n + 1, sizeof *set->tokens);
    if (!set->tokens) return error_memory(err, a->n * sizeof *set->tokens);
    for (uint32_t i = 0; i < a->n; i++)
        if (a->tokens[i].normalized == normalized && (prompts || !a->tokens[i].in_prompts))
            set->tokens[set->n++] = &a->tokens[i];
    qsort(set->tokens, set->n, sizeof *set->tokens, by_match);
    for (uint32_t i = 1; i < set->n; i++)
        if (by_match(&set->tokens[i - 1], &set->tokens[i]) == 0)
            return error_set(err, ERR_FORMAT, "added_tokens: '%.200s' is there twice",
                             (const char *)set->tokens[i]->match.data);
    for (uint32_t b = 0, i = 0; b <= 256; b++) {
        while (i < set->n && set->tokens[i]->match.data[0] < b) i++;
        set->first[b] = i;
    }
    return true;
}

static bool index_ids(struct added_tokens *a, struct error *err)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (a->tokens[i].id >= a->n_ids) a->n_ids = a->tokens[i].id + 1;
    a->by_id = arena_alloc(a->arena, a->n_ids + 1u, sizeof *a->by_id);
    if (!a->by_id) return error_memory(err, a->n_ids * sizeof *a->by_id);
    memset(a->by_id, 0xff, a->n_ids * sizeof *a->by_id);
    for (uint32_t i = 0; i < a->n; i++) {
        uint32_t *place = &a->by_id[a->tokens[i].id];
        if (*place != ID_NONE)
            return error_set(err, ERR_FORMAT, "added_tokens[%u]: the id %u is there twice", i, a->tokens[i].id);
        *place = i;
    }
    return true;
}

bool added_tokens_finish(struct added_tokens *a, struct error *err)
{
    return index_ids(a, err) && build_set(a, &a->raw, false, false, err) &&
           build_set(a, &a->normalized, true, false, err) && build_set(a, &a->prompt, false, true, err);
}

bool added_tokens_open(struct added_tokens *a, const json_t *list, const struct vocab *v, const struct normalizer *n,
                       struct error *err)
{
    size_t count = list ? json_array_size(list) : 0;
    if (!added_tokens_begin(a, count, err)) return false;
    if (list && !json_is_null(list) && !json_is_array(list))
        return error_set(err, ERR_FORMAT, "added_tokens: expected a list");
    uint32_t next = v->n_tokens;
    while (a->n < count) {
        uint32_t i = a->n;
        struct added_token t = {0};
        if (!read_token(json_array_get(list, i), &t, err) || !added_tokens_add(a, &t, err) ||
            !check_id(v, &a->tokens[i], &next, err) || (t.normalized && !normalize_match(a, n, &a->tokens[i], err)))
            return error_wrap(err, "added_tokens[%u]", i);
    }
    return added_tokens_finish(a, err);
}

void added_tokens_close(struct added_tokens *a)
{
    arena_free(a->arena);
    *a = (struct added_tokens){0};
}

const struct added_token *added_token_by_id(const struct added_tokens *a, uint32_t id)
{
    return id < a->n_ids && a->by_id[id] != ID_NONE ? &a->tokens[a->by_id[id]] : NULL;
}

/* The first of tokens lo..hi whose byte at `depth` is not below `byte`. All are longer than that. */
static uint32_t lower_bound(const struct added_set *set, uint32_t lo, uint32_t hi, size_t depth, uint32_t byte)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (set->tokens[mid]->match.data[depth] < byte) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* Tokens lo..hi have their first `depth` bytes in common with p. */
const struct added_token *added_set_longest(const struct added_set *set, const uint8_t *p, size_t n)
{
    const struct added_token *found = NULL;
    uint32_t lo = set->first[*p], hi = set->first[*p + 1];
    for (size_t depth = 1; lo < hi; depth++) {
        if (set->tokens[lo]->match.size == depth) found = set->tokens[lo++];
        if (depth == n) break;
        lo = lower_bound(set, lo, hi, depth, p[depth]);
        hi = lower_bound(set, lo, hi, depth, p[depth] + 1u);
    }
    return found;
}

void added_cut_begin(struct added_cut *c, const struct added_set *set, struct bytes text)
{
    *c = (struct added_cut){.set = set, .text = text};
}

static uint32_t char_before(struct bytes text, size_t at, size_t *start)
{
    do at--;
    while ((text.data[at] & 0xc0) == 0x80);
    *start = at;
    return utf8_char(text.data + at, utf8_lead_size(text.data[at]));
}

static bool stands_alone(struct bytes text, size_t start, size_t stop)
{
    size_t at;
    if (start && unicode_is_word(char_before(text, start, &at))) return false;
    return stop == text.size || !unicode_is_word(utf8_char(text.data + stop, utf8_lead_size(text.data[stop])));
}

static size_t space_start(struct bytes text, size_t at)
{
    for (size_t before; at && unicode_is_space(char_before(text, at, &before));) at = before;
    return at;
}

static size_t space_end(struct bytes text, size_t at)
{
    for (size_t size; at < text.size; at += size) {
        size = utf8_lead_size(text.data[at]);
        if (!unicode_is_space(utf8_char(text.data + at, size))) break;
    }
    return at;
}

static bool give_token(struct added_cut *c, struct added_piece *out)
{
    *out = (struct added_piece){.token = c->waiting};
    c->waiting = NULL;
    c->done = c->stop;
    return true;
}

bool added_cut_next(struct added_cut *c, struct added_piece *out)
{
    if (c->waiting) return give_token(c, out);
    while (c->set->n && c->at < c->text.size) {
        const uint8_t *p = c->text.data + c->at;
        const struct added_token *t = added_set_longest(c->set, p, c->text.size - c->at);
        if (!t) {
            c->at++;
            continue;
        }
        size_t start = c->at, stop = start + t->match.size;
        /* The search goes on behind the token itself, also when it takes the spaces behind it along. */
        c->at = stop;
        if (t->single_word && !stands_alone(c->text, start, stop)) continue;
        if (t->lstrip) start = space_start(c->text, start);
        if (start < c->done) start = c->done;
        if (t->rstrip) stop = space_end(c->text, stop);
        c->waiting = t;
        c->stop = stop;
        if (c->done >= start) return give_token(c, out);
        *out = (struct added_piece){.text = bytes_of(c->text.data + c->done, start - c->done)};
        return true;
    }
    if (c->done == c->text.size) return false;
    *out = (struct added_piece){.text = bytes_of(c->text.data + c->done, c->text.size - c->done)};
    c->done = c->text.size;
    return true;
}
