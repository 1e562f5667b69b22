#include "engine/route.h"

#include <math.h>

/* Marks the best `keep` of n values (a group's score, an expert's choice) by setting the others to -inf. */
static void keep_best_groups(const struct moe_config *m, float *choice)
{
    uint32_t per_group = m->n_experts / m->n_groups;
    for (uint32_t kept = m->n_groups; kept > m->top_k_groups; kept--) {
        /* Drop the worst group still in: of equal scores the higher number goes. */
        float worst = INFINITY;
        uint32_t which = 0;
        for (uint32_t g = 0; g < m->n_groups; g++) {
            const float *c = choice + g * per_group;
            if (isinf(c[0]) && c[0] < 0) continue;
            float best = -INFINITY, second = -INFINITY; /* a group is scored by the sum of its best two */
            for (uint32_t i = 0; i < per_group; i++) {
                if (c[i] > best) {
                    second = best;
                    best = c[i];
                } else if (c[i] > second) {
                    second = c[i];
                }
            }
            if (best + second <= worst) {
                worst = best + second;
                which = g;
            }
        }
        for (uint32_t i = 0; i < per_group; i++) choice[which * per_group + i] = -INFINITY;
    }
}

static void sort_ascending(uint32_t *v, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = i; k > 0 && v[k - 1] > v[k]; k--) {
            uint32_t t = v[k];
            v[k] = v[k - 1];
            v[k - 1] = t;
        }
}

/* In place; k is small. */
static void softmax_chosen(const struct math_ops *math, float *w, uint32_t k)
{
    float top = math->max(w, k);
    for (uint32_t i = 0; i < k; i++) w[i] -= top;
    math->exp(w, w, k);
    math->scale(w, w, 1.0f / math->sum(w, k), k);
}

void route_token(const struct moe_config *m, const struct math_ops *math, const float *scores, const float *bias,
                 float *scratch, uint32_t *experts, float *weights)
{
    for (uint32_t e = 0; e < m->n_experts; e++) scratch[e] = bias ? scores[e] + bias[e] : scores[e];
    if (m->n_groups > 1) keep_best_groups(m, scratch);
    for (uint32_t k = 0; k < m->top_k; k++) {
        uint32_t best = 0;
        for (uint32_t e = 1; e < m->n_experts; e++)
            if (scratch[e] > scratch[best]) best = e;
        experts[k] = best;
        scratch[best] = -INFINITY;
    }
    sort_ascending(experts, m->top_k);
    for (uint32_t k = 0; k < m->top_k; k++) weights[k] = scores[experts[k]];
    if (m->route == ROUTE_TOP_K_SOFTMAX) softmax_chosen(math, weights, m->top_k);
    float sum = 0;
    for (uint32_t k = 0; k < m->top_k; k++) sum += weights[k];
    for (uint32_t k = 0; k < m->top_k; k++) {
        float w = weights[k];
        if (m->normalize) w = w / (sum + 1e-20f);
        weights[k] = w * (float)m->scale;
    }
}
