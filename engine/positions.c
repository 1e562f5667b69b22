#include "engine/positions.h"

#include <math.h>

struct rope_ctx {
    const struct engine *engine;
    const struct rope_config *rope;
    const struct segment *segment;
    float *x;
    uint64_t stride, heads, head_dim;
};

/* Angles are fp32 products as in the reference; their cosines are taken in double and rounded once. */
static void turn_pair(float *a, float *b, float c, float s)
{
    float x = *a, y = *b;
    *a = x * c - y * s;
    *b = y * c + x * s;
}

static bool rope_item(void *ctx, uint64_t token, uint32_t worker, struct error *err)
{
    const struct rope_ctx *r = ctx;
    uint32_t half = r->rope->dim / 2;
    float position = (float)(r->segment->first + token), *row = r->x + (r->segment->row + token) * r->stride;
    struct scratch *from = worker_scratch(r->engine, worker);
    SCRATCH_SCOPE(from);
    float *cs;
    if (!scratch_alloc(from, &cs, r->rope->dim, sizeof *cs, err)) return false;
    for (uint32_t i = 0; i < half; i++) {
        double angle = (double)(r->rope->inv_freq[i] * position);
        cs[2 * i] = (float)cos(angle) * (float)r->rope->factor;
        cs[2 * i + 1] = (float)sin(angle) * (float)r->rope->factor;
    }
    bool paired = r->rope->style == ROPE_INTERLEAVED;
    for (uint64_t h = 0; h < r->heads; h++) {
        float *x = row + h * r->head_dim;
        for (uint32_t i = 0; i < half; i++)
            turn_pair(paired ? &x[2 * i] : &x[i], paired ? &x[2 * i + 1] : &x[i + half], cs[2 * i], cs[2 * i + 1]);
    }
    return true;
}

uint64_t rope_need(const struct rope_config *rope)
{
    return rope->style == ROPE_NONE ? 0 : scratch_bytes(rope->dim, sizeof(float));
}

bool rope_apply(const struct engine *e, const struct rope_config *rope, const struct segment *segments,
                uint32_t n_segments, float *x, uint64_t stride, uint64_t heads, uint64_t head_dim, struct error *err)
{
    if (rope->style == ROPE_NONE) return true;
    for (uint32_t i = 0; i < n_segments; i++) {
        struct rope_ctx r = {e, rope, &segments[i], x, stride, heads, head_dim};
        if (!pool_try(e->pool, segments[i].n, rope_item, &r, err)) return false;
    }
    return true;
}

void query_scale_apply(const struct attention_config *a, const struct segment *segments, uint32_t n_segments, float *q,
                       uint64_t stride, uint64_t width)
{
    if (!(a->query_beta > 0)) return;
    for (uint32_t i = 0; i < n_segments; i++)
        for (uint32_t t = 0; t < segments[i].n; t++) {
            double turns = floor((double)(segments[i].first + t) / (double)a->query_original);
            float scale = (float)(1.0 + a->query_beta * log(1.0 + turns)), *row = q + (segments[i].row + t) * stride;
            for (uint64_t k = 0; k < width; k++) row[k] *= scale;
        }
}
