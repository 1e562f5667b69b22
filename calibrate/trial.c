#include "calibrate/trial.h"

#include "calibrate/rounded.h"
#include "calibrate/weights.h"
#include "numeric/e4m3.h"

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

static bool rows(void *ctx, const struct model_tensor *tensor, uint64_t first, uint64_t n, float *out,
                 struct error *err)
{
    const struct trial *t = ctx;
    uint32_t item = (uint32_t)(tensor - t->space->inventory->tensors);
    const struct plan *p = t->space->types[type_of(t, item)].plan;
    return rounded_rows(p, item, NULL, group_amax(t, p, item), t->isa, first, n, out, err);
}

/* With the scales that calibration would write; engines take 1 for a latent. */
static bool cache(void *ctx, const struct model_tensor *tensor, struct cache_type *out)
{
    const struct trial *t = ctx;
    if (t->cache == SEARCH_CACHE_NONE) return false;
    out->nvfp4 = t->cache == SEARCH_CACHE_NVFP4;
    out->scale =
        tensor->place.role == ROLE_MLA_KV_A ? 1.0f : t->kv_amax[tensor - t->space->inventory->tensors] / E4M3_MAX;
    return true;
}

void trial_init(struct trial *t, struct search_space *s, uint64_t isa, float *weight_amax, float *input_amax,
                float *kv_amax)
{
    *t = (struct trial){
        .space = s, .isa = isa, .weight_amax = weight_amax, .input_amax = input_amax, .kv_amax = kv_amax};
    t->source = (struct weight_source){.ctx = t, .format = format, .rows = rows, .cache = cache};
}

/* ---- maxima ---- */

struct amax_ctx {
    struct trial *t;
    const uint32_t *items;
};

static bool amax_item(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    struct amax_ctx *c = ctx;
    uint32_t item = c->items[i];
    return weight_maximum(c->t->space->inventory->checkpoint, tensor_of(c->t, item)->parts[PART_WEIGHT], c->t->isa,
                          &c->t->weight_amax[item], err);
}

bool trial_observe_weights(struct trial *t, int32_t block, struct pool *pool, struct error *err)
{
    for (uint32_t g = 0; g < t->space->n_groups; g++) {
        const struct search_group *x = &t->space->groups[g];
        if (x->block != block) continue;
        struct amax_ctx c = {t, x->items};
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
