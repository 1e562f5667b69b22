/* What can be called: filters, tests, methods and functions, each one line in a list; and macros. */
#ifndef ENGINE_CHAT_CALL_H
#define ENGINE_CHAT_CALL_H

#include "engine/chat/chat_node.h"
#include "engine/chat/chat_run.h"

#define CHAT_PARAMETERS_MAX 6u

struct chat_call {
    const struct chat_value *args;
    size_t n;
    const struct chat_pair *named; /* keys are strings */
    size_t n_named;
};

struct chat_callable {
    const char *name;
    /* The names of its parameters, "a b | c d": c and d may be left out and are then CHAT_ABSENT. NULL: `all` is called
     * with the arguments as they stand. */
    const char *parameters;
    /* `self`: what is filtered or tested, or whose method it is. */
    bool (*run)(struct chat_run *r, struct chat_value self, const struct chat_value *args, struct chat_value *out);
    bool (*all)(struct chat_run *r, struct chat_value self, const struct chat_call *call, struct chat_value *out);
};

MUST_CHECK bool chat_callable_run(struct chat_run *r, const struct chat_callable *c, struct chat_value self,
                                  const struct chat_call *call, struct chat_value *out);
/* Macros, functions and methods; anything else is an error. */
MUST_CHECK bool chat_call_value(struct chat_run *r, struct chat_value callee, const struct chat_call *call,
                                struct chat_value *out);
MUST_CHECK bool chat_macro_run(struct chat_run *r, const struct chat_macro *m, const struct chat_call *call,
                               struct chat_value *out);

/* Getters of arguments: `what` is the callable's name in errors. An absent argument leaves *out as it is. */
MUST_CHECK bool chat_arg_int(struct chat_run *r, struct chat_value arg, const char *what, int64_t *out);
MUST_CHECK bool chat_arg_string(struct chat_run *r, struct chat_value arg, const char *what, struct bytes *out);

#endif
