/* What filters and methods of strings share. Results are in the arena. */
#ifndef ENGINE_CHAT_STRINGS_H
#define ENGINE_CHAT_STRINGS_H

#include "engine/chat/chat_text.h"

/* str.replace; count < 0: all. */
MUST_CHECK bool chat_replace(struct chat_run *r, struct bytes text, struct bytes old, struct bytes now, int64_t count,
                             struct chat_value *out);
/* str.splitlines, into a list. */
MUST_CHECK bool chat_split_lines(struct chat_run *r, struct chat_value text, bool keep_ends, struct chat_list *out);
/* str.join of what chat_items gives; `as_text`: items that are no strings are printed, else they are an error. */
MUST_CHECK bool chat_join(struct chat_run *r, struct bytes separator, struct chat_value of, bool as_text,
                          struct chat_value *out);
/* One character large, the others small. */
MUST_CHECK bool chat_capitalize(struct chat_run *r, struct bytes text, struct chat_value *out);
/* Filled up with `fill` (one character) to `width` characters: to the left, to the right, or both ('<', '>', '^'). */
MUST_CHECK bool chat_pad(struct chat_run *r, struct bytes text, int64_t width, struct bytes fill, char where,
                         struct chat_value *out);
/* int(text, base) and float(text); false, without an error, when it is none. *huge: an integer beyond 64 bits. */
bool chat_parse_int(struct bytes text, int base, int64_t *out, bool *huge);
bool chat_parse_real(struct bytes text, double *out);

#endif
