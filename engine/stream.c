/* A batch of texts through the model, one block at a time. Texts are cut into calls of at most CALL_ROWS rows; the cut
 * does not show in the results. */
#include "engine/block.h"
#include "engine/read_ahead.h"
#include "engine/residual.h"

#include "core/memory.h"

#define CALL_ROWS 2048u

struct stream {
    struct engine *engine;
    const struct text_ids *texts;
    uint32_t n_texts;
    uint64_t *first_row; /* [n_texts + 1] */
    struct residual rows;
    struct linear head;
    struct read_ahead *ahead; /* NULL: none */
};

static bool check_texts(const struct engine *e, const struct text_ids *texts, uint32_t n_texts, struct error *err)
{
    uint64_t vocab = e->inv->config.dims[DIM_VOCAB];
    if (n_texts == 0) return error_set(err, ERR_FORMAT, "there are no texts");
    for (uint32_t i = 0; i < n_texts; i++) {
        if (texts[i].n == 0) return error_set(err, ERR_FORMAT, "text %u is empty", i + 1);
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
    CLEANUP(free) float *rows = NULL;
    if (!memory_alloc(&rows, CALL_ROWS * hidden, sizeof *rows, err)) return false;
    for (uint32_t i = 0; i < s->n_texts; i++)
        for (uint32_t k = 0; k < s->texts[i].n; k += CALL_ROWS) {
            uint32_t n = s->texts[i].n - k < CALL_ROWS ? s->texts[i].n - k : CALL_ROWS;
            if (!engine_embed(s->engine, s->texts[i].ids + k, n, rows, err) ||
                !residual_write(&s->rows, s->first_row[i] + k, n, rows, err))
                return false;
        }
    return true;
}

static bool build(struct stream *s, const char *spill_dir, struct error *err)
{
    if (!memory_alloc(&s->first_row, (uint64_t)s->n_texts + 1, sizeof *s->first_row, err)) return false;
    s->first_row[0] = 0;
    for (uint32_t i = 0; i < s->n_texts; i++) s->first_row[i + 1] = s->first_row[i] + s->texts[i].n;
    s->ahead = read_ahead_open(s->engine->inv, s->first_row[s->n_texts]);
    return residual_open(&s->rows, s->first_row[s->n_texts], s->engine->inv->config.dims[DIM_HIDDEN], spill_dir,
                         s->engine->residual_bytes, err) &&
           engine_head_open(s->engine, &s->head, err) && embed_all(s, err);
}

bool stream_open(struct stream **out, struct engine *e, const struct text_ids *texts, uint32_t n_texts,
                 const char *spill_dir, struct error *err)
{
    *out = NULL;
    if (!check_texts(e, texts, n_texts, err)) return false;
    struct stream *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s);
    *s = (struct stream){.engine = e, .texts = texts, .n_texts = n_texts, .rows = RESIDUAL_INIT};
    if (!build(s, spill_dir, err)) {
        stream_close(s);
        return false;
    }
    *out = s;
    return true;
}

void stream_close(struct stream *s)
{
    if (!s) return;
    read_ahead_close(s->ahead);
    residual_close(&s->rows);
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
                                        .last = end == s->first_row[i + 1],
                                        .state = &states[i]};
        if (end < s->first_row[i + 1]) break; /* the rest of it is the next call's first segment */
        (*next_text)++;
    }
    return count;
}

static bool run_calls(struct stream *s, const struct block *b, struct block_state *states, const struct observer *ob,
                      bool keep, const struct progress *pr, struct error *err)
{
    uint64_t hidden = s->rows.cols, total = s->rows.n_rows;
    CLEANUP(free) float *x = NULL;
    CLEANUP(free) struct segment *segments = NULL;
    if (!memory_alloc(&x, u64_min(CALL_ROWS, total) * hidden, sizeof *x, err) ||
        !memory_alloc(&segments, CALL_ROWS, sizeof *segments, err))
        return false;
    uint32_t next_text = 0;
    for (uint64_t first = 0; first < total; first += CALL_ROWS) {
        uint64_t n = u64_min(CALL_ROWS, total - first);
        uint32_t n_segments = cut_segments(s, first, n, &next_text, states, segments);
        if (!progress_go_on(pr, err) || !residual_read(&s->rows, first, n, x, err) ||
            !block_run(b, s->engine, x, n, segments, n_segments, ob, err) ||
            (keep && !residual_write(&s->rows, first, n, x, err)))
            return false;
        for (uint32_t i = 0; i < n_segments; i++)
            if (segments[i].last) block_state_close(segments[i].state);
    }
    return true;
}

/* keep false: the rows stay as they are. */
static bool run_block(struct stream *s, uint32_t b, const struct observer *ob, bool keep, const struct progress *pr,
                      struct error *err)
{
    struct block block;
    if (!block_open(&block, s->engine, &s->engine->inv->config.blocks[b], err)) return false;
    read_ahead_allow(s->ahead, b + 1);
    struct block_state *states = calloc(s->n_texts, sizeof *states);
    bool ok = states ? run_calls(s, &block, states, ob, keep, pr, err) : error_memory(err, s->n_texts * sizeof *states);
    for (uint32_t i = 0; states && i < s->n_texts; i++) block_state_close(&states[i]);
    free(states);
    block_close(&block);
    return ok;
}

bool stream_block(struct stream *s, uint32_t b, const struct observer *ob, const struct progress *pr, struct error *err)
{
    return run_block(s, b, ob, true, pr, err);
}

bool stream_observe(struct stream *s, uint32_t b, const struct observer *ob, const struct progress *pr,
                    struct error *err)
{
    return run_block(s, b, ob, false, pr, err);
}

bool stream_read(const struct stream *s, uint64_t first, uint64_t n, float *out, struct error *err)
{
    return residual_read(&s->rows, first, n, out, err);
}

bool stream_logits(struct stream *s, uint64_t first, uint64_t n, float *normed, float *logits, struct error *err)
{
    const struct engine *e = s->engine;
    uint64_t hidden = s->rows.cols;
    CLEANUP(free) float *x = NULL;
    if (!memory_alloc(&x, n * hidden, sizeof *x, err) || !residual_read(&s->rows, first, n, x, err)) return false;
    rows_norm(e, &e->final_norm, x, n, hidden, x);
    if (normed) memcpy(normed, x, n * hidden * sizeof *x);
    return !logits || linear_run(&s->head, e, x, hidden, n, logits, s->head.rows, NULL, err);
}
