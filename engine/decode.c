#include "engine/decode.h"

#include "engine/bpe.h"
#include "engine/unicode.h"

static bool get_text(const json_t *step, const char *key, struct bytes *out, struct error *err)
{
    const char *text;
    if (!json_get_string(step, key, "step", &text, err)) return false;
    *out = bytes_text(text);
    return true;
}

static bool get_char(const json_t *step, const char *key, struct bytes *out, struct error *err)
{
    if (!get_text(step, key, out, err)) return false;
    if (out->size && utf8_lead_size(out->data[0]) == out->size) return true;
    return error_set(err, ERR_FORMAT, "key '%s': expected one character, found '%.100s'", key, (const char *)out->data);
}

static bool read_byte_level(const json_t *step, struct decode_step *out, struct error *err)
{
    (void)step, (void)out, (void)err; /* its options are those of the pre-tokenizer and say nothing here */
    return true;
}

static bool read_plain(const json_t *step, struct decode_step *out, struct error *err)
{
    static const char *const keys[] = {"type", NULL};
    (void)out;
    return json_known_keys(step, "step", keys, err);
}

static bool read_replace(const json_t *step, struct decode_step *out, struct error *err)
{
    const char *pattern;
    bool is_regex;
    if (!steps_replacement(step, &pattern, &is_regex, &out->content, err)) return false;
    out->pattern = bytes_text(pattern);
    return is_regex ? error_set(err, ERR_UNSUPPORTED, "Replace with a regular pattern is not supported") : true;
}

static bool read_strip(const json_t *step, struct decode_step *out, struct error *err)
{
    static const char *const keys[] = {"type", "content", "start", "stop", NULL};
    return json_known_keys(step, "Strip", keys, err) && get_char(step, "content", &out->content, err) &&
           json_get_u64(step, "start", "Strip", 0, UINT32_MAX, &out->start, err) &&
           json_get_u64(step, "stop", "Strip", 0, UINT32_MAX, &out->stop, err);
}

static bool read_metaspace(const json_t *step, struct decode_step *out, struct error *err)
{
    static const char *const keys[] = {"type",    "replacement", "prepend_scheme", "split", "add_prefix_space",
                                       "str_rep", NULL};
    const char *scheme = "always";
    bool prefix = true;
    if (!json_known_keys(step, "Metaspace", keys, err) || !get_char(step, "replacement", &out->content, err) ||
        !json_opt_string(step, "prepend_scheme", "Metaspace", &scheme, err) ||
        !json_opt_bool(step, "add_prefix_space", "Metaspace", &prefix, err))
        return false;
    out->drop_first = strcmp(scheme, "never") != 0;
    return true;
}

static const struct {
    const char *type;
    enum decode_kind kind;
    bool (*read)(const json_t *step, struct decode_step *out, struct error *err);
} kinds[] = {
    {"ByteLevel", DECODE_BYTE_LEVEL, read_byte_level},
    {"ByteFallback", DECODE_BYTE_FALLBACK, read_plain},
    {"Fuse", DECODE_FUSE, read_plain},
    {"Replace", DECODE_REPLACE, read_replace},
    {"Strip", DECODE_STRIP, read_strip},
    {"Metaspace", DECODE_METASPACE, read_metaspace},
};

static bool read_step(void *ctx, const json_t *step, const char *type, struct error *err)
{
    struct decoder *d = ctx;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(type, kinds[i].type) != 0) continue;
        struct decode_step *out = &d->steps[d->n_steps++];
        out->kind = kinds[i].kind;
        return kinds[i].read(step, out, err);
    }
    return steps_refuse(type, err);
}

bool decoder_open(struct decoder *d, json_t *spec, struct error *err)
{
    *d = (struct decoder){.spec = json_incref(spec)};
    return steps_read(spec, "decoder", "decoders", read_step, d, err);
}

void decoder_close(struct decoder *d)
{
    json_decref(d->spec);
    *d = (struct decoder){0};
}

bool decode_add(struct decode_pieces *p, struct error *err)
{
    if (p->text.failed) return error_memory(err, p->text.capacity);
    if (p->n == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 64;
        size_t *ends = realloc(p->ends, capacity * sizeof *ends);
        if (!ends) return error_memory(err, capacity * sizeof *ends);
        p->ends = ends;
        p->capacity = capacity;
    }
    p->ends[p->n++] = p->text.size;
    return true;
}

void decode_pieces_free(struct decode_pieces *p)
{
    text_free(&p->text);
    free(p->ends);
    *p = (struct decode_pieces){0};
}

static struct bytes piece(const struct decode_pieces *p, size_t i)
{
    size_t start = i ? p->ends[i - 1] : 0;
    return bytes_of(p->text.data + start, p->ends[i] - start);
}

/* The bytes that a token's characters stand for; the token as it is when one of them stands for none. */
static void put_bytes(struct text *out, struct bytes token)
{
    size_t before = out->size;
    for (size_t at = 0, size; at < token.size; at += size) {
        size = utf8_lead_size(token.data[at]);
        int byte = char_to_byte(utf8_char(token.data + at, size));
        if (byte < 0) {
            out->size = before;
            text_put(out, token.data, token.size);
            return;
        }
        text_put(out, &(uint8_t){(uint8_t)byte}, 1);
    }
}

static bool byte_level(const struct decode_pieces *in, struct decode_pieces *out, struct error *err)
{
    struct text bytes = TEXT_INIT;
    for (size_t i = 0; i < in->n; i++) put_bytes(&bytes, piece(in, i));
    out->text.failed = out->text.failed || bytes.failed;
    if (bytes.size) utf8_put_lossy(&out->text, bytes_of(bytes.data, bytes.size));
    text_free(&bytes);
    return decode_add(out, err);
}

/* The byte of "<0x1F>", or -1. Either case, and a plus sign for the first digit: what the reference's parser takes. */
static int fallback_byte(struct bytes t)
{
    static const char digits[] = "0123456789abcdef";
    if (t.size != 6 || memcmp(t.data, "<0x", 3) != 0 || t.data[5] != '>') return -1;
    const char *hi = t.data[3] == '+' ? digits : memchr(digits, t.data[3] | (t.data[3] >= 'A' ? 32 : 0), 16);
    const char *lo = memchr(digits, t.data[4] | (t.data[4] >= 'A' ? 32 : 0), 16);
    return hi && lo ? (int)((hi - digits) * 16 + (lo - digits)) : -1;
}

/* A run of byte tokens: their text when they are UTF-8 together, else U+FFFD for each. */
static bool end_bytes(struct text *bytes, struct decode_pieces *out, struct error *err)
{
    size_t n = bytes->size;
    bytes->size = 0;
    if (bytes->failed) return error_memory(err, n);
    if (n == 0) return true;
    if (utf8_broken(bytes_of(bytes->data, n)) == n) {
        text_put(&out->text, bytes->data, n);
        return decode_add(out, err);
    }
    for (size_t i = 0; i < n; i++) {
        utf8_put(&out->text, 0xfffd);
        if (!decode_add(out, err)) return false;
    }
    return true;
}

static bool byte_fallback(const struct decode_pieces *in, struct decode_pieces *out, struct error *err)
{
    struct text bytes = TEXT_INIT;
    bool ok = true;
    for (size_t i = 0; ok && i < in->n; i++) {
        struct bytes t = piece(in, i);
        int byte = fallback_byte(t);
        if (byte >= 0) {
            text_put(&bytes, &(uint8_t){(uint8_t)byte}, 1);
            continue;
        }
        ok = end_bytes(&bytes, out, err);
        text_put(&out->text, t.data, t.size);
        ok = ok && decode_add(out, err);
    }
    ok = ok && end_bytes(&bytes, out, err);
    text_free(&bytes);
    return ok;
}

/* Up to `start` of the character from the front and up to `stop` from the back. */
static struct bytes stripped(const struct decode_step *s, struct bytes t)
{
    struct bytes c = s->content;
    uint64_t front = 0, back = 0;
    for (; front < s->start && t.size >= c.size && memcmp(t.data, c.data, c.size) == 0; front++)
        t = bytes_of(t.data + c.size, t.size - c.size);
    for (; back < s->stop && t.size >= c.size && memcmp(t.data + t.size - c.size, c.data, c.size) == 0; back++)
        t.size -= c.size;
    return t;
}

static bool apply_step(const struct decode_step *s, const struct decode_pieces *in, struct decode_pieces *out,
                       struct error *err)
{
    if (s->kind == DECODE_BYTE_LEVEL) return byte_level(in, out, err);
    if (s->kind == DECODE_BYTE_FALLBACK) return byte_fallback(in, out, err);
    if (s->kind == DECODE_FUSE) {
        text_put(&out->text, in->text.data, in->n ? in->ends[in->n - 1] : 0);
        return decode_add(out, err);
    }
    for (size_t i = 0; i < in->n; i++) {
        struct bytes t = piece(in, i);
        if (s->kind == DECODE_STRIP) t = stripped(s, t);
        if (s->kind == DECODE_STRIP) text_put(&out->text, t.data, t.size);
        else if (s->kind == DECODE_REPLACE) steps_replace(&out->text, t, s->pattern, s->content);
        else steps_replace(&out->text, t, s->content, bytes_text(i == 0 && s->drop_first ? "" : " "));
        if (!decode_add(out, err)) return false;
    }
    return true;
}

bool decoder_apply(const struct decoder *d, struct decode_pieces *p, struct text *out, struct error *err)
{
    for (uint32_t i = 0; i < d->n_steps; i++) {
        struct decode_pieces made = {0};
        bool ok = apply_step(&d->steps[i], p, &made, err);
        decode_pieces_free(p);
        *p = made;
        if (!ok) return false;
    }
    bool spaces = !d->spec || json_is_null(d->spec);
    for (size_t i = 0; i < p->n; i++) {
        if (i && spaces) text_put(out, " ", 1);
        text_put(out, piece(p, i).data, piece(p, i).size);
    }
    return out->failed ? error_memory(err, out->size) : true;
}
