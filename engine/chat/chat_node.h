/* A parsed template: a tree whose nodes live in the template's arena and never change. Names are interned: two equal
 * ones are one pointer. */
#ifndef ENGINE_CHAT_NODE_H
#define ENGINE_CHAT_NODE_H

#include "core/arena.h"
#include "engine/chat/chat_value.h"

enum chat_node_kind {
    /* Expressions. List: `a` is the first of a chain by `next`. */
    NODE_CONSTANT, /* value */
    NODE_NAME,     /* name */
    NODE_LIST,
    NODE_TUPLE,
    NODE_DICT,      /* a: key, value, key, value ... */
    NODE_ATTRIBUTE, /* a.name */
    NODE_ITEM,      /* a[b]; b may be NODE_SLICE */
    NODE_SLICE,     /* a:b:c, each may be NULL */
    NODE_CALL,      /* a(args) */
    NODE_FILTER,    /* a | callable(args); a is NULL in blocks: their text */
    NODE_TEST,      /* a is callable(args) */
    NODE_NEGATE,
    NODE_PLUS,
    NODE_NOT,
    NODE_BINARY,  /* a op b */
    NODE_CONCAT,  /* list */
    NODE_COMPARE, /* a, then a chain in b: op, its operand in a */
    NODE_AND,
    NODE_OR,
    NODE_CHOICE, /* b if a else c; c may be NULL */
    /* Arguments of calls, in args. */
    NODE_ARGUMENT,     /* a */
    NODE_NAMED,        /* name = a */
    NODE_SPREAD,       /* *a */
    NODE_SPREAD_NAMED, /* **a */
    /* Targets of assignments: NODE_NAME, NODE_TUPLE of them, and */
    NODE_MEMBER, /* name.b, b a NODE_NAME: of a namespace */
    /* Statements. body, other: chains. */
    NODE_TEXT,         /* value */
    NODE_PRINT,        /* a */
    NODE_FOR,          /* target a in b if c: body, else other; name: "loop" */
    NODE_IF,           /* a: body, else other */
    NODE_SET,          /* a = b */
    NODE_SET_BLOCK,    /* a = body through the filters b, which may be NULL */
    NODE_MACRO,        /* name, parameters in args (name, default in a or NULL), body; op: CHAT_USES_* */
    NODE_CALL_BLOCK,   /* a (a NODE_CALL) with the macro `caller` of args and body */
    NODE_FILTER_BLOCK, /* body through b */
    NODE_WITH,         /* args: targets in a, values in b; body */
    NODE_SCOPE,        /* body, whose assignments stay inside: generation */
    NODE_BREAK,
    NODE_CONTINUE,
};

/* Words for NODE_COMPARE beside the operators of the lexer. */
enum { OP_IN = 1, OP_NOT_IN = 2 };

/* Names that mean something in the body of a macro. */
enum { CHAT_USES_CALLER = 1, CHAT_USES_VARARGS = 2, CHAT_USES_KWARGS = 4 };

struct chat_node {
    uint8_t kind;
    unsigned op;
    uint32_t line;
    const char *name;
    struct chat_node *next, *a, *b, *c, *args, *body, *other;
    const struct chat_callable *callable;
    struct chat_value value;
};

struct chat_macro {
    const struct chat_node *node; /* NODE_MACRO or NODE_CALL_BLOCK */
    struct chat_scope *scope;     /* where it was defined */
};

/* Interned names of a template. */
struct chat_names {
    const char **slots;
    uint32_t n, n_slots; /* a power of two */
};
/* The pointer of a name, which is added when `arena` is given; NULL when it is not there or memory is short. */
const char *chat_intern(struct chat_names *names, struct arena *arena, const char *name, size_t n);

#endif
