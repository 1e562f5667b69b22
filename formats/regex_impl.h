/* The program that formats/regex.c makes of a pattern and formats/regex_match.c runs. */
#ifndef FORMATS_REGEX_IMPL_H
#define FORMATS_REGEX_IMPL_H

#include "formats/regex.h"

/* Jumps are relative, so that a piece of program can be moved and repeated as it is. */
enum regex_op {
    REGEX_CHAR,  /* a: the letter */
    REGEX_ANY,   /* all but a newline */
    REGEX_SET,   /* a: of sets */
    REGEX_SPLIT, /* goes on at +a and at +b */
    REGEX_JUMP,  /* goes on at +a */
    REGEX_AT,    /* a: enum regex_place */
    REGEX_LOOK,  /* a: of looks */
    REGEX_ACCEPT
};

enum regex_place { REGEX_BEGIN, REGEX_END, REGEX_END_OR_NEWLINE, REGEX_BOUNDARY, REGEX_NO_BOUNDARY };

struct regex_step {
    enum regex_op op;
    int32_t a, b;
};

struct regex_set {
    uint64_t ascii[2]; /* one bit each */
    bool others;       /* letters beyond ASCII */
};

struct regex_program {
    struct regex_step *steps;
    uint32_t n;
};

struct regex_look {
    struct regex_program body;
    bool behind, negative;
    uint32_t width; /* letters, when it looks behind */
};

struct regex {
    struct regex_program main;
    struct regex_set *sets;
    uint32_t n_sets;
    struct regex_look looks[REGEX_LOOKS_MAX]; /* those inside of another come before it */
    uint32_t n_looks;
};

static inline bool regex_is_word(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

#define REGEX_BAD "it is no regular expression"
#define REGEX_REFERENCES "references to groups are not read here"

/* formats/regex_set.c. Each that fails sets *why. `[...]` from its "[" on; *at goes behind it. */
bool regex_set_read(const char **at, struct regex_set *out, const char **why);
/* Joins what `\d`, `\W` and the like stand for; false: the letter names no class. */
bool regex_set_class(struct regex_set *s, char letter);
/* The letter that an escaped one stands for; 0: it stands for none. */
uint32_t regex_escaped_letter(char c, const char **why);

/* The letter at p, and behind it: UTF-8, where anything else is a letter by itself. */
uint32_t regex_letter(const char *p, const char **next);

#endif
