#include "convert/decoded.h"

#include "core/arena.h"
#include "core/memory.h"
#include "engine/weight_rows.h"
#include "models/expected.h"

#define STAYS UINT32_MAX
#define GOES (UINT32_MAX - 1) /* what belongs to an output that another tensor stands for */
#define STACK_ROWS 64u        /* of an expert, decoded at a time */

struct output {
    struct decoded_output public;
    const struct decoded *all;
    const struct model_tensor *tensor;
    const struct stack_rule *rules;      /* of the stack it becomes, from its first one; NULL: a matrix */
    const struct model_tensor **members; /* of the stack: [experts, n_parts] */
};

struct decoded {
    const struct model *m;
    struct engine *engine;
    struct arena *arena;
    struct output *outputs;
    uint32_t n_outputs;
    uint32_t *fate; /* [stored tensors] an output, STAYS or GOES */
};

/* ---- what there is ---- */

static const struct tensor_view *view_of(const struct model *m, const struct model_tensor *t)
{
    return checkpoint_tensor(m->checkpoint, t->parts[PART_WEIGHT])->view;
}

static bool is_quantized(const struct model *m, const struct model_tensor *t)
{
    const struct tensor_view *v = view_of(m, t);
    return (t->format && !t->format->self_described) || (v && v->is_mxfp4);
}

static const struct block_config *block_of(const struct model *m, const struct model_tensor *t)
{
    const struct model_config *cfg = &m->inventory->config;
    return t->place.mtp ? &cfg->mtp_blocks[t->place.block] : &cfg->blocks[t->place.block];
}

/* The plain stack that an expert's matrix belongs to in a checkpoint of the family that is not quantized. */
static bool find_stack(struct decoded *d, const struct model_tensor *t, const struct stack_rule **out,
                       struct error *err)
{
    const struct model_config *cfg = &d->m->inventory->config;
    *out = NULL;
    if (!view_of(d->m, t)) return true;
    for (const struct stack_rule *r = cfg->arch->stacks; r->stack; r++) {
        if (r->order != STACK_IN_OUT) continue;
        const char *name = model_pattern_name(cfg, d->arena, r->member, block_of(d->m, t), t->place.expert);
        if (!name) return error_memory(err, 0);
        if (strcmp(name, t->name) == 0) {
            *out = r - r->part; /* parts of a stack follow one another */
            return true;
        }
    }
    return true;
}

static bool make_stack(struct decoded *d, struct output *o, struct error *err)
{
    const struct model_config *cfg = &d->m->inventory->config;
    const struct block_config *b = block_of(d->m, o->tensor);
    uint32_t n_parts = o->rules->n_parts, n = cfg->moe.n_experts * n_parts;
    o->public.name = model_pattern_name(cfg, d->arena, o->rules->stack, b, -1);
    o->public.n_dims = 3;
    o->public.dims[0] = cfg->moe.n_experts;
    o->public.dims[1] = o->tensor->dims[1];
    o->public.dims[2] = n_parts * o->tensor->dims[0];
    o->members = arena_alloc(d->arena, n, sizeof *o->members);
    if (!o->public.name || !o->members) return error_memory(err, n * sizeof *o->members);
    for (uint32_t i = 0; i < n; i++) {
        const char *name = model_pattern_name(cfg, d->arena, o->rules[i % n_parts].member, b, (int32_t)(i / n_parts));
        if (!name) return error_memory(err, 0);
        o->members[i] = inventory_find_name(d->m->inventory, name);
        if (!o->members[i]) return error_set(err, ERR_INTERNAL, "the inventory has no '%.256s'", name);
    }
    return true;
}

/* The stored tensors behind a part stand for the output, or go. */
static void settle(struct decoded *d, const struct model_tensor *t, uint32_t output)
{
    const struct checkpoint *ck = d->m->checkpoint;
    const struct tensor_view *v = view_of(d->m, t);
    for (int part = 0; part < PART_COUNT; part++)
        if (part != PART_WEIGHT && t->parts[part] != NAME_NONE) d->fate[checkpoint_stored(ck, t->parts[part])] = GOES;
    if (v && v->is_mxfp4) d->fate[v->scales] = GOES;
    if (output != GOES) d->fate[checkpoint_stored(ck, t->parts[PART_WEIGHT])] = output;
}

static bool add(struct decoded *d, const struct model_tensor *t, struct error *err)
{
    uint32_t stored = checkpoint_stored(d->m->checkpoint, t->parts[PART_WEIGHT]);
    struct output *o = &d->outputs[d->n_outputs];
    *o = (struct output){.all = d, .tensor = t, .public = {.n_dims = 2}};
    o->public.name = arena_printf(d->arena, "%s.weight", t->module);
    if (!o->public.name) return error_memory(err, 0);
    o->public.ctx = o;
    memcpy(o->public.dims, t->dims, 2 * sizeof *t->dims);
    if (!find_stack(d, t, &o->rules, err)) return false;
    if (o->rules && d->fate[stored] != STAYS) { /* another member has made it */
        settle(d, t, GOES);
        return true;
    }
    settle(d, t, d->n_outputs++);
    return !o->rules || make_stack(d, o, err);
}

static bool list(struct decoded *d, struct error *err)
{
    const struct inventory *inv = d->m->inventory;
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i];
        if (is_quantized(d->m, t)) {
            if (!add(d, t, err)) return false;
        } else { /* scales of the cache go with the configuration that speaks of them */
            for (int part = PART_WEIGHT + 1; part < PART_COUNT; part++)
                if (t->parts[part] != NAME_NONE) d->fate[checkpoint_stored(d->m->checkpoint, t->parts[part])] = GOES;
        }
    }
    return true;
}

bool decoded_open(struct decoded **out, const struct model *m, const struct convert_options *opt, struct error *err)
{
    *out = NULL;
    uint32_t n = checkpoint_count(m->checkpoint);
    struct decoded *d = calloc(1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d);
    *d = (struct decoded){.m = m, .arena = arena_new()};
    struct engine_options eo = {.pool = opt->pool, .isa = opt->isa};
    bool ok = d->arena || error_memory(err, 0);
    ok = ok && memory_alloc(&d->fate, n, sizeof *d->fate, err) &&
         memory_alloc(&d->outputs, m->inventory->n_tensors, sizeof *d->outputs, err);
    for (uint32_t i = 0; ok && i < n; i++) d->fate[i] = STAYS;
    ok = ok && engine_open(&d->engine, m->inventory, &eo, err) && list(d, err);
    if (ok) *out = d;
    else decoded_close(d);
    return ok;
}

void decoded_close(struct decoded *d)
{
    if (!d) return;
    engine_close(d->engine);
    arena_free(d->arena);
    free(d->outputs);
    free(d->fate);
    free(d);
}

bool decoded_replaces(const struct decoded *d, uint32_t i, const struct decoded_output **output)
{
    *output = NULL;
    if (d->fate[i] == STAYS) return false;
    if (d->fate[i] != GOES) *output = &d->outputs[d->fate[i]].public;
    return true;
}

/* ---- values ---- */

/* One projection of an expert into its place: inputs by outputs. */
static bool read_member(const struct output *o, uint32_t part, uint32_t worker, uint64_t expert, float *out,
                        struct error *err)
{
    const struct stack_rule *r = &o->rules[part];
    const struct model_tensor *t = o->members[expert * r->n_parts + part];
    uint64_t rows = t->dims[0], cols = t->dims[1], all = o->public.dims[2], step = r->interleaved ? r->n_parts : 1;
    CLEANUP(free) float *some = NULL;
    if (!memory_alloc(&some, STACK_ROWS * cols, sizeof *some, err)) return false;
    for (uint64_t first = 0; first < rows; first += STACK_ROWS) {
        uint64_t n = u64_min(STACK_ROWS, rows - first), at = (r->interleaved ? part : part * rows) + first * step;
        if (!weight_rows(o->all->engine, t, worker, first, n, some, err)) return false;
        for (uint64_t c = 0; c < cols; c++)
            for (uint64_t k = 0; k < n; k++) out[c * all + at + k * step] = some[k * cols + c];
    }
    return true;
}

bool decoded_read(void *ctx, uint32_t worker, uint64_t first, uint64_t n, float *out, struct error *err)
{
    const struct output *o = ctx;
    if (!o->rules) return weight_rows(o->all->engine, o->tensor, worker, first, n, out, err);
    for (uint64_t e = 0; e < n; e++)
        for (uint32_t part = 0; part < o->rules->n_parts; part++)
            if (!read_member(o, part, worker, first + e, out + e * o->public.dims[1] * o->public.dims[2], err))
                return false;
    return true;
}
