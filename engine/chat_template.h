/* Chat templates: a conversation as the text that a model was trained on, exactly as transformers' apply_chat_template
 * (5.23, Jinja2 3.1.6) renders it. The language is that of Jinja's sandbox as published templates use it
 * (docs/chat_templates.md lists it); what a template asks for beyond is ERR_UNSUPPORTED with its line.
 *
 * A template is opened once and never changes; any number of threads may render with it at the same time. It comes from
 * a stranger: it reads nothing but what it is given, and rendering is bounded in steps, memory, text and depth
 * (engine/chat/chat_run.h).
 *
 * What apply_chat_template does before it renders is done here too: keys of a message whose value is null are left out,
 * and reasoning under one of the names reasoning_content, thinking, reasoning is also given as the first two. */
#ifndef ENGINE_CHAT_TEMPLATE_H
#define ENGINE_CHAT_TEMPLATE_H

#include "core/json.h"
#include "formats/folder.h"

#include <time.h>

/* The largest published template has 30 KB. */
#define CHAT_TEMPLATE_MAX ((size_t)1 << 20)

struct chat_template;

struct chat_request {
    const json_t *messages;  /* a list of objects, not empty */
    const json_t *tools;     /* a list of objects, or NULL: none */
    const json_t *documents; /* the same */
    const json_t *tokens;    /* bos_token, eos_token ...: an object of strings, or NULL */
    const json_t
        *variables; /* what the template may read besides, such as enable_thinking; they win over tokens; or NULL */
    bool add_generation_prompt;
    struct tm now; /* what strftime_now takes as the present */
};

/* `text`: UTF-8, not needed afterwards. `what` names it in errors. */
MUST_CHECK bool chat_template_open(struct chat_template **out, struct bytes text, const char *what, struct error *err);
void chat_template_close(struct chat_template *t); /* NULL is fine */
CLEANUP_DEFINE(chat_template, struct chat_template, chat_template_close)
/* *text: terminated, the caller frees. A template that refuses the conversation (raise_exception) is ERR_FORMAT. */
MUST_CHECK bool chat_template_render(const struct chat_template *t, const struct chat_request *q, char **text,
                                     size_t *n_text, struct error *err);

/* The template of a model's folder, as transformers chooses: chat_template.jinja and
 * additional_chat_templates/NAME.jinja before "chat_template" in tokenizer_config.json, chat_template.json last; of
 * several, `name`, or without a name "tool_use" when there are tools, or "default". A folder without one is ERR_FORMAT.
 */
MUST_CHECK bool chat_template_find(struct chat_template **out, const struct folder *f, const char *name, bool has_tools,
                                   struct error *err);
/* The special tokens that tokenizer_config.json and special_tokens_map.json name; *out: a new object. */
MUST_CHECK bool chat_tokens_read(json_t **out, const struct folder *f, struct error *err);

#endif
