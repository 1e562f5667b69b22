/* The loop of a for statement, also as the value `loop`. */
#ifndef ENGINE_CHAT_LOOP_H
#define ENGINE_CHAT_LOOP_H

#include "engine/chat/chat_eval.h"

struct chat_loop {
    const struct chat_node *node;
    struct chat_scope *outer, *tested; /* tested: where the condition is evaluated */
    struct chat_value *source;         /* what is walked over */
    size_t n_source, at_source;
    struct chat_iterator *iterator; /* or this */
    struct chat_list kept;          /* what passed the condition so far */
    size_t index0, depth;
    struct chat_value changed; /* the last arguments of changed(), a tuple */
};

MUST_CHECK bool chat_loop_open(struct chat_run *r, const struct chat_node *node, struct chat_loop **out);
/* Item number `index`, if there are so many: the condition of later ones is asked only when they are looked at. */
MUST_CHECK bool chat_loop_at(struct chat_run *r, struct chat_loop *l, size_t index, struct chat_value *item,
                             bool *found);
/* loop.index and its kin; *known: false when there is no such attribute. */
MUST_CHECK bool chat_loop_attribute(struct chat_run *r, struct chat_loop *l, const char *name, struct chat_value *out,
                                    bool *known);

#endif
