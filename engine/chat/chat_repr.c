#include "engine/chat/chat_print.h"
#include "engine/chat/chat_text.h"
#include "engine/unicode.h"

#include <math.h>

/* Fewest digits that read back, then Python's layout: an exponent below 1e-4 and from 1e16 on. */
void chat_real_text(double f, char out[CHAT_REAL_TEXT])
{
    char digits[40], mantissa[32];
    int precision = 1, exponent;
    if (isnan(f) || isinf(f)) {
        strcpy(out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    do snprintf(digits, sizeof digits, "%.*e", precision - 1, f);
    while (strtod(digits, NULL) != f && precision++ < 17);
    char *e = strchr(digits, 'e');
    exponent = atoi(e + 1);
    *e = 0;
    size_t n = 0;
    for (const char *p = digits; *p; p++)
        if (*p >= '0' && *p <= '9') mantissa[n++] = *p;
    while (n > 1 && mantissa[n - 1] == '0') n--;
    mantissa[n] = 0;
    const char *sign = signbit(f) ? "-" : "";
    if (exponent < -4 || exponent >= 16)
        snprintf(out, CHAT_REAL_TEXT, "%s%c%s%s%s%02d", sign, mantissa[0], n > 1 ? "." : "", mantissa + 1,
                 exponent < 0 ? "e-" : "e+", abs(exponent));
    else if (exponent < 0) snprintf(out, CHAT_REAL_TEXT, "%s0.%.*s%s", sign, -exponent - 1, "0000", mantissa);
    else if ((size_t)exponent + 1 >= n)
        snprintf(out, CHAT_REAL_TEXT, "%s%s%.*s.0", sign, mantissa, exponent + 1 - (int)n, "0000000000000000");
    else snprintf(out, CHAT_REAL_TEXT, "%s%.*s.%s", sign, exponent + 1, mantissa, mantissa + exponent + 1);
}

static bool put_escaped(struct chat_run *r, struct chat_text *t, uint32_t c, char quote)
{
    switch (c) {
    case '\\': return chat_put_words(r, t, "\\\\");
    case '\n': return chat_put_words(r, t, "\\n");
    case '\r': return chat_put_words(r, t, "\\r");
    case '\t': return chat_put_words(r, t, "\\t");
    default: break;
    }
    if (c == (uint32_t)quote) return chat_put_format(r, t, "\\%c", quote);
    if (unicode_is_printable(c)) return chat_put_char(r, t, c);
    return chat_put_format(r, t, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

static bool put_quoted(struct chat_run *r, struct chat_text *t, struct bytes s)
{
    char quote = memchr(s.data, '\'', s.size) && !memchr(s.data, '"', s.size) ? '"' : '\'';
    if (!chat_put(r, t, &quote, 1)) return false;
    for (size_t at = 0, n; at < s.size; at += n) {
        n = utf8_lead_size(s.data[at]);
        if (!put_escaped(r, t, utf8_char(s.data + at, n), quote)) return false;
    }
    return chat_put(r, t, &quote, 1);
}

static bool put_items(struct chat_run *r, struct chat_text *t, const struct chat_seq *s, const char *open,
                      const char *close)
{
    if (!chat_put_words(r, t, open)) return false;
    for (size_t i = 0; i < s->n; i++)
        if ((i && !chat_put_words(r, t, ", ")) || !chat_put_repr(r, t, s->items[i])) return false;
    return chat_put_words(r, t, close);
}

static bool put_range(struct chat_run *r, struct chat_text *t, const struct chat_seq *s)
{
    if (s->step == 1) return chat_put_format(r, t, "range(%lld, %lld)", (long long)s->start, (long long)s->stop);
    return chat_put_format(r, t, "range(%lld, %lld, %lld)", (long long)s->start, (long long)s->stop,
                           (long long)s->step);
}

static bool put_pairs(struct chat_run *r, struct chat_text *t, const struct chat_dict *d)
{
    if (!chat_put_words(r, t, "{")) return false;
    for (uint32_t i = 0; i < d->n; i++)
        if ((i && !chat_put_words(r, t, ", ")) || !chat_put_repr(r, t, d->pairs[i].key) ||
            !chat_put_words(r, t, ": ") || !chat_put_repr(r, t, d->pairs[i].value))
            return false;
    return chat_put_words(r, t, "}");
}

static bool put_nested(struct chat_run *r, struct chat_text *t, struct chat_value v)
{
    switch ((enum chat_kind)v.kind) {
    case CHAT_LIST: return put_items(r, t, v.seq, "[", "]");
    case CHAT_TUPLE: return put_items(r, t, v.seq, "(", v.seq->n == 1 ? ",)" : ")");
    case CHAT_VIEW: return chat_put_words(r, t, v.seq->view) && put_items(r, t, v.seq, "([", "])");
    case CHAT_DICT: return put_pairs(r, t, v.dict);
    default: return chat_put_words(r, t, "<Namespace ") && put_pairs(r, t, v.dict) && chat_put_words(r, t, ">");
    }
}

bool chat_put_repr(struct chat_run *r, struct chat_text *t, struct chat_value v)
{
    char number[CHAT_REAL_TEXT];
    bool ok;
    if (!chat_charge(r, 0)) return false;
    switch ((enum chat_kind)v.kind) {
    case CHAT_ABSENT:
    case CHAT_UNDEFINED: return chat_put_words(r, t, "Undefined");
    case CHAT_NONE: return chat_put_words(r, t, "None");
    case CHAT_BOOL: return chat_put_words(r, t, v.truth ? "True" : "False");
    case CHAT_INT: return chat_put_format(r, t, "%lld", (long long)v.integer);
    case CHAT_FLOAT: chat_real_text(v.real, number); return chat_put_words(r, t, number);
    case CHAT_STRING:
        if (!v.safe) return put_quoted(r, t, chat_bytes(v));
        return chat_put_words(r, t, "Markup(") && put_quoted(r, t, chat_bytes(v)) && chat_put_words(r, t, ")");
    case CHAT_RANGE: return put_range(r, t, v.seq);
    case CHAT_LIST:
    case CHAT_TUPLE:
    case CHAT_VIEW:
    case CHAT_DICT:
    case CHAT_NAMESPACE:
        if (!chat_enter(r)) return false;
        ok = put_nested(r, t, v);
        chat_leave(r);
        return ok;
    default: /* Python prints the address of the object */
        return chat_fail(r, "%s is printed, which has no text of its own", chat_kind_name(v));
    }
}

bool chat_put_str(struct chat_run *r, struct chat_text *t, struct chat_value v)
{
    if (v.kind == CHAT_STRING) return chat_put(r, t, v.text, v.size);
    return v.kind == CHAT_UNDEFINED || chat_put_repr(r, t, v);
}

bool chat_str(struct chat_run *r, struct chat_value v, struct chat_value *out)
{
    struct chat_text t = {0};
    if (v.kind == CHAT_STRING) return *out = v, true;
    if (!chat_put_str(r, &t, v)) return false;
    return *out = chat_text_value(&t), true;
}
