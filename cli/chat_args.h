/* The options by which commands take a conversation, and its text by the model's chat template. */
#ifndef CLI_CHAT_ARGS_H
#define CLI_CHAT_ARGS_H

#include "cli/options.h"
#include "engine/tokenizer.h"

struct chat_args {
    const char *messages, *system, *tools, *variables, *date, *template;
};

#define CHAT_OPTIONS(type)                                                                                             \
    {"messages",  'm',                                                                                                 \
     OPTION_TEXT, offsetof(type, chat.messages),                                                                       \
     "FILE",      "the conversation: a JSON list of messages, or an object with \"messages\" and \"tools\"",           \
     0,           0},                                                                                                  \
        {"system", 0, OPTION_TEXT, offsetof(type, chat.system), "TEXT", "a system message before the others", 0, 0},   \
        {"tools", 0, OPTION_TEXT, offsetof(type, chat.tools), "FILE", "the tools: a JSON list of their schemas", 0, 0},\
        {"chat-args", 0,                                                                                               \
         OPTION_TEXT, offsetof(type, chat.variables),                                                                  \
         "JSON",      "what else the template may read: '{\"enable_thinking\": false}'",                               \
         0,           0},                                                                                              \
        {"template",  0,                                                                                               \
         OPTION_TEXT, offsetof(type, chat.template),                                                                   \
         "NAME",      "the template of this name (default: tool_use with tools, or default)",                          \
         0,           0},                                                                                              \
    {                                                                                                                  \
        "date", 0, OPTION_TEXT, offsetof(type, chat.date), "DATE",                                                     \
            "the present for the template, 2026-03-14 or 2026-03-14T15:09:26 (default: the clock)", 0, 0               \
    }

static inline bool chat_given(const struct chat_args *a)
{
    return a->messages || a->system || a->tools || a->variables || a->date || a->template;
}

/* *text: the caller frees. `prompt`: one user message behind all others, or NULL. */
MUST_CHECK bool chat_render(const struct chat_args *a, const struct folder *f, const char *prompt,
                            bool generation_prompt, char **text, size_t *n_text, struct error *err);

/* The token ids of that text, for an answer. Nothing is put in front: what the template writes is all that a model
 * sees. */
MUST_CHECK bool chat_ids(const struct chat_args *a, const struct folder *f, const struct tokenizer *t,
                         const char *prompt, uint32_t **ids, size_t *n, struct error *err);

#endif
