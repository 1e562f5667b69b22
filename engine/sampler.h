/* Which token comes next: the likeliest, or one drawn from the distribution that the usual settings leave of the
 * logits.
 *
 * Settings apply in the order of the reference implementation (transformers' logits processors): repetition penalty,
 * temperature, the top_k likeliest, the smallest set whose probability reaches top_p, everything at least min_p times
 * the likeliest. Draws are ours: draw number n of a seed is the same on every machine (SplitMix64, Steele et al. 2014;
 * probabilities by backends/cpu/math.h). */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H

#include "backends/cpu/math.h"
#include "core/cleanup.h"
#include "core/error.h"

struct sampler_config {
    double temperature;        /* 0: the likeliest token, whatever the rest says */
    double top_p, min_p;       /* 1 and 0: off */
    double repetition_penalty; /* 1: off; above: tokens that were there become less likely */
    uint32_t top_k;            /* 0: off */
    uint64_t seed;
};
#define SAMPLER_GREEDY ((struct sampler_config){.top_p = 1, .repetition_penalty = 1})

struct sampler;
/* ERR_USAGE naming the setting that is out of its range. `math` gives exp and sums. */
MUST_CHECK bool sampler_open(struct sampler **out, const struct sampler_config *config, const struct math_ops *math,
                             uint64_t vocab, struct error *err);
void sampler_close(struct sampler *s); /* NULL is fine */
CLEANUP_DEFINE(sampler, struct sampler, sampler_close)

/* logits: [vocab], unchanged. seen: tokens so far, prompt included, for the penalty. Of equal logits the lower id comes
 * first. */
uint32_t sampler_next(struct sampler *s, const float *logits, const uint32_t *seen, size_t n_seen);

/* What the last draw chose from: candidates from the likeliest on, with probabilities. For tests. */
uint32_t sampler_candidates(const struct sampler *s, const uint32_t **ids, const float **probabilities);

#endif
