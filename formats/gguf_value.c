/* The values of a GGUF header, typed. */
#include "formats/gguf.h"

#include <math.h>
#include <stdio.h>

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    char full[2 * GGUF_KEY_MAX];
    if (strncmp(key, "%s", 2) == 0) {
        struct error ignored = ERROR_INIT;
        const char *arch;
        if (!gguf_architecture(g, &arch, &ignored)) return NULL;
        snprintf(full, sizeof full, "%s%s", arch, key + 2);
        key = full;
    }
    uint32_t i = name_index_find(&g->value_index, key);
    return i == NAME_NONE ? NULL : &g->values[i];
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    uint32_t i = name_index_find(&g->tensor_index, name);
    return i == NAME_NONE ? NULL : &g->tensors[i];
}

static const char *type_name(const struct gguf_value *v)
{
    static const char *const names[GGUF_TYPE_COUNT] = {"U8",   "I8",   "U16",   "I16", "U32", "I32", "F32",
                                                       "BOOL", "text", "array", "U64", "I64", "F64"};
    return names[v->type];
}

static bool wrong_kind(const struct gguf_value *v, const char *expected, struct error *err)
{
    return error_set(err, ERR_FORMAT, "key '%.256s': expected %s, found %s%s", v->key, expected,
                     v->is_array ? "an array of " : "", type_name(v));
}

/* An integer of any width; false for other types. */
static bool integer_at(const struct gguf_value *v, uint64_t i, bool *negative, uint64_t *out)
{
    const uint8_t *p = v->data.data;
    int64_t s;
    switch (v->type) {
    case GGUF_U8: *out = p[i]; return true;
    case GGUF_U16: *out = load_le16(p + 2 * i); return true;
    case GGUF_U32: *out = load_le32(p + 4 * i); return true;
    case GGUF_U64: *out = load_le64(p + 8 * i); return true;
    case GGUF_BOOL: *out = p[i]; return true;
    case GGUF_I8: s = (int8_t)p[i]; break;
    case GGUF_I16: s = (int16_t)load_le16(p + 2 * i); break;
    case GGUF_I32: s = (int32_t)load_le32(p + 4 * i); break;
    case GGUF_I64: s = (int64_t)load_le64(p + 8 * i); break;
    default: return false;
    }
    *negative = s < 0;
    *out = (uint64_t)s;
    return true;
}

bool gguf_u64_at(const struct gguf_value *v, uint64_t i, uint64_t max, uint64_t *out, struct error *err)
{
    bool negative = false;
    uint64_t x = 0;
    if (i >= v->n || !integer_at(v, i, &negative, &x)) return wrong_kind(v, "an integer", err);
    if (negative || x > max)
        return error_set(err, ERR_FORMAT, "key '%.256s': expected an integer from 0 to %llu, found %s%llu", v->key,
                         (unsigned long long)max, negative ? "-" : "", (unsigned long long)(negative ? 0 - x : x));
    *out = x;
    return true;
}

bool gguf_number_at(const struct gguf_value *v, uint64_t i, double *out, struct error *err)
{
    bool negative = false;
    uint64_t x = 0;
    if (i >= v->n) return wrong_kind(v, "a number", err);
    if (v->type == GGUF_F32) {
        uint32_t bits = load_le32(v->data.data + 4 * i);
        float f;
        memcpy(&f, &bits, sizeof f);
        *out = f;
    } else if (v->type == GGUF_F64) {
        uint64_t bits = load_le64(v->data.data + 8 * i);
        memcpy(out, &bits, sizeof *out);
    } else if (v->type != GGUF_BOOL && integer_at(v, i, &negative, &x)) {
        *out = negative ? (double)(int64_t)x : (double)x;
    } else {
        return wrong_kind(v, "a number", err);
    }
    return isfinite(*out) ? true : error_set(err, ERR_FORMAT, "key '%.256s': the number is not finite", v->key);
}

static const struct gguf_value *single(const struct gguf *g, const char *key, bool *has, bool *ok, struct error *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    *has = v != NULL;
    *ok = !v || !v->is_array || wrong_kind(v, "one value", err);
    return v;
}

bool gguf_opt_u64(const struct gguf *g, const char *key, uint64_t max, uint64_t *out, bool *has, struct error *err)
{
    bool ok;
    const struct gguf_value *v = single(g, key, has, &ok, err);
    return ok && (!v || gguf_u64_at(v, 0, max, out, err));
}

bool gguf_opt_number(const struct gguf *g, const char *key, double *out, bool *has, struct error *err)
{
    bool ok;
    const struct gguf_value *v = single(g, key, has, &ok, err);
    return ok && (!v || gguf_number_at(v, 0, out, err));
}

bool gguf_opt_bool(const struct gguf *g, const char *key, bool *out, bool *has, struct error *err)
{
    bool ok;
    const struct gguf_value *v = single(g, key, has, &ok, err);
    if (!ok || !v) return ok;
    if (v->type != GGUF_BOOL) return wrong_kind(v, "a truth value", err);
    *out = v->data.data[0] != 0;
    return true;
}

static bool continuation(const struct bytes t, size_t i)
{
    return i < t.size && (t.data[i] & 0xC0) == 0x80;
}

/* Well-formed (no overlong form, no surrogate, nothing above U+10FFFF) and without NUL. */
static bool is_text(struct bytes t)
{
    for (size_t i = 0; i < t.size;) {
        uint8_t b = t.data[i];
        uint8_t next = i + 1 < t.size ? t.data[i + 1] : 0;
        size_t n = b == 0 ? 0 : b < 0x80 ? 1 : b < 0xC2 ? 0 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : b < 0xF5 ? 4 : 0;
        if (n == 0) return false;
        for (size_t k = 1; k < n; k++)
            if (!continuation(t, i + k)) return false;
        if ((b == 0xE0 && next < 0xA0) || (b == 0xED && next > 0x9F) || (b == 0xF0 && next < 0x90) ||
            (b == 0xF4 && next > 0x8F))
            return false;
        i += n;
    }
    return true;
}

bool gguf_next_text(const struct gguf_value *v, size_t *at, struct bytes *out, struct error *err)
{
    if (v->type != GGUF_STRING || v->data.size - *at < 8) return wrong_kind(v, "text", err);
    *out = bytes_of(v->data.data + *at + 8, (size_t)load_le64(v->data.data + *at));
    *at += 8 + out->size;
    return is_text(*out) ? true : error_set(err, ERR_FORMAT, "key '%.256s': a text is not UTF-8", v->key);
}

bool gguf_opt_text(const struct gguf *g, const char *key, struct bytes *out, bool *has, struct error *err)
{
    bool ok;
    size_t at = 0;
    const struct gguf_value *v = single(g, key, has, &ok, err);
    return ok && (!v || gguf_next_text(v, &at, out, err));
}

bool gguf_architecture(const struct gguf *g, const char **out, struct error *err)
{
    bool has;
    struct bytes text;
    if (!gguf_opt_text(g, "general.architecture", &text, &has, err)) return false;
    if (!has) return error_set(err, ERR_FORMAT, "key 'general.architecture' is missing");
    if (text.size == 0 || text.size > 64)
        return error_set(err, ERR_FORMAT, "key 'general.architecture' has %zu bytes; 1 to 64 are expected", text.size);
    *out = arena_copy(g->arena, (const char *)text.data, text.size);
    return *out ? true : error_memory(err, text.size);
}
