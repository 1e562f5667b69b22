#include "engine/spm_file.h"

#include "engine/tokenizer.h"
#include "engine/unicode.h"

#include <stdlib.h>

/* Wire types of protobuf. */
enum wire { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_GROUP, WIRE_GROUP_END, WIRE_FIXED32 };
struct field {
    uint32_t number;
    enum wire wire;
    uint64_t value;     /* of numbers */
    struct bytes bytes; /* of texts and messages */
};
/* A message and how far it has been read. `origin` is where the file begins, for errors. */
struct message {
    struct bytes data;
    size_t at;
    const uint8_t *origin;
};

static bool broken(const struct message *m, const char *what, struct error *err)
{
    return error_set(err, ERR_FORMAT, "byte %zu: %s", (size_t)(m->data.data - m->origin) + m->at, what);
}

static bool read_varint(struct message *m, uint64_t *out, struct error *err)
{
    uint64_t v = 0;
    for (uint32_t shift = 0; shift < 70; shift += 7) {
        if (m->at == m->data.size) return broken(m, "the message ends inside a number", err);
        uint8_t byte = m->data.data[m->at++];
        if (shift == 63 && byte > 1) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        *out = v;
        return true;
    }
    return broken(m, "a number of more than 64 bits", err);
}

static bool take(struct message *m, uint64_t n, struct bytes *out, struct error *err)
{
    if (n > m->data.size - m->at) {
        error_set(err, ERR_FORMAT, "byte %zu: a field of %llu bytes, and %zu are left",
                  (size_t)(m->data.data - m->origin) + m->at, (unsigned long long)n, m->data.size - m->at);
        return false;
    }
    *out = bytes_of(m->data.data + m->at, (size_t)n);
    m->at += (size_t)n;
    return true;
}

/* The next field; the message has not ended. */
static bool read_field(struct message *m, struct field *f, struct error *err)
{
    uint64_t key, n;
    if (!read_varint(m, &key, err)) return false;
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff) return broken(m, "a field without a valid number", err);
    *f = (struct field){.number = (uint32_t)(key >> 3), .wire = (enum wire)(key & 7)};
    switch (f->wire) {
    case WIRE_VARINT: return read_varint(m, &f->value, err);
    case WIRE_BYTES: return read_varint(m, &n, err) && take(m, n, &f->bytes, err);
    case WIRE_FIXED64: return take(m, 8, &f->bytes, err);
    case WIRE_FIXED32:
        if (!take(m, 4, &f->bytes, err)) return false;
        f->value = load_le32(f->bytes.data);
        return true;
    default: return broken(m, "a field of a kind that these files do not have", err);
    }
}

typedef bool (*field_fn)(struct spm_file *f, const struct field *field, struct error *err);

static bool each_field(struct spm_file *f, struct message m, field_fn fn, struct error *err)
{
    struct field field;
    while (m.at < m.data.size)
        if (!read_field(&m, &field, err) || !fn(f, &field, err)) return false;
    return true;
}

static bool expect_wire(const struct field *f, enum wire wire, const char *name, struct error *err)
{
    return f->wire == wire ? true : error_set(err, ERR_FORMAT, "%s: wire type %u, expected %u", name, f->wire, wire);
}

static bool get_bool(const struct field *f, const char *name, bool *out, struct error *err)
{
    *out = f->value != 0;
    return expect_wire(f, WIRE_VARINT, name, err);
}

static bool get_text(const struct field *f, const char *name, struct bytes *out, struct error *err)
{
    *out = f->bytes;
    if (!expect_wire(f, WIRE_BYTES, name, err)) return false;
    return utf8_broken(*out) == out->size ? true : error_set(err, ERR_FORMAT, "%s is not UTF-8", name);
}

static bool piece_field(struct spm_file *f, const struct field *field, struct error *err)
{
    struct spm_piece *p = &f->pieces[f->n_pieces];
    if (field->number == 1) return get_text(field, "piece", &p->text, err);
    if (field->number == 2) {
        uint32_t bits = (uint32_t)field->value;
        memcpy(&p->score, &bits, sizeof bits);
        return expect_wire(field, WIRE_FIXED32, "score", err);
    }
    if (field->number != 3) return true;
    if (!expect_wire(field, WIRE_VARINT, "type", err)) return false;
    if (field->value < SPM_NORMAL || field->value > SPM_BYTE)
        return error_set(err, ERR_FORMAT, "type %llu, expected %u to %u", (unsigned long long)field->value, SPM_NORMAL,
                         SPM_BYTE);
    p->type = (enum spm_type)field->value;
    return true;
}

static bool add_piece(struct spm_file *f, const struct field *field, struct message m, struct error *err)
{
    if (f->n_pieces == TOKENIZER_IDS_MAX)
        return error_set(err, ERR_UNSUPPORTED, "more than %u pieces", TOKENIZER_IDS_MAX);
    if (f->n_pieces == f->capacity) {
        uint32_t capacity = f->capacity ? 2 * f->capacity : 1024;
        struct spm_piece *p = realloc(f->pieces, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        f->pieces = p;
        f->capacity = capacity;
    }
    struct spm_piece *p = &f->pieces[f->n_pieces];
    *p = (struct spm_piece){.type = SPM_NORMAL};
    m.data = field->bytes;
    m.at = 0;
    bool ok = expect_wire(field, WIRE_BYTES, "piece", err) && each_field(f, m, piece_field, err);
    if (ok && (p->text.size == 0 || p->text.size > SPM_PIECE_BYTES_MAX))
        ok = error_set(err, ERR_FORMAT, "%zu bytes of text, expected 1 to %u", p->text.size, SPM_PIECE_BYTES_MAX);
    if (ok && p->text.size > 1 && memchr(p->text.data, 0, p->text.size))
        ok = error_set(err, ERR_FORMAT, "a NUL in its text");
    if (ok && p->score != p->score) ok = error_set(err, ERR_FORMAT, "the score is not a number");
    if (!ok) return error_wrap(err, "pieces[%u]", f->n_pieces);
    f->n_pieces++;
    return true;
}

static bool trainer_field(struct spm_file *f, const struct field *field, struct error *err)
{
    switch (field->number) {
    case 3:
        f->model = (enum spm_model)field->value;
        if (!expect_wire(field, WIRE_VARINT, "model_type", err)) return false;
        return field->value >= SPM_UNIGRAM && field->value <= SPM_CHAR
                   ? true
                   : error_set(err, ERR_FORMAT, "model_type %llu, expected 1 to 4", (unsigned long long)field->value);
    case 24: return get_bool(field, "treat_whitespace_as_suffix", &f->suffix, err);
    case 35: return get_bool(field, "byte_fallback", &f->byte_fallback, err);
    case 44: return get_text(field, "unk_surface", &f->unk_surface, err);
    case 46: return get_text(field, "bos_piece", &f->bos, err);
    case 47: return get_text(field, "eos_piece", &f->eos, err);
    default: return true;
    }
}

static bool normalizer_field(struct spm_file *f, const struct field *field, struct error *err)
{
    switch (field->number) {
    case 2: f->charsmap = field->bytes; return expect_wire(field, WIRE_BYTES, "precompiled_charsmap", err);
    case 3: return get_bool(field, "add_dummy_prefix", &f->dummy_prefix, err);
    case 4: return get_bool(field, "remove_extra_whitespaces", &f->remove_extra_spaces, err);
    case 5: return get_bool(field, "escape_whitespaces", &f->escape_spaces, err);
    default: return true;
    }
}

static bool denormalizer_field(struct spm_file *f, const struct field *field, struct error *err)
{
    (void)err;
    if (field->number == 2) f->denormalizer = field->bytes.size != 0;
    return true;
}

static bool read_all(struct spm_file *f, struct message m, struct error *err)
{
    static const struct {
        uint32_t number;
        const char *name;
        field_fn fn;
    } parts[] = {{2, "trainer_spec", trainer_field},
                 {3, "normalizer_spec", normalizer_field},
                 {5, "denormalizer_spec", denormalizer_field}};
    struct field field;
    while (m.at < m.data.size) {
        if (!read_field(&m, &field, err) || (field.number == 1 && !add_piece(f, &field, m, err))) return false;
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            if (field.number != parts[i].number) continue;
            struct message inner = {field.bytes, 0, m.origin};
            if (!expect_wire(&field, WIRE_BYTES, parts[i].name, err)) return false;
            if (!each_field(f, inner, parts[i].fn, err)) return error_wrap(err, "%s", parts[i].name);
        }
    }
    return true;
}

static bool check(struct spm_file *f, struct error *err)
{
    uint32_t n_unknown = 0;
    for (uint32_t i = 0; i < f->n_pieces; i++) {
        struct spm_piece *p = &f->pieces[i];
        n_unknown += p->type == SPM_UNKNOWN;
        if (p->text.data[0]) continue;
        /* Converters write a piece that is NUL beside <0x00>; the library takes it for unused. */
        if (!f->byte_fallback) return error_set(err, ERR_FORMAT, "pieces[%u]: a NUL in its text", i);
        p->type = SPM_UNUSED;
    }
    if (f->n_pieces == 0) return error_set(err, ERR_FORMAT, "there are no pieces");
    if (n_unknown != 1) return error_set(err, ERR_FORMAT, "%u unknown pieces, expected 1", n_unknown);
    if (f->model != SPM_BPE && f->model != SPM_UNIGRAM)
        return error_set(err, ERR_UNSUPPORTED, "model_type %u is not supported, only BPE and Unigram are", f->model);
    if (f->denormalizer) return error_set(err, ERR_UNSUPPORTED, "a denormalizer with rules is not supported");
    return true;
}

bool spm_file_read(struct spm_file *f, struct bytes data, struct error *err)
{
    *f = (struct spm_file){.model = SPM_UNIGRAM,
                           .dummy_prefix = true,
                           .remove_extra_spaces = true,
                           .escape_spaces = true,
                           .unk_surface = bytes_text(" \xe2\x81\x87 "),
                           .bos = bytes_text("<s>"),
                           .eos = bytes_text("</s>")};
    if (!read_all(f, (struct message){data, 0, data.data}, err) || !check(f, err)) return false;
    /* An empty name means the usual one. */
    if (f->bos.size == 0) f->bos = bytes_text("<s>");
    if (f->eos.size == 0) f->eos = bytes_text("</s>");
    return true;
}

void spm_file_free(struct spm_file *f)
{
    free(f->pieces);
    *f = (struct spm_file){0};
}
