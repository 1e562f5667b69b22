/* Decoding one text: every block and its state stay in memory, weights packed once. */
#include "engine/block.h"

#include "core/memory.h"

#define FEED_ROWS 512u

struct session {
    struct engine *engine;
    struct block *blocks;
    struct block_state *states;
    uint32_t n_blocks, n_fed;
    struct linear head;
};

static bool build(struct session *s, struct error *err)
{
    const struct model_config *cfg = &s->engine->inv->config;
    s->blocks = calloc(cfg->n_blocks, sizeof *s->blocks);
    s->states = calloc(cfg->n_blocks, sizeof *s->states);
    if (!s->blocks || !s->states) return error_memory(err, cfg->n_blocks * sizeof *s->blocks);
    for (; s->n_blocks < cfg->n_blocks; s->n_blocks++) {
        struct block *b = &s->blocks[s->n_blocks];
        if (!block_open(b, s->engine, &cfg->blocks[s->n_blocks], err)) return false;
        if (!b->ops->keep(b->kind, s->engine, err)) {
            block_close(b);
            return false;
        }
    }
    return engine_head_open(s->engine, &s->head, err) && linear_keep(&s->head, s->engine, err);
}

bool session_open(struct session **out, struct engine *e, struct error *err)
{
    *out = NULL;
    struct session *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    s->engine = e;
    if (!build(s, err)) {
        session_close(s);
        return false;
    }
    *out = s;
    return true;
}

void session_close(struct session *s)
{
    if (!s) return;
    for (uint32_t i = 0; i < s->n_blocks; i++) {
        block_close(&s->blocks[i]);
        block_state_close(&s->states[i]);
    }
    linear_close(&s->head);
    free(s->blocks);
    free(s->states);
    free(s);
}

static bool feed(struct session *s, const uint32_t *ids, uint32_t n, float *x, float *logits, struct error *err)
{
    const struct engine *e = s->engine;
    uint64_t hidden = e->inv->config.dims[DIM_HIDDEN];
    if (!engine_embed(e, ids, n, x, err)) return false;
    for (uint32_t b = 0; b < s->n_blocks; b++) {
        struct segment segment = {.n = n, .first = s->n_fed, .state = &s->states[b]};
        if (!block_run(&s->blocks[b], e, x, n, &segment, 1, NULL, err)) return false;
    }
    s->n_fed += n;
    if (!logits) return true;
    float *last = x + (n - 1) * hidden;
    rows_norm(e, &e->final_norm, last, 1, hidden, last);
    return linear_run(&s->head, e, last, hidden, 1, logits, s->head.rows, NULL, err);
}

bool session_feed(struct session *s, const uint32_t *ids, uint32_t n, float *logits, struct error *err)
{
    const struct engine *e = s->engine;
    uint64_t vocab = e->inv->config.dims[DIM_VOCAB];
    if (n == 0) return error_set(err, ERR_FORMAT, "the prompt is empty");
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] >= vocab)
            return error_set(err, ERR_FORMAT, "token %u: id %u is outside the vocabulary of %llu", i + 1, ids[i],
                             (unsigned long long)vocab);
    CLEANUP(free) float *x = NULL;
    if (!memory_alloc(&x, (n < FEED_ROWS ? n : FEED_ROWS) * e->inv->config.dims[DIM_HIDDEN], sizeof *x, err))
        return false;
    for (uint32_t i = 0; i < n; i += FEED_ROWS) {
        uint32_t m = n - i < FEED_ROWS ? n - i : FEED_ROWS;
        if (!feed(s, ids + i, m, x, i + m == n ? logits : NULL, err)) return false;
    }
    return true;
}
