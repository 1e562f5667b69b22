/* What the recipe's lines make of one tensor: its type, the search for its scales, or why it stays as it is. */
#include "plan/plan_impl.h"
#include "plan/recipe_words.h"
#include "plan/scale_method.h"
#include "plan/solve_parts.h"

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

bool plan_may_quantize(const struct model_tensor *t)
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

bool plan_decide(struct plan_builder *b, struct plan_item *item)
{
    const struct model_tensor *t = item->tensor;
    static const char *const fixed[] = {[KIND_ROUTER] = "routers stay as they are",
                                        [KIND_SSM] = "the SSM state path stays as it is",
                                        [KIND_SMALL] = "norms and biases stay as they are"};
    item->reason = "no line selects it";
    if (!plan_may_quantize(t)) {
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
