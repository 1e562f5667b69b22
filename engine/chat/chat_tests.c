#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_math.h"
#include "engine/chat/chat_print.h"
#include "engine/chat/chat_text.h"
#include "engine/unicode.h"

/* A test of the kind alone. */
#define KIND_TEST(name, holds)                                                                                         \
    static bool name(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)   \
    {                                                                                                                  \
        (void)r, (void)args;                                                                                           \
        *out = chat_bool(holds);                                                                                       \
        return true;                                                                                                   \
    }

KIND_TEST(is_defined, v.kind != CHAT_UNDEFINED)
KIND_TEST(is_undefined, v.kind == CHAT_UNDEFINED)
KIND_TEST(is_none, v.kind == CHAT_NONE)
KIND_TEST(is_boolean, v.kind == CHAT_BOOL)
KIND_TEST(is_true, v.kind == CHAT_BOOL && v.truth)
KIND_TEST(is_false, v.kind == CHAT_BOOL && !v.truth)
KIND_TEST(is_integer, v.kind == CHAT_INT)
KIND_TEST(is_float, v.kind == CHAT_FLOAT)
KIND_TEST(is_number, chat_is_number(v))
KIND_TEST(is_string, v.kind == CHAT_STRING)
KIND_TEST(is_mapping, v.kind == CHAT_DICT)
KIND_TEST(is_escaped, v.kind == CHAT_STRING && v.safe)
KIND_TEST(is_callable, v.kind >= CHAT_LOOP || v.kind == CHAT_UNDEFINED)
/* Has a length and items: also what is undefined. */
KIND_TEST(is_sequence,
          v.kind == CHAT_UNDEFINED || v.kind == CHAT_DICT || (v.kind >= CHAT_STRING && v.kind <= CHAT_RANGE))
KIND_TEST(is_iterable,
          v.kind == CHAT_UNDEFINED || (v.kind >= CHAT_STRING && v.kind <= CHAT_DICT) || v.kind == CHAT_LOOP)

/* A name is looked for among keys. */
static bool a_name(struct chat_run *r, struct chat_value v, char name[64])
{
    if (v.kind == CHAT_LIST || v.kind == CHAT_DICT || v.kind == CHAT_VIEW)
        return chat_fail(r, "%s is no name", chat_kind_name(v));
    name[0] = 0;
    if (v.kind != CHAT_STRING || v.size >= 64) return true;
    memcpy(name, v.text, v.size);
    name[v.size] = 0;
    return true;
}

static bool is_filter(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    char name[64];
    (void)args;
    if (!a_name(r, v, name)) return false;
    *out = chat_bool(chat_filter_find(name) != NULL);
    return true;
}

static bool is_test(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    char name[64];
    (void)args;
    if (!a_name(r, v, name)) return false;
    *out = chat_bool(chat_test_find(name) != NULL);
    return true;
}

static bool rest_is(struct chat_run *r, struct chat_value v, int64_t by, int64_t rest, struct chat_value *out)
{
    struct chat_value got;
    bool same;
    if (!chat_binary(r, '%', v, chat_int(by), &got) || !chat_equal(r, got, chat_int(rest), &same)) return false;
    *out = chat_bool(same);
    return true;
}

static bool is_odd(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    (void)args;
    return rest_is(r, v, 2, 1, out);
}

static bool is_even(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    (void)args;
    return rest_is(r, v, 2, 0, out);
}

static bool is_divisible(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    struct chat_value got;
    bool same;
    if (!chat_binary(r, '%', v, args[0], &got) || !chat_equal(r, got, chat_int(0), &same)) return false;
    *out = chat_bool(same);
    return true;
}

/* All its letters of a case are of this one, and there is one. */
static bool is_case(struct chat_run *r, struct chat_value v, enum chat_case to, struct chat_value *out)
{
    struct chat_value text, mapped;
    bool cased = false;
    struct chat_text t = {0};
    if (!chat_str(r, v, &text) || !chat_put_case(r, &t, chat_bytes(text), to)) return false;
    mapped = chat_text_value(&t);
    for (size_t at = 0, n; at < text.size && !cased; at += n) {
        n = utf8_lead_size((uint8_t)text.text[at]);
        cased = unicode_is_cased(utf8_char((const uint8_t *)text.text + at, n));
    }
    *out = chat_bool(cased && mapped.size == text.size && memcmp(mapped.text, text.text, text.size) == 0);
    return true;
}

static bool is_lower(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    (void)args;
    return is_case(r, v, CHAT_LOWER, out);
}

static bool is_upper(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    (void)args;
    return is_case(r, v, CHAT_UPPER, out);
}

static bool is_in(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    bool found;
    if (!chat_contains(r, args[0], v, &found)) return false;
    *out = chat_bool(found);
    return true;
}

static bool is_equal(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    bool same;
    if (!chat_equal(r, v, args[0], &same)) return false;
    *out = chat_bool(same);
    return true;
}

static bool is_unequal(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    if (!is_equal(r, v, args, out)) return false;
    out->truth = !out->truth;
    return true;
}

/* One and the same object: of constants, the same constant. */
static bool is_same(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    if (v.kind != args[0].kind) return *out = chat_bool(false), true;
    if (v.kind >= CHAT_LIST) return *out = chat_bool(v.seq == args[0].seq), true;
    return is_equal(r, v, args, out);
}

static bool ordered(struct chat_run *r, struct chat_value v, struct chat_value other, int a, int b,
                    struct chat_value *out)
{
    int order;
    if (!chat_order(r, v, other, &order)) return false;
    *out = chat_bool(order == a || order == b);
    return true;
}

static bool is_less(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    return ordered(r, v, args[0], -1, -1, out);
}

static bool is_most(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    return ordered(r, v, args[0], -1, 0, out);
}

static bool is_greater(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    return ordered(r, v, args[0], 1, 1, out);
}

static bool is_least(struct chat_run *r, struct chat_value v, const struct chat_value *args, struct chat_value *out)
{
    return ordered(r, v, args[0], 1, 0, out);
}

const struct chat_callable chat_tests[] = {
    {"defined", "", is_defined, NULL},
    {"undefined", "", is_undefined, NULL},
    {"none", "", is_none, NULL},
    {"boolean", "", is_boolean, NULL},
    {"true", "", is_true, NULL},
    {"false", "", is_false, NULL},
    {"integer", "", is_integer, NULL},
    {"float", "", is_float, NULL},
    {"number", "", is_number, NULL},
    {"string", "", is_string, NULL},
    {"mapping", "", is_mapping, NULL},
    {"sequence", "", is_sequence, NULL},
    {"iterable", "", is_iterable, NULL},
    {"callable", "", is_callable, NULL},
    {"escaped", "", is_escaped, NULL},
    {"odd", "", is_odd, NULL},
    {"even", "", is_even, NULL},
    {"divisibleby", "num", is_divisible, NULL},
    {"lower", "", is_lower, NULL},
    {"upper", "", is_upper, NULL},
    {"in", "seq", is_in, NULL},
    {"sameas", "other", is_same, NULL},
    {"filter", "", is_filter, NULL},
    {"test", "", is_test, NULL},
    {"==", "other", is_equal, NULL},
    {"eq", "other", is_equal, NULL},
    {"equalto", "other", is_equal, NULL},
    {"!=", "other", is_unequal, NULL},
    {"ne", "other", is_unequal, NULL},
    {"<", "other", is_less, NULL},
    {"lt", "other", is_less, NULL},
    {"lessthan", "other", is_less, NULL},
    {"<=", "other", is_most, NULL},
    {"le", "other", is_most, NULL},
    {">", "other", is_greater, NULL},
    {"gt", "other", is_greater, NULL},
    {"greaterthan", "other", is_greater, NULL},
    {">=", "other", is_least, NULL},
    {"ge", "other", is_least, NULL},
    {NULL, NULL, NULL, NULL},
};
