#include "engine/chat/chat_call.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_layout.h"
#include "engine/chat/chat_math.h"
#include "engine/chat/chat_print.h"
#include "engine/chat/chat_text.h"

static bool put_percent(struct chat_run *r, struct chat_text *t, struct chat_value v, const struct chat_layout *l)
{
    struct chat_text repr = {0};
    int64_t i;
    char c[4];
    switch (l->type) {
    case 's':
    case 'r':
        if (!(l->type == 's' ? chat_put_str(r, &repr, v) : chat_put_repr(r, &repr, v))) return false;
        return chat_put_words_as(r, t, chat_text_value(&repr), l, l->align == '<' ? '<' : '>');
    case 'c':
        if (v.kind == CHAT_STRING && chat_length(chat_bytes(v)) == 1)
            return chat_put_words_as(r, t, v, l, l->align == '<' ? '<' : '>');
        i = chat_is_integer(v) ? chat_integer(v) : -1;
        if (i < 0 || i > 0x10ffff || (i >= 0xd800 && i < 0xe000))
            return chat_fail(r, "format: %%c of %s", chat_kind_name(v));
        return chat_put_words_as(r, t, chat_string(c, chat_utf8((uint32_t)i, c)), l, l->align == '<' ? '<' : '>');
    default: break;
    }
    if (!strchr("diuoxXeEfFgG", l->type)) return chat_fail(r, "format: unknown '%%%c'", l->type);
    return chat_put_number(r, t, v, l);
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
        if ((*out = *out * 10 + (p->text.data[p->at] - '0')) > CHAT_WIDTH_MAX)
            return chat_beyond(r, "format: a width of more than %d", CHAT_WIDTH_MAX);
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
    struct chat_layout l = {.fill = " ", .precision = -1};
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
