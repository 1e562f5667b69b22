/* One rendering: its memory, its bounds, and where it stands. Every function that takes the run may hit a bound or a
 * mistake of the template; then it returns false, and run->err says in one sentence which template, which line, what.
 *
 * Bounds: a template comes with the model, from a stranger. Each is far above what published templates need for the
 * longest conversations, and all are counts, so that the same input gives the same answer on every machine. */
#ifndef ENGINE_CHAT_RUN_H
#define ENGINE_CHAT_RUN_H

#include "core/arena.h"
#include "engine/chat/chat_value.h"

#include <time.h>

#define CHAT_STEPS_MAX ((uint64_t)1 << 25)  /* evaluations, and every 16 bytes or items that one of them walks over */
#define CHAT_MEMORY_MAX ((size_t)256 << 20) /* bytes of values that the template makes */
#define CHAT_TEXT_MAX ((size_t)64 << 20)    /* bytes of one text, the rendered one among them */
#define CHAT_DEPTH_MAX 1000u                /* evaluations within one another; Python's own limit of calls */
#define CHAT_RANGE_MAX 100000               /* items of a range(), as in Jinja's sandbox */

struct chat_scope;
struct chat_loop;
struct chat_names;

/* A text that grows in the arena of its run. */
struct chat_text {
    char *data;
    size_t size, capacity;
};

struct chat_run {
    const char *what; /* the template, in errors */
    struct arena *arena;
    struct chat_names *names; /* of the template */
    struct error *err;
    struct tm now;
    size_t used_bytes;
    uint64_t steps;
    uint32_t depth, line;
    uint32_t macros; /* made so far: each holds on to the scope it was made in */
    bool bounded;    /* the error is a bound: it ends the run also where the mistake of a lazy filter would wait */
    struct chat_scope *scope;
    struct chat_text *out;
    struct chat_text *grown; /* the text that the last concatenation made: the next one may go on in place */
};

/* All return false. chat_fail: the template or its input is wrong. chat_beyond: right, but not something done here. */
bool chat_fail(struct chat_run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool chat_beyond(struct chat_run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* An operation met an undefined value. */
bool chat_fail_undefined(struct chat_run *r, struct chat_value v);

/* n * size zeroed bytes, or NULL and an error. */
void *chat_alloc(struct chat_run *r, size_t n, size_t size);
/* Counts work: `items` bytes or items that are walked over. */
MUST_CHECK bool chat_charge(struct chat_run *r, size_t items);
/* Around every evaluation that can hold another. */
MUST_CHECK bool chat_enter(struct chat_run *r);
static inline void chat_leave(struct chat_run *r)
{
    r->depth--;
}

/* Whether n more bytes are within CHAT_TEXT_MAX: to ask before many small ones are put. */
MUST_CHECK bool chat_room(struct chat_run *r, const struct chat_text *t, uint64_t n);
MUST_CHECK bool chat_put(struct chat_run *r, struct chat_text *t, const void *data, size_t n);
MUST_CHECK bool chat_put_words(struct chat_run *r, struct chat_text *t, const char *words);
MUST_CHECK bool chat_put_char(struct chat_run *r, struct chat_text *t, uint32_t c);
MUST_CHECK bool chat_put_format(struct chat_run *r, struct chat_text *t, const char *fmt, ...) PRINTF_LIKE(3, 4);
static inline struct chat_value chat_text_value(const struct chat_text *t)
{
    return chat_string(t->data ? t->data : "", t->size);
}

/* A sequence of this kind with room for n zeroed items; out->seq->n is n. */
MUST_CHECK bool chat_seq_make(struct chat_run *r, enum chat_kind kind, size_t n, struct chat_value *out);
/* An iterator over items that live in the arena. */
MUST_CHECK bool chat_iterator_make(struct chat_run *r, struct chat_value *items, size_t n, struct chat_value *out);
/* A growing list of values in the arena. */
struct chat_list {
    struct chat_value *items;
    size_t n, capacity;
};
MUST_CHECK bool chat_list_add(struct chat_run *r, struct chat_list *l, struct chat_value v);
MUST_CHECK bool chat_list_take(struct chat_run *r, const struct chat_list *l, enum chat_kind kind,
                               struct chat_value *out);

#endif
