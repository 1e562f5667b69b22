#include "plan/plan_stack.h"

#include "core/bytes.h"

#define MXFP4_BLOCK 32u

static bool is_own_layout(const struct quant_format *f)
{
    return f->method && strcmp(f->method, "mxfp4") == 0;
}

static bool check_type(const struct plan *p, const struct plan_item *item, const struct plan_stack *s,
                       struct error *err)
{
    const struct quant_format *f = item->format;
    bool known = f->encode_op == OP_ENCODE_NVFP4 || f->encode_op == OP_ENCODE_FP8 || f->encode_op == OP_ENCODE_MXFP4;
    if (!known)
        return error_set(
            err, ERR_UNSUPPORTED,
            "recipe '%s': tensor '%.256s' lies in the stack '%.256s', which the layout %s does not hold as "
            "%s, but as nvfp4, fp8 and mxfp4; %s",
            p->recipe->name, item->tensor->name, s->name, p->recipe->layout, f->name,
            f->encode_op == OP_ENCODE_INT4 ? "layout: compressed-tensors, awq and gptq write int4 experts one by one"
                                           : "layout: compressed-tensors writes experts one by one");
    if (f->encode_op == OP_ENCODE_FP8 && item->scales != SCALES_MAX)
        return error_set(err, ERR_UNSUPPORTED,
                         "recipe '%s': tensor '%.256s' lies in the stack '%.256s'; FP8 stacks have scales: max",
                         p->recipe->name, item->tensor->name, s->name);
    uint64_t n = s->sideways ? item->tensor->dims[1] : s->matrix.dims[1];
    if (n % f->block_cols == 0) return true;
    return error_set(err, ERR_UNSUPPORTED,
                     "recipe '%s': stack '%.256s': %llu %s are not a multiple of %s's block of %u", p->recipe->name,
                     s->name, (unsigned long long)n, s->sideways ? "inputs" : "outputs", f->name, f->block_cols);
}

/* In layouts where every linear is a module with tensors of its own, experts are written apart, as llm-compressor
 * does (0.14: "mlp.experts.3.gate_proj.weight_packed", ".bias"); ModelOpt keeps its stacks. */
static bool comes_apart(const struct quant_format *f)
{
    return f->method && !is_own_layout(f);
}

/* The layout mxfp4 has no other tensors than stacks. */
static bool no_stack(const struct plan *p, const struct plan_item *item, struct error *err)
{
    if (!is_own_layout(item->format)) return true;
    return error_set(err, ERR_UNSUPPORTED,
                     "recipe '%s': tensor '%.256s' does not lie in a stack of experts, inputs by outputs (GPT-OSS); "
                     "the layout mxfp4 holds nothing else",
                     p->recipe->name, item->tensor->name);
}

/* GPT-OSS's own MXFP4: decoded, and from then on as its plain stacks are. */
static bool of_blocks(struct plan *p, const struct plan_item *item, struct plan_stack *s, struct error *err)
{
    const struct checkpoint *ck = p->inventory->checkpoint;
    const struct tensor_info *base = checkpoint_tensor(ck, s->base);
    size_t n = strlen(base->name), end = strlen("_blocks");
    s->scales = checkpoint_stored(ck, item->tensor->parts[PART_WEIGHT_SCALE]);
    s->name = arena_copy(p->arena, base->name, n > end ? n - end : n);
    s->matrix.dims[0] = base->dims[0] * base->dims[2] * 32;
    s->matrix.dims[1] = base->dims[1];
    s->matrix.dtype = DTYPE_BF16;
    s->matrix.n_elems = 2 * base->n_elems;
    s->matrix.bytes = 4 * base->n_elems;
    return s->name ? true : error_memory(err, n);
}

bool plan_stack_join(struct plan *p, uint32_t i, struct plan_stack **of_base, struct error *err)
{
    struct plan_item *item = &p->items[i];
    const struct checkpoint *ck = p->inventory->checkpoint;
    const struct tensor_info *t = checkpoint_tensor(ck, item->tensor->parts[PART_WEIGHT]);
    if (!t->view) return no_stack(p, item, err);
    const struct tensor_info *base = checkpoint_tensor(ck, t->view->base);
    bool blocks = base->n_dims == 4, own = is_own_layout(item->format);
    if (!blocks && t->view->col_step == dtype_bytes(t->dtype)) return no_stack(p, item, err);
    if (comes_apart(item->format)) return true;
    struct plan_stack *s = of_base[t->view->base];
    if (!s) {
        s = of_base[t->view->base] = arena_alloc(p->arena, 1, sizeof *s);
        if (!s) return error_memory(err, sizeof *s);
        *s = (struct plan_stack){.name = base->name,
                                 .base = t->view->base,
                                 .scales = NAME_NONE,
                                 .lead = i,
                                 .n_experts = base->dims[0],
                                 .sideways = item->format->encode_op == OP_ENCODE_NVFP4 || own,
                                 .stays_turned = own,
                                 .matrix = *base};
        s->matrix.n_dims = 2;
        s->matrix.dims[0] = base->dims[0] * base->dims[1];
        s->matrix.dims[1] = base->dims[2];
        if (blocks && !of_blocks(p, item, s, err)) return false;
        if (!check_type(p, item, s, err)) return false;
    }
    const struct plan_item *lead = &p->items[s->lead];
    if (lead->format != item->format || lead->scales != item->scales || lead->type != item->type)
        return error_set(err, ERR_UNSUPPORTED,
                         "recipe '%s': '%.200s' and '%.200s' get different types, but lie in one stack",
                         p->recipe->name, lead->tensor->name, item->tensor->name);
    if ((lead->solve.method == SOLVE_NONE) != (item->solve.method == SOLVE_NONE))
        return error_set(err, ERR_UNSUPPORTED,
                         "recipe '%s': of '%.200s' and '%.200s', which lie in one stack, one is solved and the other "
                         "is not",
                         p->recipe->name, lead->tensor->name, item->tensor->name);
    s->n_items++;
    item->stack = s;
    return true;
}

static bool lies_turned(const struct tensor_info *t)
{
    return t->view && t->view->col_step != dtype_bytes(t->dtype);
}

bool plan_stack_note_apart(struct plan *p, struct error *err)
{
    const struct checkpoint *ck = p->inventory->checkpoint;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct tensor_info *t = checkpoint_tensor(ck, p->items[i].tensor->parts[PART_WEIGHT]);
        if (p->items[i].action != ACTION_QUANTIZE || p->items[i].stack || !lies_turned(t)) continue;
        return plan_note(p, err,
                         "stacks as '%.128s' are written expert by expert, as llm-compressor does; vLLM (0.32) passes "
                         "such experts of GPT-OSS over",
                         checkpoint_tensor(ck, t->view->base)->name);
    }
    return true;
}

bool plan_bias_comes_apart(const struct plan *p, const struct model_tensor *bias)
{
    char weight[1024];
    size_t n = strlen(bias->name), end = strlen(".bias");
    if (bias->place.role != ROLE_EXPERT_BIAS || n <= end) return false;
    snprintf(weight, sizeof weight, "%.*s.weight", (int)(n - end), bias->name);
    const struct model_tensor *of = inventory_find_name(p->inventory, weight);
    const struct plan_item *item = of ? &p->items[of - p->inventory->tensors] : NULL;
    return item && item->action == ACTION_QUANTIZE && !item->stack;
}

struct plan_member plan_stack_member(const struct plan *p, const struct plan_item *item)
{
    const struct plan_stack *s = item->stack;
    const struct checkpoint *ck = p->inventory->checkpoint;
    const struct tensor_info *t = checkpoint_tensor(ck, item->tensor->parts[PART_WEIGHT]),
                             *base = checkpoint_tensor(ck, s->base);
    uint64_t elem = dtype_bytes(t->dtype), at = (t->offset - base->offset) / elem;
    return (struct plan_member){.first = at % s->matrix.dims[1], .step = t->view->row_step / elem};
}

/* Codes come as blocks of 16 bytes. */
static bool own_part(const struct plan *p, const struct plan_stack *s, const struct quant_part *part,
                     struct tensor_spec *out)
{
    uint64_t in = s->matrix.dims[0] / (s->n_experts ? s->n_experts : 1);
    bool codes = part->part == PART_WEIGHT;
    out->name = arena_printf(p->arena, "%s_%s", s->name, codes ? "blocks" : "scales");
    out->dtype = part->dtype;
    out->n_dims = codes ? 4 : 3;
    const uint64_t dims[4] = {s->n_experts, s->matrix.dims[1], in / MXFP4_BLOCK, MXFP4_BLOCK / 2};
    memcpy(out->dims, dims, out->n_dims * sizeof *dims);
    return out->name != NULL;
}

bool plan_stack_part(const struct plan *p, const struct plan_item *item, const struct quant_part *part,
                     struct tensor_spec *out)
{
    const struct plan_stack *s = item->stack;
    uint64_t in = s->matrix.dims[0] / (s->n_experts ? s->n_experts : 1), cols = s->matrix.dims[1];
    uint64_t dims[QUANT_DIMS_MAX];
    if (s->stays_turned) return own_part(p, s, part, out);
    out->name =
        part->part == PART_WEIGHT ? s->name : arena_printf(p->arena, "%s_%s", s->name, tensor_part_suffix(part->part));
    out->dtype = part->dtype;
    quant_part_shape(part, s->sideways ? cols : in, s->sideways ? in : cols, &out->n_dims, dims);
    if (out->n_dims) {
        out->n_dims = 3;
        out->dims[0] = s->n_experts;
        out->dims[1] = dims[s->sideways];
        out->dims[2] = dims[!s->sideways];
    }
    return out->name != NULL;
}
