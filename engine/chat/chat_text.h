/* Characters of strings as Python counts and names them. Texts are valid UTF-8. */
#ifndef ENGINE_CHAT_TEXT_H
#define ENGINE_CHAT_TEXT_H

#include "engine/chat/chat_run.h"

size_t chat_utf8(uint32_t c, char out[4]); /* bytes written */
size_t chat_length(struct bytes text);     /* characters */
/* The byte offset of character `at`, at most the size of the text. */
size_t chat_offset(struct bytes text, size_t at);
bool chat_is_space(uint32_t c); /* str.isspace */
/* What strip() leaves: white space, or the characters of `set`, gone from the left and the right. */
struct bytes chat_strip(struct bytes text, const struct bytes *set, bool left, bool right);
/* The offset of `part` in text[from ..], or SIZE_MAX; of the last one with `last`. */
size_t chat_find(struct bytes text, struct bytes part, size_t from, bool last);

enum chat_case { CHAT_UPPER, CHAT_LOWER, CHAT_TITLE };
/* Appends with Unicode's full mappings, final sigma included. */
MUST_CHECK bool chat_put_case_at(struct chat_run *r, struct chat_text *t, struct bytes text, size_t *at,
                                 enum chat_case to); /* one character, which *at moves behind */
MUST_CHECK bool chat_put_case(struct chat_run *r, struct chat_text *t, struct bytes text, enum chat_case to);

#endif
