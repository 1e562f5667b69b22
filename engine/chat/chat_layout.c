#include "engine/chat/chat_layout.h"

#include "engine/chat/chat_print.h"
#include "engine/chat/chat_strings.h"

#include <math.h>

static int integer_body(char *to, size_t size, const struct chat_layout *l, unsigned long long i)
{
    int digits = l->precision < 0 || l->precision > 300 ? 1 : (int)l->precision;
    switch (l->type) {
    case 'x': return snprintf(to, size, "%.*llx", digits, i);
    case 'X': return snprintf(to, size, "%.*llX", digits, i);
    case 'o': return snprintf(to, size, "%.*llo", digits, i);
    default: return snprintf(to, size, "%.*llu", digits, i);
    }
}

static int real_body(char *to, size_t size, const struct chat_layout *l, double f)
{
    int digits = l->precision < 0 ? 6 : (int)l->precision;
    switch (l->type) {
    case 'e': return snprintf(to, size, l->alternate ? "%#.*e" : "%.*e", digits, f);
    case 'E': return snprintf(to, size, l->alternate ? "%#.*E" : "%.*E", digits, f);
    case 'F': return snprintf(to, size, l->alternate ? "%#.*F" : "%.*F", digits, f);
    case 'g': return snprintf(to, size, l->alternate ? "%#.*g" : "%.*g", digits, f);
    case 'G': return snprintf(to, size, l->alternate ? "%#.*G" : "%.*G", digits, f);
    default: return snprintf(to, size, l->alternate ? "%#.*f" : "%.*f", digits, f);
    }
}

static bool number_text(struct chat_run *r, struct chat_value v, const struct chat_layout *l, char out[512])
{
    char sign[2] = {0}, body[400];
    int n;
    if (l->type ? strchr("diuoxXcbn", l->type) != NULL : chat_is_integer(v)) {
        double f = chat_number(v);
        if (v.kind == CHAT_FLOAT && !(f > -0x1p63 && f < 0x1p63))
            return chat_beyond(r, "format: an integer beyond 64 bits");
        int64_t i = v.kind == CHAT_FLOAT ? (int64_t)f : chat_integer(v);
        unsigned long long size = i < 0 ? 0 - (unsigned long long)i : (unsigned long long)i;
        const char *prefix = !l->alternate    ? ""
                             : l->type == 'x' ? "0x"
                             : l->type == 'X' ? "0X"
                             : l->type == 'o' ? "0o"
                                              : "";
        sign[0] = i < 0 ? '-' : l->sign;
        if (l->type == 'b' || l->grouped) return chat_beyond(r, "format: type 'b' or grouping");
        n = integer_body(body, sizeof body, l, size);
        snprintf(out, 512, "%s%s%s", sign, prefix, body);
    } else {
        double f = chat_number(v);
        if (l->grouped || l->precision > 300) return chat_beyond(r, "format: grouping or more than 300 digits");
        if (l->type == '%' || (l->type == 0 && l->precision >= 0))
            return chat_beyond(r, "format: this layout of a number");
        sign[0] = signbit(f) && !isnan(f) ? '-' : l->sign;
        if (l->type == 0) chat_real_text(fabs(f), body), n = 0;
        else n = real_body(body, sizeof body, l, fabs(f));
        snprintf(out, 512, "%s%s", sign, body);
    }
    return (n >= 0 && n < (int)sizeof body) || chat_beyond(r, "format: a number of more than 399 characters");
}

/* Fills up to the width; '=' between the sign and the digits. */
static bool put_padded(struct chat_run *r, struct chat_text *t, struct bytes text, const struct chat_layout *l,
                       char align)
{
    struct chat_value padded;
    size_t sign = 0;
    if (l->width > CHAT_WIDTH_MAX) return chat_beyond(r, "format: a width of more than %d", CHAT_WIDTH_MAX);
    if (align == '=') {
        sign = text.size && strchr("+- ", text.data[0]) != NULL;
        if (text.size > sign + 1 && text.data[sign] == '0' && strchr("xXo", text.data[sign + 1])) sign += 2;
        if (!chat_put(r, t, text.data, sign)) return false;
        align = '>';
    }
    return chat_pad(r, bytes_of(text.data + sign, text.size - sign), l->width - (int64_t)sign, bytes_text(l->fill),
                    align, &padded) &&
           chat_put(r, t, padded.text, padded.size);
}

bool chat_put_number(struct chat_run *r, struct chat_text *t, struct chat_value v, const struct chat_layout *l)
{
    char text[512];
    if (!chat_is_number(v)) return chat_fail(r, "format: %s where a number is needed", chat_kind_name(v));
    if (v.kind == CHAT_FLOAT && strchr("oxXc", l->type) && l->type)
        return chat_fail(r, "format: a number where an integer is needed");
    return number_text(r, v, l, text) && put_padded(r, t, bytes_text(text), l, l->align ? l->align : '>');
}

bool chat_put_words_as(struct chat_run *r, struct chat_text *t, struct chat_value v, const struct chat_layout *l,
                       char align)
{
    struct bytes text = chat_bytes(v);
    if (l->precision >= 0) text.size = chat_offset(text, (size_t)l->precision);
    return put_padded(r, t, text, l, align);
}
