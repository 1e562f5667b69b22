#include "engine/sampler.h"

#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sampler {
    struct sampler_config config;
    const struct math_ops *math;
    uint64_t vocab, n_drawn;
    uint32_t *ids; /* [vocab] candidates, from the likeliest on */
    float *p;      /* [vocab] their logits, then probabilities */
    float *work;   /* [vocab] logits by id after the penalty */
    uint8_t *seen; /* [vocab] */
    uint32_t n;    /* candidates */
};

static bool check(const struct sampler_config *c, struct error *err)
{
    if (!(c->temperature >= 0 && isfinite(c->temperature)))
        return error_set(err, ERR_USAGE, "temperature %g: expected a number from 0", c->temperature);
    if (!(c->top_p > 0 && c->top_p <= 1))
        return error_set(err, ERR_USAGE, "top-p %g: expected a number above 0 and up to 1", c->top_p);
    if (!(c->min_p >= 0 && c->min_p <= 1))
        return error_set(err, ERR_USAGE, "min-p %g: expected a number from 0 to 1", c->min_p);
    if (!(c->repetition_penalty > 0 && isfinite(c->repetition_penalty)))
        return error_set(err, ERR_USAGE, "repetition penalty %g: expected a positive number", c->repetition_penalty);
    return true;
}

bool sampler_open(struct sampler **out, const struct sampler_config *config, const struct math_ops *math,
                  uint64_t vocab, struct error *err)
{
    *out = NULL;
    if (!check(config, err)) return false;
    struct sampler *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    *s = (struct sampler){.config = *config, .math = math, .vocab = vocab};
    if (!memory_alloc(&s->ids, vocab, sizeof *s->ids, err) || !memory_alloc(&s->p, vocab, sizeof *s->p, err) ||
        !memory_alloc(&s->work, vocab, sizeof *s->work, err) || !memory_alloc(&s->seen, vocab, 1, err)) {
        sampler_close(s);
        return false;
    }
    *out = s;
    return true;
}

void sampler_close(struct sampler *s)
{
    if (!s) return;
    free(s->ids);
    free(s->p);
    free(s->work);
    free(s->seen);
    free(s);
}

static uint32_t likeliest(const float *logits, uint64_t vocab)
{
    uint64_t best = 0;
    for (uint64_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return (uint32_t)best;
}

/* Once per token that was there: positive logits are divided, negative ones multiplied. */
static void penalize(struct sampler *s, const uint32_t *seen, size_t n_seen)
{
    float penalty = (float)s->config.repetition_penalty;
    if (penalty == 1.0f) return;
    memset(s->seen, 0, s->vocab);
    for (size_t i = 0; i < n_seen; i++) {
        if (seen[i] >= s->vocab || s->seen[seen[i]]) continue;
        s->seen[seen[i]] = 1;
        float *x = &s->work[seen[i]];
        *x = *x < 0 ? *x * penalty : *x / penalty;
    }
}

static int likelier_first(const void *a, const void *b, void *work)
{
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    float x = ((const float *)work)[i], y = ((const float *)work)[k];
    return x > y ? -1 : x < y ? 1 : i < k ? -1 : i > k;
}

static void to_probabilities(struct sampler *s)
{
    float top = s->work[s->ids[0]];
    for (uint32_t i = 0; i < s->n; i++) s->p[i] = s->work[s->ids[i]] - top;
    s->math->exp(s->p, s->p, s->n);
    s->math->scale(s->p, s->p, 1.0f / s->math->sum(s->p, s->n), s->n);
}

/* The smallest set from the top that reaches top_p: a token goes when those before it reach it already. */
static void cut_top_p(struct sampler *s)
{
    if (s->config.top_p >= 1) return;
    double before = 0;
    uint32_t n = 0;
    for (; n < s->n && (n == 0 || before < s->config.top_p); n++) before += (double)s->p[n];
    s->n = n;
    to_probabilities(s);
}

static void cut_min_p(struct sampler *s)
{
    if (!(s->config.min_p > 0)) return;
    float least = (float)s->config.min_p * s->p[0];
    while (s->n > 1 && s->p[s->n - 1] < least) s->n--;
    to_probabilities(s);
}

/* 53 bits of SplitMix64's output number n, as a number in [0, 1). */
static double draw(uint64_t seed, uint64_t n)
{
    uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

uint32_t sampler_next(struct sampler *s, const float *logits, const uint32_t *seen, size_t n_seen)
{
    const struct sampler_config *c = &s->config;
    memcpy(s->work, logits, s->vocab * sizeof *logits);
    penalize(s, seen, n_seen);
    s->n = 1;
    s->p[0] = 1;
    s->ids[0] = likeliest(s->work, s->vocab);
    if (!(c->temperature > 0)) return s->ids[0];
    s->math->scale(s->work, s->work, (float)(1 / c->temperature), s->vocab);
    for (uint64_t i = 0; i < s->vocab; i++) s->ids[i] = (uint32_t)i;
    qsort_r(s->ids, s->vocab, sizeof *s->ids, likelier_first, s->work);
    s->n = (uint32_t)s->vocab;
    if (c->top_k && c->top_k < s->n) s->n = c->top_k;
    to_probabilities(s);
    cut_top_p(s);
    cut_min_p(s);
    double u = draw(c->seed, s->n_drawn++), sum = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        sum += (double)s->p[i];
        if (u < sum) return s->ids[i];
    }
    return s->ids[s->n - 1];
}

uint32_t sampler_candidates(const struct sampler *s, const uint32_t **ids, const float **probabilities)
{
    *ids = s->ids;
    *probabilities = s->p;
    return s->n;
}
