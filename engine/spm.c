#include "engine/spm.h"

#include "engine/spm_file.h"

#include <stdlib.h>

void spm_close(struct spm *s)
{
    if (!s) return;
    added_tokens_close(&s->user);
    buffer_free(&s->blob);
    buffer_free(&s->unk_surface);
    free(s->types);
    free(s);
}

/* What stands at the beginning of `in`: a user-defined piece as it is, or what the longest rule makes of it, or one
 * character. Returns how many bytes that were. */
static size_t normal_prefix(const struct spm *s, struct bytes in, struct bytes *to)
{
    const struct added_token *user =
        s->user.normalized.n ? added_set_longest(&s->user.normalized, in.data, in.size) : NULL;
    size_t n = user ? user->match.size : charsmap_find(&s->map, in, true, to);
    if (!user && n) return n;
    if (!user) n = utf8_lead_size(in.data[0]);
    *to = bytes_of(in.data, n);
    return n;
}

static struct bytes rest(struct bytes in, size_t n)
{
    return bytes_of(in.data + n, in.size - n);
}

/* What is to be appended, as long as it lies in one piece. */
struct stretch {
    struct text *out;
    struct bytes waiting;
};

static void put(struct stretch *st, struct bytes b)
{
    if (st->waiting.size && st->waiting.data + st->waiting.size == b.data) {
        st->waiting.size += b.size;
        return;
    }
    text_put(st->out, st->waiting.data, st->waiting.size);
    st->waiting = b;
}

static void put_spaced(struct stretch *st, struct bytes b, struct bytes space)
{
    for (const uint8_t *found; b.size && (found = memchr(b.data, ' ', b.size));) {
        size_t n = (size_t)(found - b.data);
        if (n) put(st, bytes_of(b.data, n));
        put(st, space);
        b = rest(b, n + 1);
    }
    if (b.size) put(st, b);
}

static bool ends_with(const struct text *t, size_t start, struct bytes end)
{
    return t->size - start >= end.size && memcmp(t->data + t->size - end.size, end.data, end.size) == 0;
}

void spm_normalize(const struct spm *s, struct bytes in, struct text *out)
{
    struct bytes to, space = bytes_text(s->escape_spaces ? SPACE_MARK : " ");
    size_t start = out->size, n;
    while (s->remove_extra_spaces && in.size) {
        n = normal_prefix(s, in, &to);
        if (to.size != 1 || to.data[0] != ' ') break;
        in = rest(in, n);
    }
    if (in.size == 0) return;
    struct stretch st = {.out = out};
    if (!s->suffix && s->dummy_prefix) put(&st, space);
    for (bool after_space = s->remove_extra_spaces; in.size; in = rest(in, n)) {
        n = normal_prefix(s, in, &to);
        while (after_space && to.size && to.data[0] == ' ') to = rest(to, 1);
        if (to.size) after_space = s->remove_extra_spaces && to.data[to.size - 1] == ' ';
        put_spaced(&st, to, space);
    }
    put(&st, bytes_of(NULL, 0));
    while (s->remove_extra_spaces && !out->failed && ends_with(out, start, space)) out->size -= space.size;
    if (s->suffix && s->dummy_prefix) text_put(out, space.data, space.size);
}

/* Byte pieces together: whole characters, and U+FFFD for each byte that belongs to none. */
static void end_bytes(struct spm_decoding *d)
{
    struct bytes b = bytes_of(d->bytes.data, d->bytes.size);
    d->bytes.size = 0;
    for (size_t n; b.size; b = rest(b, n)) {
        size_t size = utf8_size(b.data, b.size);
        n = size ? size : 1;
        if (size) text_put(d->out, b.data, size);
        else utf8_put(d->out, 0xfffd);
    }
}

void spm_decode_text(struct spm_decoding *d, struct bytes text)
{
    end_bytes(d);
    d->mark_seen = false;
    text_put(d->out, text.data, text.size);
}

void spm_decode_piece(struct spm_decoding *d, uint32_t id, struct bytes piece)
{
    const struct spm *s = d->spm;
    if (s->types[id] == SPM_BYTE) {
        unsigned byte = (unsigned)strtoul((const char[]){(char)piece.data[3], (char)piece.data[4], 0}, NULL, 16);
        text_put(&d->bytes, &(uint8_t){(uint8_t)byte}, 1);
        return;
    }
    end_bytes(d);
    if (d->mark_seen || d->out->size) d->no_start = true;
    d->mark_seen = false;
    if (s->types[id] == SPM_CONTROL) return;
    if (s->types[id] == SPM_UNKNOWN) {
        text_put(d->out, s->unk_surface.data, s->unk_surface.size);
        return;
    }
    bool marked = piece.size >= SPACE_MARK_BYTES && memcmp(piece.data, SPACE_MARK, SPACE_MARK_BYTES) == 0;
    if (marked && !d->no_start && (s->dummy_prefix || s->remove_extra_spaces)) {
        piece = rest(piece, SPACE_MARK_BYTES);
        /* Where spaces are removed, the marks of all first pieces go. */
        d->mark_seen = !s->remove_extra_spaces;
    }
    steps_replace(d->out, piece, bytes_text(SPACE_MARK), bytes_text(" "));
}

void spm_decode_end(struct spm_decoding *d)
{
    end_bytes(d);
    d->out->failed = d->out->failed || d->bytes.failed;
    text_free(&d->bytes);
}
