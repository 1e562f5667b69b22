/* From tokens to a tree: Jinja2's grammar. */
#ifndef ENGINE_CHAT_PARSER_H
#define ENGINE_CHAT_PARSER_H

#include "engine/chat/chat_lexer.h"
#include "engine/chat/chat_node.h"

#define CHAT_NESTING_MAX 150u /* statements and expressions within one another */

struct chat_parser {
    const char *what;
    const struct chat_token *at;
    struct arena *arena;
    struct chat_names *names;
    struct error *err;
    uint32_t depth;
    uint32_t loops;       /* around the current statement, within the current macro */
    uint32_t uses;        /* CHAT_USES_*, by the body that is being read */
    uint32_t conditional; /* within an if: a filter that is not known is an error only when it is reached */
};

/* A chain of statements, up to a tag named in `ends` (NULL-terminated; *end: its place there) or, without, up to the
 * end of the template. The parser stands behind the tag's name. */
MUST_CHECK bool chat_parse_body(struct chat_parser *p, const char *const *ends, uint32_t *end, struct chat_node **out);

/* For the two files of the parser. */
bool chat_parse_fail(struct chat_parser *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct chat_node *chat_node_new(struct chat_parser *p, enum chat_node_kind kind);
/* Steps into one more level; chat_parse_up leaves it. */
MUST_CHECK bool chat_parse_down(struct chat_parser *p);
static inline void chat_parse_up(struct chat_parser *p)
{
    p->depth--;
}
bool chat_at_op(const struct chat_parser *p, unsigned op);
bool chat_at_name(const struct chat_parser *p, const char *name);
/* True, and one token on. */
bool chat_skip_op(struct chat_parser *p, unsigned op);
bool chat_skip_name(struct chat_parser *p, const char *name);
MUST_CHECK bool chat_expect_op(struct chat_parser *p, unsigned op);
MUST_CHECK bool chat_expect_name(struct chat_parser *p, const char **name);

enum { PARSE_NO_CHOICE = 1 /* "a if b" is not taken */, PARSE_UNTIL_IN = 2, PARSE_PARENTHESES = 4, PARSE_TARGET = 8 };
/* a, or a, b, c as a tuple. */
MUST_CHECK bool chat_parse_tuple(struct chat_parser *p, unsigned how, struct chat_node **out);
/* `target`: "name.member" is a member of a namespace. */
MUST_CHECK bool chat_parse_primary(struct chat_parser *p, bool target, struct chat_node **out);
MUST_CHECK bool chat_parse_operand(struct chat_parser *p, struct chat_node **out); /* tighter than any operator */
MUST_CHECK bool chat_parse_or(struct chat_parser *p, struct chat_node **out);      /* all but "a if b else c" */
MUST_CHECK bool chat_parse_expression(struct chat_parser *p, struct chat_node **out);
/* "| f(x) | g" from the current token on; `inline_first`: the first has no bar. *out: innermost a is *in. */
MUST_CHECK bool chat_parse_filters(struct chat_parser *p, struct chat_node *in, bool inline_first,
                                   struct chat_node **out);
MUST_CHECK bool chat_parse_target(struct chat_parser *p, unsigned how, struct chat_node **out);

#endif
