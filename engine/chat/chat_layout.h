/* How one value is written in a formatted text: what "%-5.2f" and ":<5.2f" have in common. */
#ifndef ENGINE_CHAT_LAYOUT_H
#define ENGINE_CHAT_LAYOUT_H

#include "engine/chat/chat_run.h"

/* What a text is padded to at most. */
#define CHAT_WIDTH_MAX 10000

struct chat_layout {
    char fill[5], align, sign, type; /* align: '<', '>', '^', '=' (behind the sign), or 0 */
    bool alternate, grouped;
    int64_t width, precision; /* precision -1: none */
};

MUST_CHECK bool chat_put_number(struct chat_run *r, struct chat_text *t, struct chat_value v,
                                const struct chat_layout *l);
/* A string, cut at the precision. */
MUST_CHECK bool chat_put_words_as(struct chat_run *r, struct chat_text *t, struct chat_value v,
                                  const struct chat_layout *l, char align);

#endif
