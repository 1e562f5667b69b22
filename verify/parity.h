/* Runs the original and the quantized model side by side over the same texts and says how far apart they are, and in
 * which layer the difference is born. The quantized model is evaluated as an engine would: weights from its own bytes,
 * activations and caches quantized as the checkpoint declares. fp32 compute. */
#ifndef VERIFY_PARITY_H
#define VERIFY_PARITY_H

#include "core/json.h"
#include "engine/corpus.h"
#include "engine/engine.h"

struct parity_options {
    struct pool *pool;
    uint64_t isa;
    const char *spill_dir; /* or NULL */
};

/* A mean over tokens with the half width of its 95 % interval; tokens of one text are not independent, so the spread is
 * taken between texts (0 with a single text, where it cannot be told). */
struct parity_mean {
    double mean, half_width;
};

struct parity {
    uint64_t n_texts, n_tokens;
    struct parity_mean kl; /* KL(original || quantized), nats per token */
    double kl_p99, kl_max;
    struct parity_mean top1;            /* share of tokens where both rank the same token first */
    double ppl_original, ppl_quantized; /* perplexity of the next token; NaN when every text has one token */
    double logit_sqnr_db;               /* +inf: identical */
    /* Of encoders, in place of everything that logits say. */
    enum model_output output;
    double cosine_mean, cosine_least;                   /* of the two embeddings of a text */
    double score_difference_mean, score_difference_max; /* of all labels of all texts, without sign */
    double *layer_sqnr_db;                              /* [n_layers] of the residual stream behind each block */
    uint32_t n_layers;
};

MUST_CHECK bool parity_run(struct parity *out, const struct inventory *original, const struct inventory *quantized,
                           const struct corpus *corpus, const struct parity_options *opt, const struct progress *pr,
                           struct error *err);
void parity_free(struct parity *p);
/* For report.json; new reference. Figures have ten significant digits. */
MUST_CHECK bool parity_json(const struct parity *p, const struct corpus *corpus, json_t **out, struct error *err);

#endif
