#include "cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option *find_long(const struct option *options, uint32_t n, const char *name, size_t size)
{
    for (uint32_t i = 0; i < n; i++)
        if (strlen(options[i].name) == size && memcmp(options[i].name, name, size) == 0) return &options[i];
    return NULL;
}

static const struct option *find_letter(const struct option *options, uint32_t n, char letter)
{
    for (uint32_t i = 0; i < n; i++)
        if (options[i].letter == letter) return &options[i];
    return NULL;
}

/* A plain decimal number with an optional k, M or G (powers of 1000). */
static bool parse_number(const struct option *o, const char *text, uint64_t *out, struct error *err)
{
    char *end = (char *)(uintptr_t)text;
    unsigned long long v = 0;
    errno = 0;
    if (*text >= '0' && *text <= '9') v = strtoull(text, &end, 10); /* strtoull alone would take a sign */
    static const struct {
        char letter;
        uint64_t factor;
    } units[] = {{'k', 1000}, {'M', 1000000}, {'G', 1000000000}};
    uint64_t value = v;
    bool ok = end != text && errno == 0;
    for (size_t i = 0; ok && i < 3; i++)
        if (*end == units[i].letter && end[1] == '\0') {
            ok = !__builtin_mul_overflow(v, units[i].factor, &value);
            end++;
            break;
        }
    if (ok && *end == '\0' && value >= o->min && value <= o->max) {
        *out = value;
        return true;
    }
    return error_set(err, ERR_USAGE, "option --%s: expected a number from %llu to %llu, found '%.64s'", o->name,
                     (unsigned long long)o->min, (unsigned long long)o->max, text);
}

static bool set_value(const struct option *o, const char *value, void *args, struct error *err)
{
    void *slot = (char *)args + o->offset;
    if (o->kind == OPTION_FLAG) *(bool *)slot = true;
    else if (o->kind == OPTION_TEXT) *(const char **)slot = value;
    else return parse_number(o, value, slot, err);
    return true;
}

bool options_parse(const struct option *options, uint32_t n_options, int argc, char **argv, void *args, char **operands,
                   uint32_t *n_operands, struct error *err)
{
    *n_operands = 0;
    bool only_operands = false;
    for (int i = 1; i < argc; i++) {
        char *a = argv[i];
        if (only_operands || a[0] != '-' || a[1] == '\0') {
            operands[(*n_operands)++] = a;
            continue;
        }
        if (strcmp(a, "--") == 0) {
            only_operands = true;
            continue;
        }
        bool is_long = a[1] == '-';
        size_t name_size = is_long ? strcspn(a + 2, "=") : 1;
        const struct option *o =
            is_long ? find_long(options, n_options, a + 2, name_size) : find_letter(options, n_options, a[1]);
        if (!o) return error_set(err, ERR_USAGE, "unknown option '%.64s'", a);
        const char *inline_value = is_long ? (a[2 + name_size] == '=' ? a + 3 + name_size : NULL) : a[2] ? a + 2 : NULL;
        if (o->kind == OPTION_FLAG && inline_value)
            return error_set(err, ERR_USAGE, "option --%s takes no value", o->name);
        const char *value = inline_value;
        if (o->kind != OPTION_FLAG && !value) value = i + 1 < argc ? argv[++i] : NULL;
        if (o->kind != OPTION_FLAG && !value) return error_set(err, ERR_USAGE, "option --%s needs a value", o->name);
        if (!set_value(o, value, args, err)) return false;
    }
    return true;
}

void options_help(const struct option *options, uint32_t n_options, struct text *out)
{
    for (uint32_t i = 0; i < n_options; i++) {
        const struct option *o = &options[i];
        char left[64], letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->value ? " " : "", o->value ? o->value : "");
        text_add(out, "  %-28s %s\n", left, o->help);
    }
}
