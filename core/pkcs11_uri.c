#include "core/pkcs11_uri.h"

#include <stddef.h>
#include <stdio.h>

struct attribute {
    const char *name;
    size_t offset;
    bool query;
};

#define AT(member) offsetof(struct pkcs11_uri, member)
static const struct attribute attributes[] = {
    {"token", AT(token), false},
    {"manufacturer", AT(manufacturer), false},
    {"model", AT(model), false},
    {"serial", AT(serial), false},
    {"object", AT(object), false},
    {"id", AT(id), false},
    {"slot-id", AT(slot), false},
    {"type", AT(type), false},
    {"module-path", AT(module_path), true},
    {"pin-source", AT(pin_source), true},
};

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool decode(const char *name, const char *text, size_t n, struct pkcs11_value *out, struct error *err)
{
    out->present = true;
    for (size_t i = 0; i < n; i++) {
        int byte = (unsigned char)text[i];
        if (byte == '%') {
            int a = i + 2 < n ? hex_digit(text[i + 1]) : -1, b = a < 0 ? -1 : hex_digit(text[i + 2]);
            if (b < 0) return error_set(err, ERR_USAGE, "key URI: %s: '%%' without two hex digits behind it", name);
            byte = a << 4 | b;
            i += 2;
        } else if (byte <= ' ' || byte >= 127)
            return error_set(err, ERR_USAGE, "key URI: %s: byte 0x%02x must be written as %%%02X", name, byte, byte);
        if (byte == 0 && strcmp(name, "id") != 0)
            return error_set(err, ERR_USAGE, "key URI: %s: holds a NUL byte", name);
        if (out->size == PKCS11_VALUE_BYTES_MAX)
            return error_set(err, ERR_USAGE, "key URI: %s: longer than %u bytes", name, PKCS11_VALUE_BYTES_MAX);
        out->data[out->size++] = (uint8_t)byte;
    }
    out->data[out->size] = 0;
    return true;
}

static bool add(struct pkcs11_uri *u, const char *text, size_t n, bool query, struct error *err)
{
    const char *eq = memchr(text, '=', n);
    size_t name_bytes = eq ? (size_t)(eq - text) : n;
    if (!eq) return error_set(err, ERR_USAGE, "key URI: '%.*s': expected NAME=VALUE", (int)(n < 64 ? n : 64), text);
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        const struct attribute *a = &attributes[i];
        if (a->query != query || strlen(a->name) != name_bytes || memcmp(a->name, text, name_bytes) != 0) continue;
        struct pkcs11_value *v = (struct pkcs11_value *)(void *)((char *)u + a->offset);
        if (v->present) return error_set(err, ERR_USAGE, "key URI: %s is there twice", a->name);
        return decode(a->name, eq + 1, n - name_bytes - 1, v, err);
    }
    if (name_bytes == 9 && memcmp(text, "pin-value", 9) == 0)
        return error_set(err, ERR_USAGE,
                         "key URI: a PIN on the command line is seen by others; use pin-source=file:/PATH, "
                         "--passphrase-env or --passphrase-fd");
    return error_set(err, ERR_USAGE, "key URI: attribute '%.*s' is not known", (int)(name_bytes < 64 ? name_bytes : 64),
                     text);
}

static bool add_all(struct pkcs11_uri *u, const char *text, size_t n, char separator, bool query, struct error *err)
{
    while (n) {
        const char *end = memchr(text, separator, n);
        size_t k = end ? (size_t)(end - text) : n;
        if (!add(u, text, k, query, err)) return false;
        text += end ? k + 1 : k;
        n -= end ? k + 1 : k;
        if (end && !n) return error_set(err, ERR_USAGE, "key URI: ends in '%c'", separator);
    }
    return true;
}

static bool check(const struct pkcs11_uri *u, struct error *err)
{
    if (u->type.present && strcmp((const char *)u->type.data, "private") != 0)
        return error_set(err, ERR_USAGE, "key URI: type: expected private, found '%.64s'", (const char *)u->type.data);
    if (!u->object.present && !u->id.present)
        return error_set(err, ERR_USAGE, "key URI: names no key: it needs object=LABEL or id=BYTES");
    if (u->slot.present &&
        (!u->slot.size || u->slot.size > 9 || strspn((const char *)u->slot.data, "0123456789") != u->slot.size))
        return error_set(err, ERR_USAGE, "key URI: slot-id: expected a number, found '%.64s'",
                         (const char *)u->slot.data);
    return true;
}

bool pkcs11_uri_parse(const char *text, struct pkcs11_uri *out, struct error *err)
{
    *out = (struct pkcs11_uri){0};
    size_t scheme = strlen(PKCS11_SCHEME), n = strlen(text);
    if (n > PKCS11_URI_BYTES_MAX)
        return error_set(err, ERR_USAGE, "key URI: %zu bytes, at most %u are read", n, PKCS11_URI_BYTES_MAX);
    if (strncmp(text, PKCS11_SCHEME, scheme) != 0)
        return error_set(err, ERR_USAGE, "key URI: does not begin with pkcs11:");
    const char *path = text + scheme, *query = strchr(path, '?');
    size_t path_bytes = query ? (size_t)(query - path) : strlen(path);
    return add_all(out, path, path_bytes, ';', false, err) &&
           (!query || add_all(out, query + 1, strlen(query + 1), '&', true, err)) && check(out, err);
}
