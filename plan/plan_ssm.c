/* What recipes may not do to recurrent layers. Their state path (A_log, D, dt_bias, the convolution), norms and routers
 * keep the source's type: no engine loads them otherwise. Wildcards pass over them; lines that name them are refused.
 */
#include "formats/name_match.h"
#include "plan/plan.h"

/* A word of the pattern is the module's last component: "conv1d" in "*mixer.conv1d*", and in "re:.*(conv1d|up_proj)".
 */
static bool names_leaf(const char *pattern, const char *module)
{
    const char *dot = strrchr(module, '.'), *leaf = dot ? dot + 1 : module;
    size_t n = strlen(leaf);
    for (const char *p = pattern; *p;) {
        size_t word = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
        if (word == n && memcmp(p, leaf, n) == 0) return true;
        p += word ? word : 1;
    }
    return false;
}

static bool is_never(enum role_kind kind)
{
    return kind == KIND_SSM || kind == KIND_ROUTER || kind == KIND_SMALL;
}

static bool line_wants(const struct plan *p, const struct recipe_line *l, const struct model_tensor *t)
{
    const struct recipe_target target = plan_target(p, t);
    return (recipe_line_says_type(l, l->weights) && recipe_line_selects(l, &target, "weight_quantizer")) ||
           (recipe_line_says_type(l, l->inputs) && recipe_line_selects(l, &target, "input_quantizer"));
}

/* `selects`: per line, whether it selects any linear. */
bool plan_check_never(const struct plan *p, const bool *selects, struct error *err)
{
    const struct recipe *r = p->recipe;
    for (uint32_t i = 0; i < r->n_lines; i++) {
        const struct recipe_line *l = &r->lines[i];
        if (l->roles || l->refuse || !(recipe_line_says_type(l, l->weights) || recipe_line_says_type(l, l->inputs)))
            continue;
        for (uint32_t k = 0; k < p->n_items; k++) {
            const struct model_tensor *t = p->items[k].tensor;
            enum role_kind kind = role_info(t->place.role)->kind;
            if (!is_never(kind) || t->place.role == ROLE_CARRIED || !line_wants(p, l, t)) continue;
            bool named = kind == KIND_SSM && names_leaf(l->quantizer ? l->quantizer : l->module, t->module);
            if (!named && selects[i]) continue;
            return error_set(
                err, ERR_FORMAT,
                "recipe '%s': %s: it names '%.256s', and %s never quantized: no engine loads such a file%s", r->name,
                l->label, t->name,
                kind == KIND_SSM              ? "the state path of recurrent layers is"
                : t->place.role == ROLE_SCORE ? "score heads are"
                : kind == KIND_ROUTER         ? "routers are"
                                              : "norms and biases are",
                kind == KIND_SSM ? ", with allow_ssm: true neither" : "");
        }
    }
    return true;
}

/* Nemotron 3 Ultra's own ablation (median recovery of 6 benchmarks at 4.85 bits): max 98.32, 4/6 84.71. */
bool plan_check_mamba(struct plan *p, struct error *err)
{
    const struct plan_item *first = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (item->action != ACTION_QUANTIZE || item->scales != SCALES_FOUR_OVER_SIX || item->format->input_bits == 16 ||
            !role_is(item->tensor->place.role, "mamba_linears"))
            continue;
        if (!first) first = item;
        n++;
    }
    if (!first) return true;
    if (p->recipe->allow_ssm)
        return plan_note(p, err,
                         "%u Mamba projections get 4/6 scales with quantized inputs, as allow_ssm permits: Nemotron 3 "
                         "Ultra lost 14 points of recovery so (84.71 against 98.32 with max)",
                         n);
    return error_set(
        err, ERR_UNSUPPORTED,
        "recipe '%s': %s: tensor '%.256s': 4/6 scales with quantized inputs on Mamba's projections cost "
        "Nemotron 3 Ultra 14 points of recovery (84.71 against 98.32 with max); take other scales or leave "
        "the inputs, or say allow_ssm: true",
        p->recipe->name, first->reason, first->tensor->name);
}
