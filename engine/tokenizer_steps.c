#include "engine/tokenizer_steps.h"

struct walk {
    const char *list;
    step_fn fn;
    void *ctx;
    uint32_t n, depth;
};

bool steps_refuse(const char *type, struct error *err)
{
    return error_set(err, ERR_UNSUPPORTED, "type '%.100s' is not supported", type);
}

static bool walk_step(struct walk *w, const json_t *step, struct error *err);

static bool walk_list(struct walk *w, const json_t *step, struct error *err)
{
    json_t *list;
    if (w->depth == STEPS_DEPTH_MAX)
        return error_set(err, ERR_UNSUPPORTED, "sequences are nested deeper than %u levels", STEPS_DEPTH_MAX);
    if (!json_get_array(step, w->list, "Sequence", &list, err)) return false;
    w->depth++;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!walk_step(w, json_array_get(list, i), err)) return error_wrap(err, "%s[%zu]", w->list, i);
    w->depth--;
    return true;
}

static bool walk_step(struct walk *w, const json_t *step, struct error *err)
{
    const char *type;
    if (!json_get_string(step, "type", "step", &type, err)) return false;
    if (strcmp(type, "Sequence") == 0) return walk_list(w, step, err);
    if (w->n++ == STEPS_MAX) return error_set(err, ERR_UNSUPPORTED, "more than %u steps", STEPS_MAX);
    return w->fn(w->ctx, step, type, err);
}

bool steps_read(const json_t *spec, const char *what, const char *list, step_fn fn, void *ctx, struct error *err)
{
    struct walk w = {.list = list, .fn = fn, .ctx = ctx};
    if (!spec || json_is_null(spec)) return true;
    return walk_step(&w, spec, err) ? true : error_wrap(err, "%s", what);
}

bool steps_pattern(const json_t *step, const char **text, bool *is_regex, struct error *err)
{
    static const char *const keys[] = {"String", "Regex", NULL};
    json_t *p;
    if (!json_get_object(step, "pattern", "step", &p, err) || !json_known_keys(p, "pattern", keys, err)) return false;
    *is_regex = json_has(p, "Regex");
    if (json_object_size(p) != 1) return error_set(err, ERR_FORMAT, "pattern: expected \"String\" or \"Regex\"");
    return json_get_string(p, *is_regex ? "Regex" : "String", "pattern", text, err);
}

bool steps_replacement(const json_t *step, const char **pattern, bool *is_regex, struct bytes *content,
                       struct error *err)
{
    static const char *const keys[] = {"type", "pattern", "content", NULL};
    const char *to;
    if (!json_known_keys(step, "Replace", keys, err) || !steps_pattern(step, pattern, is_regex, err) ||
        !json_get_string(step, "content", "Replace", &to, err))
        return false;
    *content = bytes_text(to);
    if (*is_regex || **pattern) return true;
    return error_set(err, ERR_UNSUPPORTED, "Replace with an empty pattern is not supported");
}

void steps_replace(struct text *out, struct bytes in, struct bytes pattern, struct bytes content)
{
    const uint8_t *p = in.data, *end = in.data + in.size, *found;
    while (p < end && (found = memmem(p, (size_t)(end - p), pattern.data, pattern.size))) {
        text_put(out, p, (size_t)(found - p));
        text_put(out, content.data, content.size);
        p = found + pattern.size;
    }
    if (p < end) text_put(out, p, (size_t)(end - p));
}
