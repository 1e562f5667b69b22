/* Arithmetic of Python; integers have 64 bits, and going beyond them is an error, never a wrong number. */
#ifndef ENGINE_CHAT_MATH_H
#define ENGINE_CHAT_MATH_H

#include "engine/chat/chat_run.h"

/* op: as in chat_lexer.h. */
MUST_CHECK bool chat_binary(struct chat_run *r, unsigned op, struct chat_value a, struct chat_value b,
                            struct chat_value *out);
MUST_CHECK bool chat_negate(struct chat_run *r, struct chat_value v, bool plus, struct chat_value *out);
/* round(v, digits): to even. */
MUST_CHECK bool chat_round(struct chat_run *r, struct chat_value v, int64_t digits, struct chat_value *out);
/* "%s and %d" % args, args a tuple, a mapping or one value. */
MUST_CHECK bool chat_percent(struct chat_run *r, struct bytes format, struct chat_value args, struct chat_value *out);
/* "{} and {name[0]:>5}".format(...) */
struct chat_call;
MUST_CHECK bool chat_format(struct chat_run *r, struct bytes format, const struct chat_call *call,
                            struct chat_value *out);
/* Escapes & < > " ' for HTML. */
MUST_CHECK bool chat_escape(struct chat_run *r, struct chat_value v, struct chat_value *out);

#endif
