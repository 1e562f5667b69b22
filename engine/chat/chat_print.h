/* Values as text: str(), repr(), JSON; and JSON as values. */
#ifndef ENGINE_CHAT_PRINT_H
#define ENGINE_CHAT_PRINT_H

#include "core/json.h"
#include "engine/chat/chat_run.h"

MUST_CHECK bool chat_put_str(struct chat_run *r, struct chat_text *t, struct chat_value v);
MUST_CHECK bool chat_put_repr(struct chat_run *r, struct chat_text *t, struct chat_value v);
/* The value itself when it is a string. */
MUST_CHECK bool chat_str(struct chat_run *r, struct chat_value v, struct chat_value *out);
#define CHAT_REAL_TEXT 64
/* Python's repr(float): the shortest text that reads as the same number. */
void chat_real_text(double f, char out[CHAT_REAL_TEXT]);

/* As Python's json.dumps writes it; separators NULL: its own defaults. */
struct chat_json {
    bool ascii, sort_keys, indented;
    struct bytes indent, item_separator, key_separator;
};
MUST_CHECK bool chat_put_json(struct chat_run *r, struct chat_text *t, struct chat_value v,
                              const struct chat_json *how);

/* Borrows the strings of `json`, which must outlive the run. */
MUST_CHECK bool chat_from_json(struct chat_run *r, const json_t *json, struct chat_value *out);

#endif
