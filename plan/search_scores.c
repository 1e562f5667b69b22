/* Scores of a search space as JSON, and back. */
#include "core/version.h"
#include "plan/search.h"

#include <math.h>

#define SCHEMA "ingot.sensitivity/1"
#define KL_MAX 1e6 /* nats; logits of a vocabulary differ by less */

static json_t *choice_json(const struct search_choice *c)
{
    json_t *j = json_pack("{s:f}", "kl", c->kl);
    if (j && !isnan(c->error)) json_object_set_new(j, "error", json_real(c->error));
    return j;
}

static json_t *group_json(const struct search_space *s, const struct search_group *x)
{
    json_t *types = json_object();
    int bad = types == NULL;
    for (uint32_t t = 1; t < s->n_types; t++)
        if (x->choices[t].known) bad |= json_object_set_new(types, s->types[t].word, choice_json(&x->choices[t]));
    json_t *j = json_pack("{s:s,s:i,s:s,s:I,s:o}", "group", x->name, "layer", (int)x->layer, "role", x->role_class,
                          "weights", (json_int_t)x->n_elems, "types", types);
    if (!bad) return j;
    json_decref(j);
    return NULL;
}

static json_t *types_json(const struct search_space *s)
{
    json_t *list = json_array();
    for (uint32_t t = 1; list && t < s->n_types; t++)
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:b}", "type", s->types[t].word, "weights",
                                              s->types[t].weights, "inputs", s->types[t].inputs, "inputs_rounded",
                                              s->types[t].rounds_inputs && s->types[t].format->input_op != OP_COUNT));
    return list;
}

static json_t *cache_json(const struct search_space *s)
{
    json_t *types = json_object();
    for (uint32_t t = 1; types && t < SEARCH_CACHE_COUNT; t++)
        if (s->cache.choices[t].known)
            json_object_set_new(types, search_cache_words[t], choice_json(&s->cache.choices[t]));
    return types;
}

bool search_scores_json(const struct search_space *s, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *groups = json_array();
    CLEANUP(json) json_t *source = NULL;
    char data[DIGEST_HEX_SIZE];
    if (!groups) return error_memory(err, 0);
    if (!plan_source_json(s->types[1].plan, &source, err)) return false;
    for (uint32_t g = 0; g < s->n_groups; g++)
        if (json_array_append_new(groups, group_json(s, &s->groups[g])) != 0) return error_memory(err, 0);
    digest_hex(&s->data_digest, data);
    *out = json_pack("{s:s,s:s,s:O,s:s,s:I,s:I,s:s,s:s,s:o,s:O}", "schema", SCHEMA, "tool", INGOT_VERSION, "source",
                     source, "data_sha256", data, "texts", (json_int_t)s->n_texts, "tokens", (json_int_t)s->n_tokens,
                     "method", s->method, "scales", s->scales, "types", types_json(s), "groups", groups);
    if (!*out) return error_memory(err, 0);
    return !s->cache.tokens || json_object_set_new(*out, "cache", cache_json(s)) == 0 || error_memory(err, 0);
}

/* ---- reading ---- */

static bool read_choice(struct search_choice *c, const json_t *types, const char *word, const char *group,
                        const char *what, struct error *err)
{
    const json_t *j = json_object_get(types, word), *kl = json_object_get(j, "kl"), *e = json_object_get(j, "error");
    if (!json_is_number(kl) || !(json_number_value(kl) >= 0 && json_number_value(kl) <= KL_MAX))
        return error_set(err, ERR_FORMAT, "%s: group '%.256s' has no score as %s", what, group, word);
    c->kl = json_number_value(kl);
    c->error = json_is_number(e) ? json_number_value(e) : (double)NAN;
    c->known = true;
    return true;
}

static bool read_groups(struct search_space *s, const json_t *groups, const char *what, struct error *err)
{
    size_t n = json_array_size(groups), at = 0;
    for (uint32_t g = 0; g < s->n_groups; g++) {
        struct search_group *x = &s->groups[g];
        const json_t *j = NULL;
        /* both are in model order; the file may have groups that are not searched now */
        for (; at < n && !j; at++) {
            const char *name = json_string_value(json_object_get(json_array_get(groups, at), "group"));
            if (name && strcmp(name, x->name) == 0) j = json_array_get(groups, at);
        }
        if (!j) return error_set(err, ERR_FORMAT, "%s: it has no group '%.256s'", what, x->name);
        for (uint32_t t = 1; t < s->n_types; t++)
            if (!x->choices[t].why_not &&
                !read_choice(&x->choices[t], json_object_get(j, "types"), s->types[t].word, x->name, what, err))
                return false;
    }
    return true;
}

/* Scores do not depend on how many tokens there are. */
static bool read_cache(struct search_space *s, const json_t *types, const char *what, struct error *err)
{
    for (uint32_t t = 1; s->cache.tokens && t < SEARCH_CACHE_COUNT; t++)
        if (!s->cache.choices[t].why_not &&
            !read_choice(&s->cache.choices[t], types, search_cache_words[t], "kv_cache", what, err))
            return false;
    return true;
}

static bool check_types(const struct search_space *s, const json_t *json, const char *what, struct error *err)
{
    const char *scales = json_string_value(json_object_get(json, "scales"));
    if (!scales || strcmp(scales, s->scales) != 0)
        return error_set(err, ERR_FORMAT, "%s: measured with scales: %.64s, asked for %s", what,
                         scales ? scales : "none", s->scales);
    for (uint32_t t = 1; t < s->n_types; t++) {
        bool found = false, rounds = s->types[t].rounds_inputs && s->types[t].format->input_op != OP_COUNT;
        size_t i;
        json_t *j;
        json_array_foreach (json_object_get(json, "types"), i, j) {
            const char *word = json_string_value(json_object_get(j, "type"));
            if (!word || strcmp(word, s->types[t].word) != 0) continue;
            found = true;
            if (json_is_true(json_object_get(j, "inputs_rounded")) == rounds) continue;
            return error_set(err, ERR_FORMAT, "%s: %s was measured with inputs %s, the target runs it with inputs %s",
                             what, word, rounds ? "as they are" : "quantized", rounds ? "quantized" : "as they are");
        }
        if (!found) return error_set(err, ERR_FORMAT, "%s: type %s was not measured", what, s->types[t].word);
    }
    return true;
}

bool search_scores_read(struct search_space *s, const json_t *json, const char *what, struct error *err)
{
    CLEANUP(json) json_t *source = NULL;
    const char *schema = json_string_value(json_object_get(json, "schema")),
               *method = json_string_value(json_object_get(json, "method")),
               *data = json_string_value(json_object_get(json, "data_sha256"));
    if (!schema || strcmp(schema, SCHEMA) != 0)
        return error_set(err, ERR_FORMAT, "%s: it is not a file of sensitivities (schema)", what);
    if (!method || !data || !digest_parse(data, &s->data_digest))
        return error_set(err, ERR_FORMAT, "%s: 'method' or 'data_sha256' is missing", what);
    if (!plan_source_json(s->types[1].plan, &source, err)) return false;
    if (!json_equal(source, json_object_get(json, "source")))
        return error_set(err, ERR_FORMAT, "%s: measured on another checkpoint", what);
    s->n_texts = (uint64_t)json_integer_value(json_object_get(json, "texts"));
    s->n_tokens = (uint64_t)json_integer_value(json_object_get(json, "tokens"));
    if (!(s->method = arena_text(s->arena, method))) return error_memory(err, 0);
    return check_types(s, json, what, err) && read_groups(s, json_object_get(json, "groups"), what, err) &&
           read_cache(s, json_object_get(json, "cache"), what, err);
}
