/* The file that `ingot logits` writes: which tensors it holds, and how they come out of a run. */
#ifndef CLI_LOGITS_FILE_H
#define CLI_LOGITS_FILE_H

#include "engine/corpus.h"
#include "engine/engine.h"
#include "engine/mtp.h"

struct logits_what {
    bool hidden, states, router, mtp;
};
struct logits_file;

MUST_CHECK bool logits_file_open(struct logits_file **out, const char *path, const struct model_config *cfg,
                                 const struct corpus *corpus, struct logits_what what, struct error *err);
/* Pass to stream_block; write errors are kept for logits_file_failed, which returns false when there was one. */
struct observer logits_file_observer(struct logits_file *f);
MUST_CHECK bool logits_file_failed(const struct logits_file *f, struct error *err);
/* Before block b runs: the residual stream that enters it. */
MUST_CHECK bool logits_file_hidden(struct logits_file *f, struct stream *s, uint32_t b, struct error *err);
/* Behind the last block: logits, or what an encoder gives. */
MUST_CHECK bool logits_file_logits(struct logits_file *f, const struct engine *e, struct stream *s, struct error *err);
/* Behind the last block: every text through the multi-token-prediction head. */
MUST_CHECK bool logits_file_mtp(struct logits_file *f, struct stream *s, struct mtp *head, struct error *err);
MUST_CHECK bool logits_file_commit(struct logits_file *f, struct error *err); /* frees f */
void logits_file_abort(struct logits_file *f);                                /* frees f */

#endif
