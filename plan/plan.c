#include "plan/solve_parts.h"
#include "plan/workspace.h"

#include "core/bytes.h"
#include "plan/recipe_words.h"
#include "plan/scale_method.h"

/* What the recipe's lines, taken in order, leave for one linear. */
struct wish {
    const struct quant_type *weights, *inputs;
    uint32_t group;
    bool zero;
    enum scale_method scales;
    struct scale_range range;
    struct solve_choice solve;
    double input_amax;
    struct input_observer observer;
    const struct recipe_line *weights_line, *inputs_line;
};

struct plan_builder {
    struct plan *plan;
    bool *line_used;   /* [recipe->n_lines] */
    bool *stacks_done; /* [checkpoint_count]: stacks of experts that have their output */
    struct error *err;
};

static void apply_lines(struct plan_builder *b, const struct model_tensor *t, struct wish *w)
{
    const struct recipe *r = b->plan->recipe;
    *w = (struct wish){.weights = QUANT_TYPE_NONE, .inputs = QUANT_TYPE_NONE};
    for (uint32_t i = 0; i < r->n_lines; i++) {
        const struct recipe_line *l = &r->lines[i];
        bool to_weights =
            recipe_line_selects(l, t->module, t->place.role, t->place.layer, t->place.mtp, "weight_quantizer");
        bool to_inputs =
            recipe_line_selects(l, t->module, t->place.role, t->place.layer, t->place.mtp, "input_quantizer");
        b->line_used[i] |= to_weights || to_inputs;
        if (to_weights && l->weights) {
            w->weights = l->weights;
            w->group = l->group;
            w->zero = l->zero;
            w->scales = l->scales;
            w->range = l->range;
            w->solve = l->solve;
            w->weights_line = l;
        }
        if (to_inputs && l->inputs) {
            w->inputs = l->inputs;
            w->input_amax = l->input_amax;
            w->observer = l->observer;
            w->inputs_line = l;
        }
    }
}

/* "int4 in groups of 64 with zero points" */
static const char *weights_text(const struct wish *w, char *out, size_t size)
{
    snprintf(out, size, "%s", w->weights->word);
    if (w->group) snprintf(out + strlen(out), size - strlen(out), " in groups of %u", w->group);
    if (w->zero) snprintf(out + strlen(out), size - strlen(out), " with zero points");
    return out;
}

/* Rows and columns that the type cannot cut into its blocks. */
static bool check_blocks(struct plan_builder *b, const struct plan_item *item, const struct wish *w)
{
    const struct model_tensor *t = item->tensor;
    const struct quant_format *f = item->format;
    bool cols = t->dims[1] % f->block_cols != 0, rows = f->row_pairs && t->dims[0] % 2 != 0;
    if (!cols && !rows) return true;
    return error_set(b->err, ERR_UNSUPPORTED,
                     "recipe '%s': %s: tensor '%.256s': %llu %s are not a multiple of %s's block of %u",
                     b->plan->recipe->name, w->weights_line->text, t->name, (unsigned long long)t->dims[cols ? 1 : 0],
                     cols ? "columns" : "rows", f->name, cols ? f->block_cols : 2);
}

/* What calibration has a solver for, and runs. */
static bool solvable(struct plan_builder *b, const struct plan_item *item, const struct wish *w, enum solve_method how)
{
    const struct model_tensor *t = item->tensor;
    const char *method = solve_name(how), *line = w->weights_line->text;
    if (t->place.mtp)
        return error_set(b->err, ERR_UNSUPPORTED,
                         "recipe '%s': %s: tensor '%.256s': calibration does not run the multi-token-prediction head; "
                         "add a later line with solve: none",
                         b->plan->recipe->name, line, t->name);
    if (item->format->encode_op == OP_ENCODE_NVFP4) return true;
    return error_set(b->err, ERR_UNSUPPORTED, "recipe '%s': %s: tensor '%.256s': solve: %s needs nvfp4 weights, not %s",
                     b->plan->recipe->name, line, t->name, method, item->format->name);
}

/* Errors of values say nothing where every block of 16 has a scale of its own, and block maxima nothing without. */
static bool observer_fits(struct plan_builder *b, const struct plan_item *item, const struct input_observer *o)
{
    bool blocks = item->format->input_op == OP_INPUT_NVFP4, needs_blocks = o->method == OBSERVER_HEADROOM;
    bool needs_values = o->method == OBSERVER_ENTROPY || o->method == OBSERVER_MSE;
    if (!(blocks ? needs_values : needs_blocks)) return true;
    return error_set(b->err, ERR_UNSUPPORTED, "recipe '%s': tensor '%.256s': observer: %s is for %s inputs, not %s",
                     b->plan->recipe->name, item->tensor->name, observer_name(o->method),
                     needs_blocks ? "nvfp4" : "fp8", item->format->name);
}

static bool choose_format(struct plan_builder *b, struct plan_item *item, const struct wish *w)
{
    const char *layout = b->plan->recipe->layout;
    if (!w->zero) item->format = quant_format_for(layout, w->weights->stored, w->inputs->stored, w->group);
    const struct model_tensor *t = item->tensor;
    if (t->place.role == ROLE_EMBED || t->place.role == ROLE_MTP_EMBED)
        return error_set(b->err, ERR_UNSUPPORTED,
                         "recipe '%s': %s: tensor '%.256s': engines look embeddings up in 16 bits; add a later line "
                         "{role: embed, weights: none, inputs: none}",
                         b->plan->recipe->name, (w->weights_line ? w->weights_line : w->inputs_line)->text, t->name);
    if (!item->format) {
        const struct recipe_line *l = w->weights_line ? w->weights_line : w->inputs_line;
        char text[96];
        return error_set(b->err, ERR_UNSUPPORTED,
                         "recipe '%s': %s: tensor '%.256s': weights %s with inputs %s is no format that engines load "
                         "in the layout %s",
                         b->plan->recipe->name, l ? l->text : "", t->name, weights_text(w, text, sizeof text),
                         w->inputs->word, layout);
    }
    if (!check_blocks(b, item, w)) return false;
    uint32_t stack = t->parts[PART_WEIGHT];
    if (checkpoint_stored(b->plan->inventory->checkpoint, stack) != stack)
        return error_set(
            b->err, ERR_UNSUPPORTED,
            "recipe '%s': %s: tensor '%.256s' lies in the stack '%.256s'; experts in stacks are not quantized yet",
            b->plan->recipe->name, w->weights_line->text, t->name,
            checkpoint_tensor(b->plan->inventory->checkpoint, checkpoint_stored(b->plan->inventory->checkpoint, stack))
                ->name);
    struct solve_choice solve = w->solve;
    if (solve.method == SOLVE_NONE && w->scales == SCALES_LOCAL_HESSIAN) solve = solve_round; /* only data can tell */
    if (solve.method != SOLVE_NONE && !solvable(b, item, w, solve.method)) return false;
    item->action = ACTION_QUANTIZE;
    item->type = w->weights;
    item->scales = w->scales;
    item->range = w->range;
    item->solve = solve;
    item->reason = w->weights_line->text;
    bool scales_input = quant_format_has_input_scale(item->format);
    item->input_amax = scales_input ? (float)w->input_amax : 0;
    item->observe_input = scales_input && !(w->input_amax > 0);
    if (item->observe_input && !observer_fits(b, item, &w->observer)) return false;
    item->observer = w->observer;
    if (item->observe_input && t->place.mtp)
        return error_set(b->err, ERR_UNSUPPORTED,
                         "recipe '%s': %s: tensor '%.256s': calibration does not run the multi-token-prediction head; "
                         "say inputs: {type: %s, amax: N} or inputs: none",
                         b->plan->recipe->name, item->reason, t->name, w->inputs->word);
    return true;
}

static bool may_be_quantized(const struct model_tensor *t)
{
    enum role_kind kind = role_info(t->place.role)->kind;
    return (kind == KIND_LINEAR || kind == KIND_TABLE) && t->n_dims == 2;
}

static bool decide(struct plan_builder *b, struct plan_item *item)
{
    const struct model_tensor *t = item->tensor;
    static const char *const fixed[] = {[KIND_ROUTER] = "routers stay as they are",
                                        [KIND_SSM] = "the SSM state path stays as it is",
                                        [KIND_SMALL] = "norms and biases stay as they are"};
    item->reason = "no line selects it";
    if (!may_be_quantized(t)) {
        enum role_kind kind = role_info(t->place.role)->kind;
        if (kind == KIND_ROUTER || kind == KIND_SSM || kind == KIND_SMALL) item->reason = fixed[kind];
        if (t->place.role == ROLE_CARRIED) item->reason = "parts beside the language model are carried";
        return true;
    }
    struct wish w;
    apply_lines(b, t, &w);
    if (w.weights_line) item->reason = w.weights_line->text;
    if (t->place.mtp && !w.weights_line) item->reason = "the multi-token-prediction head is carried";
    if (w.weights == QUANT_TYPE_NONE && w.inputs == QUANT_TYPE_NONE) return true;
    return choose_format(b, item, &w);
}

/* ---- groups that share a scale ---- */

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
};

static const struct fusion *fusion_led_by(enum tensor_role role)
{
    for (size_t i = 0; i < sizeof fusions / sizeof *fusions; i++)
        if (fusions[i].lead == role) return &fusions[i];
    return NULL;
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

static bool make_groups(struct plan_builder *b)
{
    struct plan *p = b->plan;
    for (uint32_t i = 0; i < p->n_items; i++) p->items[i].group = NAME_NONE;
    for (uint32_t i = 0; i < p->n_items; i++) {
        struct plan_item *item = &p->items[i];
        if (item->group != NAME_NONE) continue;
        item->group = p->n_groups++;
        const struct fusion *fusion = fusion_led_by(item->tensor->place.role);
        if (fusion && !group_fused(b, i, fusion)) return false;
    }
    return true;
}

/* Experts of one container are asked about once by engines: they must agree. */
static bool check_containers(struct plan_builder *b)
{
    const struct plan *p = b->plan;
    const struct plan_item *first = NULL;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (!item->tensor->container) continue;
        if (!first || strcmp(first->tensor->container, item->tensor->container) != 0) first = item;
        if (first->format == item->format) continue;
        return error_set(
            b->err, ERR_UNSUPPORTED,
            "recipe '%s': '%.200s' and '%.200s' get different formats: engines need one for all experts of a layer",
            p->recipe->name, first->tensor->name, item->tensor->name);
    }
    return true;
}

/* ---- KV cache ---- */

static bool decide_kv(struct plan_builder *b)
{
    struct plan *p = b->plan;
    const struct recipe *r = p->recipe;
    bool first = true;
    for (uint32_t i = 0; i < p->n_items; i++) {
        struct plan_item *item = &p->items[i];
        enum tensor_role role = item->tensor->place.role;
        if ((role != ROLE_ATTN_K && role != ROLE_ATTN_V) || item->tensor->place.mtp) continue;
        const char *module = item->tensor->module, *dot = strrchr(module, '.');
        char *attention = arena_copy(p->arena, module, dot ? (size_t)(dot - module) : strlen(module));
        if (!attention) return error_memory(b->err, 0);
        enum kv_choice kv = KV_NONE;
        for (uint32_t k = 0; k < r->n_lines; k++) {
            const struct recipe_line *l = &r->lines[k];
            if (!l->quantizer) continue;
            const char *quantizer = role == ROLE_ATTN_K ? "k_bmm_quantizer" : "v_bmm_quantizer";
            if (!recipe_line_selects(l, attention, role, item->tensor->place.layer, false, quantizer)) continue;
            b->line_used[k] = true;
            if (l->kv && l->kv != QUANT_TYPE_NONE && !quant_type_is(l->kv, "fp8"))
                return error_set(b->err, ERR_UNSUPPORTED, "recipe '%s': %s: %s KV caches are not supported", r->name,
                                 l->text, l->kv->word);
            kv = quant_type_is(l->kv, "fp8") ? (l->kv_constant ? KV_FP8_CAST : KV_FP8) : KV_NONE;
        }
        if (!first && kv != p->kv)
            return error_set(b->err, ERR_UNSUPPORTED,
                             "recipe '%s': '%.256s': all K and V of a model must have one cache type", r->name, module);
        p->kv = kv;
        first = false;
        item->kv_scale = kv == KV_FP8;
    }
    return true;
}

/* ---- outputs ---- */

static bool add_output(struct plan_builder *b, uint32_t item, enum tensor_part part, enum dtype dtype, uint32_t n_dims,
                       const uint64_t *dims)
{
    struct plan *p = b->plan;
    const struct model_tensor *t = p->items[item].tensor;
    struct tensor_spec *s = &p->specs[p->n_outputs];
    uint64_t n_elems, bytes;
    const struct checkpoint *ck = p->inventory->checkpoint;
    uint32_t source = t->parts[part];
    bool stacked = source != NAME_NONE && checkpoint_stored(ck, source) != source;
    if (stacked) source = checkpoint_stored(ck, source);
    if (stacked) s->name = checkpoint_tensor(ck, source)->name;
    else if (part == PART_WEIGHT) s->name = t->name;
    else s->name = arena_printf(p->arena, "%s.%s", t->module, tensor_part_suffix(part));
    if (!s->name) return error_memory(b->err, 0);
    s->dtype = dtype;
    s->n_dims = n_dims;
    memcpy(s->dims, dims, n_dims * sizeof *dims);
    if (!tensor_size(s->name, dtype, n_dims, dims, &n_elems, &bytes, b->err)) return false;
    if (!u64_add(p->write_bytes, bytes, &p->write_bytes))
        return error_set(b->err, ERR_FORMAT, "the result is larger than 2^64 bytes");
    if (p->items[item].action == ACTION_QUANTIZE && part <= PART_INPUT_SCALE) p->quantized_bytes += bytes;
    p->outputs[p->n_outputs++] = (struct plan_output){item, part, source};
    p->items[item].n_outputs++;
    return true;
}

static bool item_outputs(struct plan_builder *b, uint32_t i)
{
    struct plan *p = b->plan;
    struct plan_item *item = &p->items[i];
    const struct model_tensor *t = item->tensor;
    const struct checkpoint *ck = p->inventory->checkpoint;
    item->first_output = p->n_outputs;
    for (int part = 0; part < PART_COUNT; part++) {
        if (t->parts[part] == NAME_NONE) continue;
        const struct tensor_info *src = checkpoint_tensor(ck, t->parts[part]);
        if (!u64_add(p->read_bytes, src->bytes, &p->read_bytes))
            return error_set(b->err, ERR_FORMAT, "the source is larger than 2^64 bytes");
        if (item->action != ACTION_COPY) continue;
        if (src->view) { /* the stack is copied whole, once */
            uint32_t base = src->view->base;
            if (b->stacks_done[base]) continue;
            b->stacks_done[base] = true;
            src = checkpoint_tensor(ck, base);
        }
        if (!add_output(b, i, (enum tensor_part)part, src->dtype, src->n_dims, src->dims)) return false;
    }
    p->total_elems += t->n_elems;
    if (item->action == ACTION_QUANTIZE) {
        p->quantized_elems += t->n_elems;
        for (uint32_t k = 0; k < item->format->n_parts; k++) {
            const struct quant_part *part = &item->format->parts[k];
            uint32_t n_dims;
            uint64_t dims[QUANT_DIMS_MAX];
            quant_part_shape(part, t->dims[0], t->dims[1], &n_dims, dims);
            if (!add_output(b, i, part->part, part->dtype, n_dims, dims)) return false;
        }
    }
    if (!item->kv_scale) return true;
    enum tensor_part part = t->place.role == ROLE_ATTN_K ? PART_K_SCALE : PART_V_SCALE;
    return add_output(b, i, part, DTYPE_F32, 0, t->dims);
}

static bool make_outputs(struct plan_builder *b)
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

static bool check_lines(struct plan_builder *b)
{
    struct plan *p = b->plan;
    const struct recipe *r = p->recipe;
    const char **list = arena_alloc(p->arena, r->n_lines + 1, sizeof *list);
    if (!list) return error_memory(b->err, 0);
    for (uint32_t i = 0; i < r->n_lines; i++) {
        if (b->line_used[i]) continue;
        if (!r->published && !r->lines[i].optional)
            return error_set(b->err, ERR_FORMAT,
                             "recipe '%s': %s matches nothing in this checkpoint (optional: true allows that)", r->name,
                             r->lines[i].text);
        list[p->n_unmatched++] = r->lines[i].text;
    }
    p->unmatched = list;
    if (!r->copies && p->quantized_elems == 0)
        return error_set(b->err, ERR_FORMAT, "recipe '%s' quantizes nothing in this checkpoint", r->name);
    return true;
}

static bool build(struct plan_builder *b)
{
    struct plan *p = b->plan;
    const struct inventory *inv = p->inventory;
    p->n_items = inv->n_tensors;
    p->items = arena_alloc(p->arena, p->n_items + 1, sizeof *p->items);
    if (!p->items) return error_memory(b->err, p->n_items * sizeof *p->items);
    if (inv->is_quantized && !p->recipe->copies)
        return error_set(b->err, ERR_UNSUPPORTED,
                         "the checkpoint is quantized already; quantizing it again would lose precision twice");
    for (uint32_t i = 0; i < p->n_items; i++)
        if (inv->tensors[i].format && inv->tensors[i].format->self_described)
            return error_set(b->err, ERR_UNSUPPORTED,
                             "tensor '%.256s' is stored as %s, which safetensors cannot hold: `ingot convert --to "
                             "safetensors` makes plain numbers of it",
                             inv->tensors[i].name, inv->tensors[i].format->algo);
    for (uint32_t i = 0; i < p->n_items; i++) {
        p->items[i].tensor = &inv->tensors[i];
        if (!decide(b, &p->items[i])) return false;
    }
    if (!make_groups(b) || !check_containers(b) || !decide_kv(b) || !make_outputs(b) || !check_lines(b)) return false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        p->needs_data |= item->observe_input || item->kv_scale || item->solve.method != SOLVE_NONE;
    }
    struct plan_workspace w = plan_workspace_for(p, PLAN_PIECE_BYTES, PLAN_HOLD_BYTES);
    p->workspace_bytes = plan_workspace_bytes(&w);
    struct solve_needs needs;
    if (!solve_needs(p, PLAN_SOLVE_BYTES, &needs, b->err)) return false;
    p->solve_bytes = needs.bytes;
    p->solve_passes = needs.most_parts;
    return plan_digests(p, b->err);
}

bool plan_build(struct plan **out, const struct inventory *inv, const struct recipe *recipe, struct error *err)
{
    *out = NULL;
    struct plan *p = calloc(1, sizeof *p);
    CLEANUP(free) bool *line_used = calloc(recipe->n_lines + 1, 1);
    if (p) p->arena = arena_new();
    if (!p || !line_used || !p->arena) {
        plan_free(p);
        return error_memory(err, sizeof *p);
    }
    p->inventory = inv;
    p->recipe = recipe;
    struct plan_builder b = {.plan = p, .line_used = line_used, .err = err};
    if (!build(&b)) {
        plan_free(p);
        return false;
    }
    *out = p;
    return true;
}

void plan_free(struct plan *p)
{
    if (!p) return;
    arena_free(p->arena);
    free(p);
}

double plan_effective_bits(const struct plan *p)
{
    return p->total_elems ? 8.0 * (double)p->write_bytes / (double)p->total_elems : 0;
}
