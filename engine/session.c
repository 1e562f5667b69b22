/* Decoding one text: every block and its state stay in memory, weights packed once. */
#include "engine/block.h"
#include "engine/footprint.h"

#include "core/memory.h"

struct session {
    struct engine *engine;
    struct block *blocks;
    struct block_state *states;
    struct block_state *marks; /* [n_blocks]: states as they were at the mark, without k and v */
    uint32_t n_blocks, n_fed, n_marked;
    struct linear head;
    struct panel_store store;
};

static bool store_open(struct session *s, struct error *err)
{
    struct session_footprint f;
    if (!session_footprint(&f, s->engine, 1, err)) return false;
    s->store.size = f.weights;
    return memory_alloc_stream(&s->store.memory, f.weights, 1, err);
}

static bool build(struct session *s, struct error *err)
{
    const struct model_config *cfg = &s->engine->inv->config;
    s->blocks = calloc(cfg->n_blocks, sizeof *s->blocks);
    s->states = calloc(cfg->n_blocks, sizeof *s->states);
    s->marks = calloc(cfg->n_blocks, sizeof *s->marks);
    if (!s->blocks || !s->states || !s->marks) return error_memory(err, cfg->n_blocks * sizeof *s->blocks);
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
    bool ok = store_open(s, err);
    e->store = &s->store;
    ok = ok && build(s, err);
    e->store = NULL;
    if (!ok) {
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
        block_state_close(&s->marks[i]);
    }
    linear_close(&s->head);
    free(s->store.memory);
    free(s->blocks);
    free(s->states);
    free(s->marks);
    free(s);
}

/* What the longest call takes lies in one piece: the prompt, which comes first. */
static bool reserve(const struct session *s, uint32_t n, struct error *err)
{
    const struct engine *e = s->engine;
    struct session_footprint f;
    if (s->n_fed) return true;
    if (!session_footprint(&f, e, n, err) || !scratch_reserve(e->scratch, f.calling, err)) return false;
    for (uint32_t i = 0; i < pool_threads(e->pool); i++)
        if (!scratch_reserve(worker_scratch(e, i), f.worker, err)) return false;
    return true;
}

/* Through all blocks; x: room for n rows, which then hold the residual stream behind the last. */
static bool feed(struct session *s, const uint32_t *ids, uint32_t n, float *x, struct error *err)
{
    const struct engine *e = s->engine;
    if (!engine_embed(e, ids, n, x, err)) return false;
    for (uint32_t b = 0; b < s->n_blocks; b++) {
        struct segment segment = {.n = n, .first = s->n_fed, .state = &s->states[b]};
        if (!block_run(&s->blocks[b], e, x, n, &segment, 1, NULL, err)) return false;
    }
    s->n_fed += n;
    return true;
}

/* Final norm and head of n rows. */
static bool head(struct session *s, float *x, uint32_t n, float *logits, struct error *err)
{
    const struct engine *e = s->engine;
    uint64_t hidden = e->inv->config.dims[DIM_HIDDEN];
    rows_norm(e, &e->final_norm, x, n, hidden, x);
    return linear_run(&s->head, e, x, hidden, n, logits, s->head.rows, NULL, err);
}

static bool check_ids(const struct session *s, const uint32_t *ids, uint32_t n, struct error *err)
{
    uint64_t vocab = s->engine->inv->config.dims[DIM_VOCAB];
    if (n == 0) return error_set(err, ERR_FORMAT, "the prompt is empty");
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] >= vocab)
            return error_set(err, ERR_FORMAT, "token %u: id %u is outside the vocabulary of %llu", i + 1, ids[i],
                             (unsigned long long)vocab);
    return true;
}

bool session_feed(struct session *s, const uint32_t *ids, uint32_t n, float *logits, struct error *err)
{
    uint64_t hidden = s->engine->inv->config.dims[DIM_HIDDEN];
    struct scratch *from = s->engine->scratch;
    float *x;
    if (!check_ids(s, ids, n, err) || !reserve(s, n, err)) return false;
    SCRATCH_SCOPE(from);
    if (!scratch_alloc(from, &x, u64_min(n, SESSION_ROWS_MAX) * hidden, sizeof *x, err)) return false;
    for (uint32_t i = 0; i < n; i += SESSION_ROWS_MAX) {
        uint32_t m = n - i < SESSION_ROWS_MAX ? n - i : SESSION_ROWS_MAX;
        if (!feed(s, ids + i, m, x, err) || (i + m == n && !head(s, x + (m - 1) * hidden, 1, logits, err)))
            return false;
    }
    return true;
}

bool session_feed_rows(struct session *s, const uint32_t *ids, uint32_t n, float *normed, float *logits,
                       uint32_t n_logits, struct error *err)
{
    const struct engine *e = s->engine;
    uint64_t hidden = e->inv->config.dims[DIM_HIDDEN];
    if (n > SESSION_ROWS_MAX || n_logits > n)
        return error_set(err, ERR_INTERNAL, "%u rows of a session at once, logits of %u", n, n_logits);
    if (!check_ids(s, ids, n, err) || !reserve(s, n, err) || !feed(s, ids, n, normed, err)) return false;
    rows_norm(e, &e->final_norm, normed, n, hidden, normed);
    return n_logits == 0 ||
           linear_run(&s->head, e, normed + (n - n_logits) * hidden, hidden, n_logits, logits, s->head.rows, NULL, err);
}

bool session_mark(struct session *s, struct error *err)
{
    for (uint32_t i = 0; i < s->n_blocks; i++)
        if (!block_state_save(&s->states[i], &s->marks[i], err)) return false;
    s->n_marked = s->n_fed;
    return true;
}

bool session_rewind(struct session *s, const uint32_t *ids, uint32_t n, struct error *err)
{
    uint64_t hidden = s->engine->inv->config.dims[DIM_HIDDEN];
    uint32_t since = s->n_fed - s->n_marked;
    bool recurrent = false;
    if (n > since) return error_set(err, ERR_INTERNAL, "%u tokens were fed since the mark, not %u", since, n);
    if (n == since) return true;
    for (uint32_t i = 0; i < s->n_blocks; i++) recurrent |= s->states[i].conv || s->states[i].scan.state;
    struct scratch *from = s->engine->scratch;
    SCRATCH_SCOPE(from);
    float *x;
    if (!scratch_alloc(from, &x, (uint64_t)n * hidden, sizeof *x, err)) return false;
    for (uint32_t i = 0; i < s->n_blocks; i++) {
        struct block_state *state = &s->states[i];
        if (!recurrent && state->n_past) state->n_past -= since - n;
        if (recurrent && !block_state_restore(state, &s->marks[i], err)) return false;
    }
    s->n_fed = recurrent ? s->n_marked : s->n_marked + n;
    return !recurrent || n == 0 || feed(s, ids, n, x, err);
}
