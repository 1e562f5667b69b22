#include "engine/chat/chat_parser.h"

/* From the loosest binding to the tightest; as Jinja2 has it, "~" binds tighter than "+", "**" groups to the left, and
 * a filter tighter than all but what stands in parentheses. */

bool chat_parse_expression(struct chat_parser *p, struct chat_node **out)
{
    if (!chat_parse_down(p)) return false;
    bool ok = chat_parse_or(p, out);
    while (ok && chat_skip_name(p, "if")) {
        struct chat_node *n = chat_node_new(p, NODE_CHOICE);
        ok = n != NULL;
        if (!ok) break;
        n->b = *out;
        p->conditional++; /* the branch before it has been read already; Jinja forgives the test and the rest */
        ok = chat_parse_or(p, &n->a) && (!chat_skip_name(p, "else") || chat_parse_expression(p, &n->c));
        p->conditional--;
        *out = n;
    }
    chat_parse_up(p);
    return ok;
}

/* *out becomes `kind` of itself and what `operand` reads next. */
static bool fold(struct chat_parser *p, enum chat_node_kind kind, unsigned op,
                 bool (*operand)(struct chat_parser *p, struct chat_node **out), struct chat_node **out)
{
    struct chat_node *n = chat_node_new(p, kind);
    if (!n) return false;
    n->op = op;
    n->a = *out;
    *out = n;
    return operand(p, &n->b);
}

static bool parse_pow(struct chat_parser *p, struct chat_node **out)
{
    bool ok = chat_parse_operand(p, out);
    while (ok && chat_skip_op(p, CHAT_OP2('*', '*')))
        ok = fold(p, NODE_BINARY, CHAT_OP2('*', '*'), chat_parse_operand, out);
    return ok;
}

static bool parse_product(struct chat_parser *p, struct chat_node **out)
{
    bool ok = parse_pow(p, out);
    while (ok &&
           (chat_at_op(p, '*') || chat_at_op(p, '/') || chat_at_op(p, '%') || chat_at_op(p, CHAT_OP2('/', '/')))) {
        unsigned op = p->at++->op;
        ok = fold(p, NODE_BINARY, op, parse_pow, out);
    }
    return ok;
}

static bool parse_concat(struct chat_parser *p, struct chat_node **out)
{
    if (!parse_product(p, out)) return false;
    if (!chat_at_op(p, '~')) return true;
    struct chat_node *n = chat_node_new(p, NODE_CONCAT), **last = &(*out)->next;
    if (!n) return false;
    n->a = *out;
    *out = n;
    while (chat_skip_op(p, '~')) {
        if (!parse_product(p, last)) return false;
        last = &(*last)->next;
    }
    return true;
}

static bool parse_sum(struct chat_parser *p, struct chat_node **out)
{
    bool ok = parse_concat(p, out);
    while (ok && (chat_at_op(p, '+') || chat_at_op(p, '-'))) {
        unsigned op = p->at++->op;
        ok = fold(p, NODE_BINARY, op, parse_concat, out);
    }
    return ok;
}

static unsigned compare_op(struct chat_parser *p)
{
    static const unsigned ops[] = {
        '<', '>', CHAT_OP2('=', '='), CHAT_OP2('!', '='), CHAT_OP2('<', '='), CHAT_OP2('>', '=')};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (chat_skip_op(p, ops[i])) return ops[i];
    if (chat_skip_name(p, "in")) return OP_IN;
    if (!chat_at_name(p, "not") || p->at[1].kind != TOKEN_NAME || !chat_text_is(p->at[1].value, "in")) return 0;
    p->at += 2;
    return OP_NOT_IN;
}

static bool parse_compare(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *compare = NULL, **last = NULL;
    if (!parse_sum(p, out)) return false;
    for (unsigned op; (op = compare_op(p)) != 0; last = &(*last)->next) {
        if (!compare) {
            if (!(compare = chat_node_new(p, NODE_COMPARE))) return false;
            compare->a = *out;
            last = &compare->b;
            *out = compare;
        }
        if (!(*last = chat_node_new(p, NODE_COMPARE))) return false;
        (*last)->op = op;
        if (!parse_sum(p, &(*last)->a)) return false;
    }
    return true;
}

static bool parse_not(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *outer = NULL, **inner = &outer;
    while (chat_at_name(p, "not")) {
        if (!(*inner = chat_node_new(p, NODE_NOT))) return false;
        p->at++;
        inner = &(*inner)->a;
    }
    bool ok = parse_compare(p, inner);
    *out = outer;
    return ok;
}

static bool parse_and(struct chat_parser *p, struct chat_node **out)
{
    bool ok = parse_not(p, out);
    while (ok && chat_skip_name(p, "and")) ok = fold(p, NODE_AND, 0, parse_not, out);
    return ok;
}

bool chat_parse_or(struct chat_parser *p, struct chat_node **out)
{
    bool ok = parse_and(p, out);
    while (ok && chat_skip_name(p, "or")) ok = fold(p, NODE_OR, 0, parse_and, out);
    return ok;
}
