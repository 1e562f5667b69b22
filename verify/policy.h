/* What a verification asks for: texts to compare on, and how far the models may be apart. A YAML file; the built-in one
 * (verify/policy_default.yaml, inside the program) serves when none is given. */
#ifndef VERIFY_POLICY_H
#define VERIFY_POLICY_H

#include "core/json.h"

struct policy {
    const char *name;    /* path, or "built in" */
    char *data;          /* path of the texts, resolved against the policy's folder; NULL: texts[] */
    const char **texts;  /* built-in texts, borrowed from json; NULL-terminated; NULL when there are none */
    uint32_t max_tokens; /* per text, the beginning-of-text token included */
    double kl_mean_at_most, top1_at_least, perplexity_ratio_at_most;
    double cosine_at_least, score_difference_at_most; /* of every text: embedders, rerankers */
    double layer_sqnr_at_least_db;                    /* of every layer; -inf: not asked */
    json_t *json;
};

/* `path` NULL: the built-in policy. */
MUST_CHECK bool policy_load(struct policy *out, const char *path, struct error *err);
void policy_close(struct policy *p);

static inline void cleanup_policy(struct policy *p)
{
    policy_close(p);
}

#endif
