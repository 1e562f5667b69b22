/* chat_tool: JSON lines on stdin, one on stdout for each.
 *   {"template": text, "messages": [...], "tools": ..., "documents": ..., "tokens": {...}, "variables": {...},
 *    "add_generation_prompt": bool, "date": "YYYY-MM-DD HH:MM:SS"}  (all but the first two may be left out)
 *   -> {"text": rendered} or {"error": word, "text": sentence}. */
#include "core/json.h"
#include "engine/chat_template.h"

static bool answer(const json_t *in, json_t **out, struct error *err)
{
    CLEANUP(chat_template) struct chat_template *t = NULL;
    CLEANUP(free) char *text = NULL;
    size_t n;
    const json_t *source = json_object_get(in, "template"), *date = json_object_get(in, "date");
    struct chat_request q = {.messages = json_object_get(in, "messages"),
                             .tools = json_object_get(in, "tools"),
                             .documents = json_object_get(in, "documents"),
                             .tokens = json_object_get(in, "tokens"),
                             .variables = json_object_get(in, "variables"),
                             .add_generation_prompt = json_is_true(json_object_get(in, "add_generation_prompt")),
                             .now = {.tm_mday = 1, .tm_year = 100}};
    if (date) strptime(json_string_value(date), "%Y-%m-%d %H:%M:%S", &q.now);
    if (!chat_template_open(&t, bytes_of(json_string_value(source), json_string_length(source)), "template", err) ||
        !chat_template_render(t, &q, &text, &n, err))
        return false;
    *out = json_pack("{s:o}", "text", json_stringn(text, n)); /* NULL when it is not UTF-8 */
    return *out != NULL;
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    for (ssize_t n; (n = getline(&line, &capacity, stdin)) > 0;) {
        CLEANUP(json) json_t *in = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL), *out = NULL;
        struct error err = ERROR_INIT;
        if (!in || !answer(in, &out, &err)) {
            json_decref(out);
            out = json_pack("{s:s,s:s}", "error", error_code_name(err.code), "text", err.text);
        }
        json_dumpf(out, stdout, JSON_COMPACT | JSON_SORT_KEYS);
        putchar('\n');
    }
    free(line);
    return 0;
}
