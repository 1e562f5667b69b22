/* ==, <, in, and dictionaries. */
#ifndef ENGINE_CHAT_COMPARE_H
#define ENGINE_CHAT_COMPARE_H

#include "engine/chat/chat_run.h"

MUST_CHECK bool chat_equal(struct chat_run *r, struct chat_value a, struct chat_value b, bool *out);
/* *order < 0, 0, > 0; values that Python does not order are an error. Numbers that are no numbers: *order is 2, which
 * is neither. */
MUST_CHECK bool chat_order(struct chat_run *r, struct chat_value a, struct chat_value b, int *order);
MUST_CHECK bool chat_contains(struct chat_run *r, struct chat_value in, struct chat_value item, bool *out);

/* A dictionary with room for n pairs; out->dict. */
MUST_CHECK bool chat_dict_make(struct chat_run *r, size_t n, struct chat_value *out);
/* *pair: NULL when the key is not there. A key that cannot be one (a list) is an error. */
MUST_CHECK bool chat_dict_find(struct chat_run *r, const struct chat_dict *d, struct chat_value key,
                               struct chat_pair **pair);
MUST_CHECK bool chat_dict_set(struct chat_run *r, struct chat_dict *d, struct chat_value key, struct chat_value value);
/* By a terminated name; NULL when it is not there. */
const struct chat_value *chat_dict_get(const struct chat_dict *d, const char *name);

/* Stable, as Python's sorted(): keys[i] belongs to items[i]. */
MUST_CHECK bool chat_sort(struct chat_run *r, struct chat_value *items, struct chat_value *keys, size_t n,
                          bool reverse);

#endif
