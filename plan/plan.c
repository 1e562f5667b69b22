#include "plan/fold.h"
#include "plan/plan_stack.h"
#include "plan/requantize.h"
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
    const struct recipe_line *weights_line, *inputs_line; /* the last that spoke */
    const struct recipe_line *weights_type, *inputs_type; /* the last that said what, also when it was switched off */
};

struct recipe_target plan_target(const struct plan *p, const struct model_tensor *t)
{
    const struct model_config *c = &p->inventory->config;
    int64_t next = (int64_t)t->place.block + 1;
    bool in_trunk = !t->place.mtp && next > 0 && next < c->n_blocks;
    return (struct recipe_target){t->module, t->place.role, t->place.layer, t->place.mtp,
                                  in_trunk ? (int)c->blocks[next].kind : -1};
}

struct plan_builder {
    struct plan *plan;
    bool *line_used;   /* [recipe->n_lines] */
    bool *stacks_done; /* [checkpoint_count]: stacks of experts that have their output */
    struct error *err;
};

static void apply_lines(struct plan_builder *b, const struct model_tensor *t, struct wish *w)
{
    const struct recipe *r = b->plan->recipe;
    const struct recipe_target target = plan_target(b->plan, t);
    *w = (struct wish){.weights = QUANT_TYPE_NONE, .inputs = QUANT_TYPE_NONE};
    for (uint32_t i = 0; i < r->n_lines; i++) {
        const struct recipe_line *l = &r->lines[i];
        bool to_weights = recipe_line_selects(l, &target, "weight_quantizer");
        bool to_inputs = recipe_line_selects(l, &target, "input_quantizer");
        b->line_used[i] |= to_weights || to_inputs;
        if (to_weights && recipe_line_speaks(l, l->weights)) {
            w->weights_line = l;
            if (recipe_line_says_type(l, l->weights)) w->weights_type = l;
        }
        if (to_inputs && recipe_line_speaks(l, l->inputs)) {
            w->inputs_line = l;
            if (recipe_line_says_type(l, l->inputs)) w->inputs_type = l;
        }
    }
    const struct recipe_line *weights = w->weights_line && w->weights_line->enable ? w->weights_type : w->weights_line,
                             *inputs = w->inputs_line && w->inputs_line->enable ? w->inputs_type : w->inputs_line;
    w->weights_type = weights;
    w->inputs_type = inputs;
    if (weights) {
        w->weights = weights->weights;
        w->group = weights->group;
        w->zero = weights->zero;
        w->scales = weights->scales;
        w->range = weights->range;
        w->solve = weights->solve;
    }
    if (inputs) {
        w->inputs = inputs->inputs;
        w->input_amax = inputs->input_amax;
        w->observer = inputs->observer;
    }
}

/* What a line asks for and cannot have. */
static bool check_refused(struct plan_builder *b, const struct model_tensor *t, const struct recipe_line *last,
                          const struct recipe_line *type, const char *half)
{
    const char *why = type && type->refuse ? type->refuse : NULL;
    if (last && last->enable && !type) why = "it is switched on, but no rule says as what";
    if (!why) return true;
    return error_set(b->err, ERR_UNSUPPORTED, "recipe '%s': %s: %s of tensor '%.256s': %s", b->plan->recipe->name,
                     last->label, half, t->name, why);
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
    const struct tensor_info *w0 = checkpoint_tensor(b->plan->inventory->checkpoint, t->parts[PART_WEIGHT]);
    bool turned = w0->view && w0->view->col_step != dtype_bytes(w0->dtype);
    if (turned && !f->method) return true;                           /* stays in its stack: plan/plan_stack.c */
    uint32_t whole = f->row_pairs ? 2 : f->parts[0].on_side ? 8 : 1; /* rows that share a byte or a word */
    bool cols = t->dims[1] % f->block_cols != 0, rows = t->dims[0] % whole != 0;
    if (!cols && !rows) return true;
    return error_set(b->err, ERR_UNSUPPORTED,
                     "recipe '%s': %s: tensor '%.256s': %llu %s are not a multiple of %s's block of %u",
                     b->plan->recipe->name, w->weights_line->label, t->name, (unsigned long long)t->dims[cols ? 1 : 0],
                     cols ? "columns" : "rows", f->name, cols ? f->block_cols : whole);
}

/* What calibration has a solver for, and runs. */
static bool solvable(struct plan_builder *b, const struct plan_item *item, const struct wish *w, enum solve_method how)
{
    const struct model_tensor *t = item->tensor;
    const char *method = solve_name(how), *line = w->weights_line->label;
    if (t->place.mtp)
        return error_set(b->err, ERR_UNSUPPORTED,
                         "recipe '%s': %s: tensor '%.256s': calibration does not run the multi-token-prediction head; "
                         "add a later line with solve: none",
                         b->plan->recipe->name, line, t->name);
    enum op op = item->format->encode_op;
    bool also_int4 = how != SOLVE_ROUND;
    if (op == OP_ENCODE_NVFP4 || (also_int4 && (op == OP_ENCODE_INT4 || op == OP_ENCODE_INT4_ZERO))) return true;
    return error_set(b->err, ERR_UNSUPPORTED,
                     "recipe '%s': %s: tensor '%.256s': solve: %s needs nvfp4%s weights, not %s%s",
                     b->plan->recipe->name, line, t->name, method, also_int4 ? " or int4" : "", item->format->name,
                     op == OP_ENCODE_MXFP4 ? ", which loses by its power-of-two scales; solving keeps scales" : "");
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

/* What chooses scales cannot be followed by something else that does. */
static bool scales_fit(struct plan_builder *b, const struct plan_item *item, const struct wish *w)
{
    bool folds = w->solve.fold.method != FOLD_NONE, clips = w->solve.method == SOLVE_CLIP;
    bool of_tensor = w->scales == SCALES_RANGE && item->format->encode_op != OP_ENCODE_NVFP4; /* looks at sources */
    bool looks = w->scales == SCALES_LOCAL_HESSIAN || of_tensor;
    if (!(clips && w->scales != SCALES_MAX) && !(folds && looks)) return true;
    return error_set(b->err, ERR_UNSUPPORTED, "recipe '%s': %s: tensor '%.256s': scales: %s does not go with solve: %s",
                     b->plan->recipe->name, w->weights_line->label, item->tensor->name, scales_name(w->scales),
                     solve_label(&w->solve));
}

static bool choose_format(struct plan_builder *b, struct plan_item *item, const struct wish *w)
{
    const char *layout = b->plan->recipe->layout;
    item->format = quant_format_for(layout, w->weights->stored, w->inputs->stored, w->group, w->zero);
    const struct model_tensor *t = item->tensor;
    if ((t->place.role == ROLE_EMBED || t->place.role == ROLE_MTP_EMBED) && b->plan->recipe->published) {
        item->format = NULL;
        item->solve.fold.method = FOLD_NONE;
        item->reason = "engines look embeddings up in 16 bits";
        return plan_note(b->plan, b->err, "%s: '%.256s' stays as it is: engines look embeddings up in 16 bits",
                         (w->weights_line ? w->weights_line : w->inputs_line)->text, t->name);
    }
    if (t->place.role == ROLE_EMBED || t->place.role == ROLE_MTP_EMBED)
        return error_set(b->err, ERR_UNSUPPORTED,
                         "recipe '%s': %s: tensor '%.256s': engines look embeddings up in 16 bits; add a later line "
                         "{role: embed, weights: none, inputs: none}",
                         b->plan->recipe->name, (w->weights_line ? w->weights_line : w->inputs_line)->label, t->name);
    if (!item->format) {
        const struct recipe_line *l = w->weights_line ? w->weights_line : w->inputs_line;
        char text[96];
        return error_set(b->err, ERR_UNSUPPORTED,
                         "recipe '%s': %s: tensor '%.256s': weights %s with inputs %s is no format that engines load "
                         "in the layout %s",
                         b->plan->recipe->name, l ? l->label : "", t->name, weights_text(w, text, sizeof text),
                         w->inputs->word, layout);
    }
    if (!check_blocks(b, item, w)) return false;
    if (!scales_fit(b, item, w)) return false;
    struct solve_choice solve = w->solve;
    if (solve.method == SOLVE_NONE && w->scales == SCALES_LOCAL_HESSIAN) solve = solve_round; /* only data can tell */
    if (solve.method != SOLVE_NONE && !solvable(b, item, w, solve.method)) return false;
    item->action = ACTION_QUANTIZE;
    item->type = w->weights;
    item->zero = w->zero;
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

/* Published lists may switch on quantizers that no file of ours has a place for. */
static bool check_others(struct plan_builder *b, const struct model_tensor *t)
{
    const struct recipe *r = b->plan->recipe;
    const struct recipe_target target = plan_target(b->plan, t);
    const struct recipe_line *on = NULL;
    for (uint32_t i = 0; r->published && i < r->n_lines; i++) {
        const struct recipe_line *l = &r->lines[i];
        if (!l->quantizer || !recipe_line_selects(l, &target, "output_quantizer")) continue;
        b->line_used[i] = true;
        on = recipe_line_says_type(l, l->weights) ? l : NULL;
    }
    if (!on) return true;
    return error_set(b->err, ERR_UNSUPPORTED,
                     "recipe '%s': %s: the output of '%.256s': quantized outputs of linears are "
                     "not supported: engines have no place for them",
                     r->name, on->label, t->module);
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
        if (t->place.role == ROLE_SCORE) item->reason = "the score head stays as it is";
        if (t->place.role == ROLE_CARRIED) item->reason = "parts beside the language model are carried";
        return true;
    }
    struct wish w;
    apply_lines(b, t, &w);
    if (w.weights_line) item->reason = w.weights_line->text;
    if (t->place.mtp && !w.weights_line) item->reason = "the multi-token-prediction head is carried";
    if (!check_refused(b, t, w.weights_line, w.weights_type, "the weights") ||
        !check_refused(b, t, w.inputs_line, w.inputs_type, "the inputs") || !check_others(b, t))
        return false;
    item->solve.fold = w.solve.fold;
    if (w.weights == QUANT_TYPE_NONE && w.inputs == QUANT_TYPE_NONE) return true;
    return choose_format(b, item, &w);
}

static bool join_stacks(struct plan_builder *b)
{
    struct plan *p = b->plan;
    CLEANUP(free)
    struct plan_stack **of_base = calloc((size_t)checkpoint_count(p->inventory->checkpoint) + 1, sizeof *of_base);
    if (!of_base) return error_memory(b->err, 0);
    for (uint32_t i = 0; i < p->n_items; i++)
        if (p->items[i].action == ACTION_QUANTIZE && !plan_stack_join(p, i, of_base, b->err)) return false;
    return plan_stack_note_apart(p, b->err);
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

static bool make_groups(struct plan_builder *b)
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
static bool check_containers(struct plan_builder *b)
{
    const struct plan *p = b->plan;
    const struct plan_item *first = NULL;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (!item->tensor->container || !may_be_quantized(item->tensor)) continue;
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

static bool in_compressed_tensors(const struct plan *p)
{
    return strcmp(p->recipe->layout, "compressed-tensors") == 0;
}

/* What engines can be told, and what divides into blocks. */
static bool check_kv(struct plan_builder *b)
{
    const struct plan *p = b->plan;
    const char *layout = p->recipe->layout;
    bool nvfp4 = p->kv == KV_NVFP4 || p->kv == KV_NVFP4_CAST, modelopt = strcmp(layout, "modelopt") == 0;
    if (p->kv == KV_NONE || (!nvfp4 && (modelopt || in_compressed_tensors(p)))) return true;
    if (!modelopt)
        return error_set(b->err, ERR_UNSUPPORTED,
                         "recipe '%s': the layout %s has no way to declare %s cache; say kv_cache: none",
                         p->recipe->name, layout, nvfp4 ? "an NVFP4" : "an FP8");
    const struct model_config *cfg = &p->inventory->config;
    for (uint32_t i = 0; i < cfg->n_blocks; i++) {
        enum block_kind kind = cfg->blocks[i].kind;
        if (kind != BLOCK_ATTENTION && kind != BLOCK_MLA) continue;
        /* Of latent attention the latent and the rotary part lie in the cache. */
        uint32_t width = kind == BLOCK_MLA ? cfg->mla.kv_rank + cfg->mla.rope_dim
                                           : block_attention_config(cfg, &cfg->blocks[i])->head_dim;
        if (width % 16 != 0)
            return error_set(b->err, ERR_UNSUPPORTED,
                             "recipe '%s': heads of %u are no multiple of an NVFP4 cache's block of 16",
                             p->recipe->name, width);
    }
    return true;
}

/* What the last line that speaks of the quantizer makes of it; where that only switches it on, the last with a type. */
static bool cache_of(struct plan_builder *b, const struct recipe_target *attention, const char *quantizer,
                     enum kv_choice *kv)
{
    const struct recipe *r = b->plan->recipe;
    const struct recipe_line *last = NULL, *type = NULL;
    for (uint32_t k = 0; k < r->n_lines; k++) {
        const struct recipe_line *l = &r->lines[k];
        if (!recipe_line_selects_cache(l, attention, quantizer)) continue;
        b->line_used[k] = true;
        if (!recipe_line_speaks(l, l->kv)) continue;
        last = l;
        if (recipe_line_says_type(l, l->kv)) type = l;
    }
    const struct recipe_line *l = last && last->enable ? type : last;
    const char *why = l ? l->refuse : last ? "it is switched on, but no rule says as what" : NULL;
    *kv = KV_NONE;
    if (why)
        return error_set(b->err, ERR_UNSUPPORTED, "recipe '%s': %s: the KV cache of '%.256s': %s", r->name, last->label,
                         attention->module, why);
    if (!l) return true;
    if (quant_type_is(l->kv, "fp8")) *kv = l->kv_constant ? KV_FP8_CAST : KV_FP8;
    if (quant_type_is(l->kv, "nvfp4")) *kv = l->kv_constant ? KV_NVFP4_CAST : KV_NVFP4;
    if (*kv != KV_NONE || l->kv == QUANT_TYPE_NONE) return true;
    return error_set(b->err, ERR_UNSUPPORTED, "recipe '%s': %s: %s KV caches are not supported", r->name, l->label,
                     l->kv->word);
}

static bool decide_kv(struct plan_builder *b)
{
    struct plan *p = b->plan;
    bool first = true;
    for (uint32_t i = 0; i < p->n_items; i++) {
        struct plan_item *item = &p->items[i];
        enum tensor_role role = item->tensor->place.role;
        enum tensor_part part = tensor_cache_part(role);
        if (part == PART_COUNT || item->tensor->place.mtp) continue;
        const char *module = item->tensor->module, *dot = strrchr(module, '.');
        char *attention = arena_copy(p->arena, module, dot ? (size_t)(dot - module) : strlen(module));
        if (!attention) return error_memory(b->err, 0);
        const struct recipe_target target = {attention, role, item->tensor->place.layer, false, -1};
        enum kv_choice kv = KV_NONE;
        if (!cache_of(b, &target, part == PART_K_SCALE ? "k_bmm_quantizer" : "v_bmm_quantizer", &kv)) return false;
        if (p->inventory->config.bidirectional) kv = KV_NONE; /* nothing is cached: a text comes whole */
        if (!first && kv != p->kv)
            return error_set(b->err, ERR_UNSUPPORTED,
                             "recipe '%s': '%.256s': all K and V of a model must have one cache type", p->recipe->name,
                             module);
        p->kv = kv;
        first = false;
        item->kv_observed = kv == KV_FP8 || kv == KV_NVFP4;
        /* Where the others know that no scale is 1, compressed-tensors expects one and takes what is in memory. */
        item->kv_scale = item->kv_observed || (kv == KV_FP8_CAST && in_compressed_tensors(p));
    }
    return check_kv(b);
}

/* ---- outputs ---- */

/* compressed-tensors keeps cache scales beside the projections: "self_attn.k_scale". */
static const char *output_name(const struct plan *p, const struct plan_item *item, enum tensor_part part)
{
    const struct model_tensor *t = item->tensor;
    bool quantized = item->action == ACTION_QUANTIZE, cache = part == PART_K_SCALE || part == PART_V_SCALE;
    const char *dot = strrchr(t->module, '.');
    if (part == PART_WEIGHT && quantized && (item->decoded || item->format->stem))
        return arena_printf(p->arena, "%s.%s", t->module, quant_format_stem(item->format));
    if (part == PART_WEIGHT) return t->name;
    if (cache && in_compressed_tensors(p))
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
    struct tensor_spec scalar = {.dtype = DTYPE_F32, .n_dims = in_compressed_tensors(p), .dims = {1}};
    if (item->kv_scale) return add_output(b, i, tensor_cache_part(t->place.role), &scalar);
    return as_it_is || add_kept_cache(b, i);
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

#define NOTES_MAX 16u

bool plan_note(struct plan *p, struct error *err, const char *fmt, ...)
{
    char text[512];
    va_list args;
    if (!p->notes) p->notes = arena_alloc(p->arena, NOTES_MAX, sizeof *p->notes);
    if (!p->notes) return error_memory(err, 0);
    if (p->n_notes == NOTES_MAX) return true;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return (p->notes[p->n_notes++] = arena_text(p->arena, text)) ? true : error_memory(err, 0);
}

static bool check_lines(struct plan_builder *b)
{
    struct plan *p = b->plan;
    const struct recipe *r = p->recipe;
    if (!plan_check_never(p, b->line_used, b->err) || !plan_check_mamba(p, b->err)) return false;
    const char **list = arena_alloc(p->arena, r->n_lines + 1, sizeof *list);
    if (!list) return error_memory(b->err, 0);
    for (uint32_t i = 0; i < r->n_lines; i++) {
        if (b->line_used[i]) continue;
        if (!r->published && !r->lines[i].optional)
            return error_set(b->err, ERR_FORMAT,
                             "recipe '%s': %s matches nothing in this checkpoint (optional: true allows that)", r->name,
                             r->lines[i].label);
        list[p->n_unmatched++] = r->lines[i].text;
    }
    p->unmatched = list;
    if (!r->copies && p->quantized_elems == 0 && p->n_folds == 0)
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
    if (!plan_check_source(p, b->err)) return false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        p->items[i].tensor = &inv->tensors[i];
        if (!decide(b, &p->items[i]) || !plan_decode(p, &p->items[i], b->err)) return false;
    }
    if (!join_stacks(b)) return false;
    if (!make_groups(b) || !check_containers(b) || !decide_kv(b) || !plan_fold(p, b->err) || !make_outputs(b) ||
        !check_lines(b))
        return false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        p->needs_data |= item->observe_input || item->kv_observed || item->solve.method != SOLVE_NONE;
    }
    p->needs_data |= p->n_folds > 0;
    struct plan_workspace w = plan_workspace_for(p, PLAN_PIECE_BYTES, PLAN_HOLD_BYTES);
    p->workspace_bytes = plan_workspace_bytes(&w);
    struct solve_needs needs;
    if (!solve_needs(p, PLAN_SOLVE_BYTES, &needs, b->err)) return false;
    uint64_t sampled = plan_fold_bytes(p);
    p->solve_bytes = needs.bytes + sampled;
    p->solve_passes = needs.most_parts ? needs.most_parts : sampled > 0;
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
