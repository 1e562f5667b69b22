#include "engine/chat/chat_access.h"
#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_math.h"
#include "engine/chat/chat_strings.h"
#include "engine/unicode.h"

/* Methods of strings that change or judge their characters. */

#define METHOD(name)                                                                                                   \
    static bool name(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)

static bool with_case(struct chat_run *r, struct chat_value v, enum chat_case to, struct chat_value *out)
{
    struct chat_text t = {0};
    if (!chat_put_case(r, &t, chat_bytes(v), to)) return false;
    *out = chat_text_value(&t);
    return out->safe = v.safe, true;
}

METHOD(upper)
{
    (void)args;
    return with_case(r, v, CHAT_UPPER, out);
}

METHOD(lower)
{
    (void)args;
    return with_case(r, v, CHAT_LOWER, out);
}

METHOD(capitalize)
{
    (void)args;
    return chat_capitalize(r, chat_bytes(v), out) && (out->safe = v.safe, true);
}

/* A large letter behind everything that has no case. */
METHOD(title)
{
    struct chat_text t = {0};
    bool inside = false;
    (void)args;
    for (size_t at = 0; at < v.size;) {
        uint32_t c = utf8_char((const uint8_t *)v.text + at, utf8_lead_size((uint8_t)v.text[at]));
        if (!chat_put_case_at(r, &t, chat_bytes(v), &at, inside ? CHAT_LOWER : CHAT_TITLE)) return false;
        inside = unicode_is_cased(c);
    }
    *out = chat_text_value(&t);
    return out->safe = v.safe, true;
}

METHOD(swapcase)
{
    struct chat_text t = {0};
    (void)args;
    for (size_t at = 0; at < v.size;) {
        uint32_t c = utf8_char((const uint8_t *)v.text + at, utf8_lead_size((uint8_t)v.text[at]));
        bool large = unicode_lower(c) != c;
        if (!chat_put_case_at(r, &t, chat_bytes(v), &at, large ? CHAT_LOWER : CHAT_UPPER)) return false;
    }
    *out = chat_text_value(&t);
    return out->safe = v.safe, true;
}

static bool stripped(struct chat_run *r, struct chat_value v, struct chat_value chars, bool left, bool right,
                     struct chat_value *out)
{
    struct bytes set;
    bool given = chars.kind != CHAT_ABSENT && chars.kind != CHAT_NONE;
    if (given && !chat_arg_string(r, chars, "strip", &set)) return false;
    struct bytes kept = chat_strip(chat_bytes(v), given ? &set : NULL, left, right);
    *out = chat_string((const char *)kept.data, kept.size);
    out->safe = v.safe;
    return chat_charge(r, (v.size - kept.size) * (given ? 1 + set.size : 1));
}

METHOD(strip)
{
    return stripped(r, v, args[0], true, true, out);
}

METHOD(lstrip)
{
    return stripped(r, v, args[0], true, false, out);
}

METHOD(rstrip)
{
    return stripped(r, v, args[0], false, true, out);
}

METHOD(replace)
{
    struct bytes old, now;
    struct chat_value by = args[1];
    int64_t count = -1;
    if (v.safe && by.kind == CHAT_STRING && !by.safe && !chat_escape(r, by, &by)) return false;
    return chat_arg_string(r, args[0], "replace", &old) && chat_arg_string(r, by, "replace", &now) &&
           chat_arg_int(r, args[2], "replace", &count) && chat_replace(r, chat_bytes(v), old, now, count, out) &&
           (out->safe = v.safe, true);
}

static bool padded(struct chat_run *r, struct chat_value v, const struct chat_value *args, char where,
                   struct chat_value *out)
{
    struct bytes fill = bytes_text(" ");
    int64_t width = 0;
    if (!chat_arg_int(r, args[0], "width", &width) || !chat_arg_string(r, args[1], "fillchar", &fill)) return false;
    if (chat_length(fill) != 1) return chat_fail(r, "the fill of a text must be one character");
    return chat_pad(r, chat_bytes(v), width, fill, where, out);
}

METHOD(ljust)
{
    return padded(r, v, args, '<', out);
}

METHOD(rjust)
{
    return padded(r, v, args, '>', out);
}

METHOD(center)
{
    return padded(r, v, args, 'c', out);
}

METHOD(zfill)
{
    struct chat_text t = {0};
    int64_t width = 0;
    size_t sign = v.size && (v.text[0] == '-' || v.text[0] == '+');
    struct chat_value rest;
    if (!chat_arg_int(r, args[0], "zfill", &width) || !chat_put(r, &t, v.text, sign) ||
        !chat_pad(r, bytes_of(v.text + sign, v.size - sign), width - (int64_t)sign, bytes_text("0"), '>', &rest) ||
        !chat_put(r, &t, rest.text, rest.size))
        return false;
    return *out = chat_text_value(&t), true;
}

/* Whether the text is not empty and each of its characters is one. */
static bool all_are(struct chat_run *r, struct chat_value v, bool (*is)(uint32_t c), struct chat_value *out)
{
    bool all = v.size > 0;
    for (size_t at = 0, n; at < v.size && all; at += n) {
        n = utf8_lead_size((uint8_t)v.text[at]);
        all = is(utf8_char((const uint8_t *)v.text + at, n));
    }
    *out = chat_bool(all);
    return chat_charge(r, v.size);
}

/* Decimal digits, and the raised and lowered ones. */
static bool is_digit(uint32_t c)
{
    return unicode_is_decimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
           (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
}

static bool is_letter_or_digit(uint32_t c)
{
    return unicode_is_letter(c) || is_digit(c);
}

static bool is_ascii(uint32_t c)
{
    return c < 0x80;
}

METHOD(are_digit)
{
    (void)args;
    return all_are(r, v, is_digit, out);
}

METHOD(are_decimal)
{
    (void)args;
    return all_are(r, v, unicode_is_decimal, out);
}

METHOD(are_alpha)
{
    (void)args;
    return all_are(r, v, unicode_is_letter, out);
}

METHOD(are_alnum)
{
    (void)args;
    return all_are(r, v, is_letter_or_digit, out);
}

METHOD(are_space)
{
    (void)args;
    return all_are(r, v, chat_is_space, out);
}

METHOD(are_ascii)
{
    (void)args;
    return all_are(r, v, is_ascii, out) && (out->truth |= v.size == 0, true);
}

METHOD(are_lower)
{
    return chat_test_find("lower")->run(r, v, args, out);
}

METHOD(are_upper)
{
    return chat_test_find("upper")->run(r, v, args, out);
}

static bool format(struct chat_run *r, struct chat_value v, const struct chat_call *call, struct chat_value *out)
{
    return chat_format(r, chat_bytes(v), call, out);
}

const struct chat_callable chat_string_methods[] = {
    {"upper", "", upper, NULL},
    {"lower", "", lower, NULL},
    {"capitalize", "", capitalize, NULL},
    {"title", "", title, NULL},
    {"swapcase", "", swapcase, NULL},
    {"strip", "| chars", strip, NULL},
    {"lstrip", "| chars", lstrip, NULL},
    {"rstrip", "| chars", rstrip, NULL},
    {"replace", "old new | count", replace, NULL},
    {"ljust", "width | fillchar", ljust, NULL},
    {"rjust", "width | fillchar", rjust, NULL},
    {"center", "width | fillchar", center, NULL},
    {"zfill", "width", zfill, NULL},
    {"isdigit", "", are_digit, NULL},
    {"isdecimal", "", are_decimal, NULL},
    {"isalpha", "", are_alpha, NULL},
    {"isalnum", "", are_alnum, NULL},
    {"isspace", "", are_space, NULL},
    {"isascii", "", are_ascii, NULL},
    {"islower", "", are_lower, NULL},
    {"isupper", "", are_upper, NULL},
    {"format", NULL, NULL, format},
    /* Known, so that they are no undefined attributes. */
    {"format_map", NULL, NULL, NULL},
    {"casefold", NULL, NULL, NULL},
    {"encode", NULL, NULL, NULL},
    {"expandtabs", NULL, NULL, NULL},
    {"isidentifier", NULL, NULL, NULL},
    {"isnumeric", NULL, NULL, NULL},
    {"isprintable", NULL, NULL, NULL},
    {"istitle", NULL, NULL, NULL},
    {"maketrans", NULL, NULL, NULL},
    {"translate", NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL},
};
