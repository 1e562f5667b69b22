#include "engine/postprocess.h"

#include "engine/tokenizer_steps.h"

#define TEMPLATE_IDS_MAX 1024u

struct reader {
    struct postprocess *out;
    uint32_t n_ids;
    bool has_template;
};

/* {"SpecialToken": {"id": NAME}}: all ids of special_tokens[NAME]. */
static bool add_special(struct reader *r, const json_t *step, const json_t *piece, struct token_ids *to,
                        struct error *err)
{
    const char *name;
    json_t *specials, *special, *ids;
    if (!json_get_string(piece, "id", "SpecialToken", &name, err) ||
        !json_get_object(step, "special_tokens", "TemplateProcessing", &specials, err) ||
        !json_get_object(specials, name, "special_tokens", &special, err) ||
        !json_get_array(special, "ids", "special_tokens", &ids, err))
        return false;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= r->n_ids)
            return error_set(err, ERR_FORMAT, "special_tokens: '%.200s': expected ids from 0 to %u, found %s", name,
                             r->n_ids - 1, json_brief(id));
        if (to->n == TEMPLATE_IDS_MAX) return error_set(err, ERR_UNSUPPORTED, "more than %u ids", TEMPLATE_IDS_MAX);
        if (!token_ids_add(to, (uint32_t)json_integer_value(id), err)) return false;
    }
    return true;
}

static bool read_template(struct reader *r, const json_t *step, struct error *err)
{
    static const char *const keys[] = {"type", "single", "pair", "special_tokens", NULL};
    json_t *single, *body;
    bool text_seen = false;
    if (r->has_template) return error_set(err, ERR_UNSUPPORTED, "a second TemplateProcessing is not supported");
    r->has_template = true;
    if (!json_known_keys(step, "TemplateProcessing", keys, err) ||
        !json_get_array(step, "single", "TemplateProcessing", &single, err))
        return false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        json_t *piece = json_array_get(single, i);
        const char *id;
        if (json_has(piece, "SpecialToken")) {
            if (!json_get_object(piece, "SpecialToken", "piece", &body, err) ||
                !add_special(r, step, body, text_seen ? &r->out->after : &r->out->before, err))
                return error_wrap(err, "single[%zu]", i);
            continue;
        }
        if (!json_get_object(piece, "Sequence", "piece", &body, err) ||
            !json_get_string(body, "id", "Sequence", &id, err))
            return error_wrap(err, "single[%zu]", i);
        if (strcmp(id, "A") != 0 || text_seen)
            return error_set(err, ERR_UNSUPPORTED, "single[%zu]: expected sequence A once, found '%.20s'", i, id);
        text_seen = true;
    }
    return text_seen ? true : error_set(err, ERR_UNSUPPORTED, "single: a template without sequence A is not supported");
}

static bool read_step(void *ctx, const json_t *step, const char *type, struct error *err)
{
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(ctx, step, err);
    return strcmp(type, "ByteLevel") == 0 ? true : steps_refuse(type, err);
}

bool postprocess_open(struct postprocess *p, const json_t *spec, uint32_t n_ids, struct error *err)
{
    *p = (struct postprocess){0};
    return steps_read(spec, "post_processor", "processors", read_step, &(struct reader){.out = p, .n_ids = n_ids}, err);
}

void postprocess_close(struct postprocess *p)
{
    free(p->before.data);
    free(p->after.data);
    *p = (struct postprocess){0};
}
