/* Looks for a pattern in a text, in bounded time. The one door to PCRE2. */
#ifndef ENGINE_PRETOKENIZER_MATCH_H
#define ENGINE_PRETOKENIZER_MATCH_H

#include "core/bytes.h"
#include "core/error.h"

/* A compiled pattern; never changes, any number of threads may use it. */
struct matcher;

/* A regular expression (pretokenizer_pattern.h says which), or else a plain text. */
MUST_CHECK bool matcher_open(struct matcher **out, const char *pattern, bool is_regex, struct error *err);
/* The same in Rust's dialect. */
MUST_CHECK bool matcher_open_rust(struct matcher **out, const char *pattern, struct error *err);
void matcher_close(struct matcher *m); /* NULL is fine */

/* What one call of the tokenizer needs, for any number of patterns. Time is in proportion to `text_size`, the bytes of
 * all texts it will look through: when the patterns take more, match_next is ERR_UNSUPPORTED. */
struct match_run;
MUST_CHECK bool match_run_open(struct match_run **out, size_t text_size, struct error *err);
void match_run_close(struct match_run *r);

struct span {
    size_t start, end;
};
/* The first match that begins at `at` or later in valid UTF-8; found->start is SIZE_MAX when there is none. */
MUST_CHECK bool match_next(struct match_run *r, const struct matcher *m, struct bytes text, size_t at,
                           struct span *found, struct error *err);

#endif
