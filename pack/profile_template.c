/* Which of the engine's parsers the chat template justifies. A template says in its own text how thinking and tool
 * calls are marked; a parser is set only when all marks of one are there. */
#include "pack/profile_parts.h"

#define TEMPLATE_BYTES_MAX ((size_t)1 << 20)

/* The template text, or NULL when there is none: chat_template.jinja, else tokenizer_config.json's key (a text, or a
 * list of named ones). */
static bool load_template(const struct model *m, struct buffer *file, const char **out, struct error *err)
{
    *out = NULL;
    if (folder_find(m->folder, "chat_template.jinja") != NAME_NONE) {
        if (!folder_load(m->folder, "chat_template.jinja", TEMPLATE_BYTES_MAX, file, err)) return false;
        *out = (const char *)file->data; /* terminated; what stands behind a NUL byte is not looked at, but hashed */
        return true;
    }
    const json_t *v = json_object_get(m->hf.tokenizer_config, "chat_template"), *one;
    size_t i;
    json_array_foreach ((json_t *)v, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0) *out = json_string_value(json_object_get(one, "template"));
    }
    if (json_is_string(v)) *out = json_string_value(v);
    return true;
}

static bool justified(const struct parser_row *p, const char *model_type, const char *text)
{
    if (p->models && !row_lists(p->models, model_type)) return false;
    for (const char *const *w = p->has; *w; w++)
        if (!strstr(text, *w)) return false;
    for (const char *const *w = p->lacks; *w; w++)
        if (strstr(text, *w)) return false;
    return true;
}

bool draft_parsers(struct profile_draft *d, struct error *err)
{
    struct profile_facts *f = &d->facts;
    CLEANUP_BUFFER struct buffer file = {0};
    const char *text;
    if (!load_template(d->model, &file, &text, err)) return false;
    if (!text) return draft_note(d, err, "no reasoning or tool parser is set: the folder has no chat template");
    d->has_template = true;
    if (!sha256_of(file.data ? buffer_view(&file) : bytes_text(text), &d->template_digest, err)) return false;
    for (uint32_t i = 0; i < f->engine->n_parsers; i++) {
        const struct parser_row *p = &f->engine->parsers[i];
        if (!justified(p, f->model_type, text)) continue;
        if (p->reasoning && !f->reasoning_parser) f->reasoning_parser = p->reasoning;
        if (p->tool && !f->tool_parser) f->tool_parser = p->tool;
    }
    if (!f->reasoning_parser &&
        !draft_note(d, err, "no reasoning parser is set: the chat template has the marks of none that %s %s has",
                    f->engine->name, f->engine->version))
        return false;
    return f->tool_parser ||
           draft_note(d, err, "no tool parser is set: the chat template has the marks of none that %s %s has",
                      f->engine->name, f->engine->version);
}
