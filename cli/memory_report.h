/* What commands say of the memory of a forward pass: the forecast (engine/footprint.h) beside the process itself. */
#ifndef CLI_MEMORY_REPORT_H
#define CLI_MEMORY_REPORT_H

#include "cli/commands.h"
#include "engine/corpus.h"
#include "engine/footprint.h"
#include "models/inventory.h"

struct memory_report {
    uint64_t process;  /* bytes that are resident before the pass */
    uint64_t expected; /* at most during it */
};

/* Before a stream runs over the corpus, with logits at the end or without. */
MUST_CHECK bool memory_report_begin(struct memory_report *r, const struct inventory *inv,
                                    const struct engine_options *opt, const struct corpus *corpus,
                                    const char *spill_dir, bool with_logits, struct error *err);
/* After it: {"expected_bytes": ..., "peak_bytes": ...}, new reference or NULL; and the same as a line. */
json_t *memory_report_json(const struct memory_report *r);
void memory_report_print(const struct memory_report *r);

/* `plan`: what a pass over a corpus takes, what a session of n_tokens takes. Without a corpus (NULL) and tokens (0),
 * what any takes, and what each token adds. */
struct memory_question {
    const struct inventory *inventory;
    const struct engine_options *options;
    const struct corpus *corpus; /* or NULL */
    const char *spill_dir;       /* or NULL */
    uint64_t n_tokens;           /* of a session, or 0 */
    uint64_t text_tokens;        /* of a text, when there is no corpus */
};
MUST_CHECK bool memory_answer_json(const struct memory_question *q, json_t **out, struct error *err);
MUST_CHECK bool memory_answer_print(const struct memory_question *q, struct error *err);

#endif
