#include "calibrate/trial.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "plan/scale_method.h"
#include "plan/workspace.h"

#include <math.h>

static const struct model_tensor *tensor_of(const struct trial *t, uint32_t item)
{
    return &t->space->inventory->tensors[item];
}

uint32_t trial_smallest(const struct search_space *s, uint32_t group)
{
    uint32_t best = 0;
    const struct search_choice *c = s->groups[group].choices;
    for (uint32_t t = 1; t < s->n_types; t++)
        if (!c[t].why_not && (!best || c[t].bytes < c[best].bytes)) best = t;
    return best;
}

/* The type that an item is tried in; 0: as it is. */
static uint32_t type_of(const struct trial *t, uint32_t item)
{
    uint32_t g = t->space->group_of[item];
    if (g == NAME_NONE) return 0;
    if (t->group != TRIAL_BLOCK) return g == t->group ? t->type : 0;
    return t->space->groups[g].block == t->block ? trial_smallest(t->space, g) : 0;
}

static const struct quant_format *format(void *ctx, const struct model_tensor *tensor, float *input_scale)
{
    const struct trial *t = ctx;
    uint32_t item = (uint32_t)(tensor - t->space->inventory->tensors), number = type_of(t, item);
    if (!number) return NULL;
    const struct search_type *type = &t->space->types[number];
    bool rounds = type->rounds_inputs && type->format->input_op != OP_COUNT && t->input_amax[item] > 0;
    float per_scale = quant_format_has_input_scale(type->format) ? type->format->amax_per_scale : 1;
    *input_scale = rounds ? t->input_amax[item] / per_scale : 0;
    return type->format;
}

/* The largest magnitude that the item's scale is made of: of all that share it in that plan. */
static float group_amax(const struct trial *t, const struct plan *p, uint32_t item)
{
    const struct search_group *x = &t->space->groups[t->space->group_of[item]];
    float top = 0;
    for (uint32_t i = 0; i < x->n_items; i++) {
        uint32_t other = x->items[i];
        if (p->items[other].group == p->items[item].group && t->weight_amax[other] > top) top = t->weight_amax[other];
    }
    return top > 0 ? top : 1; /* all zero: as quantize does */
}

static enum int4_scale_type int4_scale_of(const struct quant_format *f)
{
    enum dtype d = f->n_parts > 1 ? f->parts[1].dtype : DTYPE_F32;
    return d == DTYPE_F16 ? INT4_SCALE_F16 : d == DTYPE_BF16 ? INT4_SCALE_BF16 : INT4_SCALE_F32;
}

/* Codes and scales of some rows, and what they mean. */
static bool there_and_back(const struct trial *t, const struct plan_item *item, struct kernel_args a, float *out,
                           struct error *err)
{
    const struct quant_format *f = item->format;
    uint64_t n = a.n_rows, blocks = u64_div_up(a.n_cols, 16);
    CLEANUP(free) uint8_t *codes = NULL;
    CLEANUP(free) uint8_t *scales = NULL;
    CLEANUP(free) float *floats = NULL; /* scales, or chosen maxima */
    if (!memory_alloc(&codes, n, a.n_cols, err) || !memory_alloc(&scales, n, blocks, err) ||
        !memory_alloc(&floats, n * blocks, sizeof *floats, err))
        return false;
    enum op chooses = scale_method_op(item->scales);
    a.dst = codes;
    a.dst_scale = scales;
    a.dst_f32 = floats;
    if (chooses != OP_COUNT) {
        kernel_for(chooses, t->isa)(&a);
        a.block_amax = floats;
    }
    kernel_for(chooses != OP_COUNT ? OP_ENCODE_NVFP4_STATIC : f->encode_op, t->isa)(&a);
    a.src = codes;
    a.src_scale = scales;
    a.src_scale_f32 = floats;
    a.dst_f32 = out;
    kernel_for(f->decode_op, t->isa)(&a);
    return true;
}

/* Rows [from, to), which begin and end where a format may be cut. */
static bool whole_rows(const struct trial *t, const struct plan *p, uint32_t item, uint64_t from, uint64_t to,
                       float *out, struct error *err)
{
    const struct model_tensor *m = tensor_of(t, item);
    const struct plan_item *pi = &p->items[item];
    const struct checkpoint *ck = t->space->inventory->checkpoint;
    uint32_t part = m->parts[PART_WEIGHT];
    const struct tensor_info *info = checkpoint_tensor(ck, part);
    uint64_t n = to - from, row_bytes = m->dims[1] * dtype_bytes(info->dtype);
    CLEANUP(free) uint8_t *raw = NULL;
    if (!memory_alloc(&raw, n, row_bytes, err) || !checkpoint_read(ck, part, from * row_bytes, raw, n * row_bytes, err))
        return false;
    struct kernel_args a = {.n_rows = n,
                            .n_cols = m->dims[1],
                            .src = raw,
                            .dtype = info->dtype,
                            .static_max = scale_method_max(pi->scales),
                            .rounding = p->recipe->rounding,
                            .mxfp4_rule = pi->type->mxfp4_rule,
                            .group = pi->format->block_cols,
                            .int4_scale = int4_scale_of(pi->format)};
    if (quant_format_has_tensor_scale(pi->format)) {
        a.amax = group_amax(t, p, item);
        a.scale = plan_item_weight_scale(pi, a.amax);
    }
    return there_and_back(t, pi, a, out, err);
}

static bool rows(void *ctx, const struct model_tensor *tensor, uint64_t first, uint64_t n, float *out,
                 struct error *err)
{
    const struct trial *t = ctx;
    uint32_t item = (uint32_t)(tensor - t->space->inventory->tensors);
    const struct plan *p = t->space->types[type_of(t, item)].plan;
    uint64_t unit = quant_format_rows(p->items[item].format), cols = tensor->dims[1];
    if (unit == 0) unit = 1;
    uint64_t from = first / unit * unit, to = u64_min(u64_div_up(first + n, unit) * unit, tensor->dims[0]);
    if (from == first && to == first + n) return whole_rows(t, p, item, from, to, out, err);
    CLEANUP(free) float *wide = NULL;
    if (!memory_alloc(&wide, (to - from) * cols, sizeof *wide, err) || !whole_rows(t, p, item, from, to, wide, err))
        return false;
    memcpy(out, wide + (first - from) * cols, n * cols * sizeof *out);
    return true;
}

void trial_init(struct trial *t, struct search_space *s, uint64_t isa, float *weight_amax, float *input_amax)
{
    *t = (struct trial){.space = s, .isa = isa, .weight_amax = weight_amax, .input_amax = input_amax};
    t->source = (struct weight_source){.ctx = t, .format = format, .rows = rows};
}

/* ---- maxima ---- */

struct amax_ctx {
    struct trial *t;
    const uint32_t *items;
    kernel_fn amax;
};

static bool amax_item(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    struct amax_ctx *c = ctx;
    const struct model_tensor *m = tensor_of(c->t, c->items[i]);
    const struct checkpoint *ck = c->t->space->inventory->checkpoint;
    uint32_t part = m->parts[PART_WEIGHT];
    const struct tensor_info *info = checkpoint_tensor(ck, part);
    uint64_t chunk = u64_min(PLAN_PIECE_BYTES, info->bytes), elem = dtype_bytes(info->dtype);
    CLEANUP(free) void *raw = NULL;
    if (!memory_alloc(&raw, chunk, 1, err)) return false;
    float top = 0;
    for (uint64_t at = 0; at < info->bytes; at += chunk) {
        uint64_t n = u64_min(chunk, info->bytes - at);
        float part_amax;
        if (!checkpoint_read(ck, part, at, raw, n, err)) return false;
        c->amax(&(struct kernel_args){
            .n_rows = 1, .n_cols = n / elem, .src = raw, .dtype = info->dtype, .dst_f32 = &part_amax});
        if (!isfinite(part_amax))
            return error_set(err, ERR_FORMAT, "tensor '%.256s' holds a value that is not finite", info->name);
        if (part_amax > top) top = part_amax;
    }
    c->t->weight_amax[c->items[i]] = top;
    return true;
}

bool trial_observe_weights(struct trial *t, int32_t block, struct pool *pool, struct error *err)
{
    for (uint32_t g = 0; g < t->space->n_groups; g++) {
        const struct search_group *x = &t->space->groups[g];
        if (x->block != block) continue;
        struct amax_ctx c = {t, x->items, kernel_for(OP_AMAX, t->isa)};
        if (!pool_try(pool, x->n_items, amax_item, &c, err)) return false;
    }
    return true;
}

void trial_share_inputs(struct trial *t, int32_t block)
{
    for (uint32_t g = 0; g < t->space->n_groups; g++) {
        const struct search_group *x = &t->space->groups[g];
        if (x->block != block || !tensor_of(t, x->items[0])->container) continue;
        float top[ROLE_COUNT] = {0};
        for (uint32_t i = 0; i < x->n_items; i++) {
            float *of_role = &top[tensor_of(t, x->items[i])->place.role], v = t->input_amax[x->items[i]];
            if (v > *of_role) *of_role = v;
        }
        for (uint32_t i = 0; i < x->n_items; i++)
            t->input_amax[x->items[i]] = top[tensor_of(t, x->items[i])->place.role];
    }
}
