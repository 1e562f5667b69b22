/* A pattern on its way from Oniguruma's spelling to PCRE2's; for the files of the rewriting. */
#ifndef ENGINE_PRETOKENIZER_REWRITE_H
#define ENGINE_PRETOKENIZER_REWRITE_H

#include "engine/pretokenizer_pattern.h"

#define CHAR_NONE UINT32_MAX

struct rewrite {
    const uint8_t *start, *p, *end;
    struct text *out;
    struct error *err;
    size_t item; /* where the last thing that can be repeated begins in `out`; SIZE_MAX: there is none */
    bool item_is_group, counted;
    bool fold[PATTERN_DEPTH_MAX + 1];    /* case counts for nothing, by depth of groups */
    size_t group[PATTERN_DEPTH_MAX + 1]; /* where they begin in `out`; SIZE_MAX: look-around, which is not repeated */
    uint32_t depth, classes;             /* groups, and intersections of classes, that are open */
    enum pattern_dialect dialect;
    uint32_t last_letter; /* the literal letter just before, in a group where case counts for nothing */
};

/* All of these fail with ERR_UNSUPPORTED in r->err. */
bool rewrite_refuse(struct rewrite *r, const char *what); /* "WHAT at byte N of the pattern is not supported" */
/* r->p is behind a backslash: a character (*c), or a set that is written out at once (*c is CHAR_NONE), in a class or,
 * with brackets, outside. */
MUST_CHECK bool rewrite_escape(struct rewrite *r, bool in_class, uint32_t *c);
/* r->p is at a '['. */
MUST_CHECK bool rewrite_class(struct rewrite *r);

bool rewrite_next_is(const struct rewrite *r, const char *text);
void rewrite_put_char(struct text *out, uint32_t c);
bool rewrite_is_alnum(uint32_t c);

#endif
