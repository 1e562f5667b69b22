#include "engine/footprint.h"

#include "engine/block.h"
#include "engine/pooling.h"
#include "engine/read_ahead.h"

#include <stdlib.h>

#define LOGIT_BYTES ((uint64_t)64 << 20) /* of one call to the head */

/* ---- a batch ---- */

/* The calls that texts are cut into. */
struct calls {
    uint64_t n_rows;  /* of the batch */
    uint64_t longest; /* text */
    uint64_t rows;    /* of a call, at most */
    uint64_t texts;   /* in a call, at most */
    uint64_t tokens;  /* of the texts in a call, from their beginnings to the call's end, at most */
    uint64_t open;    /* texts that go on behind a call, at most: 0 or 1 */
};

uint64_t stream_call_rows(const struct model_config *cfg, const struct text_ids *texts, uint32_t n_texts,
                          uint64_t n_left)
{
    uint64_t n = 0;
    if (!cfg->bidirectional) return u64_min(STREAM_ROWS, n_left);
    for (uint32_t i = 0; i < n_texts && (i == 0 || n + texts[i].n <= STREAM_ROWS); i++) n += texts[i].n;
    return n;
}

uint64_t stream_call_rows_max(const struct model_config *cfg, const struct text_ids *texts, uint32_t n_texts)
{
    uint64_t total = 0, longest = 0;
    for (uint32_t i = 0; i < n_texts; i++) {
        total += texts[i].n;
        need_most(&longest, texts[i].n);
    }
    total = u64_min(total, STREAM_ROWS);
    return cfg->bidirectional && longest > total ? longest : total;
}

/* Calls of whole texts. */
static struct calls cut_whole(const struct model_config *cfg, const struct text_ids *texts, uint32_t n_texts)
{
    struct calls c = {.rows = stream_call_rows_max(cfg, texts, n_texts)};
    for (uint32_t i = 0; i < n_texts;) {
        uint64_t rows = stream_call_rows(cfg, texts + i, n_texts - i, UINT64_MAX), in_call = 0;
        c.n_rows += rows;
        need_most(&c.tokens, rows);
        for (uint64_t n = 0; n < rows; n += texts[i++].n) {
            in_call++;
            need_most(&c.longest, texts[i].n);
        }
        need_most(&c.texts, in_call);
    }
    return c;
}

static struct calls cut(const struct model_config *cfg, const struct text_ids *texts, uint32_t n_texts)
{
    struct calls c = {0};
    if (cfg->bidirectional) return cut_whole(cfg, texts, n_texts);
    uint64_t row = 0, call = 0, in_call = 0, tokens = 0;
    for (uint32_t i = 0; i < n_texts; i++) {
        uint64_t end = row + texts[i].n;
        need_most(&c.longest, texts[i].n);
        for (uint64_t k = row / STREAM_ROWS; k * STREAM_ROWS < end; k++) {
            if (k != call) in_call = tokens = 0;
            call = k;
            need_most(&c.texts, ++in_call);
            tokens += u64_min(end, (k + 1) * STREAM_ROWS) - row;
            need_most(&c.tokens, tokens);
            if (end > (k + 1) * STREAM_ROWS) c.open = 1;
        }
        row = end;
    }
    c.n_rows = row;
    c.rows = u64_min(row, STREAM_ROWS);
    return c;
}

static struct call_shape shape_of(const struct calls *c, bool kept)
{
    return (struct call_shape){.n_rows = c->rows, .n_segments = c->texts, .longest = c->longest, .kept = kept};
}

bool stream_keeps(bool *out, const struct engine *e, const struct block_config *b, uint64_t n_rows, struct error *err)
{
    struct need n;
    *out = false;
    if (n_rows <= STREAM_ROWS) return true;
    if (!block_need(&n, e, b, &(struct call_shape){.n_rows = 1, .n_segments = 1, .longest = 1, .kept = true}, err))
        return false;
    *out = n.kept <= e->keep_bytes;
    return true;
}

uint64_t stream_token_bytes(const struct engine *e)
{
    return e->inv->config.dims[DIM_HIDDEN] * sizeof(float);
}

uint64_t stream_logit_rows(const struct engine *e, uint64_t n_rows)
{
    uint64_t n = LOGIT_BYTES / (e->inv->config.dims[DIM_VOCAB] * sizeof(float));
    return u64_min(n ? n : 1, n_rows);
}

static bool blocks_need(struct stream_footprint *f, const struct engine *e, const struct calls *c, struct error *err)
{
    const struct model_config *cfg = &e->inv->config;
    uint64_t both = 0, before = 0;
    for (uint32_t i = 0; i <= cfg->n_blocks; i++) {
        uint64_t files = read_ahead_bytes(e->inv, c->n_rows, i);
        need_most(&f->page_cache, before + files);
        before = files;
        if (i == cfg->n_blocks) break;
        const struct block_config *b = &cfg->blocks[i];
        struct need n;
        bool kept;
        if (!stream_keeps(&kept, e, b, c->n_rows, err)) return false;
        struct call_shape shape = shape_of(c, kept);
        if (!block_need(&n, e, b, &shape, err)) return false;
        f->keeps_blocks |= kept;
        uint64_t state = block_state_need(e, b, c->tokens, c->texts, c->open);
        need_most(&f->weights, n.loaded + n.kept);
        need_most(&f->state, state);
        need_most(&both, n.loaded + n.kept + state);
        need_most(&f->calling, n.calling);
        need_most(&f->worker, n.worker);
    }
    /* Beside what the block takes: its rows, and where texts begin in them. */
    f->calling +=
        scratch_bytes(c->rows * cfg->dims[DIM_HIDDEN], sizeof(float)) + scratch_bytes(c->rows, sizeof(struct segment));
    f->blocks_peak = both;
    return true;
}

/* Behind an encoder's blocks: rows are pooled a few at a time. */
static bool pooling_need(struct stream_footprint *f, const struct engine *e, const struct calls *c, struct error *err)
{
    uint64_t hidden = e->inv->config.dims[DIM_HIDDEN], rows = u64_min(c->n_rows, ENCODER_ROWS);
    struct need embed = {0};
    f->logits = encoder_bytes(&e->inv->config);
    need_most(&f->calling, scratch_bytes(rows * hidden, sizeof(float)));
    const struct model_tensor *table = inventory_find(e->inv, ROLE_EMBED, -1, -1, false);
    if (table && !engine_embed_need(&embed, e, table, err)) return false;
    need_most(&f->calling, embed.calling + scratch_bytes(u64_min(c->rows, STREAM_ROWS) * hidden, sizeof(float)));
    return true;
}

static bool head_need(struct stream_footprint *f, const struct engine *e, const struct calls *c, struct error *err)
{
    const struct model_tensor *t = engine_head(e);
    uint64_t rows = stream_logit_rows(e, c->n_rows), hidden = e->inv->config.dims[DIM_HIDDEN];
    struct need kept = {0}, n = {0}, embed = {0};
    if (e->inv->config.encoder.output != OUTPUT_LOGITS) return pooling_need(f, e, c, err);
    if (!t) return error_set(err, ERR_INTERNAL, "the inventory has no head");
    if (!linear_need(&kept, e, t, false, rows, true, err)) return false;
    f->keep_head = c->n_rows > rows && kept.kept <= e->keep_bytes;
    if (!linear_need(&n, e, t, false, rows, f->keep_head, err)) return false;
    f->head = n.kept;
    f->logits = rows * e->inv->config.dims[DIM_VOCAB] * sizeof(float);
    need_most(&f->calling, n.calling + scratch_bytes(rows * hidden, sizeof(float)));
    need_most(&f->worker, n.worker);
    const struct model_tensor *table = inventory_find(e->inv, ROLE_EMBED, -1, -1, false);
    if (table && !engine_embed_need(&embed, e, table, err)) return false;
    need_most(&f->calling, embed.calling + scratch_bytes(c->rows * hidden, sizeof(float)));
    return true;
}

bool stream_footprint(struct stream_footprint *out, const struct engine *e, const struct text_ids *texts,
                      uint32_t n_texts, const char *spill_dir, struct error *err)
{
    const struct calls c = cut(&e->inv->config, texts, n_texts);
    *out = (struct stream_footprint){.n_threads = pool_threads(e->pool)};
    if (!blocks_need(out, e, &c, err) || !head_need(out, e, &c, err)) return false;
    out->residual = c.n_rows * stream_token_bytes(e);
    if (spill_dir && out->residual > e->residual_bytes) out->residual = 0;
    uint64_t always = out->residual + out->calling + out->n_threads * out->worker, logits = out->head + out->logits;
    out->peak = always + (logits > out->blocks_peak ? logits : out->blocks_peak);
    out->blocks_peak += always;
    return true;
}

/* ---- a session ---- */

bool session_footprint(struct session_footprint *out, const struct engine *e, uint64_t n_tokens, struct error *err)
{
    const struct model_config *cfg = &e->inv->config;
    uint64_t rows = u64_min(n_tokens, SESSION_ROWS_MAX), empty = 0;
    const struct call_shape c = {.n_rows = rows, .n_segments = 1, .longest = n_tokens, .kept = true};
    const struct model_tensor *t = engine_head(e);
    *out = (struct session_footprint){.n_threads = pool_threads(e->pool)};
    struct need n = {0};
    if (!model_gives_logits(cfg, "generating", err)) return false;
    if (!t) return error_set(err, ERR_INTERNAL, "the inventory has no head");
    if (!linear_need(&n, e, t, false, 1, true, err)) return false;
    out->weights = n.kept;
    out->calling = n.calling;
    out->worker = n.worker;
    for (uint32_t i = 0; i < cfg->n_blocks; i++) {
        if (!block_need(&n, e, &cfg->blocks[i], &c, err)) return false;
        out->weights += n.loaded + n.kept;
        out->state += block_state_need(e, &cfg->blocks[i], n_tokens, 1, 1);
        empty += block_state_need(e, &cfg->blocks[i], 0, 1, 1);
        need_most(&out->calling, n.calling);
        need_most(&out->worker, n.worker);
    }
    const struct model_tensor *table = inventory_find(e->inv, ROLE_EMBED, -1, -1, false);
    n = (struct need){0};
    if (table && !engine_embed_need(&n, e, table, err)) return false;
    need_most(&out->calling, n.calling);
    out->calling += scratch_bytes(rows * cfg->dims[DIM_HIDDEN], sizeof(float));
    out->logits = cfg->dims[DIM_VOCAB] * sizeof(float);
    out->token_bytes = n_tokens ? (out->state - empty) / n_tokens : 0;
    out->peak = out->weights + out->state + out->calling + out->n_threads * out->worker + out->logits;
    return true;
}
