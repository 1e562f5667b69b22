/* Which experts saw calibration tokens, and what the recipe says about those that saw none. */
#include "plan/recipe_words.h"
#include "plan/stats.h"

bool stats_unseen(const struct stats *s, const struct plan *p, struct arena *arena, const char ***out, uint32_t *n,
                  struct error *err)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < s->n_experts; i++) most += s->experts[i].n_experts;
    *out = arena_alloc(arena, most + 1, sizeof **out);
    *n = 0;
    if (!*out) return error_memory(err, most * sizeof **out);
    const char *done = NULL;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        const char *container = item->tensor->container;
        if (!container || !item->observe_input || (done && strcmp(done, container) == 0)) continue;
        done = container;
        const struct expert_tokens *x = stats_find_experts(s, container);
        for (uint32_t k = 0; x && k < x->n_experts; k++) {
            if (x->tokens[k]) continue;
            if (!((*out)[(*n)++] = arena_printf(arena, "%s.%u", container, k))) return error_memory(err, 0);
        }
    }
    return true;
}

/* Containers whose inputs are observed and that have experts without a token that nothing was done about. */
static const struct expert_tokens *first_missed(const struct stats *s, const struct plan *p, uint32_t *expert)
{
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (!item->tensor->container || !item->observe_input) continue;
        const struct expert_tokens *x = stats_find_experts(s, item->tensor->container);
        *expert = (uint32_t)item->tensor->place.expert;
        if (x && *expert < x->n_experts && !x->tokens[*expert] && !stats_was_forced(s, x->container, *expert)) return x;
    }
    return NULL;
}

bool stats_check_unseen(const struct stats *s, const struct plan *p, struct error *err)
{
    struct arena *arena = arena_new();
    const char **names;
    uint32_t n, expert;
    bool ok = arena ? stats_unseen(s, p, arena, &names, &n, err) : error_memory(err, 0);
    if (ok && n && p->recipe->unseen == UNSEEN_ERROR)
        ok = error_set(err, ERR_FORMAT,
                       "expert '%.200s'%s saw no calibration token; give more data, or say unseen_experts: all_tokens "
                       "or layer_max in the recipe",
                       names[0], n > 1 ? " and others" : "");
    const struct expert_tokens *x = ok && p->recipe->unseen == UNSEEN_ALL_TOKENS ? first_missed(s, p, &expert) : NULL;
    if (x)
        ok = error_set(err, ERR_FORMAT,
                       "expert '%.200s.%u' saw no calibration token, and the statistics were made without sending all "
                       "tokens through it, as the recipe's unseen_experts: all_tokens wants",
                       x->container, expert);
    arena_free(arena);
    return ok;
}

static json_t *container_json(const struct stats *s, const struct expert_tokens *x)
{
    json_t *tokens = json_array(), *forced = json_array();
    int bad = !tokens || !forced;
    for (uint32_t k = 0; k < x->n_experts; k++) {
        bad |= json_array_append_new(tokens, json_integer((json_int_t)x->tokens[k]));
        if (stats_was_forced(s, x->container, k)) bad |= json_array_append_new(forced, json_integer((json_int_t)k));
    }
    json_t *j = json_pack("{s:s,s:o,s:o}", "container", x->container, "tokens", tokens, "all_tokens", forced);
    if (!bad) return j;
    json_decref(j);
    return NULL;
}

bool stats_put_experts(const struct stats *s, const struct plan *p, json_t *obj, struct error *err)
{
    struct arena *arena = arena_new();
    CLEANUP(json) json_t *unseen = json_array();
    CLEANUP(json) json_t *experts = json_array();
    const char **names;
    uint32_t n = 0;
    bool ok = (arena && unseen && experts) || error_memory(err, 0);
    ok = ok && stats_unseen(s, p, arena, &names, &n, err);
    for (uint32_t i = 0; ok && i < n; i++)
        ok = json_array_append_new(unseen, json_string(names[i])) == 0 || error_memory(err, 0);
    for (uint32_t i = 0; ok && i < s->n_experts; i++)
        ok = json_array_append_new(experts, container_json(s, &s->experts[i])) == 0 || error_memory(err, 0);
    arena_free(arena);
    return ok && json_put(obj, "unseen_policy", json_string(unseen_name(p->recipe->unseen)), err) &&
           json_put(obj, "unseen_experts", json_incref(unseen), err) &&
           json_put(obj, "experts", json_incref(experts), err);
}
