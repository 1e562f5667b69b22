/* The machine that formats/pickle.c and formats/pickle_ops.c share. */
#ifndef FORMATS_PICKLE_IMPL_H
#define FORMATS_PICKLE_IMPL_H

#include "formats/pickle.h"

struct pickle_machine {
    struct bytes text;
    size_t at, op_at; /* op_at: of the opcode that runs, for sentences */
    uint32_t where;
    const char *what;
    struct arena *arena;
    uint64_t memory;
    struct pickle_value **stack, **memo;
    uint32_t n_stack, stack_capacity, n_memo, memo_capacity;
    uint32_t *marks;
    uint32_t n_marks, marks_capacity;
    struct pickle_value *small[256]; /* one value per small number */
    struct pickle_value *storages;   /* the last one */
    struct error *err;
};

bool pickle_bad(struct pickle_machine *m, const char *why);
struct pickle_value *pickle_new(struct pickle_machine *m, enum pickle_kind kind); /* NULL: error is set */
bool pickle_push(struct pickle_machine *m, struct pickle_value *v);
/* Appends to a list, a dict or a tuple that is being made. */
bool pickle_append(struct pickle_machine *m, struct pickle_value *to, struct pickle_value *v);
/* A value with copies of n pointers. */
bool pickle_push_items(struct pickle_machine *m, enum pickle_kind kind, struct pickle_value **items, uint32_t n);

/* formats/pickle_ops.c: what objects are made of. They replace the top of the stack. */
bool pickle_global(struct pickle_machine *m, struct bytes module, struct bytes name);
bool pickle_reduce(struct pickle_machine *m); /* REDUCE and NEWOBJ */
bool pickle_build(struct pickle_machine *m);
bool pickle_persistent(struct pickle_machine *m);

#endif
