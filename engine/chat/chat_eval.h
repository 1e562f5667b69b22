/* Walking the tree. */
#ifndef ENGINE_CHAT_EVAL_H
#define ENGINE_CHAT_EVAL_H

#include "engine/chat/chat_call.h"

struct chat_variable {
    const char *name; /* interned */
    struct chat_value value;
};

/* Where `set` writes: the template itself, each turn of a loop, a macro, a block with a text of its own. */
struct chat_scope {
    struct chat_scope *parent;
    struct chat_variable *variables;
    uint32_t n, capacity;
};

struct chat_scope *chat_scope_new(struct chat_run *r, struct chat_scope *parent); /* NULL and an error */
MUST_CHECK bool chat_scope_set(struct chat_run *r, struct chat_scope *s, const char *name, struct chat_value v);
/* Assigns to a target: a name, a tuple of targets, a member of a namespace. */
MUST_CHECK bool chat_assign(struct chat_run *r, const struct chat_node *target, struct chat_value v);

MUST_CHECK bool chat_eval(struct chat_run *r, const struct chat_node *n, struct chat_value *out);
/* The arguments of a call, in the arena. */
MUST_CHECK bool chat_eval_arguments(struct chat_run *r, const struct chat_node *first, struct chat_call *out);

enum chat_flow { CHAT_GO_ON, CHAT_BREAK, CHAT_CONTINUE };
/* A chain of statements into r->out. */
MUST_CHECK bool chat_exec(struct chat_run *r, const struct chat_node *first, enum chat_flow *flow);
/* A chain of statements in a scope of its own, as a text. */
MUST_CHECK bool chat_exec_text(struct chat_run *r, const struct chat_node *first, struct chat_scope *scope,
                               struct chat_value *out);

#endif
