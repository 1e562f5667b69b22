/* Perplexity of one model on texts: exp of the mean negative log likelihood of every token but each text's first. */
#ifndef VERIFY_EVAL_H
#define VERIFY_EVAL_H

#include "engine/corpus.h"
#include "engine/engine.h"

struct eval_result {
    uint64_t n_tokens, n_predicted;
    double nll_mean; /* nats per predicted token */
    double perplexity;
    double top1;    /* share of predicted tokens that were the likeliest */
    double seconds; /* of the forward pass, head included */
};

/* ERR_FORMAT when no token is predicted (every text is one token long) or a logit is not finite. */
MUST_CHECK bool eval_run(struct eval_result *out, struct engine *e, const struct corpus *corpus, const char *spill_dir,
                         struct pool *pool, const struct progress *pr, struct error *err);

#endif
