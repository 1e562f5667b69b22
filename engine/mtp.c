#include "engine/mtp.h"

#include "engine/block.h"

#include "core/memory.h"

struct mtp {
    struct engine *engine;
    const struct model_tensor *embed;
    struct norm embed_norm, hidden_norm, final_norm;
    struct linear proj, head;
    struct block *blocks;
    struct block_state *states, *marks;
    uint32_t n_blocks, n_fed, n_marked;
};

/* A copy of its own, or the trunk's. */
static bool open_tables(struct mtp *m, const struct block_config *first, const struct block_config *last,
                        struct error *err)
{
    const struct engine *e = m->engine;
    const struct model_tensor *head = inventory_find_block(e->inv, ROLE_MTP_HEAD, last, -1);
    m->embed = inventory_find_block(e->inv, ROLE_MTP_EMBED, first, -1);
    if (!m->embed) m->embed = inventory_find(e->inv, ROLE_EMBED, -1, -1, false);
    if (!m->embed) return error_set(err, ERR_INTERNAL, "the inventory has no embedding");
    return head ? linear_open(&m->head, e, head, NULL, err) : engine_head_open(e, &m->head, err);
}

static bool open_blocks(struct mtp *m, bool keep, struct error *err)
{
    const struct model_config *cfg = &m->engine->inv->config;
    m->blocks = calloc(cfg->n_mtp_blocks, sizeof *m->blocks);
    m->states = calloc(cfg->n_mtp_blocks, sizeof *m->states);
    m->marks = calloc(cfg->n_mtp_blocks, sizeof *m->marks);
    if (!m->blocks || !m->states || !m->marks) return error_memory(err, cfg->n_mtp_blocks * sizeof *m->blocks);
    for (; m->n_blocks < cfg->n_mtp_blocks; m->n_blocks++) {
        struct block *b = &m->blocks[m->n_blocks];
        if (!block_open(b, m->engine, &cfg->mtp_blocks[m->n_blocks], err)) return false;
        if (keep && !b->ops->keep(b->kind, m->engine, err)) {
            block_close(b);
            return false;
        }
    }
    return !keep || (linear_keep(&m->proj, m->engine, err) && linear_keep(&m->head, m->engine, err));
}

static bool build(struct mtp *m, bool keep, struct error *err)
{
    const struct engine *e = m->engine;
    const struct model_config *cfg = &e->inv->config;
    if (cfg->n_mtp_blocks == 0) return error_set(err, ERR_UNSUPPORTED, "the model has no multi-token-prediction head");
    const struct block_config *first = cfg->mtp_blocks, *last = cfg->mtp_blocks + cfg->n_mtp_blocks - 1;
    return norm_open(&m->embed_norm, e, ROLE_MTP_EMBED_NORM, ROLE_COUNT, first, err) &&
           norm_open(&m->hidden_norm, e, ROLE_MTP_HIDDEN_NORM, ROLE_COUNT, first, err) &&
           norm_open(&m->final_norm, e, ROLE_MTP_FINAL_NORM, ROLE_COUNT, last, err) &&
           linear_open_role(&m->proj, e, ROLE_MTP_PROJ, first, false, err) && open_tables(m, first, last, err) &&
           open_blocks(m, keep, err);
}

bool mtp_open(struct mtp **out, struct engine *e, bool keep, struct error *err)
{
    *out = NULL;
    struct mtp *m = calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m);
    m->engine = e;
    if (!build(m, keep, err)) {
        mtp_close(m);
        return false;
    }
    *out = m;
    return true;
}

void mtp_reset(struct mtp *m)
{
    for (uint32_t i = 0; i < m->n_blocks; i++) {
        block_state_close(&m->states[i]);
        block_state_close(&m->marks[i]);
    }
    m->n_fed = m->n_marked = 0;
}

void mtp_close(struct mtp *m)
{
    if (!m) return;
    mtp_reset(m);
    for (uint32_t i = 0; i < m->n_blocks; i++) block_close(&m->blocks[i]);
    norm_close(&m->embed_norm);
    norm_close(&m->hidden_norm);
    norm_close(&m->final_norm);
    linear_close(&m->proj);
    linear_close(&m->head);
    free(m->blocks);
    free(m->states);
    free(m->marks);
    free(m);
}

/* [norm(embed(id)) ; norm(hidden)], row by row, through the projection. */
static bool enter(const struct mtp *m, const float *hidden, const uint32_t *ids, uint32_t n, float *x,
                  struct error *err)
{
    const struct engine *e = m->engine;
    uint64_t width = m->proj.rows;
    CLEANUP(free) float *both = NULL;
    CLEANUP(free) float *half = NULL;
    if (!memory_alloc(&both, n * 2 * width, sizeof *both, err) || !memory_alloc(&half, n * width, sizeof *half, err) ||
        !engine_embed_from(e, m->embed, ids, n, half, err))
        return false;
    rows_norm(e, &m->embed_norm, half, n, width, half);
    for (uint64_t i = 0; i < n; i++) memcpy(both + 2 * i * width, half + i * width, width * sizeof *both);
    rows_norm(e, &m->hidden_norm, hidden, n, width, half);
    for (uint64_t i = 0; i < n; i++) memcpy(both + (2 * i + 1) * width, half + i * width, width * sizeof *both);
    return linear_run(&m->proj, e, both, 2 * width, n, x, width, NULL, err);
}

bool mtp_feed(struct mtp *m, const float *hidden, const uint32_t *ids, uint32_t n, float *logits, uint32_t n_logits,
              float *after, struct error *err)
{
    const struct engine *e = m->engine;
    uint64_t width = m->proj.rows;
    CLEANUP(free) float *x = NULL;
    if (n == 0 || n > MTP_ROWS_MAX || n_logits > n)
        return error_set(err, ERR_INTERNAL, "%u rows of a drafting head at once, logits of %u", n, n_logits);
    if (!memory_alloc(&x, n * width, sizeof *x, err) || !enter(m, hidden, ids, n, x, err)) return false;
    for (uint32_t b = 0; b < m->n_blocks; b++) {
        struct segment segment = {.n = n, .first = m->n_fed, .state = &m->states[b]};
        if (!block_run(&m->blocks[b], e, x, n, &segment, 1, NULL, err)) return false;
    }
    m->n_fed += n;
    rows_norm(e, &m->final_norm, x, n, width, x);
    if (after) memcpy(after, x + (n - 1) * width, width * sizeof *after);
    return n_logits == 0 ||
           linear_run(&m->head, e, x + (n - n_logits) * width, width, n_logits, logits, m->head.rows, NULL, err);
}

bool mtp_mark(struct mtp *m, struct error *err)
{
    for (uint32_t i = 0; i < m->n_blocks; i++)
        if (!block_state_save(&m->states[i], &m->marks[i], err)) return false;
    m->n_marked = m->n_fed;
    return true;
}

bool mtp_rewind(struct mtp *m, struct error *err)
{
    for (uint32_t i = 0; i < m->n_blocks; i++)
        if (!block_state_restore(&m->states[i], &m->marks[i], err)) return false;
    m->n_fed = m->n_marked;
    return true;
}
