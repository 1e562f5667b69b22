/* A batch of texts through the model, one block at a time. Texts are cut into calls of at most STREAM_ROWS rows; the
 * cut does not show in the results. An encoder's texts are whole in a call. A block's weights are packed in memory when
 * there are several calls and they are not too many; else each call makes panels of what it reads. */
#include "engine/block.h"
#include "engine/footprint.h"
#include "engine/read_ahead.h"
#include "engine/residual.h"

#include "core/memory.h"

struct stream {
    struct engine *engine;
    const struct text_ids *texts;
    uint32_t n_texts;
    uint64_t *first_row; /* [n_texts + 1] */
    struct residual rows;
    struct residual inputs; /* with `keeps_inputs`: what entered the block that ran last */
    bool keeps_inputs;
    struct linear head;
    bool keep_head;
    struct read_ahead *ahead; /* NULL: none */
};

static bool check_texts(const struct engine *e, const struct text_ids *texts, uint32_t n_texts, struct error *err)
{
    const struct model_config *cfg = &e->inv->config;
    uint64_t vocab = cfg->dims[DIM_VOCAB], most = 0;
    if (cfg->bidirectional)
        most = cfg->max_position ? u64_min(cfg->max_position, ENCODER_TOKENS_MAX) : ENCODER_TOKENS_MAX;
    if (n_texts == 0) return error_set(err, ERR_FORMAT, "there are no texts");
    for (uint32_t i = 0; i < n_texts; i++) {
        if (texts[i].n == 0) return error_set(err, ERR_FORMAT, "text %u is empty", i + 1);
        if (most && texts[i].n > most)
            return error_set(err, ERR_UNSUPPORTED, "text %u has %u tokens: %s takes at most %llu", i + 1, texts[i].n,
                             cfg->hf_name, (unsigned long long)most);
        for (uint32_t k = 0; k < texts[i].n; k++)
            if (texts[i].ids[k] >= vocab)
                return error_set(err, ERR_FORMAT, "text %u, token %u: id %u is outside the vocabulary of %llu", i + 1,
                                 k + 1, texts[i].ids[k], (unsigned long long)vocab);
    }
    return true;
}

static bool embed_all(struct stream *s, struct error *err)
{
    uint64_t hidden = s->engine->inv->config.dims[DIM_HIDDEN];
    struct scratch *from = s->engine->scratch;
    SCRATCH_SCOPE(from);
    float *rows;
    if (!scratch_alloc(from, &rows, u64_min(STREAM_ROWS, stream_rows(s)) * hidden, sizeof *rows, err)) return false;
    for (uint32_t i = 0; i < s->n_texts; i++)
        for (uint32_t k = 0; k < s->texts[i].n; k += STREAM_ROWS) {
            uint32_t n = s->texts[i].n - k < STREAM_ROWS ? s->texts[i].n - k : STREAM_ROWS;
            if (!engine_embed(s->engine, s->texts[i].ids + k, n, rows, err) ||
                !residual_write(&s->rows, s->first_row[i] + k, n, rows, err))
                return false;
        }
    return true;
}

/* What every call takes lies in one piece. */
static bool reserve(struct stream *s, const char *spill_dir, struct error *err)
{
    struct engine *e = s->engine;
    struct stream_footprint f;
    if (!stream_footprint(&f, e, s->texts, s->n_texts, spill_dir, err) || !scratch_reserve(e->scratch, f.calling, err))
        return false;
    for (uint32_t i = 0; i < pool_threads(e->pool); i++)
        if (!scratch_reserve(worker_scratch(e, i), f.worker, err)) return false;
    s->keep_head = f.keep_head;
    return true;
}

/* Encoders have none; who asks them for logits is told so then. */
static bool open_head(struct stream *s, struct error *err)
{
    return !engine_head(s->engine) || engine_head_open(s->engine, &s->head, err);
}

static bool build(struct stream *s, const char *spill_dir, struct error *err)
{
    if (!memory_alloc(&s->first_row, (uint64_t)s->n_texts + 1, sizeof *s->first_row, err)) return false;
    s->first_row[0] = 0;
    for (uint32_t i = 0; i < s->n_texts; i++) s->first_row[i + 1] = s->first_row[i] + s->texts[i].n;
    s->ahead = read_ahead_open(s->engine->inv, s->first_row[s->n_texts]);
    return residual_open(&s->rows, s->first_row[s->n_texts], s->engine->inv->config.dims[DIM_HIDDEN], spill_dir,
                         s->engine->residual_bytes, err) &&
           reserve(s, spill_dir, err) && open_head(s, err) && embed_all(s, err);
}

bool stream_open(struct stream **out, struct engine *e, const struct text_ids *texts, uint32_t n_texts,
                 const char *spill_dir, struct error *err)
{
    *out = NULL;
    if (!check_texts(e, texts, n_texts, err)) return false;
    struct stream *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    *s = (struct stream){
        .engine = e, .texts = texts, .n_texts = n_texts, .rows = RESIDUAL_INIT, .inputs = RESIDUAL_INIT};
    if (!build(s, spill_dir, err)) {
        stream_close(s);
        return false;
    }
    *out = s;
    return true;
}

bool stream_fork(struct stream **out, const struct stream *from, const char *spill_dir, struct error *err)
{
    *out = NULL;
    struct stream *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    *s = (struct stream){.engine = from->engine,
                         .texts = from->texts,
                         .n_texts = from->n_texts,
                         .rows = RESIDUAL_INIT,
                         .inputs = RESIDUAL_INIT};
    size_t n = (size_t)from->n_texts + 1;
    bool ok =
        memory_alloc(&s->first_row, n, sizeof *s->first_row, err) &&
        residual_open(&s->rows, from->rows.n_rows, from->rows.cols, spill_dir, from->engine->residual_bytes, err) &&
        open_head(s, err);
    if (!ok) {
        stream_close(s);
        return false;
    }
    memcpy(s->first_row, from->first_row, n * sizeof *s->first_row);
    *out = s;
    return true;
}

void stream_close(struct stream *s)
{
    if (!s) return;
    read_ahead_close(s->ahead);
    residual_close(&s->rows);
    residual_close(&s->inputs);
    linear_close(&s->head);
    free(s->first_row);
    free(s);
}

uint64_t stream_rows(const struct stream *s)
{
    return s->first_row[s->n_texts];
}

uint64_t stream_first_row(const struct stream *s, uint32_t text)
{
    return s->first_row[text];
}

/* The texts, or parts of them, that stand in rows [first, first + n). A text appears once. */
static uint32_t cut_segments(const struct stream *s, uint64_t first, uint64_t n, uint32_t *next_text,
                             struct block_state *states, struct segment *out)
{
    uint32_t count = 0;
    while (*next_text < s->n_texts && s->first_row[*next_text] < first + n) {
        uint32_t i = *next_text;
        uint64_t begin = s->first_row[i] > first ? s->first_row[i] : first,
                 end = u64_min(s->first_row[i + 1], first + n);
        out[count++] = (struct segment){.row = begin - first,
                                        .n = (uint32_t)(end - begin),
                                        .text = i,
                                        .first = (uint32_t)(begin - s->first_row[i]),
                                        .total = s->texts[i].n,
                                        .last = end == s->first_row[i + 1],
                                        .state = &states[i]};
        if (end < s->first_row[i + 1]) break; /* the rest of it is the next call's first segment */
        (*next_text)++;
    }
    return count;
}

/* From rows `in`, with the weights of `e`; keep: to the stream's rows, which may be the same. */
static bool run_calls(struct stream *s, struct engine *e, const struct residual *in, const struct block *b,
                      struct block_state *states, const struct observer *ob, bool keep, const struct progress *pr,
                      struct error *err)
{
    uint64_t hidden = s->rows.cols, total = s->rows.n_rows;
    struct scratch *from = s->engine->scratch;
    SCRATCH_SCOPE(from);
    float *x;
    struct segment *segments;
    const struct model_config *cfg = &e->inv->config;
    uint64_t n, most = stream_call_rows_max(cfg, s->texts, s->n_texts);
    if (!scratch_alloc(from, &x, most * hidden, sizeof *x, err) ||
        !scratch_alloc(from, &segments, most, sizeof *segments, err))
        return false;
    uint32_t next_text = 0;
    for (uint64_t first = 0; first < total; first += n) {
        n = stream_call_rows(cfg, s->texts + next_text, s->n_texts - next_text, total - first);
        uint32_t n_segments = cut_segments(s, first, n, &next_text, states, segments);
        if (!progress_go_on(pr, err) || !residual_read(in, first, n, x, err) ||
            (s->keeps_inputs && !residual_write(&s->inputs, first, n, x, err)) ||
            !block_run(b, e, x, n, segments, n_segments, ob, err) ||
            (keep && !residual_write(&s->rows, first, n, x, err)))
            return false;
        for (uint32_t i = 0; i < n_segments; i++)
            if (segments[i].last) block_state_close(segments[i].state);
    }
    return true;
}

/* keep false: the rows stay as they are. */
static bool run_block(struct stream *s, struct engine *e, const struct residual *in, uint32_t b,
                      const struct observer *ob, bool keep, const struct progress *pr, struct error *err)
{
    struct block block;
    if (!block_open(&block, e, &e->inv->config.blocks[b], err)) return false;
    read_ahead_allow(s->ahead, b + 1);
    bool kept, keep_ok = stream_keeps(&kept, e, block.config, stream_rows(s), err) &&
                         (!kept || block.ops->keep(block.kind, e, err));
    if (!keep_ok) {
        block_close(&block);
        return false;
    }
    struct block_state *states = calloc(s->n_texts, sizeof *states);
    bool ok = states ? run_calls(s, e, in, &block, states, ob, keep, pr, err)
                     : error_memory(err, s->n_texts * sizeof *states);
    for (uint32_t i = 0; states && i < s->n_texts; i++) block_state_close(&states[i]);
    free(states);
    block_close(&block);
    return ok;
}

bool stream_block(struct stream *s, uint32_t b, const struct observer *ob, const struct progress *pr, struct error *err)
{
    return run_block(s, s->engine, &s->rows, b, ob, true, pr, err);
}

bool stream_block_with(struct stream *s, struct engine *with, uint32_t b, const struct progress *pr, struct error *err)
{
    return run_block(s, with, &s->rows, b, NULL, true, pr, err);
}

bool stream_observe(struct stream *s, uint32_t b, const struct observer *ob, const struct progress *pr,
                    struct error *err)
{
    return run_block(s, s->engine, &s->rows, b, ob, false, pr, err);
}

bool stream_cross(struct stream *to, const struct stream *from, struct engine *with, uint32_t b,
                  const struct progress *pr, struct error *err)
{
    if (!from->keeps_inputs) return error_set(err, ERR_INTERNAL, "the stream does not keep its inputs");
    return run_block(to, with, &from->inputs, b, NULL, true, pr, err);
}

bool stream_keep_inputs(struct stream *s, const char *spill_dir, struct error *err)
{
    s->keeps_inputs = true;
    return residual_open(&s->inputs, s->rows.n_rows, s->rows.cols, spill_dir, s->engine->residual_bytes, err);
}

bool stream_visit_experts(struct stream *s, uint32_t b, const uint32_t *experts, uint32_t n_experts,
                          const struct observer *ob, const struct progress *pr, struct error *err)
{
    uint64_t total = s->rows.n_rows, hidden = s->rows.cols;
    struct block block;
    CLEANUP(free) float *x = NULL;
    if (!s->keeps_inputs) return error_set(err, ERR_INTERNAL, "the stream does not keep its inputs");
    if (!memory_alloc(&x, u64_min(STREAM_ROWS, total) * hidden, sizeof *x, err) ||
        !block_open(&block, s->engine, &s->engine->inv->config.blocks[b], err))
        return false;
    bool ok = true;
    for (uint64_t first = 0; ok && first < total; first += STREAM_ROWS) {
        uint64_t n = u64_min(STREAM_ROWS, total - first);
        ok = progress_go_on(pr, err) && residual_read(&s->inputs, first, n, x, err) &&
             block_visit_experts(&block, s->engine, x, n, experts, n_experts, ob, err);
    }
    block_close(&block);
    return ok;
}

bool stream_read(const struct stream *s, uint64_t first, uint64_t n, float *out, struct error *err)
{
    return residual_read(&s->rows, first, n, out, err);
}

static bool normed_rows(const struct stream *s, uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct engine *e = s->engine;
    if (!residual_read(&s->rows, first, n, out, err)) return false;
    rows_norm(e, &e->final_norm, out, n, s->rows.cols, out);
    return true;
}

bool stream_logits(struct stream *s, uint64_t first, uint64_t n, float *normed, float *logits, struct error *err)
{
    const struct engine *e = s->engine;
    uint64_t hidden = s->rows.cols;
    if (logits && !model_gives_logits(&e->inv->config, "the output head", err)) return false;
    if (logits && s->keep_head && !s->head.panels && !linear_keep(&s->head, e, err)) return false;
    SCRATCH_SCOPE(e->scratch);
    float *x;
    if (!scratch_alloc(e->scratch, &x, n * hidden, sizeof *x, err) || !normed_rows(s, first, n, x, err)) return false;
    if (normed) memcpy(normed, x, n * hidden * sizeof *x);
    return !logits || linear_run(&s->head, e, x, hidden, n, logits, s->head.rows, NULL, err);
}

bool stream_logits_with(struct stream *s, struct engine *with, uint64_t first, uint64_t n, float *logits,
                        struct error *err)
{
    struct scratch *from = s->engine->scratch;
    SCRATCH_SCOPE(from);
    struct linear head = {0};
    float *x;
    if (!scratch_alloc(from, &x, n * s->rows.cols, sizeof *x, err) || !normed_rows(s, first, n, x, err)) return false;
    bool ok =
        engine_head_open(with, &head, err) && linear_run(&head, with, x, s->rows.cols, n, logits, head.rows, NULL, err);
    linear_close(&head);
    return ok;
}
