/* The tensors of the result, in file order: what each is a copy or a coding of, its name, type and shape. */
#include "plan/fold.h"
#include "plan/plan_impl.h"
#include "plan/plan_stack.h"

#include "core/bytes.h"

/* compressed-tensors keeps cache scales beside the projections: "self_attn.k_scale". */
static const char *output_name(const struct plan *p, const struct plan_item *item, enum tensor_part part)
{
    const struct model_tensor *t = item->tensor;
    bool quantized = item->action == ACTION_QUANTIZE, cache = part == PART_K_SCALE || part == PART_V_SCALE;
    const char *dot = strrchr(t->module, '.');
    if (part == PART_WEIGHT && quantized && (item->decoded || item->format->stem))
        return arena_printf(p->arena, "%s.%s", t->module, quant_format_stem(item->format));
    if (part == PART_WEIGHT) return t->name;
    if (cache && plan_in_compressed_tensors(p))
        return arena_printf(p->arena, "%.*s%s", dot ? (int)(dot - t->module) + 1 : 0, t->module,
                            tensor_part_suffix(part));
    if (cache) return tensor_cache_name(t, p->arena);
    return arena_printf(p->arena, "%s.%s", t->module, tensor_part_suffix(part));
}

/* Appends a tensor of the result. `spec` without a name gets the name of the source's tensor, or of the part. */
static bool add_output(struct plan_builder *b, uint32_t item, enum tensor_part part, const struct tensor_spec *spec)
{
    struct plan *p = b->plan;
    const struct model_tensor *t = p->items[item].tensor;
    struct tensor_spec *s = &p->specs[p->n_outputs];
    const struct checkpoint *ck = p->inventory->checkpoint;
    bool quantized = p->items[item].action == ACTION_QUANTIZE;
    bool cache = part == PART_K_SCALE || part == PART_V_SCALE;
    uint32_t source = quantized && part != PART_WEIGHT && !cache ? NAME_NONE : t->parts[part];
    if (cache && p->items[item].kv_scale) source = NAME_NONE;
    bool whole = source != NAME_NONE && (!quantized || p->items[item].stack);
    if (whole) source = checkpoint_stored(ck, source); /* experts in a stack */
    *s = *spec;
    if (!s->name && !quantized && whole) s->name = checkpoint_tensor(ck, source)->name;
    else if (!s->name) s->name = output_name(p, &p->items[item], part);
    if (!s->name) return error_memory(b->err, 0);
    uint64_t n_elems, bytes;
    if (!tensor_size(s->name, s->dtype, s->n_dims, s->dims, &n_elems, &bytes, b->err)) return false;
    if (!u64_add(p->write_bytes, bytes, &p->write_bytes))
        return error_set(b->err, ERR_FORMAT, "the result is larger than 2^64 bytes");
    if (quantized && part <= PART_PRE_QUANT_SCALE) p->quantized_bytes += bytes;
    p->outputs[p->n_outputs++] = (struct plan_output){item, part, source};
    p->items[item].n_outputs++;
    return true;
}

/* Scales of a stack that is decoded as it is read: they are no part of any linear. */
static bool add_copied_scales(struct plan_builder *b, uint32_t i, uint32_t source)
{
    const struct tensor_info *t = checkpoint_tensor(b->plan->inventory->checkpoint, source);
    struct tensor_spec s = {.name = t->name, .dtype = t->dtype, .n_dims = t->n_dims};
    memcpy(s.dims, t->dims, sizeof s.dims);
    if (!add_output(b, i, PART_WEIGHT_SCALE, &s)) return false;
    b->plan->outputs[b->plan->n_outputs - 1].source = source;
    return true;
}

/* A tensor of the source as it is. */
static bool add_copy(struct plan_builder *b, uint32_t i, enum tensor_part part, uint32_t source)
{
    const struct tensor_info *t = checkpoint_tensor(b->plan->inventory->checkpoint, source);
    bool apart = t->view && plan_bias_comes_apart(b->plan, b->plan->items[i].tensor);
    if (t->view && !apart) { /* the stack is copied whole, once */
        if (b->stacks_done[t->view->base]) return true;
        b->stacks_done[t->view->base] = true;
        t = checkpoint_tensor(b->plan->inventory->checkpoint, t->view->base);
    }
    struct tensor_spec s = {.name = apart ? t->name : NULL, .dtype = t->dtype, .n_dims = t->n_dims};
    memcpy(s.dims, t->dims, sizeof s.dims);
    const struct tensor_view *view = checkpoint_tensor(b->plan->inventory->checkpoint, source)->view;
    if (!add_output(b, i, part, &s)) return false;
    if (apart) b->plan->outputs[b->plan->n_outputs - 1].source = source;
    return !view || !view->is_mxfp4 || add_copied_scales(b, i, view->scales);
}

static bool add_parts(struct plan_builder *b, uint32_t i)
{
    struct plan *p = b->plan;
    const struct plan_item *item = &p->items[i];
    const struct model_tensor *t = item->tensor;
    if (item->stack && item->stack->lead != i) return true;
    for (uint32_t k = 0; k < item->format->n_parts; k++) {
        const struct quant_part *part = &item->format->parts[k];
        struct tensor_spec s = {.dtype = part->dtype};
        uint64_t dims[QUANT_DIMS_MAX];
        if (item->stack) {
            if (!plan_stack_part(p, item, part, &s)) return error_memory(b->err, 0);
        } else {
            quant_part_shape(part, t->dims[0], t->dims[1], &s.n_dims, dims);
            memcpy(s.dims, dims, s.n_dims * sizeof *dims);
        }
        if (!add_output(b, i, part->part, &s)) return false;
    }
    if (!plan_item_pre_scaled(p, item)) return true;
    enum dtype dtype = checkpoint_tensor(p->inventory->checkpoint, t->parts[PART_WEIGHT])->dtype;
    struct tensor_spec pre = {.dtype = dtype, .n_dims = 1, .dims = {t->dims[1]}};
    return add_output(b, i, PART_PRE_QUANT_SCALE, &pre);
}

/* Of a linear that changes its type: the scale of its cache, where the recipe says nothing of caches. */
static bool add_kept_cache(struct plan_builder *b, uint32_t i)
{
    const struct plan_item *item = &b->plan->items[i];
    enum tensor_part part = tensor_cache_part(item->tensor->place.role);
    if (part == PART_COUNT || item->kv_scale || item->tensor->parts[part] == NAME_NONE) return true;
    return add_copy(b, i, part, item->tensor->parts[part]);
}

static bool item_outputs(struct plan_builder *b, uint32_t i)
{
    struct plan *p = b->plan;
    struct plan_item *item = &p->items[i];
    const struct model_tensor *t = item->tensor;
    bool as_it_is = item->action == ACTION_COPY && !item->decoded;
    item->first_output = p->n_outputs;
    for (int part = 0; part < PART_COUNT; part++) {
        if (t->parts[part] == NAME_NONE) continue;
        bool replaced = item->kv_scale && (enum tensor_part)part == tensor_cache_part(t->place.role);
        if (!u64_add(p->read_bytes, checkpoint_tensor(p->inventory->checkpoint, t->parts[part])->bytes, &p->read_bytes))
            return error_set(b->err, ERR_FORMAT, "the source is larger than 2^64 bytes");
        if (as_it_is && !replaced && !add_copy(b, i, (enum tensor_part)part, t->parts[part])) return false;
    }
    p->total_elems += t->n_elems;
    if (item->action == ACTION_QUANTIZE) p->quantized_elems += t->n_elems;
    if (item->action == ACTION_QUANTIZE && !add_parts(b, i)) return false;
    if (item->action == ACTION_COPY && item->decoded) {
        struct tensor_spec plain = {.dtype = DTYPE_BF16, .n_dims = 2, .dims = {t->dims[0], t->dims[1]}};
        plain.name = arena_printf(p->arena, "%s.weight", t->module);
        if (!plain.name) return error_memory(b->err, 0);
        if (!add_output(b, i, PART_WEIGHT, &plain)) return false;
    }
    struct tensor_spec scalar = {.dtype = DTYPE_F32, .n_dims = plan_in_compressed_tensors(p), .dims = {1}};
    if (item->kv_scale) return add_output(b, i, tensor_cache_part(t->place.role), &scalar);
    return as_it_is || add_kept_cache(b, i);
}

bool plan_make_outputs(struct plan_builder *b)
{
    struct plan *p = b->plan;
    size_t most = (size_t)p->n_items * (QUANT_PARTS_MAX + 2);
    p->specs = arena_alloc(p->arena, most, sizeof *p->specs);
    p->outputs = arena_alloc(p->arena, most, sizeof *p->outputs);
    if (!p->specs || !p->outputs) return error_memory(b->err, most * sizeof *p->specs);
    CLEANUP(free)
    bool *stacks_done = b->stacks_done = calloc((size_t)checkpoint_count(p->inventory->checkpoint) + 1, 1);
    if (!stacks_done) return error_memory(b->err, 0);
    for (uint32_t i = 0; i < p->n_items; i++)
        if (!item_outputs(b, i)) return false;
    b->stacks_done = NULL;
    return true;
}
