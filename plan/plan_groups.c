/* Linears that must agree: those that engines fuse share a scale, experts of a layer have one format, and those of a
 * stack are written together. */
#include "plan/plan_impl.h"
#include "plan/plan_stack.h"
#include "plan/recipe_words.h"
#include "plan/scale_method.h"

/* Linears of one block that engines fuse into one product, by what leads them. */
static const struct fusion {
    enum tensor_role lead, others[2];
    uint32_t n_others;
} fusions[] = {
    {ROLE_ATTN_Q, {ROLE_ATTN_K, ROLE_ATTN_V}, 2},
    {ROLE_MLA_Q_A, {ROLE_MLA_KV_A}, 1},
    {ROLE_MLP_GATE, {ROLE_MLP_UP}, 1},
    {ROLE_SHARED_GATE, {ROLE_SHARED_UP}, 1},
    {ROLE_EXPERT_GATE, {ROLE_EXPERT_UP}, 1},
    {ROLE_DELTA_QKV, {ROLE_DELTA_Z}, 1},
    {ROLE_DELTA_B, {ROLE_DELTA_A}, 1},
};

static const struct fusion *fusion_led_by(enum tensor_role role)
{
    for (size_t i = 0; i < sizeof fusions / sizeof *fusions; i++)
        if (fusions[i].lead == role) return &fusions[i];
    return NULL;
}

enum tensor_role plan_fusion_lead(enum tensor_role role)
{
    for (size_t i = 0; i < sizeof fusions / sizeof *fusions; i++)
        for (uint32_t k = 0; k < fusions[i].n_others; k++)
            if (fusions[i].others[k] == role) return fusions[i].lead;
    return role;
}

static bool same_block(const struct plan_item *a, const struct plan_item *b)
{
    return a->tensor->place.block == b->tensor->place.block && a->tensor->place.mtp == b->tensor->place.mtp;
}

/* One format for all of them, and for NVFP4 one tensor scale. FP8 scales stay apart, as in ModelOpt's exports, and
 * engines requantize to the largest at load; but not those of an expert's gate and up, for which engines have one
 * scale. */
static bool group_fused(struct plan_builder *b, uint32_t first, const struct fusion *fusion)
{
    struct plan *p = b->plan;
    const struct plan_item *lead = &p->items[first];
    uint32_t n = 0;
    for (uint32_t i = first + 1; n < fusion->n_others && i < p->n_items && same_block(lead, &p->items[i]); i++) {
        struct plan_item *other = &p->items[i];
        enum tensor_role role = other->tensor->place.role;
        if ((role != fusion->others[0] && role != fusion->others[fusion->n_others - 1]) ||
            other->tensor->place.expert != lead->tensor->place.expert)
            continue;
        n++;
        if (other->format != lead->format)
            return error_set(b->err, ERR_UNSUPPORTED,
                             "recipe '%s': '%.200s' is %s and '%.200s' is %s: engines fuse them and need one format",
                             p->recipe->name, lead->tensor->name, lead->format ? lead->format->name : "not quantized",
                             other->tensor->name, other->format ? other->format->name : "not quantized");
        if (!lead->format || !quant_format_has_tensor_scale(lead->format) ||
            (lead->format->block_cols == 1 && fusion->lead != ROLE_EXPERT_GATE))
            continue;
        other->group = lead->group;
        if (scale_method_max(other->scales) != scale_method_max(lead->scales))
            return error_set(b->err, ERR_UNSUPPORTED,
                             "recipe '%s': '%.200s' has scales: %s and '%.200s' has scales: %s: engines fuse them and "
                             "need one weight_scale_2",
                             p->recipe->name, lead->tensor->name, scales_name(lead->scales), other->tensor->name,
                             scales_name(other->scales));
    }
    return true;
}

bool plan_group(struct plan_builder *b)
{
    struct plan *p = b->plan;
    for (uint32_t i = 0; i < p->n_items; i++) p->items[i].group = NAME_NONE;
    for (uint32_t i = 0; i < p->n_items; i++) {
        struct plan_item *item = &p->items[i];
        if (item->group != NAME_NONE) continue;
        if (item->stack && item->stack->lead != i) {
            item->group = p->items[item->stack->lead].group;
            continue;
        }
        item->group = p->n_groups++;
        if (item->stack) continue;
        const struct fusion *fusion = fusion_led_by(item->tensor->place.role);
        if (fusion && !group_fused(b, i, fusion)) return false;
    }
    return true;
}

/* Experts of one container are asked about once by engines: they must agree. */
bool plan_check_containers(struct plan_builder *b)
{
    const struct plan *p = b->plan;
    const struct plan_item *first = NULL;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (!item->tensor->container || !plan_may_quantize(item->tensor)) continue;
        if (!first || strcmp(first->tensor->container, item->tensor->container) != 0) first = item;
        if (first->format == item->format) continue;
        return error_set(
            b->err, ERR_UNSUPPORTED,
            "recipe '%s': '%.200s' and '%.200s' get different formats: engines need one for all experts of a layer",
            p->recipe->name, first->tensor->name, item->tensor->name);
    }
    return true;
}

bool plan_join_stacks(struct plan_builder *b)
{
    struct plan *p = b->plan;
    CLEANUP(free)
    struct plan_stack **of_base = calloc((size_t)checkpoint_count(p->inventory->checkpoint) + 1, sizeof *of_base);
    if (!of_base) return error_memory(b->err, 0);
    for (uint32_t i = 0; i < p->n_items; i++)
        if (p->items[i].action == ACTION_QUANTIZE && !plan_stack_join(p, i, of_base, b->err)) return false;
    return plan_stack_note_apart(p, b->err);
}
