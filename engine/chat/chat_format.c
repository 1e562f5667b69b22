#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_math.h"
#include "engine/chat/chat_print.h"
#include "engine/chat/chat_strings.h"

#include <math.h>

/* What a text is padded to at most: beyond, str() of a number makes no sense. */
#define WIDTH_MAX 10000

bool chat_escape(struct chat_run *r, struct chat_value v, struct chat_value *out)
{
    static const char marks[] = "&<>'\"";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct chat_text t = {0};
    if (v.kind == CHAT_STRING && v.safe) return *out = v, true;
    if (!chat_str(r, v, &v)) return false;
    for (uint32_t at = 0, from = 0; at <= v.size; at++) {
        const char *mark = at < v.size && v.text[at] ? strchr(marks, v.text[at]) : NULL;
        if (at < v.size && !mark) continue;
        if (!chat_put(r, &t, v.text + from, at - from) || (mark && !chat_put_words(r, &t, names[mark - marks])))
            return false;
        from = at + 1;
    }
    *out = chat_text_value(&t);
    return out->safe = true;
}

/* How one value is written: "%-5.2f" or ":<5.2f". */
struct layout {
    char fill[5], align, sign, type; /* align: '<', '>', '^', '=' (behind the sign), or 0 */
    bool alternate, grouped;
    int64_t width, precision; /* -1: none */
    char group;
};

static int integer_body(char *to, size_t size, const struct layout *l, unsigned long long i)
{
    int digits = l->precision < 0 || l->precision > 300 ? 1 : (int)l->precision;
    switch (l->type) {
    case 'x': return snprintf(to, size, "%.*llx", digits, i);
    case 'X': return snprintf(to, size, "%.*llX", digits, i);
    case 'o': return snprintf(to, size, "%.*llo", digits, i);
    default: return snprintf(to, size, "%.*llu", digits, i);
    }
}

static int real_body(char *to, size_t size, const struct layout *l, double f)
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

static bool number_text(struct chat_run *r, struct chat_value v, const struct layout *l, char out[512])
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
static bool put_padded(struct chat_run *r, struct chat_text *t, struct bytes text, const struct layout *l, char align)
{
    struct chat_value padded;
    size_t sign = 0;
    if (l->width > WIDTH_MAX) return chat_beyond(r, "format: a width of more than %d", WIDTH_MAX);
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

static bool put_number(struct chat_run *r, struct chat_text *t, struct chat_value v, const struct layout *l)
{
    char text[512];
    if (!chat_is_number(v)) return chat_fail(r, "format: %s where a number is needed", chat_kind_name(v));
    if (v.kind == CHAT_FLOAT && strchr("oxXc", l->type) && l->type)
        return chat_fail(r, "format: a number where an integer is needed");
    return number_text(r, v, l, text) && put_padded(r, t, bytes_text(text), l, l->align ? l->align : '>');
}

static bool put_words(struct chat_run *r, struct chat_text *t, struct chat_value v, const struct layout *l, char align)
{
    struct bytes text = chat_bytes(v);
    if (l->precision >= 0) text.size = chat_offset(text, (size_t)l->precision);
    return put_padded(r, t, text, l, align);
}

static bool put_percent(struct chat_run *r, struct chat_text *t, struct chat_value v, const struct layout *l)
{
    struct chat_text repr = {0};
    int64_t i;
    char c[4];
    switch (l->type) {
    case 's':
    case 'r':
        if (!(l->type == 's' ? chat_put_str(r, &repr, v) : chat_put_repr(r, &repr, v))) return false;
        return put_words(r, t, chat_text_value(&repr), l, l->align == '<' ? '<' : '>');
    case 'c':
        if (v.kind == CHAT_STRING && chat_length(chat_bytes(v)) == 1)
            return put_words(r, t, v, l, l->align == '<' ? '<' : '>');
        i = chat_is_integer(v) ? chat_integer(v) : -1;
        if (i < 0 || i > 0x10ffff || (i >= 0xd800 && i < 0xe000))
            return chat_fail(r, "format: %%c of %s", chat_kind_name(v));
        return put_words(r, t, chat_string(c, chat_utf8((uint32_t)i, c)), l, l->align == '<' ? '<' : '>');
    default: break;
    }
    if (!strchr("diuoxXeEfFgG", l->type)) return chat_fail(r, "format: unknown '%%%c'", l->type);
    return put_number(r, t, v, l);
}

struct percent {
    struct chat_value args;
    size_t next;
    struct bytes text;
    size_t at;
};

static bool next_arg(struct chat_run *r, struct percent *p, struct chat_value *out)
{
    size_t n = p->args.kind == CHAT_TUPLE ? p->args.seq->n : 1;
    if (p->next >= n) return chat_fail(r, "format: more places than values");
    *out = p->args.kind == CHAT_TUPLE ? p->args.seq->items[p->next] : p->args;
    p->next++;
    return true;
}

/* Digits or '*'. */
static bool percent_number(struct chat_run *r, struct percent *p, int64_t *out)
{
    struct chat_value v;
    *out = 0;
    if (p->at < p->text.size && p->text.data[p->at] == '*') {
        p->at++;
        return next_arg(r, p, &v) && chat_arg_int(r, v, "format", out);
    }
    for (; p->at < p->text.size && p->text.data[p->at] >= '0' && p->text.data[p->at] <= '9'; p->at++)
        if ((*out = *out * 10 + (p->text.data[p->at] - '0')) > WIDTH_MAX)
            return chat_beyond(r, "format: a width of more than %d", WIDTH_MAX);
    return true;
}

static bool percent_key(struct chat_run *r, struct percent *p, struct chat_value *v)
{
    const uint8_t *end = memchr(p->text.data + p->at, ')', p->text.size - p->at);
    struct chat_pair *pair;
    if (!end) return chat_fail(r, "format: '(' without ')'");
    if (p->args.kind != CHAT_DICT) return chat_fail(r, "format: a name in it needs a mapping");
    size_t from = p->at + 1, to = (size_t)(end - p->text.data);
    p->at = to + 1;
    if (!chat_dict_find(r, p->args.dict, chat_string((const char *)p->text.data + from, to - from), &pair))
        return false;
    if (!pair) return chat_fail(r, "format: the mapping lacks a name");
    *v = pair->value;
    p->next = 1;
    return true;
}

/* One conversion, behind its '%'. */
static bool percent_one(struct chat_run *r, struct percent *p, struct chat_text *t)
{
    struct layout l = {.fill = " ", .precision = -1};
    struct chat_value v = {0};
    bool named = p->at < p->text.size && p->text.data[p->at] == '(', zero = false;
    if (named && !percent_key(r, p, &v)) return false;
    for (; p->at < p->text.size && strchr("-+ #0", p->text.data[p->at]) && p->text.data[p->at]; p->at++) {
        char c = (char)p->text.data[p->at];
        if (c == '-') l.align = '<';
        else if (c == '+' || (c == ' ' && !l.sign)) l.sign = c;
        else if (c == '#') l.alternate = true;
        else if (c == '0') zero = true;
    }
    if (!percent_number(r, p, &l.width)) return false;
    if (p->at < p->text.size && p->text.data[p->at] == '.' && (p->at++, !percent_number(r, p, &l.precision)))
        return false;
    if (l.width < 0) l.align = '<', l.width = -l.width;
    while (p->at < p->text.size && strchr("hlL", p->text.data[p->at]) && p->text.data[p->at]) p->at++;
    if (p->at == p->text.size) return chat_fail(r, "format: it ends behind '%%'");
    l.type = (char)p->text.data[p->at++];
    if (l.type == '%') return chat_put_words(r, t, "%");
    if (l.type == 0) return chat_fail(r, "format: a NUL behind '%%'");
    if (zero && !l.align && !strchr("src", l.type)) l.align = '=', strcpy(l.fill, "0");
    if (!named && !next_arg(r, p, &v)) return false;
    return put_percent(r, t, v, &l);
}

bool chat_percent(struct chat_run *r, struct bytes format, struct chat_value args, struct chat_value *out)
{
    struct percent p = {.args = args, .text = format};
    struct chat_text t = {0};
    while (p.at < format.size) {
        const uint8_t *mark = memchr(format.data + p.at, '%', format.size - p.at);
        size_t to = mark ? (size_t)(mark - format.data) : format.size;
        if (!chat_put(r, &t, format.data + p.at, to - p.at)) return false;
        p.at = to + (mark != NULL);
        if (mark && !percent_one(r, &p, &t)) return false;
    }
    /* what could be asked by name need not be used up */
    bool named =
        args.kind == CHAT_DICT || args.kind == CHAT_LIST || args.kind == CHAT_RANGE || args.kind == CHAT_UNDEFINED;
    bool all = args.kind == CHAT_TUPLE ? p.next == args.seq->n : p.next == 1 || named;
    if (!all) return chat_fail(r, "format: more values than places");
    *out = chat_text_value(&t);
    return true;
}

/* ":[[fill]align][sign][#][0][width][.precision][type]" */
static bool read_layout(struct chat_run *r, struct bytes spec, struct layout *l)
{
    size_t at = 0, fill = spec.size ? chat_offset(spec, 1) : 0;
    *l = (struct layout){.fill = " ", .precision = -1};
    if (fill < spec.size && strchr("<>^=", spec.data[fill])) {
        memcpy(l->fill, spec.data, fill);
        l->fill[fill] = 0;
        l->align = (char)spec.data[fill];
        at = fill + 1;
    } else if (spec.size && strchr("<>^=", spec.data[0]) && spec.data[0]) l->align = (char)spec.data[at++];
    if (at < spec.size && strchr("+- ", spec.data[at]) && spec.data[at]) l->sign = (char)spec.data[at++];
    if (l->sign == '-') l->sign = 0;
    if (at < spec.size && spec.data[at] == '#') l->alternate = true, at++;
    if (at < spec.size && spec.data[at] == '0') {
        if (!l->align) l->align = '=', strcpy(l->fill, "0");
        at++;
    }
    for (; at < spec.size && spec.data[at] >= '0' && spec.data[at] <= '9'; at++)
        if ((l->width = l->width * 10 + (spec.data[at] - '0')) > WIDTH_MAX)
            return chat_beyond(r, "format: a width of more than %d", WIDTH_MAX);
    if (at < spec.size && (spec.data[at] == ',' || spec.data[at] == '_')) l->grouped = true, at++;
    if (at < spec.size && spec.data[at] == '.')
        for (l->precision = 0, at++; at < spec.size && spec.data[at] >= '0' && spec.data[at] <= '9'; at++)
            if ((l->precision = l->precision * 10 + (spec.data[at] - '0')) > WIDTH_MAX)
                return chat_beyond(r, "format: a precision of more than %d", WIDTH_MAX);
    if (at < spec.size) l->type = (char)spec.data[at++];
    return at == spec.size || chat_fail(r, "format: a layout that is not understood");
}

static bool put_layout(struct chat_run *r, struct chat_text *t, struct chat_value v, struct bytes spec)
{
    struct layout l;
    if (spec.size == 0) return chat_put_str(r, t, v);
    if (memchr(spec.data, '{', spec.size)) return chat_beyond(r, "format: a layout that holds a value");
    if (!read_layout(r, spec, &l)) return false;
    if (v.kind == CHAT_STRING) {
        if ((l.type && l.type != 's') || l.sign || l.alternate || l.grouped || l.align == '=')
            return chat_fail(r, "format: a layout of numbers for a string");
        return put_words(r, t, v, &l, l.align ? l.align : '<');
    }
    if (v.kind == CHAT_BOOL && !l.type) return chat_beyond(r, "format: the layout of a boolean");
    if (l.type && !strchr("doxXeEfFgGb%", l.type)) return chat_fail(r, "format: unknown type '%c'", l.type);
    if (chat_is_integer(v) && l.precision >= 0 && (!l.type || strchr("doxX", l.type)))
        return chat_fail(r, "format: a precision for an integer");
    if (v.kind == CHAT_FLOAT && l.type == 'd') return chat_fail(r, "format: a number where an integer is needed");
    return put_number(r, t, v, &l);
}

/* "name.attribute[0]", or a number, or nothing: the next one. */
static bool find_field(struct chat_run *r, struct bytes field, const struct chat_call *call, size_t *next,
                       struct chat_value *out)
{
    size_t at = 0, number = 0;
    while (at < field.size && field.data[at] != '.' && field.data[at] != '[') at++;
    bool digits = at < 9;
    for (size_t i = 0; i < at && digits; i++)
        digits = field.data[i] >= '0' && field.data[i] <= '9', number = number * 10 + (size_t)(field.data[i] - '0');
    if (digits) {
        if (at == 0) number = (*next)++;
        if (number >= call->n) return chat_fail(r, "format: more places than values");
        *out = call->args[number];
    } else {
        *out = chat_of(CHAT_ABSENT);
        for (size_t i = 0; i < call->n_named; i++)
            if (call->named[i].key.size == at && memcmp(call->named[i].key.text, field.data, at) == 0)
                *out = call->named[i].value;
        if (out->kind == CHAT_ABSENT) return chat_fail(r, "format: a name that is not given");
    }
    return at == field.size || chat_beyond(r, "format: a part of a value");
}

bool chat_format(struct chat_run *r, struct bytes format, const struct chat_call *call, struct chat_value *out)
{
    struct chat_text t = {0};
    size_t next = 0;
    for (size_t at = 0; at < format.size; at++) {
        char c = (char)format.data[at];
        bool twice = at + 1 < format.size && format.data[at + 1] == format.data[at];
        if ((c != '{' && c != '}') || twice) {
            if (!chat_put(r, &t, &c, 1)) return false;
            at += (c == '{' || c == '}') && twice;
            continue;
        }
        const uint8_t *end = c == '{' ? memchr(format.data + at, '}', format.size - at) : NULL;
        if (!end) return chat_fail(r, "format: a single '%c'", c);
        struct bytes field = bytes_of(format.data + at + 1, (size_t)(end - format.data) - at - 1), spec = {0};
        const uint8_t *colon = memchr(field.data, ':', field.size);
        if (colon) spec = bytes_of(colon + 1, (size_t)(end - colon) - 1), field.size = (size_t)(colon - field.data);
        if (memchr(field.data, '!', field.size)) return chat_beyond(r, "format: a conversion");
        struct chat_value v;
        if (!find_field(r, field, call, &next, &v) || !put_layout(r, &t, v, spec)) return false;
        at = (size_t)(end - format.data);
    }
    *out = chat_text_value(&t);
    return true;
}
