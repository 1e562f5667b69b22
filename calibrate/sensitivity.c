#include "calibrate/sensitivity.h"

#include "backends/cpu/math.h"
#include "calibrate/trial.h"
#include "core/memory.h"
#include "engine/compare.h"

#include <math.h>

#define HEAD_ROWS ((uint64_t)512)        /* of inputs looked at together */
#define LOGIT_BYTES ((uint64_t)64 << 20) /* of one model's logits held at a time */

#define FORK_CACHE (UINT32_MAX - 1)

/* One fork: a group in a type, or a block in its smallest types. */
struct fork {
    uint32_t group, type; /* group TRIAL_BLOCK: of `block`; FORK_CACHE: a type of cache, from `block` on */
    int32_t block;
    bool to_end; /* goes on to the logits */
    struct stream *stream;
    double kl, error;
};

struct measurement {
    struct search_space *space;
    const struct corpus *corpus;
    const struct sensitivity_options *opt;
    const struct progress *pr;
    const struct math_ops *math;
    struct trial trial;
    struct engine *plain, *trying;
    struct fork *forks; /* by block */
    uint32_t n_forks;
    uint64_t done, work; /* runs of blocks, for progress */
};

/* ---- what is to be measured ---- */

static void add_fork(struct measurement *m, uint32_t group, uint32_t type, int32_t block, bool to_end)
{
    m->forks[m->n_forks++] = (struct fork){.group = group, .type = type, .block = block, .to_end = to_end};
}

static bool is_attention(const struct measurement *m, uint32_t block)
{
    enum block_kind kind = m->space->inventory->config.blocks[block].kind;
    return kind == BLOCK_ATTENTION || kind == BLOCK_MLA;
}

/* They begin at the first block that keeps keys and values. */
static void add_caches(struct measurement *m, uint32_t block, bool *begun)
{
    const struct search_cache *c = &m->space->cache;
    if (!c->tokens || *begun || !is_attention(m, block)) return;
    *begun = true;
    for (uint32_t t = 1; t < SEARCH_CACHE_COUNT; t++)
        if (!c->choices[t].why_not) add_fork(m, FORK_CACHE, t, (int32_t)block, true);
}

static bool list_forks(struct measurement *m, struct error *err)
{
    const struct search_space *s = m->space;
    uint32_t n_blocks = s->inventory->config.n_blocks;
    bool gain = m->opt->method == SENSITIVITY_GAIN, begun = false;
    uint64_t most = (uint64_t)s->n_groups * s->n_types + n_blocks + SEARCH_CACHE_COUNT;
    if (!memory_alloc(&m->forks, most, sizeof *m->forks, err)) return false;
    for (uint32_t b = 0; b <= n_blocks; b++) { /* the last: the head */
        bool any = false, block = b < n_blocks;
        if (block) add_caches(m, b, &begun);
        for (uint32_t g = 0; g < s->n_groups; g++) {
            if (s->groups[g].block != (int32_t)b) continue;
            for (uint32_t t = 1; t < s->n_types; t++) {
                if (s->groups[g].choices[t].why_not) continue;
                add_fork(m, g, t, (int32_t)b, block && !gain);
                any = block;
            }
        }
        if (any && gain) add_fork(m, TRIAL_BLOCK, 0, (int32_t)b, true);
    }
    for (uint32_t i = 0; i < m->n_forks; i++)
        m->work += m->forks[i].to_end ? n_blocks - (uint32_t)m->forks[i].block : 1;
    return true;
}

/* The head's forks hold no stream: they are the base with other weights behind its last block. */
static bool is_head(const struct measurement *m, const struct fork *f)
{
    return f->block == (int32_t)m->space->inventory->config.n_blocks;
}

/* ---- observing ---- */

static void on_input(void *ctx, const struct model_tensor *linear, const float *x, uint64_t n_rows, uint64_t stride)
{
    struct measurement *m = ctx;
    uint32_t item = (uint32_t)(linear - m->space->inventory->tensors);
    if (m->space->group_of[item] == NAME_NONE) return;
    for (uint64_t i = 0; i < n_rows; i++) {
        float v = m->math->amax(x + i * stride, linear->dims[1]), *slot = &m->trial.input_amax[item];
        if (isnan(v) || v > *slot) *slot = v;
    }
}

static void on_kv(void *ctx, const struct model_tensor *linear, const float *x, uint64_t n_rows, uint64_t n_cols,
                  uint64_t stride)
{
    struct measurement *m = ctx;
    float *slot = &m->trial.kv_amax[linear - m->space->inventory->tensors];
    for (uint64_t i = 0; m->space->cache.tokens && i < n_rows; i++) {
        float v = m->math->amax(x + i * stride, n_cols);
        if (isnan(v) || v > *slot) *slot = v;
    }
}

static bool check_inputs(const struct measurement *m, int32_t block, struct error *err)
{
    for (uint32_t g = 0; g < m->space->n_groups; g++) {
        const struct search_group *x = &m->space->groups[g];
        for (uint32_t i = 0; x->block == block && i < x->n_items; i++)
            if (!isfinite(m->trial.input_amax[x->items[i]]))
                return error_set(err, ERR_FORMAT, "the input of '%.256s' is not finite: nothing can be measured",
                                 m->space->inventory->tensors[x->items[i]].module);
    }
    for (uint32_t i = 0; i < m->space->inventory->n_tensors; i++)
        if (!isfinite(m->trial.kv_amax[i]))
            return error_set(err, ERR_FORMAT, "the output of '%.256s' is not finite: nothing can be measured",
                             m->space->inventory->tensors[i].module);
    return true;
}

/* Inputs and weights of the head. */
static bool observe_head(struct measurement *m, struct stream *base, struct error *err)
{
    const struct inventory *inv = m->space->inventory;
    const struct model_tensor *head = inventory_find(inv, ROLE_LM_HEAD, -1, -1, false);
    uint64_t hidden = inv->config.dims[DIM_HIDDEN], total = stream_rows(base), n_max = u64_min(total, HEAD_ROWS);
    int32_t block = (int32_t)inv->config.n_blocks;
    CLEANUP(free) float *x = NULL;
    if (!memory_alloc(&x, n_max * hidden, sizeof *x, err)) return false;
    for (uint64_t first = 0; first < total; first += n_max) {
        uint64_t n = u64_min(n_max, total - first);
        if (!stream_logits(base, first, n, x, NULL, err)) return false;
        on_input(m, head, x, n, hidden);
    }
    return check_inputs(m, block, err) && trial_observe_weights(&m->trial, block, m->opt->pool, err);
}

/* What stands in for the original in engine `trying` from now on. */
static void set_trial(struct measurement *m, const struct fork *f)
{
    bool cache = f->group == FORK_CACHE;
    m->trial.group = cache ? 0 : f->group;
    m->trial.type = cache ? 0 : f->type;
    m->trial.block = f->block;
    m->trial.cache = cache ? f->type : SEARCH_CACHE_NONE;
}

/* ---- comparing ---- */

/* Squared error of the residual stream behind a block, over its squares. */
static bool squared_error(struct measurement *m, const struct stream *base, const struct stream *fork, double *out,
                          struct error *err)
{
    double signal, noise;
    uint64_t hidden = m->space->inventory->config.dims[DIM_HIDDEN];
    if (!stream_difference(base, fork, hidden, m->opt->pool, &signal, &noise, err)) return false;
    *out = signal > 0 ? noise / signal : 0;
    return true;
}

struct logit_rows {
    const float *a, *b;
    uint64_t vocab;
    double *kl;
};

static void kl_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct logit_rows *c = ctx;
    const float *a = c->a + row * c->vocab, *b = c->b + row * c->vocab;
    uint64_t top;
    double za = logits_log_sum(a, c->vocab, &top), zb = logits_log_sum(b, c->vocab, &top);
    c->kl[row] = logits_kl(a, za, b, zb, c->vocab);
}

/* Logits of a fork that went on, or of the base with another head. */
static bool fork_logits(struct measurement *m, struct stream *base, const struct fork *f, uint64_t first, uint64_t n,
                        float *out, struct error *err)
{
    if (!progress_go_on(m->pr, err)) return false;
    if (!is_head(m, f)) return stream_logits(f->stream, first, n, NULL, out, err);
    set_trial(m, f);
    return stream_logits_with(base, m->trying, first, n, out, err);
}

/* The forks [from, to) that went on, at the end: their mean KL. */
static bool compare_logits(struct measurement *m, struct stream *base, uint32_t from, uint32_t to, struct error *err)
{
    uint64_t vocab = m->space->inventory->config.dims[DIM_VOCAB], total = stream_rows(base);
    if (to > from && is_head(m, &m->forks[to - 1]) && !observe_head(m, base, err)) return false;
    uint64_t n_max = LOGIT_BYTES / (vocab * sizeof(float));
    n_max = u64_min(n_max ? n_max : 1, total);
    CLEANUP(free) float *a = NULL;
    CLEANUP(free) float *b = NULL;
    CLEANUP(free) double *kl = NULL;
    if (!memory_alloc(&a, n_max * vocab, sizeof *a, err) || !memory_alloc(&b, n_max * vocab, sizeof *b, err) ||
        !memory_alloc(&kl, n_max, sizeof *kl, err))
        return false;
    for (uint64_t first = 0; first < total; first += n_max) {
        uint64_t n = u64_min(n_max, total - first);
        if (!stream_logits(base, first, n, NULL, a, err)) return false;
        for (uint32_t i = from; i < to; i++) {
            struct fork *f = &m->forks[i];
            if (!f->to_end && !is_head(m, f)) continue;
            if (!fork_logits(m, base, f, first, n, b, err)) return false;
            struct logit_rows c = {a, b, vocab, kl};
            pool_for(m->opt->pool, n, kl_item, &c);
            for (uint64_t k = 0; k < n; k++) f->kl += kl[k];
        }
    }
    for (uint32_t i = from; i < to; i++) m->forks[i].kl /= (double)total;
    return true;
}

/* ---- running ---- */

static void show(struct measurement *m, uint32_t block)
{
    progress_update(m->pr, "search", block_kind_name(m->space->inventory->config.blocks[block].kind), m->done, m->work);
}

/* A fork that went on: with the original's weights, of caches with its own. */
static bool go_on(struct measurement *m, struct fork *f, uint32_t b, struct error *err)
{
    m->done++;
    if (f->group != FORK_CACHE || !is_attention(m, b)) return stream_block(f->stream, b, NULL, m->pr, err);
    set_trial(m, f);
    return stream_block_with(f->stream, m->trying, b, m->pr, err);
}

/* What branches off at this block, and its error there; those that do not go on are done. */
static bool branch(struct measurement *m, struct stream *base, struct fork *f, struct error *err)
{
    set_trial(m, f);
    bool ok = stream_fork(&f->stream, base, m->opt->spill_dir, err) &&
              stream_cross(f->stream, base, m->trying, (uint32_t)f->block, m->pr, err) &&
              squared_error(m, base, f->stream, &f->error, err);
    m->done++;
    if (!ok || f->to_end) return ok;
    stream_close(f->stream);
    f->stream = NULL;
    return true;
}

static bool run_block(struct measurement *m, struct stream *base, uint32_t b, uint32_t from, uint32_t to,
                      struct error *err)
{
    struct observer ob = {.ctx = m, .input = on_input, .kv = on_kv};
    show(m, b);
    if (!stream_block(base, b, &ob, m->pr, err) || !check_inputs(m, (int32_t)b, err)) return false;
    trial_share_inputs(&m->trial, (int32_t)b);
    bool observed = false;
    for (uint32_t i = from; i < to; i++) {
        struct fork *f = &m->forks[i];
        if (f->block > (int32_t)b) break;
        if (f->block == (int32_t)b) {
            if (!observed && !trial_observe_weights(&m->trial, (int32_t)b, m->opt->pool, err)) return false;
            observed = true;
            if (!branch(m, base, f, err)) return false;
        } else if (f->to_end && !go_on(m, f, b, err)) {
            return false;
        }
        show(m, b);
    }
    return true;
}

/* Forks [from, to) in one reading of the model. */
static bool run_wave(struct measurement *m, uint32_t from, uint32_t to, struct error *err)
{
    const struct model_config *cfg = &m->space->inventory->config;
    CLEANUP(stream) struct stream *base = NULL;
    bool ok = stream_open(&base, m->plain, m->corpus->texts, m->corpus->n_texts, m->opt->spill_dir, err) &&
              stream_keep_inputs(base, m->opt->spill_dir, err);
    for (uint32_t b = 0; ok && b < cfg->n_blocks; b++) ok = run_block(m, base, b, from, to, err);
    ok = ok && compare_logits(m, base, from, to, err);
    for (uint32_t i = from; i < to; i++) {
        stream_close(m->forks[i].stream);
        m->forks[i].stream = NULL;
    }
    return ok;
}

static bool run_waves(struct measurement *m, struct error *err)
{
    uint64_t row = m->space->inventory->config.dims[DIM_HIDDEN] * sizeof(float),
             room = m->opt->fork_bytes ? m->opt->fork_bytes : memory_available() / 4;
    uint64_t most = room / (row * m->corpus->n_tokens);
    if (most == 0) most = 1;
    for (uint32_t from = 0, to; from < m->n_forks; from = to) {
        uint64_t n = 0;
        for (to = from; to < m->n_forks && n + m->forks[to].to_end <= most; to++) n += m->forks[to].to_end;
        if (!run_wave(m, from, to, err)) return false;
    }
    return true;
}

/* ---- scores ---- */

static const struct fork *block_fork(const struct measurement *m, int32_t block)
{
    for (uint32_t i = 0; i < m->n_forks; i++)
        if (m->forks[i].group == TRIAL_BLOCK && m->forks[i].block == block) return &m->forks[i];
    return NULL;
}

static void score(struct measurement *m)
{
    struct search_space *s = m->space;
    for (uint32_t i = 0; i < m->n_forks; i++) {
        const struct fork *f = &m->forks[i];
        if (f->group == TRIAL_BLOCK) continue;
        bool cache = f->group == FORK_CACHE;
        struct search_choice *c = cache ? &s->cache.choices[f->type] : &s->groups[f->group].choices[f->type];
        const struct fork *whole = f->to_end ? NULL : block_fork(m, f->block);
        c->known = true;
        c->error = is_head(m, f) || cache ? (double)NAN : f->error; /* of one block, and nothing is behind the head */
        c->kl = f->kl;
        if (whole) c->kl = whole->error > 0 ? whole->kl * (f->error / whole->error) : 0;
        if (c->kl < 0) c->kl = 0; /* rounding of a KL of nothing */
    }
    s->method = m->opt->method == SENSITIVITY_KL ? "kl" : "gain";
    s->data_digest = m->corpus->digest;
    s->n_texts = m->corpus->n_texts;
    s->n_tokens = m->corpus->n_tokens;
}

bool sensitivity_measure(struct search_space *s, const struct corpus *corpus, const struct sensitivity_options *opt,
                         const struct progress *pr, struct error *err)
{
    struct measurement m = {.space = s, .corpus = corpus, .opt = opt, .pr = pr, .math = math_for(opt->isa)};
    CLEANUP(engine) struct engine *plain = NULL;
    CLEANUP(engine) struct engine *trying = NULL;
    CLEANUP(free) float *weight_amax = NULL;
    CLEANUP(free) float *input_amax = NULL;
    CLEANUP(free) float *kv_amax = NULL;
    uint32_t n = s->inventory->n_tensors;
    struct engine_options eo = {.pool = opt->pool, .isa = opt->isa, .quantize_inputs = true};
    if (!model_gives_logits(&s->inventory->config, "a search", err) ||
        !memory_zalloc(&weight_amax, n, sizeof *weight_amax, err) ||
        !memory_zalloc(&input_amax, n, sizeof *input_amax, err) || !memory_zalloc(&kv_amax, n, sizeof *kv_amax, err) ||
        !engine_open(&plain, s->inventory, &eo, err))
        return false;
    trial_init(&m.trial, s, opt->isa, weight_amax, input_amax, kv_amax);
    eo.weights = &m.trial.source;
    bool ok = engine_open(&trying, s->inventory, &eo, err);
    m.plain = plain;
    m.trying = trying;
    ok = ok && list_forks(&m, err) && run_waves(&m, err);
    if (ok) score(&m);
    free(m.forks);
    return ok;
}
