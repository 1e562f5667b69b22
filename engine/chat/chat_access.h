/* Attributes, items, slices, and walking over values. */
#ifndef ENGINE_CHAT_ACCESS_H
#define ENGINE_CHAT_ACCESS_H

#include "engine/chat/chat_call.h"

/* x.name and x[key], as Jinja's sandbox has them: each tries the other too, what is not there is undefined, and what
 * would change a value is refused. */
MUST_CHECK bool chat_attribute(struct chat_run *r, struct chat_value of, const char *name, struct chat_value *out);
MUST_CHECK bool chat_item(struct chat_run *r, struct chat_value of, struct chat_value key, struct chat_value *out);
/* x[a:b:c]; CHAT_NONE: left out. */
MUST_CHECK bool chat_slice(struct chat_run *r, struct chat_value of, const struct chat_value bounds[3],
                           struct chat_value *out);
/* "a.b.0": what map(attribute=...) and its kin look up. A number is an item. */
MUST_CHECK bool chat_path(
    struct chat_run *r, struct chat_value of, struct chat_value path,
    struct chat_value otherwise /* what stands for a part that is not there; CHAT_NONE: nothing */,
    struct chat_value *out);

/* What a loop walks over; an iterator is used up. A value that cannot be walked over is an error. */
MUST_CHECK bool chat_items(struct chat_run *r, struct chat_value of, struct chat_value **items, size_t *n);
/* len(); false without an error when the value has none. */
bool chat_size(struct chat_value of, size_t *n);

/* The list of a kind's methods ends with a NULL name. A method with neither function is known and not supported. */
const struct chat_callable *chat_method_find(struct chat_value of, const char *name);
/* Names by which Python's lists and dictionaries are changed. */
bool chat_method_changes(struct chat_value of, const char *name);

#endif
