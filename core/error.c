#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The table that scripts rely on: docs/man/ingot.1, exit status. */
static const struct {
    const char *name;
    int exit_status;
} error_codes[ERR_CODE_COUNT] = {
    [ERR_NONE] = {"none", 0},           [ERR_MISMATCH] = {"mismatch", 1},       [ERR_USAGE] = {"usage", 2},
    [ERR_FORMAT] = {"bad-input", 3},    [ERR_UNSUPPORTED] = {"unsupported", 4}, [ERR_IO] = {"io", 5},
    [ERR_MEMORY] = {"memory", 6},       [ERR_DEVICE] = {"device", 7},           [ERR_CANCELLED] = {"cancelled", 8},
    [ERR_UNDECIDED] = {"undecided", 9}, [ERR_NETWORK] = {"network", 10},        [ERR_INTERNAL] = {"internal", 70},
};

int error_exit_status(const struct error *err)
{
    return err->code < ERR_CODE_COUNT ? error_codes[err->code].exit_status : 70;
}

const char *error_code_name(enum error_code code)
{
    return code < ERR_CODE_COUNT ? error_codes[code].name : "internal";
}

/* Length of the well-formed, printable UTF-8 sequence at s, or 0. Rejects C0/C1 controls, DEL, surrogates, overlong
 * forms, line and paragraph separators (U+2028/9) and the bidirectional controls U+202A..E, U+2066..9. */
static size_t printable_sequence(const uint8_t *s, size_t n)
{
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
    static const struct {
        uint8_t mask, lead;
        uint32_t min;
    } forms[] = {{0x1f, 0xc0, 0x80}, {0x0f, 0xe0, 0x800}, {0x07, 0xf0, 0x10000}};
    for (size_t i = 0; i < 3; i++) {
        size_t len = i + 2;
        if ((s[0] & (uint8_t)~forms[i].mask) != forms[i].lead) continue;
        if (len > n) return 0;
        uint32_t c = s[0] & forms[i].mask;
        for (size_t k = 1; k < len; k++) {
            if ((s[k] & 0xc0) != 0x80) return 0;
            c = c << 6 | (s[k] & 0x3f);
        }
        if (c < forms[i].min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
        if (c < 0xa0 || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069)) return 0;
        return len;
    }
    return 0;
}

void error_printable(char *dst, size_t size, const char *src, size_t n)
{
    const uint8_t *s = (const uint8_t *)src;
    size_t out = 0;
    for (size_t i = 0; i < n;) {
        size_t len = printable_sequence(s + i, n - i);
        if (len) {
            if (out + len >= size) break;
            memcpy(dst + out, s + i, len);
            out += len;
            i += len;
        } else {
            if (out + 4 >= size) break;
            snprintf(dst + out, 5, "\\x%02x", s[i]);
            out += 4;
            i++;
        }
    }
    dst[out] = '\0';
}

static void set_text(struct error *err, const char *raw)
{
    error_printable(err->text, sizeof err->text, raw, strlen(raw));
}

bool error_set(struct error *err, enum error_code code, const char *fmt, ...)
{
    if (!err) return false;
    char raw[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    err->code = code;
    err->os_errno = 0;
    err->check = NULL;
    set_text(err, raw);
    return false;
}

bool error_set_errno(struct error *err, const char *fmt, ...)
{
    int saved = errno;
    if (!err) return false;
    char raw[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    size_t used = strlen(raw);
    char buffer[128];
    const char *reason = strerror_r(saved, buffer, sizeof buffer); /* GNU: the text, in the buffer or not */
    /* A long name must not push the reason out. */
    size_t most = sizeof raw - strlen(reason) - sizeof ": ";
    if (used > most) used = most;
    snprintf(raw + used, sizeof raw - used, ": %s", reason);
    err->code = saved == ENOMEM ? ERR_MEMORY : ERR_IO;
    err->os_errno = saved;
    err->check = NULL;
    set_text(err, raw);
    return false;
}

bool error_memory(struct error *err, size_t bytes)
{
    return error_set(err, ERR_MEMORY, "out of memory (%zu bytes asked for)", bytes);
}

bool error_wrap(struct error *err, const char *fmt, ...)
{
    if (!err) return false;
    char raw[2 * ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, ERROR_TEXT_MAX, fmt, ap);
    va_end(ap);
    size_t used = strlen(raw);
    snprintf(raw + used, sizeof raw - used, ": %s", err->text);
    set_text(err, raw);
    return false;
}

bool error_class(struct error *err, const char *check, const char *fmt, ...)
{
    if (!err) return false;
    char raw[ERROR_TEXT_MAX];
    int used = snprintf(raw, sizeof raw, "%s: ", check);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw + used, sizeof raw - (size_t)used, fmt, ap);
    va_end(ap);
    err->code = ERR_MISMATCH;
    err->os_errno = 0;
    err->check = check;
    set_text(err, raw);
    return false;
}
