#include "cli/chat_args.h"

#include "core/json.h"
#include "engine/chat_template.h"

#include <fcntl.h>

#define CONVERSATION_MAX ((size_t)64 << 20)

/* A broken file is bad input; what stands on the command line is bad usage. */
static bool load(const char *path, json_t **out, struct error *err)
{
    CLEANUP_BUFFER struct buffer data = {0};
    return file_load(AT_FDCWD, path, CONVERSATION_MAX, &data, err) &&
           json_parse(buffer_view(&data), JSON_DIALECT_STRICT, path, out, err);
}

/* The conversation and its tools; both new. */
static bool load_conversation(const struct chat_args *a, json_t **messages, json_t **tools, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    if (a->messages) {
        json_t *list;
        if (!load(a->messages, &doc, err)) return false;
        if (json_is_array(doc)) *messages = json_copy(doc);
        else if (!json_get_array(doc, "messages", a->messages, &list, err)) return false;
        else *messages = json_copy(list), *tools = json_incref(json_object_get(doc, "tools"));
    } else *messages = json_array();
    if (!*messages) return error_memory(err, 0);
    if (!a->tools) return true;
    json_decref(*tools);
    *tools = NULL;
    return load(a->tools, tools, err);
}

static bool add_message(json_t *messages, size_t at, const char *role, const char *content, struct error *err)
{
    if (!content) return true;
    json_t *message = json_pack("{s:s,s:s}", "role", role, "content", content);
    if (!message) return error_set(err, ERR_USAGE, "the text of the %s message is not UTF-8", role);
    return json_array_insert_new(messages, at, message) == 0 || error_memory(err, 0);
}

static bool read_date(const char *text, struct tm *out, struct error *err)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"};
    time_t now = time(NULL);
    if (!text) return localtime_r(&now, out) != NULL || error_set(err, ERR_INTERNAL, "the clock cannot be read");
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        *out = (struct tm){0};
        const char *end = strptime(text, forms[i], out);
        if (end && *end == 0) return timegm(out) != -1 || out->tm_year < 70 || out->tm_year > 70;
    }
    return error_set(err, ERR_USAGE, "--date: expected 2026-03-14 or 2026-03-14T15:09:26, found '%.64s'", text);
}

static bool read_variables(const char *text, json_t **out, struct error *err)
{
    if (!text) return true;
    if (!json_parse(bytes_text(text), JSON_DIALECT_STRICT, "--chat-args", out, err))
        return err->code = ERR_USAGE, false;
    return json_is_object(*out) ||
           error_set(err, ERR_USAGE, "--chat-args: expected an object, found %.64s", json_brief(*out));
}

bool chat_render(const struct chat_args *a, const struct folder *f, const char *prompt, bool generation_prompt,
                 char **text, size_t *n_text, struct error *err)
{
    CLEANUP(json) json_t *messages = NULL, *tools = NULL, *tokens = NULL, *variables = NULL;
    CLEANUP(chat_template) struct chat_template *t = NULL;
    struct chat_request q = {.add_generation_prompt = generation_prompt};
    if (!load_conversation(a, &messages, &tools, err) || !add_message(messages, 0, "system", a->system, err) ||
        !add_message(messages, json_array_size(messages), "user", prompt, err) || !read_date(a->date, &q.now, err) ||
        !read_variables(a->variables, &variables, err) ||
        !chat_template_find(&t, f, a->template, tools && !json_is_null(tools), err) ||
        !chat_tokens_read(&tokens, f, err))
        return false;
    q.messages = messages;
    q.tools = tools;
    q.tokens = tokens;
    q.variables = variables;
    return chat_template_render(t, &q, text, n_text, err);
}

bool chat_ids(const struct chat_args *a, const struct folder *f, const struct tokenizer *t, const char *prompt,
              uint32_t **ids, size_t *n, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n_text;
    return chat_render(a, f, prompt, true, &text, &n_text, err) &&
           tokenizer_encode_prompt(t, bytes_of(text, n_text), ids, n, err);
}
