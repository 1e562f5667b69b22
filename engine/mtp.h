/* The multi-token-prediction head: from what the trunk makes of token i and from token i + 1 it predicts token i + 2.
 * x = eh_proj([norm(embed(t)) ; norm(h)]), embedding first, h behind the trunk's final norm; then its own blocks, its
 * final norm, and an output head. Embedding and head are the trunk's or copies of its own, as the checkpoint has them.
 */
#ifndef ENGINE_MTP_H
#define ENGINE_MTP_H

#include "engine/engine.h"

#define MTP_ROWS_MAX 512u

struct mtp;
/* ERR_UNSUPPORTED when the model has no such head. `keep`: its weights stay in memory, for many small calls. */
MUST_CHECK bool mtp_open(struct mtp **out, struct engine *e, bool keep, struct error *err);
void mtp_close(struct mtp *m); /* NULL is fine */
CLEANUP_DEFINE(mtp, struct mtp, mtp_close)

/* Begins another text. */
void mtp_reset(struct mtp *m);
/* The next n (up to MTP_ROWS_MAX) tokens of the text: hidden [n, hidden] is what entered the trunk's head at each,
 * ids[i] the token after it. logits: [n_logits, vocab] of the last n_logits. after: [hidden], what entered this head at
 * the last; NULL: not wanted. */
MUST_CHECK bool mtp_feed(struct mtp *m, const float *hidden, const uint32_t *ids, uint32_t n, float *logits,
                         uint32_t n_logits, float *after, struct error *err);
/* Remembers where the text is, and goes back there. */
MUST_CHECK bool mtp_mark(struct mtp *m, struct error *err);
MUST_CHECK bool mtp_rewind(struct mtp *m, struct error *err);

#endif
