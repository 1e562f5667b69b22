#include "calibrate/calibrate.h"

#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"
#include "calibrate/folding.h"
#include "calibrate/observing.h"
#include "calibrate/sequential.h"
#include "calibrate/solving.h"
#include "calibrate/weights.h"
#include "core/memory.h"
#include "core/version.h"
#include "plan/solve_parts.h"

#include <math.h>

struct calibration {
    const struct plan *plan;
    const struct math_ops *math;
    float *shared;         /* [n_items]: input maxima as quantize will use them, of the block under way */
    float *input, *output; /* [n_items] largest magnitudes; NaN sticks */
    uint64_t *rows;        /* [n_items] input rows seen */
    struct observing observing;
    uint64_t *forced; /* [n_items] those of them that the router did not send */
    bool forcing;
    struct solving *solving;
    struct folding folding;
    struct folding_maxima maxima;  /* those above and below, for folding */
    struct sequential *sequential; /* NULL: inputs are those of the original model */
    bool again;                    /* the block's maxima are known: it is run once more for its moments */
};

/* NaN once seen stays, so that it is found at the end of the block. */
static void keep_larger(float *slot, float v)
{
    if (isnan(v) || v > *slot) *slot = v;
}

static uint32_t item_of(const struct calibration *c, const struct model_tensor *t)
{
    return (uint32_t)(t - c->plan->inventory->tensors);
}

static float rows_amax(const struct math_ops *math, const float *x, uint64_t n_rows, uint64_t cols, uint64_t stride)
{
    if (stride == cols) return math->amax(x, n_rows * cols);
    float top = 0;
    for (uint64_t i = 0; i < n_rows; i++) keep_larger(&top, math->amax(x + i * stride, cols));
    return top;
}

static void on_input(void *ctx, const struct model_tensor *linear, const float *x, uint64_t n_rows, uint64_t stride)
{
    struct calibration *c = ctx;
    uint32_t i = item_of(c, linear);
    solving_input(c->solving, i, x, n_rows, stride);
    if (c->again) return;
    (c->forcing ? c->forced : c->rows)[i] += n_rows;
    folding_input(&c->folding, i, x, n_rows, stride, c->forcing);
    if (!c->plan->items[i].observe_input) return;
    keep_larger(&c->input[i], rows_amax(c->math, x, n_rows, linear->dims[1], stride));
    if (isfinite(c->input[i])) observing_input(&c->observing, i, x, n_rows, stride);
}

static void on_kv(void *ctx, const struct model_tensor *linear, const float *x, uint64_t n_rows, uint64_t n_cols,
                  uint64_t stride)
{
    struct calibration *c = ctx;
    uint32_t i = item_of(c, linear);
    if (c->plan->items[i].kv_observed && !c->again)
        keep_larger(&c->output[i], rows_amax(c->math, x, n_rows, n_cols, stride));
    if (!c->again) folding_values(&c->folding, i, x, n_rows, n_cols, stride);
}

static bool check_finite(const struct calibration *c, struct error *err)
{
    for (uint32_t i = 0; i < c->plan->n_items; i++) {
        const char *which = !isfinite(c->input[i]) ? "input" : !isfinite(c->output[i]) ? "output" : NULL;
        if (which)
            return error_set(err, ERR_FORMAT,
                             "the %s of '%.256s' is not finite: the model cannot be calibrated on these data", which,
                             c->plan->items[i].tensor->module);
    }
    return true;
}

/* UNSEEN_ALL_TOKENS: experts of this block that saw none get them all. */
static bool visit_unseen(struct calibration *c, struct stream *s, uint32_t b, const struct observer *ob,
                         const struct progress *pr, struct error *err)
{
    const struct model_config *cfg = &c->plan->inventory->config;
    CLEANUP(free) uint32_t *experts = NULL;
    uint32_t n = 0;
    if (cfg->blocks[b].kind != BLOCK_MOE || c->plan->recipe->unseen != UNSEEN_ALL_TOKENS) return true;
    if (!memory_alloc(&experts, cfg->moe.n_experts, sizeof *experts, err)) return false;
    for (uint32_t k = 0; k < cfg->moe.n_experts; k++) {
        const struct model_tensor *up =
            inventory_find_block(c->plan->inventory, ROLE_EXPERT_UP, &cfg->blocks[b], (int32_t)k);
        uint32_t i = up ? item_of(c, up) : 0;
        const struct plan_item *item = &c->plan->items[i];
        if (up && (item->observe_input || item->solve.method != SOLVE_NONE || item->fold_in != NAME_NONE) &&
            c->rows[i] == 0)
            experts[n++] = k;
    }
    if (n == 0) return true;
    if (!c->again)
        progress_note(pr, "calibrate", "layer %u: %u of %u experts saw no token: all tokens are sent through them",
                      cfg->blocks[b].layer, n, cfg->moe.n_experts);
    c->forcing = true;
    bool ok = stream_visit_experts(s, b, experts, n, ob, pr, err);
    c->forcing = false;
    return ok;
}

/* A block as often as its moments need it; the residual stream moves on in the last run, or in one of its own with the
 * quantized weights. */
static bool run_block(struct calibration *c, struct stream *s, uint32_t b, const struct observer *ob,
                      const struct progress *pr, struct error *err)
{
    uint32_t n_parts;
    bool recalled, folds = folding_has(&c->folding, b);
    if (!solving_block(c->solving, b, folds, &n_parts, &recalled, err) || !folding_begin(&c->folding, b, err))
        return false;
    bool solves = !recalled && c->solving->solves, rounds = solves && solving_rounds(c->solving, b);
    c->again = false;
    if (rounds) {
        if (!stream_observe(s, b, ob, pr, err) || !visit_unseen(c, s, b, ob, pr, err) || !check_finite(c, err))
            return false;
        share_maxima(c->plan, b, c->input, c->shared);
    }
    for (uint32_t part = 0; part < n_parts; part++) {
        bool last = part + 1 == n_parts && !c->sequential;
        c->again = part > 0 || rounds;
        if ((solves && !solving_begin(c->solving, part, rounds ? c->shared : NULL, err)) ||
            !(last ? stream_block : stream_observe)(s, b, ob, pr, err) || !visit_unseen(c, s, b, ob, pr, err) ||
            !check_finite(c, err) || (solves && !solving_end(c->solving, part, pr, err)))
            return false;
    }
    c->again = false;
    if (!observing_choose(&c->observing, c->input, err)) return false;
    if (!folding_end(&c->folding, b, recalled, &c->maxima, pr, err)) return false;
    if ((solves || (folds && !recalled)) && !solving_done(c->solving, b, err)) return false;
    if (!c->sequential) return true;
    bool ok = sequential_begin(c->sequential, b, c->input, err) && stream_block(s, b, NULL, pr, err);
    sequential_end(c->sequential);
    return ok;
}

static bool run_blocks(struct calibration *c, struct stream *s, const struct progress *pr, struct error *err)
{
    const struct model_config *cfg = &c->plan->inventory->config;
    struct observer ob = {.ctx = c, .input = on_input, .kv = on_kv};
    for (uint32_t b = 0; b < cfg->n_blocks; b++) {
        progress_update(pr, "calibrate", block_kind_name(cfg->blocks[b].kind), b, cfg->n_blocks);
        if (!run_block(c, s, b, &ob, pr, err)) return false;
    }
    progress_update(pr, "calibrate", NULL, cfg->n_blocks, cfg->n_blocks);
    return true;
}

/* The head runs after the blocks and sees every row; only a recipe that quantizes it asks. */
static bool see_head(struct calibration *c, struct stream *s, const struct model_tensor *head, struct error *err)
{
    enum { CHUNK = 256 };
    uint64_t hidden = head->dims[1];
    CLEANUP(free) float *x = NULL;
    if (!memory_alloc(&x, CHUNK * hidden, sizeof *x, err)) return false;
    for (uint64_t row = 0; row < stream_rows(s); row += CHUNK) {
        uint64_t n = u64_min(CHUNK, stream_rows(s) - row);
        if (!stream_logits(s, row, n, x, NULL, err)) return false;
        on_input(c, head, x, n, hidden);
    }
    return check_finite(c, err);
}

static bool run_head(struct calibration *c, struct stream *s, const struct progress *pr, struct error *err)
{
    const struct model_tensor *head = inventory_find(c->plan->inventory, ROLE_LM_HEAD, -1, -1, false);
    uint32_t n_parts, block = c->plan->inventory->config.n_blocks;
    bool recalled;
    if (!solving_block(c->solving, block, false, &n_parts, &recalled, err)) return false;
    bool solves = !recalled && c->solving->solves;
    if (!head || !(c->plan->items[item_of(c, head)].observe_input || solves)) return true;
    return (!solves || solving_begin(c->solving, 0, NULL, err)) && see_head(c, s, head, err) &&
           observing_choose(&c->observing, c->input, err) &&
           (!solves || (solving_end(c->solving, 0, pr, err) && solving_done(c->solving, block, err)));
}

/* ---- results ---- */

static bool add_experts(const struct calibration *c, struct stats *s, struct error *err)
{
    const struct plan *p = c->plan;
    uint32_t n_experts = p->inventory->config.moe.n_experts;
    CLEANUP(free) uint64_t *tokens = NULL;
    CLEANUP(free) uint64_t *forced = NULL;
    uint64_t any = 0;
    if (!memory_zalloc(&tokens, (uint64_t)n_experts + 1, sizeof *tokens, err) ||
        !memory_zalloc(&forced, (uint64_t)n_experts + 1, sizeof *forced, err))
        return false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct model_tensor *t = p->items[i].tensor;
        if (t->place.role != ROLE_EXPERT_UP || t->place.mtp) continue;
        tokens[t->place.expert] = c->rows[i];
        forced[t->place.expert] = c->forced[i];
        any |= c->forced[i];
        if ((uint32_t)t->place.expert + 1 < n_experts) continue;
        if (!stats_add_experts(s, t->container, n_experts, tokens, err) ||
            (any && !stats_add_forced(s, t->container, n_experts, forced, err)))
            return false;
        any = 0;
    }
    return true;
}

static bool collect(const struct calibration *c, const float *weights, const struct corpus *corpus, struct stats *s,
                    struct error *err)
{
    const struct plan *p = c->plan;
    s->observe_digest = p->observe_digest;
    s->data_digest = corpus->digest;
    s->unseen = p->recipe->unseen;
    s->n_texts = corpus->n_texts;
    s->n_tokens = corpus->n_tokens;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        const char *module = item->tensor->module;
        if (item->observe_input && (c->rows[i] || c->forced[i]) &&
            !stats_add(s, module, STAT_INPUT_AMAX, c->input[i], err))
            return false;
        if (!observing_stats(&c->observing, i, s, err)) return false;
        if (item->kv_observed && !stats_add(s, module, STAT_OUTPUT_AMAX, c->output[i], err)) return false;
        if (!isnan(weights[i]) && !stats_add(s, module, STAT_WEIGHT_AMAX, weights[i], err)) return false;
    }
    return add_experts(c, s, err) && stats_seal(s, err);
}

/* ---- the whole ---- */

static bool observe(struct calibration *c, const struct corpus *corpus, const struct calibrate_options *opt,
                    const struct progress *pr, struct error *err)
{
    CLEANUP(engine) struct engine *e = NULL;
    CLEANUP(stream) struct stream *s = NULL;
    struct engine_options eo = {.pool = opt->pool,
                                .isa = opt->isa,
                                .quantize_inputs = true,
                                .weights = c->sequential ? &c->sequential->source : NULL};
    return engine_open(&e, c->plan->inventory, &eo, err) &&
           stream_open(&s, e, corpus->texts, corpus->n_texts, opt->spill_dir, err) &&
           (c->plan->recipe->unseen != UNSEEN_ALL_TOKENS || !c->plan->inventory->config.moe.n_experts ||
            stream_keep_inputs(s, opt->spill_dir, err)) &&
           run_blocks(c, s, pr, err) && run_head(c, s, pr, err);
}

/* Everything that solved tensors depend on. */
static bool open_work(struct solving *s, const struct corpus *corpus, const struct calibrate_options *opt,
                      struct stats *stats, struct error *err)
{
    const struct plan *p = s->plan;
    char observe[DIGEST_HEX_SIZE], data[DIGEST_HEX_SIZE], source[DIGEST_HEX_SIZE];
    struct digest stamp;
    bool solves = p->n_folds > 0;
    for (uint32_t i = 0; i < p->n_items; i++) solves |= p->items[i].solve.method != SOLVE_NONE;
    if (!solves) return true;
    if (!opt->work_path) return error_set(err, ERR_INTERNAL, "solving needs a place for its work file");
    if (!folder_stamp(checkpoint_folder(p->inventory->checkpoint), &stamp, err)) return false;
    digest_hex(&p->observe_digest, observe);
    digest_hex(&corpus->digest, data);
    digest_hex(&stamp, source);
    CLEANUP(free) char *key = NULL;
    if (asprintf(&key, "ingot %s calibrate observe %s data %s source %s sequential %d", INGOT_VERSION, observe, data,
                 source, opt->sequential) < 0)
        return error_memory(err, 0);
    return work_open(&s->work, stats, opt->work_path, key, err);
}

static bool run_all(struct calibration *c, const struct corpus *corpus, const struct calibrate_options *opt,
                    float *weights, float *groups, struct stats *stats, const struct progress *pr, struct error *err)
{
    struct sequential sequential;
    if (!weight_maxima(c->plan, opt->pool, opt->isa, weights, err)) return false;
    if (!group_maxima(c->plan, weights, groups, err)) return false;
    stats->sequential = opt->sequential;
    if (!open_work(c->solving, corpus, opt, stats, err)) return false;
    if (opt->sequential) {
        sequential_open(&sequential, c->plan, stats, opt->isa, groups);
        c->sequential = &sequential;
    }
    bool ok = observe(c, corpus, opt, pr, err) && collect(c, weights, corpus, stats, err);
    if (opt->sequential) sequential_close(&sequential);
    return ok;
}

bool calibrate_run(const struct plan *plan, const struct corpus *corpus, const struct calibrate_options *opt,
                   struct stats **out, const struct progress *pr, struct error *err)
{
    *out = NULL;
    struct solving solving = {0};
    struct calibration c = {.plan = plan, .math = math_for(opt->isa), .solving = &solving};
    CLEANUP(free) float *input = NULL;
    CLEANUP(free) float *output = NULL;
    CLEANUP(free) float *weights = NULL;
    CLEANUP(free) float *groups = NULL;
    CLEANUP(free) float *shared = NULL;
    CLEANUP(free) uint64_t *rows = NULL;
    CLEANUP(free) uint64_t *forced = NULL;
    CLEANUP(stats) struct stats *s = NULL;
    if (!memory_zalloc(&input, plan->n_items, sizeof *input, err) ||
        !memory_zalloc(&output, plan->n_items, sizeof *output, err) ||
        !memory_zalloc(&weights, plan->n_items, sizeof *weights, err) ||
        !memory_zalloc(&shared, plan->n_items, sizeof *shared, err) ||
        !memory_zalloc(&groups, plan->n_groups, sizeof *groups, err) ||
        !memory_zalloc(&rows, plan->n_items, sizeof *rows, err) ||
        !memory_zalloc(&forced, plan->n_items, sizeof *forced, err) || !stats_new(&s, err))
        return false;
    c.input = input;
    c.shared = shared;
    c.output = output;
    c.rows = rows;
    c.forced = forced;
    c.maxima = (struct folding_maxima){.input = input, .output = output, .weights = weights, .groups = groups};
    struct error local = ERROR_INIT;
    bool ok = observing_open(&c.observing, plan, opt->pool, opt->isa, &local) &&
              solving_open(&solving, plan, opt->pool, opt->isa, opt->solve_bytes ? opt->solve_bytes : PLAN_SOLVE_BYTES,
                           groups, &local) &&
              folding_open(&c.folding, plan, opt->pool, opt->isa, &solving.work, &local) &&
              run_all(&c, corpus, opt, weights, groups, s, pr, &local);
    observing_close(&c.observing);
    solving_close(&solving);
    folding_close(&c.folding);
    s->keep_work = local.code == ERR_CANCELLED;
    if (ok) *out = take_ptr(&s);
    else if (err) *err = local;
    return ok;
}
