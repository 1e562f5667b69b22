#include "engine/chat/chat_call.h"
#include "engine/chat/chat_layout.h"
#include "engine/chat/chat_math.h"
#include "engine/chat/chat_print.h"
#include "engine/chat/chat_text.h"

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

/* ":[[fill]align][sign][#][0][width][.precision][type]" */
static bool read_layout(struct chat_run *r, struct bytes spec, struct chat_layout *l)
{
    size_t at = 0, fill = spec.size ? chat_offset(spec, 1) : 0;
    *l = (struct chat_layout){.fill = " ", .precision = -1};
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
        if ((l->width = l->width * 10 + (spec.data[at] - '0')) > CHAT_WIDTH_MAX)
            return chat_beyond(r, "format: a width of more than %d", CHAT_WIDTH_MAX);
    if (at < spec.size && (spec.data[at] == ',' || spec.data[at] == '_')) l->grouped = true, at++;
    if (at < spec.size && spec.data[at] == '.')
        for (l->precision = 0, at++; at < spec.size && spec.data[at] >= '0' && spec.data[at] <= '9'; at++)
            if ((l->precision = l->precision * 10 + (spec.data[at] - '0')) > CHAT_WIDTH_MAX)
                return chat_beyond(r, "format: a precision of more than %d", CHAT_WIDTH_MAX);
    if (at < spec.size) l->type = (char)spec.data[at++];
    return at == spec.size || chat_fail(r, "format: a layout that is not understood");
}

static bool put_layout(struct chat_run *r, struct chat_text *t, struct chat_value v, struct bytes spec)
{
    struct chat_layout l;
    if (spec.size == 0) return chat_put_str(r, t, v);
    if (memchr(spec.data, '{', spec.size)) return chat_beyond(r, "format: a layout that holds a value");
    if (!read_layout(r, spec, &l)) return false;
    if (v.kind == CHAT_STRING) {
        if ((l.type && l.type != 's') || l.sign || l.alternate || l.grouped || l.align == '=')
            return chat_fail(r, "format: a layout of numbers for a string");
        return chat_put_words_as(r, t, v, &l, l.align ? l.align : '<');
    }
    if (v.kind == CHAT_BOOL && !l.type) return chat_beyond(r, "format: the layout of a boolean");
    if (l.type && !strchr("doxXeEfFgGb%", l.type)) return chat_fail(r, "format: unknown type '%c'", l.type);
    if (chat_is_integer(v) && l.precision >= 0 && (!l.type || strchr("doxX", l.type)))
        return chat_fail(r, "format: a precision for an integer");
    if (v.kind == CHAT_FLOAT && l.type == 'd') return chat_fail(r, "format: a number where an integer is needed");
    return chat_put_number(r, t, v, &l);
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
