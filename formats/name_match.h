/* Matching module names against lists that a configuration holds: shell wildcards as Python's fnmatch has them, and
 * sets of texts of which one may begin a name or stand inside it. Both work in time that no choice of texts can spoil.
 */
#ifndef FORMATS_NAME_MATCH_H
#define FORMATS_NAME_MATCH_H

#include "core/error.h"

#include <stdint.h>

/* `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`; no escapes; an unclosed `[` stands for itself. Over bytes. */
bool glob_match(const char *pattern, const char *name);
/* True when the text has a wildcard in it. */
bool glob_is_pattern(const char *text);

/* Sorted, without those that begin with another of the set: where the longer one is found the shorter one is too. */
struct text_set {
    const char **texts;
    uint32_t n;
    uint8_t *starts;
};

/* Borrows the texts. An empty text is found in every name. */
MUST_CHECK bool text_set_build(struct text_set *out, const char *const *texts, uint32_t n, struct error *err);
void text_set_free(struct text_set *s);
/* The text of the set that `name` begins with, or NULL. */
const char *text_set_prefix(const struct text_set *s, const char *name);
/* The first text of the set that stands anywhere in `name`, or NULL. */
const char *text_set_inside(const struct text_set *s, const char *name);
/* The same from *place on, which moves behind the first letter of what was found: for finding all. */
const char *text_set_next(const struct text_set *s, const char **place);

/* Sorts texts by their bytes and drops those that are there twice; the new count. */
uint32_t texts_sort(const char **texts, uint32_t n);
/* The place of the first text >= `text`, of n sorted ones. */
uint32_t texts_lower_bound(const char *const *texts, uint32_t n, const char *text);

#endif
