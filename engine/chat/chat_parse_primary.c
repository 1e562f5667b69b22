#include "engine/chat/chat_parser.h"

/* Constants, names, lists, mappings, tuples; and what can be assigned to. */

static bool parse_list(struct chat_parser *p, struct chat_node *n)
{
    for (struct chat_node **last = &n->a; !chat_at_op(p, ']'); last = &(*last)->next) {
        if (n->a && !chat_expect_op(p, ',')) return false;
        if (chat_at_op(p, ']')) break;
        if (!chat_parse_expression(p, last)) return false;
    }
    return chat_expect_op(p, ']');
}

static bool parse_dict(struct chat_parser *p, struct chat_node *n)
{
    for (struct chat_node **last = &n->a; !chat_at_op(p, '}'); last = &(*last)->next->next) {
        if (n->a && !chat_expect_op(p, ',')) return false;
        if (chat_at_op(p, '}')) break;
        if (!chat_parse_expression(p, last) || !chat_expect_op(p, ':') || !chat_parse_expression(p, &(*last)->next))
            return false;
    }
    return chat_expect_op(p, '}');
}

static bool parse_strings(struct chat_parser *p, struct chat_node *n)
{
    n->value = p->at++->value;
    while (n->value.kind == CHAT_STRING && p->at->kind == TOKEN_CONSTANT && p->at->value.kind == CHAT_STRING) {
        size_t size = (size_t)n->value.size + p->at->value.size;
        char *joined = arena_alloc(p->arena, size + 1, 1);
        if (!joined) return error_memory(p->err, size);
        memcpy(joined, n->value.text, n->value.size);
        memcpy(joined + n->value.size, p->at->value.text, p->at->value.size);
        n->value = chat_string(joined, size);
        p->at++;
    }
    return true;
}

static bool parse_name(struct chat_parser *p, bool target, struct chat_node *n)
{
    static const struct {
        const char *name;
        uint8_t kind;
        bool truth;
    } constants[] = {{"true", CHAT_BOOL, true},   {"True", CHAT_BOOL, true},  {"false", CHAT_BOOL, false},
                     {"False", CHAT_BOOL, false}, {"none", CHAT_NONE, false}, {"None", CHAT_NONE, false}};
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (chat_skip_name(p, constants[i].name)) {
            n->kind = NODE_CONSTANT;
            n->value = constants[i].kind == CHAT_NONE ? chat_of(CHAT_NONE) : chat_bool(constants[i].truth);
            return true;
        }
    n->kind = NODE_NAME;
    p->uses |= chat_at_name(p, "caller")    ? CHAT_USES_CALLER
               : chat_at_name(p, "varargs") ? CHAT_USES_VARARGS
               : chat_at_name(p, "kwargs")  ? CHAT_USES_KWARGS
                                            : 0;
    if (!chat_expect_name(p, &n->name)) return false;
    if (!target || !chat_skip_op(p, '.')) return true;
    n->kind = NODE_MEMBER;
    return (n->b = chat_node_new(p, NODE_NAME)) != NULL && chat_expect_name(p, &n->b->name);
}

bool chat_parse_primary(struct chat_parser *p, bool target, struct chat_node **out)
{
    char shown[2] = "?";
    if (chat_skip_op(p, '(')) return chat_parse_tuple(p, PARSE_PARENTHESES, out) && chat_expect_op(p, ')');
    struct chat_node *n = *out = chat_node_new(p, NODE_CONSTANT);
    if (!n) return false;
    if (p->at->kind == TOKEN_NAME) return parse_name(p, target, n);
    if (p->at->kind == TOKEN_CONSTANT) return parse_strings(p, n);
    if (chat_skip_op(p, '[')) return n->kind = NODE_LIST, parse_list(p, n);
    if (chat_skip_op(p, '{')) return n->kind = NODE_DICT, parse_dict(p, n);
    if (p->at->kind != TOKEN_OPERATOR) return chat_parse_fail(p, "an expression is missing");
    shown[0] = (char)p->at->op;
    return chat_parse_fail(p, "unexpected '%s'", shown);
}

static bool tuple_ends(const struct chat_parser *p, unsigned how)
{
    return p->at->kind == TOKEN_PRINT_END || p->at->kind == TOKEN_BLOCK_END || chat_at_op(p, ')') ||
           ((how & PARSE_UNTIL_IN) && chat_at_name(p, "in"));
}

static bool parse_member(struct chat_parser *p, unsigned how, struct chat_node **out)
{
    if (how & PARSE_TARGET) {
        if (!chat_parse_down(p) || !chat_parse_primary(p, (how & PARSE_UNTIL_IN) == 0, out)) return false;
        chat_parse_up(p);
        return true;
    }
    return how & PARSE_NO_CHOICE ? chat_parse_or(p, out) : chat_parse_expression(p, out);
}

bool chat_parse_tuple(struct chat_parser *p, unsigned how, struct chat_node **out)
{
    struct chat_node *tuple = chat_node_new(p, NODE_TUPLE), **last;
    if (!tuple || !chat_parse_down(p)) return false;
    bool comma = false;
    for (last = &tuple->a; !tuple_ends(p, how); last = &(*last)->next) {
        if (!parse_member(p, how, last)) return false;
        if (!chat_skip_op(p, ',')) break;
        comma = true;
    }
    chat_parse_up(p);
    if (comma || (!tuple->a && (how & PARSE_PARENTHESES))) return *out = tuple, true;
    if (!tuple->a) return chat_parse_fail(p, "an expression is missing");
    *out = tuple->a;
    return true;
}

static bool assignable(const struct chat_node *n)
{
    bool ok = n->kind == NODE_NAME || n->kind == NODE_MEMBER || n->kind == NODE_TUPLE;
    for (const struct chat_node *m = n->kind == NODE_TUPLE ? n->a : NULL; m && ok; m = m->next) ok = assignable(m);
    return ok;
}

bool chat_parse_target(struct chat_parser *p, unsigned how, struct chat_node **out)
{
    return chat_parse_tuple(p, how | PARSE_TARGET, out) &&
           (assignable(*out) || chat_parse_fail(p, "this cannot be assigned to"));
}
