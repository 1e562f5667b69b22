/* Regular expressions as the reference's engine reads them, rewritten for PCRE2: Oniguruma (Hugging Face) or Rust's
 * fancy-regex (tiktoken, tekken). Only what is known to mean the same there is let through: anything else is
 * ERR_UNSUPPORTED.
 *
 * Literals, `.` `^` `$` (of lines; in Rust's dialect of the text), classes, also [..&&[..]], \s \S \d \D \w \p{..}
 * \P{..}, \r \n \t \f \xHH, groups (plain, (?:),
 * (?i:)), look-around, (?>), alternation, quantifiers (greedy, lazy, possessive) with at most PATTERN_REPEAT_MAX
 * repetitions. */
#ifndef ENGINE_PRETOKENIZER_PATTERN_H
#define ENGINE_PRETOKENIZER_PATTERN_H

#include "core/bytes.h"
#include "core/error.h"
#include "core/text.h"

/* The longest in use has about 600. */
#define PATTERN_BYTES_MAX 2048u
#define PATTERN_REPEAT_MAX 1000u
#define PATTERN_DEPTH_MAX 32u

enum pattern_dialect { PATTERN_ONIGURUMA, PATTERN_RUST };
/* counted: everything that is repeated becomes a group, so that PCRE2 counts every repetition against its match limit;
 * it does not count what a single repeated character or class runs over. */
MUST_CHECK bool pattern_rewrite(const char *pattern, enum pattern_dialect dialect, bool counted, struct text *out,
                                struct error *err);
/* A pattern that matches just this text. */
void pattern_literal(struct bytes text, struct text *out);

#endif
