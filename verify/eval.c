#include "verify/eval.h"

#include "core/memory.h"
#include "engine/compare.h"

#include <math.h>
#include <time.h>

struct eval_row {
    double nll;
    bool predicted, hit;
};

struct eval_ctx {
    const float *logits;
    const uint32_t *next;
    struct eval_row *rows;
    uint64_t vocab;
};

static void eval_item(void *ctx, uint64_t i, uint32_t worker)
{
    (void)worker;
    const struct eval_ctx *c = ctx;
    const float *x = c->logits + i * c->vocab;
    uint64_t top;
    double z = logits_log_sum(x, c->vocab, &top);
    bool predicted = c->next[i] != NO_NEXT_TOKEN;
    c->rows[i] = (struct eval_row){.predicted = predicted,
                                   .hit = predicted && top == c->next[i],
                                   .nll = predicted ? z - (double)x[c->next[i]] : z - z};
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct eval {
    struct eval_result *out;
    struct stream *stream;
    uint64_t vocab;
    double nll;
    uint64_t hits;
};

static bool add_rows(struct eval *v, uint64_t first, const struct eval_row *rows, uint64_t n, struct error *err)
{
    for (uint64_t i = 0; i < n; i++) {
        if (!isfinite(rows[i].nll))
            return error_set(err, ERR_FORMAT, "the logits of token %llu are not finite",
                             (unsigned long long)(first + i));
        v->nll += rows[i].nll;
        v->hits += rows[i].hit;
        v->out->n_predicted += rows[i].predicted;
    }
    return true;
}

static bool read_logits(struct eval *v, const struct engine *e, const uint32_t *next, struct pool *pool,
                        const struct progress *pr, struct error *err)
{
    uint64_t total = stream_rows(v->stream), n_max = stream_logit_rows(e, total);
    CLEANUP(free) float *logits = NULL;
    CLEANUP(free) struct eval_row *rows = NULL;
    if (!memory_alloc(&logits, n_max * v->vocab, sizeof *logits, err) || !memory_alloc(&rows, n_max, sizeof *rows, err))
        return false;
    for (uint64_t first = 0; first < total; first += n_max) {
        uint64_t n = u64_min(n_max, total - first);
        progress_update(pr, "eval", "head", first, total);
        if (!progress_go_on(pr, err) || !stream_logits(v->stream, first, n, NULL, logits, err)) return false;
        struct eval_ctx c = {logits, next + first, rows, v->vocab};
        pool_for(pool, n, eval_item, &c);
        if (!add_rows(v, first, rows, n, err)) return false;
    }
    return true;
}

static bool run_blocks(struct stream *s, const struct model_config *cfg, const struct progress *pr, struct error *err)
{
    for (uint32_t b = 0; b < cfg->n_blocks; b++) {
        progress_update(pr, "eval", block_kind_name(cfg->blocks[b].kind), b, cfg->n_blocks);
        if (!stream_block(s, b, NULL, pr, err)) return false;
    }
    return true;
}

bool eval_run(struct eval_result *out, struct engine *e, const struct corpus *corpus, const char *spill_dir,
              struct pool *pool, const struct progress *pr, struct error *err)
{
    CLEANUP(stream) struct stream *s = NULL;
    CLEANUP(free) uint32_t *next = NULL;
    const struct model_config *cfg = engine_config(e);
    double began = now();
    *out = (struct eval_result){.n_tokens = corpus->n_tokens};
    if (!model_gives_logits(cfg, "perplexity", err)) return false;
    if (!stream_open(&s, e, corpus->texts, corpus->n_texts, spill_dir, err) || !corpus_next_tokens(corpus, &next, err))
        return false;
    struct eval v = {out, s, cfg->dims[DIM_VOCAB], 0, 0};
    if (!run_blocks(s, cfg, pr, err) || !read_logits(&v, e, next, pool, pr, err)) return false;
    if (out->n_predicted == 0) return error_set(err, ERR_FORMAT, "no token is predicted: every text is one token long");
    out->seconds = now() - began;
    out->nll_mean = v.nll / (double)out->n_predicted;
    out->perplexity = exp(out->nll_mean);
    out->top1 = (double)v.hits / (double)out->n_predicted;
    return true;
}
