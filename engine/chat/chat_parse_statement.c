#include "engine/chat/chat_parser.h"

struct statement {
    const char *tag;
    bool (*parse)(struct chat_parser *p, struct chat_node **out);
};

static bool block_end(struct chat_parser *p)
{
    if (p->at->kind != TOKEN_BLOCK_END) return chat_parse_fail(p, "expected '%%}'");
    p->at++;
    return true;
}

/* A body behind the "%}" that ends the current tag, up to one of `ends`. */
static bool parse_block(struct chat_parser *p, const char *const *ends, uint32_t *end, struct chat_node **out)
{
    chat_skip_op(p, ':');
    return block_end(p) && chat_parse_body(p, ends, end, out);
}

static bool parse_one(struct chat_parser *p, const char *end, struct chat_node **out)
{
    uint32_t which;
    return parse_block(p, (const char *const[]){end, NULL}, &which, out);
}

static bool parse_for(struct chat_parser *p, struct chat_node **out)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    uint32_t end;
    struct chat_node *n = *out;
    n->kind = NODE_FOR;
    if (!(n->name = chat_intern(p->names, p->arena, "loop", 4))) return error_memory(p->err, 0);
    if (!chat_parse_target(p, PARSE_UNTIL_IN, &n->a)) return false;
    if (!chat_skip_name(p, "in")) return chat_parse_fail(p, "expected 'in'");
    if (!chat_parse_tuple(p, PARSE_NO_CHOICE, &n->b)) return false;
    if (chat_skip_name(p, "if") && !chat_parse_expression(p, &n->c)) return false;
    if (chat_at_name(p, "recursive"))
        return error_set(p->err, ERR_UNSUPPORTED, "%s: line %u: recursive loops are not supported", p->what, n->line);
    p->loops++;
    bool ok = parse_block(p, ends, &end, &n->body);
    p->loops--;
    return ok && (end == 0 || parse_one(p, "endfor", &n->other));
}

static bool parse_if(struct chat_parser *p, struct chat_node **out)
{
    static const char *const ends[] = {"endif", "else", "elif", NULL};
    uint32_t end = 2;
    p->conditional++;
    for (struct chat_node *n = *out; end == 2;) {
        n->kind = NODE_IF;
        if (!chat_parse_tuple(p, PARSE_NO_CHOICE, &n->a) || !parse_block(p, ends, &end, &n->body)) return false;
        if (end == 1 && !parse_one(p, "endif", &n->other)) return false;
        if (end == 2 && !(n = n->other = chat_node_new(p, NODE_IF))) return false;
    }
    p->conditional--;
    return true;
}

static bool parse_set(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *n = *out;
    n->kind = NODE_SET;
    if (!chat_parse_target(p, 0, &n->a)) return false;
    if (chat_skip_op(p, '=')) return chat_parse_tuple(p, 0, &n->b);
    n->kind = NODE_SET_BLOCK;
    return chat_parse_filters(p, NULL, false, &n->b) && parse_one(p, "endset", &n->body);
}

/* "(a, b=1)" */
static bool parse_parameters(struct chat_parser *p, struct chat_node **out)
{
    bool defaults = false;
    if (!chat_expect_op(p, '(')) return false;
    for (struct chat_node **first = out; !chat_at_op(p, ')'); out = &(*out)->next) {
        if (*first && !chat_expect_op(p, ',')) return false;
        if (!(*out = chat_node_new(p, NODE_NAMED)) || !chat_expect_name(p, &(*out)->name)) return false;
        if (chat_skip_op(p, '=')) {
            defaults = true;
            if (!chat_parse_expression(p, &(*out)->a)) return false;
        } else if (defaults) return chat_parse_fail(p, "a parameter without a default behind one with");
    }
    return chat_expect_op(p, ')');
}

/* The body of a macro: a loop around its definition is not around it. Which of the special names it reads decides what
 * a call may give it. */
static bool parse_macro_body(struct chat_parser *p, struct chat_node *n, const char *end, struct chat_node **out)
{
    uint32_t loops = p->loops, uses = p->uses;
    p->loops = p->uses = 0;
    bool ok = parse_one(p, end, out);
    n->op = p->uses;
    p->loops = loops;
    p->uses |= uses;
    return ok;
}

static bool parse_macro(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *n = *out;
    n->kind = NODE_MACRO;
    return chat_expect_name(p, &n->name) && parse_parameters(p, &n->args) &&
           parse_macro_body(p, n, "endmacro", &n->body);
}

static bool parse_call(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *n = *out;
    n->kind = NODE_CALL_BLOCK;
    if (chat_at_op(p, '(') && !parse_parameters(p, &n->args)) return false;
    if (!chat_parse_expression(p, &n->a)) return false;
    if (n->a->kind != NODE_CALL) return chat_parse_fail(p, "expected a call behind 'call'");
    return parse_macro_body(p, n, "endcall", &n->body);
}

static bool parse_filter(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *n = *out;
    n->kind = NODE_FILTER_BLOCK;
    return chat_parse_filters(p, NULL, true, &n->b) && parse_one(p, "endfilter", &n->body);
}

static bool parse_with(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *n = *out, **last = &n->args;
    n->kind = NODE_WITH;
    for (; p->at->kind != TOKEN_BLOCK_END; last = &(*last)->next) {
        if (n->args && !chat_expect_op(p, ',')) return false;
        if (!(*last = chat_node_new(p, NODE_SET)) || !chat_parse_target(p, 0, &(*last)->a) || !chat_expect_op(p, '=') ||
            !chat_parse_expression(p, &(*last)->b))
            return false;
    }
    return parse_one(p, "endwith", &n->body);
}

/* What transformers adds: marks what the assistant wrote, for training. Its text is rendered as it is. */
static bool parse_generation(struct chat_parser *p, struct chat_node **out)
{
    (*out)->kind = NODE_SCOPE;
    return parse_macro_body(p, *out, "endgeneration", &(*out)->body);
}

static bool parse_print(struct chat_parser *p, struct chat_node **out)
{
    struct chat_node *n = *out;
    n->kind = NODE_PRINT;
    if (!chat_parse_expression(p, &n->a)) return false;
    while (chat_skip_op(p, ',')) {
        if (!(n = n->next = chat_node_new(p, NODE_PRINT)) || !chat_parse_expression(p, &n->a)) return false;
    }
    return true;
}

static bool parse_break(struct chat_parser *p, struct chat_node **out)
{
    (*out)->kind = NODE_BREAK;
    return p->loops > 0 || chat_parse_fail(p, "'break' outside of a loop");
}

static bool parse_continue(struct chat_parser *p, struct chat_node **out)
{
    (*out)->kind = NODE_CONTINUE;
    return p->loops > 0 || chat_parse_fail(p, "'continue' outside of a loop");
}

/* What Jinja2 has and a chat template has no use for: other files, and their parts. */
static bool parse_foreign(struct chat_parser *p, struct chat_node **out)
{
    return error_set(p->err, ERR_UNSUPPORTED, "%s: line %u: '%.*s' is not supported", p->what, (*out)->line,
                     (int)p->at[-1].value.size, p->at[-1].value.text);
}

static const struct statement statements[] = {{"for", parse_for},           {"if", parse_if},
                                              {"set", parse_set},           {"macro", parse_macro},
                                              {"call", parse_call},         {"filter", parse_filter},
                                              {"with", parse_with},         {"generation", parse_generation},
                                              {"print", parse_print},       {"break", parse_break},
                                              {"continue", parse_continue}, {"include", parse_foreign},
                                              {"import", parse_foreign},    {"from", parse_foreign},
                                              {"extends", parse_foreign},   {"block", parse_foreign},
                                              {"autoescape", parse_foreign}};

static bool parse_statement(struct chat_parser *p, struct chat_node **out)
{
    if (!(*out = chat_node_new(p, NODE_TEXT)) || !chat_parse_down(p)) return false;
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!chat_skip_name(p, statements[i].tag)) continue;
        bool ok = statements[i].parse(p, out) && block_end(p);
        chat_parse_up(p);
        return ok;
    }
    if (p->at->kind != TOKEN_NAME) return chat_parse_fail(p, "a tag's name is missing");
    return chat_parse_fail(p, "unexpected tag '%.*s'", p->at->value.size > 40 ? 40 : (int)p->at->value.size,
                           p->at->value.text);
}

static bool parse_output(struct chat_parser *p, struct chat_node **out)
{
    bool print = p->at->kind == TOKEN_PRINT;
    if (!(*out = chat_node_new(p, print ? NODE_PRINT : NODE_TEXT))) return false;
    if (!print) return (*out)->value = p->at++->value, true;
    p->at++;
    if (!chat_parse_tuple(p, 0, &(*out)->a)) return false;
    if (p->at->kind != TOKEN_PRINT_END) return chat_parse_fail(p, "expected '}}'");
    p->at++;
    return true;
}

bool chat_parse_body(struct chat_parser *p, const char *const *ends, uint32_t *end, struct chat_node **out)
{
    uint32_t line = p->at->line;
    while (p->at->kind != TOKEN_END) {
        if (p->at->kind != TOKEN_BLOCK) {
            if (!parse_output(p, out)) return false;
        } else {
            p->at++;
            for (*end = 0; ends && ends[*end]; ++*end)
                if (chat_skip_name(p, ends[*end])) return true;
            if (!parse_statement(p, out)) return false;
        }
        while (*out) out = &(*out)->next;
    }
    if (!ends) return true;
    return chat_parse_fail(p, "the template ends where '%s' of the block of line %u is missing", ends[0], line);
}
