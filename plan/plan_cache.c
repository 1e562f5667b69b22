/* The type of the KV cache, one for the model, and whether its scales are observed. */
#include "plan/plan_impl.h"

bool plan_in_compressed_tensors(const struct plan *p)
{
    return strcmp(p->recipe->layout, "compressed-tensors") == 0;
}

/* What engines can be told, and what divides into blocks. */
static bool check_kv(struct plan_builder *b)
{
    const struct plan *p = b->plan;
    const char *layout = p->recipe->layout;
    bool nvfp4 = p->kv == KV_NVFP4 || p->kv == KV_NVFP4_CAST, modelopt = strcmp(layout, "modelopt") == 0;
    if (p->kv == KV_NONE || (!nvfp4 && (modelopt || plan_in_compressed_tensors(p)))) return true;
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

bool plan_decide_cache(struct plan_builder *b)
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
        item->kv_scale = item->kv_observed || (kv == KV_FP8_CAST && plan_in_compressed_tensors(p));
    }
    return check_kv(b);
}
