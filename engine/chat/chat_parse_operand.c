#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_parser.h"

/* What operators stand between: calls, items, filters and tests of constants, names and lists. */

static bool parse_unary(struct chat_parser *p, bool with_filters, struct chat_node **out);

static bool parse_argument(struct chat_parser *p, struct chat_node **out)
{
    static const enum chat_node_kind kinds[] = {NODE_ARGUMENT, NODE_NAMED, NODE_SPREAD, NODE_SPREAD_NAMED};
    unsigned kind = chat_skip_op(p, '*') ? 2 : chat_skip_op(p, CHAT_OP2('*', '*')) ? 3 : 0;
    if (kind == 0 && p->at->kind == TOKEN_NAME && p->at[1].kind == TOKEN_OPERATOR && p->at[1].op == '=') kind = 1;
    if (!(*out = chat_node_new(p, kinds[kind]))) return false;
    if (kind == 1) {
        if (!chat_expect_name(p, &(*out)->name)) return false;
        p->at++;
    }
    return chat_parse_expression(p, &(*out)->a);
}

/* "(a, b=c, *d, **e)" */
static bool parse_arguments(struct chat_parser *p, struct chat_node **out)
{
    uint8_t most = 0;
    if (!chat_expect_op(p, '(')) return false;
    while (!chat_at_op(p, ')')) {
        if (most && !chat_expect_op(p, ',')) return false;
        if (most && chat_at_op(p, ')')) break;
        if (!parse_argument(p, out)) return false;
        uint8_t kind = (*out)->kind;
        /* plain ones, then named ones, then one * and one **; a named one may stand behind the * */
        if ((kind == NODE_ARGUMENT && most > NODE_ARGUMENT) || most == NODE_SPREAD_NAMED ||
            (kind == NODE_SPREAD && most == NODE_SPREAD))
            return chat_parse_fail(p, "arguments in an order that a call does not have");
        if (kind > most) most = kind;
        out = &(*out)->next;
    }
    return chat_expect_op(p, ')');
}

static bool parse_subscript(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *slice = chat_node_new(p, NODE_SLICE);
    if (!slice) return false;
    if (!chat_at_op(p, ':')) {
        if (!chat_parse_expression(p, &slice->a)) return false;
        if (!chat_at_op(p, ':')) return *out = slice->a, true;
    }
    p->at++;
    *out = slice;
    if (!chat_at_op(p, ':') && !chat_at_op(p, ']') && !chat_at_op(p, ',') && !chat_parse_expression(p, &slice->b))
        return false;
    if (!chat_skip_op(p, ':') || chat_at_op(p, ']') || chat_at_op(p, ',')) return true;
    return chat_parse_expression(p, &slice->c);
}

static bool parse_item(struct chat_parser *p, struct chat_node *n)
{
    if (!parse_subscript(p, &n->b)) return false;
    if (chat_at_op(p, ',')) { /* x[a, b]: the item of a tuple */
        struct chat_node *tuple = chat_node_new(p, NODE_TUPLE), **last = &n->b->next;
        if (!tuple) return false;
        tuple->a = n->b;
        n->b = tuple;
        while (chat_skip_op(p, ',')) {
            if (!parse_subscript(p, last)) return false;
            last = &(*last)->next;
        }
    }
    return chat_expect_op(p, ']');
}

static bool parse_dot(struct chat_parser *p, struct chat_node *n)
{
    if (p->at->kind == TOKEN_NAME) {
        n->kind = NODE_ATTRIBUTE;
        return chat_expect_name(p, &n->name);
    }
    if (p->at->kind != TOKEN_CONSTANT || p->at->value.kind != CHAT_INT)
        return chat_parse_fail(p, "expected a name or a number behind '.'");
    if (!(n->b = chat_node_new(p, NODE_CONSTANT))) return false;
    n->b->value = p->at++->value;
    return true;
}

static bool parse_postfix(struct chat_parser *p, struct chat_node **out)
{
    for (;;) {
        bool dot = chat_at_op(p, '.'), call = chat_at_op(p, '(');
        if (!dot && !call && !chat_at_op(p, '[')) return true;
        struct chat_node *n = chat_node_new(p, call ? NODE_CALL : NODE_ITEM);
        if (!n) return false;
        n->a = *out;
        *out = n;
        if (!call) p->at++;
        if (!(call ? parse_arguments(p, &n->args) : dot ? parse_dot(p, n) : parse_item(p, n))) return false;
    }
}

/* The filter or test of this name; without one, an error now or, where it may never be reached, when it is. */
static bool find_callable(struct chat_parser *p, struct chat_node *n, bool filter)
{
    const char *part;
    if (!chat_expect_name(p, &n->name)) return false;
    while (chat_skip_op(p, '.'))
        if (!chat_expect_name(p, &part) || !(n->name = arena_printf(p->arena, "%s.%s", n->name, part)))
            return chat_parse_fail(p, "expected a name behind '.'");
    n->callable = filter ? chat_filter_find(n->name) : chat_test_find(n->name);
    if (!n->callable && !p->conditional)
        return error_set(p->err, ERR_UNSUPPORTED, "%s: line %u: the %s '%.64s' is not supported", p->what, n->line,
                         filter ? "filter" : "test", n->name);
    return true;
}

bool chat_parse_filters(struct chat_parser *p, struct chat_node *in, bool inline_first, struct chat_node **out)
{
    *out = in;
    while (inline_first || chat_at_op(p, '|')) {
        if (!inline_first) p->at++;
        inline_first = false;
        struct chat_node *n = chat_node_new(p, NODE_FILTER);
        if (!n) return false;
        n->a = *out;
        *out = n;
        if (!find_callable(p, n, true) || (chat_at_op(p, '(') && !parse_arguments(p, &n->args))) return false;
    }
    return true;
}

/* "is not divisibleby 3", "is in (1, 2)", "is defined" */
static bool parse_test(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *n = chat_node_new(p, NODE_TEST), *not = NULL;
    if (!n) return false;
    p->at++;
    if (chat_at_name(p, "not")) {
        if (!(not = chat_node_new(p, NODE_NOT))) return false;
        p->at++;
    }
    n->a = *out;
    if (not ) not ->a = n;
    *out = not ? not : n;
    if (!find_callable(p, n, false)) return false;
    if (chat_at_op(p, '(')) return parse_arguments(p, &n->args);
    bool operand =
        p->at->kind == TOKEN_NAME || p->at->kind == TOKEN_CONSTANT || chat_at_op(p, '[') || chat_at_op(p, '{');
    if (!operand || chat_at_name(p, "else") || chat_at_name(p, "or") || chat_at_name(p, "and")) return true;
    if (chat_at_name(p, "is")) return chat_parse_fail(p, "a test of a test");
    if (!(n->args = chat_node_new(p, NODE_ARGUMENT))) return false;
    return chat_parse_primary(p, false, &n->args->a) && parse_postfix(p, &n->args->a);
}

static bool parse_unary(struct chat_parser *p, bool with_filters, struct chat_node **out)
{
    if (chat_at_op(p, '-') || chat_at_op(p, '+')) {
        if (!chat_parse_down(p) || !(*out = chat_node_new(p, chat_at_op(p, '-') ? NODE_NEGATE : NODE_PLUS)))
            return false;
        p->at++;
        if (!parse_unary(p, false, &(*out)->a)) return false;
        chat_parse_up(p);
    } else if (!chat_parse_primary(p, false, out)) return false;
    if (!parse_postfix(p, out)) return false;
    while (with_filters) {
        if (chat_at_op(p, '|')) {
            if (!chat_parse_filters(p, *out, false, out)) return false;
        } else if (chat_at_name(p, "is")) {
            if (!parse_test(p, out)) return false;
        } else if (chat_at_op(p, '(')) {
            if (!parse_postfix(p, out)) return false;
        } else break;
    }
    return true;
}

bool chat_parse_operand(struct chat_parser *p, struct chat_node **out)
{
    return parse_unary(p, true, out);
}
