#include "engine/chat/chat_math.h"

#include "engine/chat/chat_lexer.h"
#include "engine/chat/chat_print.h"

#include <math.h>

static bool too_large(struct chat_run *r)
{
    return chat_beyond(r, "an integer beyond 64 bits");
}

static bool integer_power(struct chat_run *r, int64_t base, int64_t exponent, struct chat_value *out)
{
    int64_t v = 1;
    if (exponent < 0) {
        if (base == 0) return chat_fail(r, "a negative power of zero");
        return *out = chat_real(pow((double)base, (double)exponent)), true;
    }
    if (base >= -1 && base <= 1) return *out = chat_int(base == 0 ? exponent == 0 : exponent % 2 ? base : 1), true;
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(v, base, &v)) return too_large(r);
    *out = chat_int(v);
    return true;
}

static bool integers(struct chat_run *r, unsigned op, int64_t a, int64_t b, struct chat_value *out)
{
    int64_t v = 0;
    bool over = false;
    if ((op == '/' || op == '%' || op == CHAT_OP2('/', '/')) && b == 0) return chat_fail(r, "division by zero");
    switch (op) {
    case '+': over = __builtin_add_overflow(a, b, &v); break;
    case '-': over = __builtin_sub_overflow(a, b, &v); break;
    case '*': over = __builtin_mul_overflow(a, b, &v); break;
    case '/': *out = chat_real((double)((long double)a / (long double)b)); return true;
    case CHAT_OP2('*', '*'): return integer_power(r, a, b, out);
    case '%':
        if (b != -1) v = a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
        break;
    default:
        if (b == -1) over = __builtin_sub_overflow((int64_t)0, a, &v);
        else v = a / b - (a % b != 0 && (a < 0) != (b < 0));
        break;
    }
    *out = chat_int(v);
    return !over || too_large(r);
}

/* Python's floor division and remainder of floats (float_divmod of CPython). */
static double floor_parts(double a, double b, double *remainder)
{
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod != 0) {
        if ((b < 0) != (mod < 0)) mod += b, div -= 1;
    } else mod = copysign(0, b);
    *remainder = mod;
    if (div == 0) return copysign(0, a / b);
    double whole = floor(div);
    return div - whole > 0.5 ? whole + 1 : whole;
}

static bool reals(struct chat_run *r, unsigned op, double a, double b, struct chat_value *out)
{
    double rest = 0, v;
    if ((op == '/' || op == '%' || op == CHAT_OP2('/', '/')) && b == 0) return chat_fail(r, "division by zero");
    switch (op) {
    case '+': v = a + b; break;
    case '-': v = a - b; break;
    case '*': v = a * b; break;
    case '/': v = a / b; break;
    case '%': floor_parts(a, b, &rest), v = rest; break;
    case CHAT_OP2('*', '*'):
        if (a == 0 && b < 0) return chat_fail(r, "a negative power of zero");
        if (a < 0 && b != floor(b)) return chat_beyond(r, "a power that is a complex number");
        v = pow(a, b);
        if (isinf(v) && !isinf(a) && !isinf(b)) return chat_fail(r, "a power that is too large");
        break;
    default: v = floor_parts(a, b, &rest); break;
    }
    *out = chat_real(v);
    return true;
}

/* The left text is often what the last "+" made: then it grows where it is, so that collecting a text piece by piece
 * takes memory in proportion to its length. */
static bool join_strings(struct chat_run *r, struct chat_value a, struct chat_value b, struct chat_value *out)
{
    bool safe = a.safe || b.safe;
    if (safe && !a.safe && !chat_escape(r, a, &a)) return false;
    if (safe && !b.safe && !chat_escape(r, b, &b)) return false;
    struct chat_text fresh = {0}, *t = r->grown;
    if (!t || t->data != a.text || t->size != a.size || t->capacity - t->size < b.size) {
        if (!chat_put(r, &fresh, a.text, a.size)) return false;
        t = &fresh;
    }
    if (!chat_put(r, t, b.text, b.size)) return false;
    *out = chat_text_value(t);
    out->safe = safe;
    if (t == &fresh && out->size >= 256) {
        if (!r->grown && !(r->grown = chat_alloc(r, 1, sizeof *r->grown))) return false;
        *r->grown = fresh;
    }
    return true;
}

static bool join_seqs(struct chat_run *r, struct chat_value a, struct chat_value b, struct chat_value *out)
{
    if (!chat_seq_make(r, (enum chat_kind)a.kind, a.seq->n + b.seq->n, out)) return false;
    for (size_t i = 0; i < a.seq->n; i++) out->seq->items[i] = a.seq->items[i];
    for (size_t i = 0; i < b.seq->n; i++) out->seq->items[a.seq->n + i] = b.seq->items[i];
    return true;
}

static bool repeat(struct chat_run *r, struct chat_value v, int64_t times, struct chat_value *out)
{
    size_t n = v.kind == CHAT_STRING ? v.size : v.seq->n;
    if (times < 0 || n == 0) times = 0;
    if (v.kind == CHAT_STRING) {
        struct chat_text t = {0};
        uint64_t size = 0;
        if (__builtin_mul_overflow((uint64_t)times, (uint64_t)n, &size)) size = UINT64_MAX;
        if (!chat_room(r, &t, size)) return false;
        for (; times > 0; times--)
            if (!chat_put(r, &t, v.text, v.size)) return false;
        *out = chat_text_value(&t);
        out->safe = v.safe;
        return true;
    }
    if ((uint64_t)times > CHAT_MEMORY_MAX / n) return chat_beyond(r, "a list that is repeated too often");
    if (!chat_seq_make(r, (enum chat_kind)v.kind, n * (size_t)times, out)) return false;
    for (size_t i = 0; i < out->seq->n; i++) out->seq->items[i] = v.seq->items[i % n];
    return true;
}

static bool repeats(struct chat_value v)
{
    return v.kind == CHAT_STRING || v.kind == CHAT_LIST || v.kind == CHAT_TUPLE;
}

bool chat_binary(struct chat_run *r, unsigned op, struct chat_value a, struct chat_value b, struct chat_value *out)
{
    if (chat_is_integer(a) && chat_is_integer(b)) return integers(r, op, chat_integer(a), chat_integer(b), out);
    if (chat_is_number(a) && chat_is_number(b)) return reals(r, op, chat_number(a), chat_number(b), out);
    if (op == '%' && a.kind == CHAT_STRING) return chat_percent(r, chat_bytes(a), b, out);
    if (a.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, a);
    if (b.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, b);
    if (op == '+' && a.kind == CHAT_STRING && b.kind == CHAT_STRING) return join_strings(r, a, b, out);
    if (op == '+' && a.kind == b.kind && (a.kind == CHAT_LIST || a.kind == CHAT_TUPLE)) return join_seqs(r, a, b, out);
    if (op == '*' && repeats(a) && chat_is_integer(b)) return repeat(r, a, chat_integer(b), out);
    if (op == '*' && repeats(b) && chat_is_integer(a)) return repeat(r, b, chat_integer(a), out);
    char name[3] = {(char)(op > 0xff ? op >> 8 : op), (char)(op > 0xff ? op & 0xff : 0), 0};
    return chat_fail(r, "'%s' of %s and %s", name, chat_kind_name(a), chat_kind_name(b));
}

bool chat_negate(struct chat_run *r, struct chat_value v, bool plus, struct chat_value *out)
{
    if (v.kind == CHAT_UNDEFINED) return chat_fail_undefined(r, v);
    if (!chat_is_number(v)) return chat_fail(r, "the sign of %s", chat_kind_name(v));
    if (v.kind == CHAT_FLOAT) return *out = chat_real(plus ? v.real : -v.real), true;
    return integers(r, plus ? '+' : '-', 0, chat_integer(v), out);
}

bool chat_round(struct chat_run *r, struct chat_value v, int64_t digits, struct chat_value *out)
{
    char text[400];
    if (chat_is_integer(v)) {
        if (digits < 0) return chat_beyond(r, "round: an integer to fewer than 0 digits");
        return *out = chat_int(chat_integer(v)), true;
    }
    if (digits < 0 || digits > 22) return chat_beyond(r, "round: to %lld digits", (long long)digits);
    /* printf rounds the exact value, as Python does */
    if (snprintf(text, sizeof text, "%.*f", (int)digits, v.real) >= (int)sizeof text)
        return chat_beyond(r, "round: a number of more than 399 characters");
    *out = chat_real(isfinite(v.real) ? strtod(text, NULL) : v.real);
    return true;
}
