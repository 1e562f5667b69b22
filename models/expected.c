#include "models/expected.h"

#include "core/text.h"

struct walk {
    const struct model_config *cfg;
    struct arena *arena;
    expected_fn fn;
    void *ctx;
    struct error *err;
};

/* Appends a pattern with what stands in braces filled in. */
static void put_pattern(struct text *t, const struct model_config *cfg, const char *pattern,
                        const struct block_config *block, int32_t expert)
{
    for (const char *p = pattern; *p;) {
        if (strncmp(p, "{B}", 3) == 0) {
            put_pattern(t, cfg, block->mtp ? cfg->arch->mtp_prefix : cfg->arch->block_prefix, block, expert);
            p += 3;
        } else if (strncmp(p, "{R}", 3) == 0) {
            text_add(t, "%s", cfg->root->body);
            p += 3;
        } else if (strncmp(p, "{H}", 3) == 0) {
            text_add(t, "%s", cfg->root->head);
            p += 3;
        } else if (strncmp(p, "{E}", 3) == 0) {
            text_add(t, "%d", expert);
            p += 3;
        } else if (strncmp(p, "%u", 2) == 0) {
            text_add(t, "%u", block->layer);
            p += 2;
        } else {
            text_put(t, p++, 1);
        }
    }
}

char *model_pattern_name(const struct model_config *cfg, struct arena *arena, const char *pattern,
                         const struct block_config *block, int32_t expert)
{
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    put_pattern(&t, cfg, pattern, block, expert);
    return t.failed ? NULL : arena_copy(arena, t.data, t.size);
}

static char *rule_name(const struct walk *w, const struct role_rule *r, const struct block_config *block,
                       int32_t expert)
{
    return model_pattern_name(w->cfg, w->arena, r->pattern, block, expert);
}

static bool visit(const struct walk *w, const struct role_rule *r, const struct block_config *block, int32_t expert)
{
    struct expected_tensor t = {.rule = r, .block = block, .expert = expert, .name = rule_name(w, r, block, expert)};
    if (!t.name) return error_memory(w->err, 0);
    t.n_dims = model_dims(w->cfg, block, r->dims, t.dims, TENSOR_DIMS_MAX);
    return w->fn(w->ctx, &t, w->err);
}

static bool visit_block(const struct walk *w, const struct block_config *block)
{
    for (uint32_t i = 0; i < w->cfg->arch->n_rules; i++) {
        const struct role_rule *r = &w->cfg->arch->rules[i];
        if (r->scope == SCOPE_MODEL || (r->kinds && !(r->kinds & 1u << block->kind)) ||
            (r->when && !r->when(w->cfg, block)))
            continue;
        uint32_t copies = r->scope == SCOPE_EXPERT ? w->cfg->moe.n_experts : 1;
        for (uint32_t e = 0; e < copies; e++)
            if (!visit(w, r, block, r->scope == SCOPE_EXPERT ? (int32_t)e : -1)) return false;
    }
    return true;
}

char *model_rule_name(const struct model_config *cfg, enum tensor_role role, struct arena *arena)
{
    struct walk w = {.cfg = cfg, .arena = arena};
    for (uint32_t i = 0; i < cfg->arch->n_rules; i++)
        if (cfg->arch->rules[i].role == role && cfg->arch->rules[i].scope == SCOPE_MODEL)
            return rule_name(&w, &cfg->arch->rules[i], NULL, -1);
    return NULL;
}

/* Model-wide rules stand before the block rules (embedding) or behind them (final norm, head). */
bool model_expect(const struct model_config *cfg, struct arena *arena, expected_fn fn, void *ctx, struct error *err)
{
    struct walk w = {cfg, arena, fn, ctx, err};
    bool blocks_done = false;
    for (uint32_t i = 0; i < cfg->arch->n_rules; i++) {
        const struct role_rule *r = &cfg->arch->rules[i];
        if (r->scope == SCOPE_MODEL) {
            if ((!r->when || r->when(cfg, NULL)) && !visit(&w, r, NULL, -1)) return false;
        } else if (!blocks_done) {
            for (uint32_t k = 0; k < cfg->n_blocks; k++)
                if (!visit_block(&w, &cfg->blocks[k])) return false;
            blocks_done = true;
        }
    }
    for (uint32_t k = 0; k < cfg->n_mtp_blocks; k++)
        if (!visit_block(&w, &cfg->mtp_blocks[k])) return false;
    return true;
}
