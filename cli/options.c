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

/* k, M, G, T are powers of 1000 and KiB, MiB, GiB, TiB of 1024; a B behind the letter says nothing. 0: another word. */
static uint64_t unit_factor(const char *text)
{
    static const char letters[] = "kMGT";
    if (*text == '\0') return 1;
    const char *letter = strchr(letters, *text == 'K' ? 'k' : *text);
    if (!letter) return 0;
    bool binary = strcmp(text + 1, "iB") == 0;
    if (!binary && text[1] != '\0' && strcmp(text + 1, "B") != 0) return 0;
    uint64_t factor = 1;
    for (long i = 0; i <= letter - letters; i++) factor *= binary ? 1024 : 1000;
    return factor;
}

static bool parse_number(const struct option *o, const char *text, uint64_t *out, struct error *err)
{
    char *end = (char *)(uintptr_t)text;
    unsigned long long v = 0;
    uint64_t value;
    errno = 0;
    if (*text >= '0' && *text <= '9') v = strtoull(text, &end, 10); /* strtoull alone would take a sign */
    uint64_t factor = unit_factor(end);
    if (end != text && errno == 0 && factor && !__builtin_mul_overflow(v, factor, &value) && value >= o->min &&
        value <= o->max) {
        *out = value;
        return true;
    }
    if (o->max >= INT64_MAX)
        return error_set(err, ERR_USAGE,
                         "option --%s: expected a number (k, M, G, KiB, MiB, GiB behind it count), found '%.64s'",
                         o->name, text);
    return error_set(err, ERR_USAGE, "option --%s: expected a number from %llu to %llu, found '%.64s'", o->name,
                     (unsigned long long)o->min, (unsigned long long)o->max, text);
}

static bool set_value(const struct option *o, const char *value, void *args, struct error *err)
{
    void *slot = (char *)args + o->offset;
    if (o->kind == OPTION_FLAG) *(bool *)slot = true;
    else if (o->kind == OPTION_TEXT) *(const char **)slot = value;
    else if (o->kind == OPTION_LIST) {
        struct option_list *list = slot;
        if (list->n == OPTION_LIST_MAX)
            return error_set(err, ERR_USAGE, "option --%s: given more than %u times", o->name, OPTION_LIST_MAX);
        list->items[list->n++] = value;
    } else return parse_number(o, value, slot, err);
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
