#include "engine/tokenizer_normalize.h"

/* As the reference replaces: matches one behind the other; one of nothing right behind another is none. */
static bool replace_matches(const struct normalize_step *s, struct normalize_run *r, struct bytes in, struct text *out,
                            struct error *err)
{
    size_t done = 0, at = 0, last_end = SIZE_MAX;
    struct span m;
    if (!r->match && !match_run_open(&r->match, r->text_size, err)) return false;
    while (at <= in.size) {
        if (!match_next(r->match, s->matcher, in, at, &m, err)) return error_wrap(err, "normalizer");
        if (m.start == SIZE_MAX) break;
        if (m.start == m.end && m.end == last_end) {
            at += at < in.size ? utf8_lead_size(in.data[at]) : 1;
            continue;
        }
        text_put(out, in.data + done, m.start - done);
        text_put(out, s->content.data, s->content.size);
        done = at = last_end = m.end;
    }
    text_put(out, in.data + done, in.size - done);
    return true;
}

static struct bytes stripped(const struct normalize_step *s, struct bytes in)
{
    while (s->left && in.size) {
        size_t size = utf8_lead_size(in.data[0]);
        if (!unicode_is_space(utf8_char(in.data, size))) break;
        in = bytes_of(in.data + size, in.size - size);
    }
    while (s->right && in.size) {
        size_t at = in.size - 1;
        while (at && (in.data[at] & 0xc0) == 0x80) at--;
        if (!unicode_is_space(utf8_char(in.data + at, in.size - at))) break;
        in.size = at;
    }
    return in;
}

/* SentencePiece's "nmt" rules as the reference has them: control characters go, what is blank becomes a space. */
static void put_nmt(struct text *out, uint32_t c)
{
    if ((c >= 1 && c <= 8) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f) return;
    bool blank = c == 0x09 || c == 0x0a || c == 0x0c || c == 0x0d || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
                 c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
    utf8_put(out, blank ? ' ' : c);
}

static void put_chars(enum normalize_kind kind, struct bytes in, struct text *out)
{
    for (size_t at = 0, size; at < in.size; at += size) {
        size = utf8_lead_size(in.data[at]);
        uint32_t c = utf8_char(in.data + at, size);
        if (kind == NORMALIZE_LOWERCASE) unicode_put_lower(out, c);
        else if (kind == NORMALIZE_NMT) put_nmt(out, c);
        else if (!unicode_is_mark(c)) text_put(out, in.data + at, size);
    }
}

/* The reference looks for a rule for each short cluster of characters as a whole, then for each character; and takes
 * the shortest rule that fits the beginning, for all of what it looked for. */
#define CLUSTER_BYTES 6u

static void put_mapped(const struct charsmap *map, struct bytes in, struct text *out)
{
    struct bytes to;
    for (size_t at = 0, size; at < in.size; at += size) {
        bool plain = at + 1 == in.size || in.data[at + 1] < 0x80;
        size = plain && in.data[at] < 0x80 && in.data[at] != '\r' ? 1 : unicode_grapheme(in.data + at, in.size - at);
        struct bytes cluster = bytes_of(in.data + at, size);
        if (size < CLUSTER_BYTES && charsmap_find(map, cluster, false, &to)) {
            text_put(out, to.data, to.size);
            continue;
        }
        for (size_t i = 0, n; i < size; i += n) {
            n = utf8_lead_size(cluster.data[i]);
            struct bytes one = bytes_of(cluster.data + i, n);
            if (charsmap_find(map, one, false, &to)) text_put(out, to.data, to.size);
            else text_put(out, one.data, one.size);
        }
    }
}

static bool apply_step(const struct normalize_step *s, struct normalize_run *r, struct bytes in, struct text *out,
                       struct error *err)
{
    switch (s->kind) {
    case NORMALIZE_FORM: return unicode_normalize(in, s->form, out, err);
    case NORMALIZE_REPLACE:
        if (s->matcher) return replace_matches(s, r, in, out, err);
        steps_replace(out, in, s->pattern, s->content);
        return true;
    case NORMALIZE_STRIP:
        in = stripped(s, in);
        text_put(out, in.data, in.size);
        return true;
    case NORMALIZE_PRECOMPILED: put_mapped(&s->map, in, out); return true;
    case NORMALIZE_PREPEND:
        text_put(out, s->content.data, s->content.size);
        text_put(out, in.data, in.size);
        return true;
    default: put_chars(s->kind, in, out); return true;
    }
}

bool normalizer_apply(const struct normalizer *n, struct normalize_run *r, struct bytes in, struct bytes *out,
                      struct error *err)
{
    *out = in;
    for (uint32_t i = 0; i < n->n_steps && out->size; i++) {
        struct text *t = &r->buffers[i % 2];
        t->size = 0;
        if (!apply_step(&n->steps[i], r, *out, t, err)) return false;
        if (t->failed) return error_memory(err, out->size);
        *out = bytes_of(t->data, t->size);
    }
    return true;
}

void normalize_run_close(struct normalize_run *r)
{
    text_free(&r->buffers[0]);
    text_free(&r->buffers[1]);
    match_run_close(r->match);
}
