#include "engine/chat_template.h"

#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_eval.h"
#include "engine/chat/chat_filters.h"
#include "engine/chat/chat_parser.h"
#include "engine/chat/chat_print.h"
#include "engine/unicode.h"

struct chat_template {
    struct arena *arena;
    const char *what;
    struct chat_names names;
    struct chat_node *body;
};

static bool parse(struct chat_template *t, char *text, size_t size, struct error *err)
{
    struct chat_token *tokens;
    uint32_t end;
    if (!chat_lex(text, size, t->what, t->arena, &tokens, err)) return false;
    struct chat_parser p = {.what = t->what, .at = tokens, .arena = t->arena, .names = &t->names, .err = err};
    return chat_parse_body(&p, NULL, &end, &t->body);
}

bool chat_template_open(struct chat_template **out, struct bytes text, const char *what, struct error *err)
{
    if (text.size > CHAT_TEMPLATE_MAX)
        return error_set(err, ERR_UNSUPPORTED, "%s: the template has more than %zu KiB", what, CHAT_TEMPLATE_MAX >> 10);
    size_t broken = utf8_broken(text);
    if (broken < text.size) return error_set(err, ERR_FORMAT, "%s: not UTF-8 at byte %zu", what, broken);
    CLEANUP(chat_template) struct chat_template *t = calloc(1, sizeof *t);
    if (!t || !(t->arena = arena_new())) return error_memory(err, sizeof *t);
    char *copy = arena_copy(t->arena, (const char *)text.data, text.size);
    if (!copy || !(t->what = arena_text(t->arena, what))) return error_memory(err, text.size);
    if (!parse(t, copy, text.size, err)) return false;
    *out = take_ptr(&t);
    return true;
}

void chat_template_close(struct chat_template *t)
{
    if (!t) return;
    arena_free(t->arena);
    free(t);
}

static bool is_null(const struct chat_value *v)
{
    return !v || v->kind == CHAT_NONE;
}

/* A message as templates expect it: without nulls, and its reasoning under the names that they read. */
static bool plain_message(struct chat_run *r, struct chat_value *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const struct chat_dict *from = message->dict;
    const struct chat_value *reasoning = NULL;
    struct chat_value made;
    for (size_t i = 0; i < 3 && !reasoning; i++) {
        reasoning = chat_dict_get(from, names[i]);
        if (is_null(reasoning)) reasoning = NULL;
    }
    if (!chat_dict_make(r, (size_t)from->n + 2, &made)) return false;
    if (reasoning && !chat_dict_set(r, made.dict, chat_words("thinking"), *reasoning)) return false;
    for (uint32_t i = 0; i < from->n; i++)
        if (!is_null(&from->pairs[i].value) && !chat_dict_set(r, made.dict, from->pairs[i].key, from->pairs[i].value))
            return false;
    if (reasoning && !chat_dict_set(r, made.dict, chat_words(names[0]), *reasoning)) return false;
    *message = made;
    return true;
}

/* A list of objects, or none for NULL. */
static bool objects(struct chat_run *r, const json_t *json, const char *name, struct chat_value *out)
{
    *out = chat_of(CHAT_NONE);
    if (!json || json_is_null(json)) return true;
    bool ok = json_is_array(json);
    for (size_t i = 0; ok && i < json_array_size(json); i++) ok = json_is_object(json_array_get(json, i));
    if (!ok)
        return error_set(r->err, ERR_FORMAT, "%s: expected a list of objects, found %.64s", name, json_brief(json));
    return chat_from_json(r, json, out);
}

static bool set_name(struct chat_run *r, const char *name, struct chat_value v)
{
    const char *interned = chat_intern(r->names, NULL, name, strlen(name));
    return !interned || chat_scope_set(r, r->scope, interned, v); /* a name that the template never reads is not kept */
}

static bool set_members(struct chat_run *r, const json_t *object)
{
    static const char *const taken[] = {"messages", "tools", "documents", "add_generation_prompt"};
    const char *name;
    json_t *member;
    json_object_foreach ((json_t *)(uintptr_t)object, name, member) {
        struct chat_value v;
        for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
            if (strcmp(name, taken[i]) == 0)
                return error_set(r->err, ERR_FORMAT, "the variable '%s' of a template is given by the conversation",
                                 name);
        if (!chat_from_json(r, member, &v) || !set_name(r, name, v)) return false;
    }
    return true;
}

static bool set_variables(struct chat_run *r, const struct chat_request *q)
{
    struct chat_value messages, tools, documents;
    for (const struct chat_callable *f = chat_functions; f->name; f++)
        if (!set_name(r, f->name, (struct chat_value){.kind = CHAT_FUNCTION, .function = f})) return false;
    if (!objects(r, q->messages, "messages", &messages) || !objects(r, q->tools, "tools", &tools) ||
        !objects(r, q->documents, "documents", &documents))
        return false;
    if (messages.kind != CHAT_LIST || messages.seq->n == 0)
        return error_set(r->err, ERR_FORMAT, "messages: a conversation needs at least one");
    for (size_t i = 0; i < messages.seq->n; i++)
        if (!plain_message(r, &messages.seq->items[i])) return false;
    return set_name(r, "messages", messages) && set_name(r, "tools", tools) && set_name(r, "documents", documents) &&
           set_name(r, "add_generation_prompt", chat_bool(q->add_generation_prompt)) && set_members(r, q->tokens) &&
           set_members(r, q->variables);
}

bool chat_template_render(const struct chat_template *t, const struct chat_request *q, char **text, size_t *n_text,
                          struct error *err)
{
    struct chat_names names = t->names;
    struct chat_text out = {0};
    enum chat_flow flow;
    struct chat_run r = {.what = t->what, .names = &names, .err = err, .now = q->now, .out = &out, .line = 1};
    if (!(r.arena = arena_new())) return error_memory(err, sizeof r);
    r.scope = chat_scope_new(&r, NULL);
    bool ok = r.scope && set_variables(&r, q);
    if (ok) ok = (r.scope = chat_scope_new(&r, r.scope)) && chat_exec(&r, t->body, &flow);
    char *copy = ok ? malloc(out.size + 1) : NULL;
    if (copy) {
        if (out.size) memcpy(copy, out.data, out.size);
        copy[out.size] = 0;
        *text = copy;
        *n_text = out.size;
    } else if (ok) ok = error_memory(err, out.size + 1);
    arena_free(r.arena);
    return ok;
}
