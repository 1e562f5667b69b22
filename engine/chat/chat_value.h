/* The values of a template: Python's, as far as templates meet them. A value is a word or a pointer; everything it
 * points at lives in the arena of the run (or in the JSON that the run was given) and never changes, but for
 * namespaces, iterators and loops. Strings are UTF-8 that may hold NUL bytes; they are not terminated. */
#ifndef ENGINE_CHAT_VALUE_H
#define ENGINE_CHAT_VALUE_H

#include "core/bytes.h"
#include "core/error.h"

enum chat_kind {
    CHAT_ABSENT, /* an argument that was not given; never a value that a template sees */
    CHAT_UNDEFINED,
    CHAT_NONE,
    CHAT_BOOL,
    CHAT_INT,
    CHAT_FLOAT,
    CHAT_STRING,
    CHAT_LIST,
    CHAT_TUPLE,
    CHAT_RANGE,
    CHAT_VIEW,     /* dict.keys(), .values(), .items() */
    CHAT_ITERATOR, /* what map, select and their like return: can be walked once */
    CHAT_DICT,
    CHAT_NAMESPACE,
    CHAT_LOOP,
    CHAT_MACRO,
    CHAT_FUNCTION,
    CHAT_METHOD,
    CHAT_KIND_COUNT
};

struct chat_value {
    uint8_t kind;  /* enum chat_kind */
    bool safe;     /* of a string: marked as HTML that needs no escaping; of an undefined value: access was refused */
    uint32_t size; /* of a string: bytes; of an undefined value: the kind of what has no such attribute, or 0 */
    union {
        bool truth;
        int64_t integer;
        double real;
        const char *text; /* of an undefined value: the name that was not there, terminated, or NULL */
        struct chat_seq *seq;
        struct chat_iterator *iterator;
        struct chat_dict *dict; /* also of a namespace */
        struct chat_loop *loop;
        const struct chat_macro *macro;
        const struct chat_callable *function;
        const struct chat_method *method;
    };
};

struct chat_seq {
    struct chat_value *items;
    size_t n;
    int64_t start, stop, step; /* of a range */
    const char *view;          /* "dict_keys" ... */
};

struct chat_iterator {
    struct chat_value *items;
    size_t n, at;
    const struct error *failure; /* what walking beyond the items runs into, or NULL */
};

struct chat_pair {
    struct chat_value key, value;
};

struct chat_dict {
    struct chat_pair *pairs; /* in order of insertion */
    uint32_t n, capacity;
    uint32_t *slots; /* of large ones: hash table of positions + 1; NULL otherwise */
    uint32_t n_slots;
};

struct chat_method {
    struct chat_value self;
    const struct chat_callable *callable;
};

static inline struct chat_value chat_of(enum chat_kind kind)
{
    return (struct chat_value){.kind = (uint8_t)kind};
}

static inline struct chat_value chat_bool(bool truth)
{
    return (struct chat_value){.kind = CHAT_BOOL, .truth = truth};
}

static inline struct chat_value chat_int(int64_t i)
{
    return (struct chat_value){.kind = CHAT_INT, .integer = i};
}

static inline struct chat_value chat_real(double f)
{
    return (struct chat_value){.kind = CHAT_FLOAT, .real = f};
}

/* Borrows the text. */
static inline struct chat_value chat_string(const char *text, size_t size)
{
    return (struct chat_value){.kind = CHAT_STRING, .size = (uint32_t)size, .text = text};
}

static inline struct chat_value chat_words(const char *text)
{
    return chat_string(text, strlen(text));
}

static inline struct bytes chat_bytes(struct chat_value s)
{
    return bytes_of(s.text, s.size);
}

static inline struct chat_value chat_undefined(const char *name)
{
    return (struct chat_value){.kind = CHAT_UNDEFINED, .text = name};
}

static inline bool chat_is_number(struct chat_value v)
{
    return v.kind == CHAT_BOOL || v.kind == CHAT_INT || v.kind == CHAT_FLOAT;
}

static inline bool chat_is_integer(struct chat_value v)
{
    return v.kind == CHAT_BOOL || v.kind == CHAT_INT;
}

/* Of CHAT_BOOL and CHAT_INT. */
static inline int64_t chat_integer(struct chat_value v)
{
    return v.kind == CHAT_BOOL ? v.truth : v.integer;
}

/* Of the three kinds of numbers. */
static inline double chat_number(struct chat_value v)
{
    return v.kind == CHAT_FLOAT ? v.real : (double)chat_integer(v);
}

static inline bool chat_is_seq(struct chat_value v)
{
    return v.kind >= CHAT_LIST && v.kind <= CHAT_VIEW;
}

static inline bool chat_text_is(struct chat_value v, const char *text)
{
    return v.kind == CHAT_STRING && v.size == strlen(text) && memcmp(v.text, text, v.size) == 0;
}

/* "a string", "an integer" ...: for sentences. */
const char *chat_kind_name(struct chat_value v);
bool chat_truth(struct chat_value v);

#endif
