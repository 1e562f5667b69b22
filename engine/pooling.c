#include "engine/pooling.h"

#include "core/memory.h"
#include "engine/block.h"

struct encoder {
    const struct engine *engine;
    float *score;   /* [labels, hidden], or NULL */
    float *rows;    /* [ENCODER_ROWS, hidden] */
    double *pooled; /* [hidden] */
};

bool encoder_open(struct encoder **out, const struct engine *e, struct error *err)
{
    const struct model_config *cfg = engine_config(e);
    uint64_t hidden = cfg->dims[DIM_HIDDEN];
    struct encoder *x = calloc(1, sizeof *x);
    *out = x;
    if (!x) return error_memory(err, sizeof *x);
    x->engine = e;
    if (memory_alloc(&x->rows, ENCODER_ROWS * hidden, sizeof *x->rows, err) &&
        memory_alloc(&x->pooled, hidden, sizeof *x->pooled, err) &&
        (cfg->encoder.output != OUTPUT_SCORES || weights_load_role(e, ROLE_SCORE, NULL, &x->score, err)))
        return true;
    encoder_close(x);
    *out = NULL;
    return false;
}

void encoder_close(struct encoder *x)
{
    if (!x) return;
    free(x->score);
    free(x->rows);
    free(x->pooled);
    free(x);
}

uint64_t encoder_width(const struct model_config *cfg)
{
    return cfg->dims[cfg->encoder.output == OUTPUT_SCORES ? DIM_LABELS : DIM_HIDDEN];
}

uint64_t encoder_bytes(const struct model_config *cfg)
{
    uint64_t hidden = cfg->dims[DIM_HIDDEN], score = hidden * cfg->dims[DIM_LABELS];
    return (score + ENCODER_ROWS * hidden) * sizeof(float) + hidden * sizeof(double);
}

/* Tokens [*first, *first + *n) of n_tokens count. */
static void pooled_tokens(enum pooling pooling, uint32_t n_tokens, uint32_t *first, uint32_t *n)
{
    bool all = pooling == POOL_MEAN || pooling == POOL_SUM;
    *first = pooling == POOL_LAST ? n_tokens - 1 : 0;
    *n = all ? n_tokens : 1;
}

static bool pool_rows(struct encoder *x, struct stream *s, uint32_t text, uint32_t n_tokens, struct error *err)
{
    const struct model_config *cfg = engine_config(x->engine);
    uint64_t hidden = cfg->dims[DIM_HIDDEN];
    uint32_t first, count;
    pooled_tokens(cfg->encoder.pooling, n_tokens, &first, &count);
    for (uint64_t i = 0; i < hidden; i++) x->pooled[i] = 0;
    for (uint32_t k = 0; k < count; k += ENCODER_ROWS) {
        uint64_t n = u64_min(ENCODER_ROWS, count - k);
        if (!stream_logits(s, stream_first_row(s, text) + first + k, n, x->rows, NULL, err)) return false;
        for (uint64_t r = 0; r < n; r++)
            for (uint64_t i = 0; i < hidden; i++) x->pooled[i] += (double)x->rows[r * hidden + i];
    }
    if (cfg->encoder.pooling == POOL_MEAN)
        for (uint64_t i = 0; i < hidden; i++) x->pooled[i] /= count;
    return true;
}

bool encoder_text(struct encoder *x, struct stream *s, uint32_t text, uint32_t n_tokens, float *out, struct error *err)
{
    const struct model_config *cfg = engine_config(x->engine);
    uint64_t hidden = cfg->dims[DIM_HIDDEN], width = encoder_width(cfg);
    if (!pool_rows(x, s, text, n_tokens, err)) return false;
    for (uint64_t o = 0; o < width; o++) {
        double sum = 0;
        for (uint64_t i = 0; x->score && i < hidden; i++) sum += (double)x->score[o * hidden + i] * x->pooled[i];
        out[o] = (float)(x->score ? sum / cfg->encoder.temperature : x->pooled[o]);
    }
    return true;
}
