#include "calibrate/solving.h"

#include "backends/cpu/kernel.h"
#include "calibrate/slot.h"
#include "core/memory.h"
#include "plan/solve_parts.h"

#include <math.h>

#define SMALL_COLS 2048u /* up to here several linears are solved side by side, each by one thread */

bool solving_open(struct solving *s, const struct plan *plan, struct pool *pool, uint64_t isa, uint64_t budget,
                  const float *group_amax, struct error *err)
{
    *s = (struct solving){
        .plan = plan, .pool = pool, .isa = isa, .budget = budget, .group_amax = group_amax, .recalls = true};
    pthread_mutex_init(&s->lock, NULL);
    readers_open(&s->readers, plan, pool, isa);
    return memory_alloc(&s->part, plan->n_items, sizeof *s->part, err) &&
           memory_zalloc(&s->moments, plan->n_items, sizeof *s->moments, err);
}

static void drop_moments(struct solving *s, uint32_t i)
{
    if (!s->moments[i]) return;
    moments_close(s->moments[i]);
    free(s->moments[i]);
    s->moments[i] = NULL;
}

void solving_close(struct solving *s)
{
    for (uint32_t i = 0; s->moments && i < s->plan->n_items; i++) drop_moments(s, i);
    free(s->moments);
    free(s->part);
    free(s->outputs);
    readers_close(&s->readers);
    pthread_mutex_destroy(&s->lock);
}

bool solving_block(struct solving *s, uint32_t block, bool others, uint32_t *n_parts, bool *recalled, struct error *err)
{
    *recalled = false;
    uint32_t n = solve_parts(s->plan, block, s->budget, s->part);
    *n_parts = n ? n : 1;
    s->solves = n > 0;
    if (n == 0 && !others) return true;
    if (s->recalls && !work_recall(&s->work, block, recalled, err)) return false;
    s->recalls = *recalled;
    if (*recalled) *n_parts = 1;
    work_begin_block(&s->work);
    return true;
}

static bool rounds(const struct plan_item *item)
{
    return item->solve.rounded_inputs && quant_format_has_input_scale(item->format);
}

bool solving_rounds(const struct solving *s, uint32_t block)
{
    for (uint32_t i = 0; i < s->plan->n_items; i++)
        if (s->plan->items[i].tensor->place.block == (int32_t)block && rounds(&s->plan->items[i])) return true;
    return false;
}

bool solving_begin(struct solving *s, uint32_t part, const float *input_amax, struct error *err)
{
    s->input_amax = input_amax;
    for (uint32_t i = 0; i < s->plan->n_items; i++) {
        if (s->part[i] != part) continue;
        s->moments[i] = calloc(1, sizeof **s->moments);
        if (!s->moments[i]) return error_memory(err, sizeof **s->moments);
        bool rounded = input_amax && rounds(&s->plan->items[i]);
        if (!moments_open(s->moments[i], s->plan->items[i].tensor->dims[1], rounded, err)) return false;
    }
    return true;
}

static struct moments_env moments_env(const struct solving *s, struct pool *pool)
{
    return (struct moments_env){.gemm = gemm_for(s->isa), .math = math_for(s->isa), .pool = pool};
}

/* Rows as the engine multiplies with them; *z is the caller's to free. */
static bool round_inputs(const struct solving *s, uint32_t i, const float *x, uint64_t n_rows, uint64_t stride,
                         float **z, struct error *err)
{
    const struct plan_item *item = &s->plan->items[i];
    uint64_t cols = item->tensor->dims[1];
    if (!memory_alloc(z, n_rows * cols, sizeof **z, err)) return false;
    kernel_fn run = kernel_for(item->format->input_op, s->isa);
    for (uint64_t r = 0; r < n_rows; r++)
        run(&(struct kernel_args){.n_rows = 1,
                                  .n_cols = cols,
                                  .src = x + r * stride,
                                  .dtype = DTYPE_F32,
                                  .scale = s->input_amax[i] / item->format->amax_per_scale,
                                  .dst_f32 = *z + r * cols});
    return true;
}

void solving_input(struct solving *s, uint32_t i, const float *x, uint64_t n_rows, uint64_t stride)
{
    struct moments *m = s->moments[i];
    if (!m) return;
    struct error err = ERROR_INIT;
    CLEANUP(free) float *z = NULL;
    /* Experts are items of a parallel-for themselves. */
    struct moments_env env = moments_env(s, s->plan->items[i].tensor->place.expert >= 0 ? NULL : s->pool);
    if ((!m->off || round_inputs(s, i, x, n_rows, stride, &z, &err)) &&
        moments_add(m, &env, x, z, n_rows, stride, &err))
        return;
    pthread_mutex_lock(&s->lock);
    s->failed = true;
    s->err = err;
    pthread_mutex_unlock(&s->lock);
}

/* ---- one linear ---- */

/* Rows of an item's weight as fp32, from the source. */
static bool weight_rows(const struct plan *p, uint32_t i, uint64_t isa, uint64_t first, uint64_t n, float *out,
                        struct error *err)
{
    const struct model_tensor *t = p->items[i].tensor;
    const struct checkpoint *ck = p->inventory->checkpoint;
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[PART_WEIGHT]);
    uint64_t row = t->dims[1] * dtype_bytes(info->dtype);
    CLEANUP(free) void *raw = NULL;
    if (!memory_alloc(&raw, n, row, err) || !checkpoint_read(ck, t->parts[PART_WEIGHT], first * row, raw, n * row, err))
        return false;
    kernel_for(OP_WIDEN, isa)(
        &(struct kernel_args){.n_rows = n, .n_cols = t->dims[1], .src = raw, .dtype = info->dtype, .dst_f32 = out});
    return true;
}

struct linear_weights {
    const struct solving *s;
    uint32_t item;
};

static bool linear_rows(void *ctx, uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct linear_weights *w = ctx;
    return weight_rows(w->s->plan, w->item, w->s->isa, first, n, out, err);
}

static bool solve_item(const struct solving *s, struct slot *slot, const struct gptq_factor *f, struct pool *pool,
                       struct error *err)
{
    const struct plan_item *item = &s->plan->items[slot->item];
    const struct model_tensor *t = item->tensor;
    uint64_t rows = t->dims[0], cols = t->dims[1], blocks = cols / item->format->block_cols;
    struct gptq_env env = {.math = math_for(s->isa), .pool = pool, .isa = s->isa};
    struct linear_weights ctx = {s, slot->item};
    struct gptq_weights w = {.ctx = &ctx,
                             .rows = linear_rows,
                             .n_rows = rows,
                             .cols = cols,
                             .method = item->solve.method,
                             .passes = item->solve.passes,
                             .outputs =
                                 item->solve.for_readers && readers_apply(s->plan, slot->item) ? s->outputs : NULL};
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *bytes = NULL;
    CLEANUP(free) float *floats = NULL;
    if (!grid_of(&w.grid, item, s->group_amax[item->group], s->isa, err) ||
        !memory_alloc(&codes, rows, cols / 2, err) || !memory_alloc(&bytes, rows, blocks, err) ||
        !memory_alloc(&floats, rows * blocks, sizeof *floats, err))
        return false;
    struct gptq_result r = {.codes = codes, .bytes = bytes, .floats = floats};
    slot->gain.module = t->module;
    if (!gptq_solve(&w, f, &env, &r, &slot->gain, err) || !slot_store(slot, s->plan, &s->work, &r, err)) return false;
    return true;
}

/* ---- a part of a block ---- */

struct part_ctx {
    struct solving *s;
    struct slot *slots; /* sorted by owner, then item */
    uint32_t n_slots;
    uint32_t *first; /* [n_owners + 1] */
    struct pool *pool;
};

static bool same_choice(const struct solve_choice *a, const struct solve_choice *b)
{
    return a->method == b->method && a->damp == b->damp && a->rounded_inputs == b->rounded_inputs &&
           a->act_order == b->act_order;
}

/* What is not finite once stays so, and shows on the diagonal. */
static bool check_moments(const struct solving *s, uint32_t owner, struct error *err)
{
    const struct moments *m = s->moments[owner];
    for (uint64_t c = 0; c < m->cols; c++)
        if (!isfinite(m->sum[c * m->cols + c]))
            return error_set(err, ERR_FORMAT,
                             "the input of '%.256s' is not finite: the model cannot be calibrated on these data",
                             s->plan->items[owner].tensor->module);
    return true;
}

/* All linears that see one input. */
static bool owner_item(void *ctx, uint64_t o, uint32_t worker, struct error *err)
{
    (void)worker;
    struct part_ctx *p = ctx;
    struct solving *s = p->s;
    uint32_t owner = solve_owner(s->plan, p->slots[p->first[o]].item);
    struct gptq_env env = {.math = math_for(s->isa), .pool = p->pool, .isa = s->isa};
    struct moments_env me = moments_env(s, p->pool);
    struct gptq_factor f = {0};
    const struct solve_choice *choice = NULL;
    bool ok = moments_finish(s->moments[owner], &me, err) && check_moments(s, owner, err);
    for (uint32_t i = p->first[o]; ok && i < p->first[o + 1]; i++) {
        const struct solve_choice *wanted = &s->plan->items[p->slots[i].item].solve;
        if (!choice || !same_choice(choice, wanted)) {
            gptq_factor_close(&f);
            ok = gptq_factor_make(&f, s->moments[owner], wanted, &env, err);
            choice = wanted;
        }
        ok = ok && solve_item(s, &p->slots[i], &f, p->pool, err);
    }
    gptq_factor_close(&f);
    drop_moments(s, owner);
    return ok;
}

static bool list_part(struct solving *s, uint32_t part, struct part_ctx *p, uint32_t *n_owners, uint64_t *widest,
                      struct error *err)
{
    const struct plan *plan = s->plan;
    if (!memory_zalloc(&p->slots, plan->n_items, sizeof *p->slots, err) ||
        !memory_alloc(&p->first, plan->n_items + 1, sizeof *p->first, err))
        return false;
    for (uint32_t o = 0; o < plan->n_items; o++) {
        if (s->part[o] != part) continue;
        p->first[(*n_owners)++] = p->n_slots;
        for (uint32_t i = 0; i < plan->n_items; i++) {
            const struct plan_item *item = &plan->items[i];
            if (!solve_by_moments(&item->solve) || item->tensor->place.block != plan->items[o].tensor->place.block ||
                item->tensor->place.mtp || solve_owner(plan, i) != o)
                continue;
            if (item->tensor->dims[1] > *widest) *widest = item->tensor->dims[1];
            struct slot *slot = &p->slots[p->n_slots++];
            slot->item = i;
            slot_lay_out(slot, plan, &s->work);
        }
    }
    p->first[*n_owners] = p->n_slots;
    return true;
}

/* What errors of the part's outputs are worth, where a line asks. */
static bool find_readers(struct solving *s, const struct part_ctx *p, struct error *err)
{
    for (uint32_t i = 0; i < p->n_slots; i++) {
        uint32_t item = p->slots[i].item;
        if (s->plan->items[item].solve.for_readers && readers_apply(s->plan, item))
            return readers_behind(&s->readers, (uint32_t)s->plan->items[item].tensor->place.block, &s->outputs, err);
    }
    return true;
}

bool solving_end(struct solving *s, uint32_t part, const struct progress *pr, struct error *err)
{
    if (s->failed) {
        if (err) *err = s->err;
        return false;
    }
    struct part_ctx p = {.s = s};
    uint32_t n_owners = 0;
    uint64_t widest = 0;
    bool ok = list_part(s, part, &p, &n_owners, &widest, err) && find_readers(s, &p, err);
    if (ok && widest <= SMALL_COLS && n_owners >= pool_threads(s->pool)) {
        ok = progress_go_on(pr, err) && pool_try(s->pool, n_owners, owner_item, &p, err);
    } else {
        p.pool = s->pool;
        for (uint32_t o = 0; ok && o < n_owners; o++) ok = progress_go_on(pr, err) && owner_item(&p, o, 0, err);
    }
    for (uint32_t i = 0; ok && i < p.n_slots; i++) ok = slot_add(&p.slots[i], s->plan, &s->work, err);
    free(take_ptr(&s->outputs));
    free(p.slots);
    free(p.first);
    return ok;
}

bool solving_done(struct solving *s, uint32_t block, struct error *err)
{
    return work_end_block(&s->work, block, err);
}
