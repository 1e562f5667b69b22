#include "engine/text_stream.h"

#include <stdlib.h>
#include <string.h>

/* The text of ids [before, n) behind that of [before, done). */
static bool rest_of(const struct text_stream *s, bool all, char **text, size_t *n, struct error *err)
{
    CLEANUP(free) char *was = NULL;
    CLEANUP(free) char *is = NULL;
    size_t n_was = 0, n_is = 0;
    *text = NULL;
    *n = 0;
    if (!tokenizer_decode(s->tokenizer, s->ids + s->before, s->done - s->before, s->skip_special, &was, &n_was, err) ||
        !tokenizer_decode(s->tokenizer, s->ids + s->before, s->n - s->before, s->skip_special, &is, &n_is, err))
        return false;
    /* A character may still be incomplete: it decodes as U+FFFD, EF BF BD, until its last byte is there. */
    bool open = n_is >= 3 && memcmp(is + n_is - 3, "\xef\xbf\xbd", 3) == 0;
    if (!all && (open || n_is <= n_was || memcmp(is, was, n_was) != 0)) return true;
    size_t from = n_is >= n_was && memcmp(is, was, n_was) == 0 ? n_was : n_is;
    *text = malloc(n_is - from + 1);
    if (!*text) return error_memory(err, n_is - from);
    memcpy(*text, is + from, n_is - from + 1); /* with the terminator */
    *n = n_is - from;
    return true;
}

bool text_stream_add(struct text_stream *s, uint32_t id, char **text, size_t *n, struct error *err)
{
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        uint32_t *p = realloc(s->ids, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        s->ids = p;
        s->capacity = capacity;
    }
    s->ids[s->n++] = id;
    if (!rest_of(s, false, text, n, err)) return false;
    if (*n == 0) return true;
    s->before = s->done; /* the piece just given is the next one's context */
    s->done = s->n;
    return true;
}

bool text_stream_end(struct text_stream *s, char **text, size_t *n, struct error *err)
{
    if (!rest_of(s, true, text, n, err)) return false;
    s->done = s->n;
    return true;
}

void text_stream_close(struct text_stream *s)
{
    free(s->ids);
    *s = (struct text_stream){0};
}
