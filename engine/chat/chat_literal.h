/* Numbers and strings as a template spells them. */
#ifndef ENGINE_CHAT_LITERAL_H
#define ENGINE_CHAT_LITERAL_H

#include "core/arena.h"
#include "engine/chat/chat_value.h"

/* Both return the offset behind the literal that begins at text[at], or set *why. `behind_dot`: then it is no fraction,
 * so that a.0.1 are two indices. */
size_t chat_number_literal(const char *text, size_t size, size_t at, bool behind_dot, struct chat_value *out,
                           const char **why);
/* Escapes as in Python's strings; the result may be in the arena or in the text. */
size_t chat_string_literal(const char *text, size_t size, size_t at, struct arena *arena, struct chat_value *out,
                           const char **why);

#endif
