/* A chat template, a byte 0x1e, a JSON list of messages (or nothing: one of our own): what opens renders to UTF-8 or says
 * in a sentence, with the template's name and a line, why not; and twice the same. */
#include "core/json.h"
#include "engine/chat_template.h"
#include "engine/unicode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char messages_text[] =
    "[{\"role\":\"system\",\"content\":\"Be nice.\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\" \u00e9\\n\"},"
    "{\"type\":\"image\"}]},{\"role\":\"assistant\",\"content\":\"<think>x</think>y\",\"tool_calls\":[{\"id\":\"123456789\","
    "\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1.5,\"b\":[true,null]}}}]},{\"role\":\"tool\",\"content\":\"{}\"}]";
static const char variables_text[] = "{\"s\":\"Hello\",\"n\":3,\"f\":2.5,\"l\":[3,1,\"a\"],\"d\":{\"items\":1,\"b\":{}},\"e\":\"\"}";

static json_t *parse(struct bytes text)
{
    struct error e = ERROR_INIT;
    json_t *j = NULL;
    return json_parse(text, JSON_DIALECT_STRICT, "fuzz", &j, &e) ? j : NULL;
}

static void check_error(const struct error *e)
{
    if (!e->text[0] || (e->code != ERR_FORMAT && e->code != ERR_UNSUPPORTED)) abort();
}

static void check_render(const struct chat_template *t, const json_t *messages)
{
    CLEANUP(json) json_t *variables = parse(bytes_text(variables_text));
    CLEANUP(free) char *text = NULL, *again = NULL;
    struct chat_request q = {.messages = messages, .tools = NULL, .variables = variables, .now = {.tm_year = 126, .tm_mday = 1}};
    struct error e = ERROR_INIT;
    size_t n, n_again;
    if (!chat_template_render(t, &q, &text, &n, &e)) {
        check_error(&e);
        return;
    }
    if (text[n] != '\0' || utf8_broken(bytes_of(text, n)) != n) abort();
    if (!chat_template_render(t, &q, &again, &n_again, &e) || n != n_again || memcmp(text, again, n) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0x1e, size) : NULL;
    size_t n = end ? (size_t)(end - data) : size, rest = end ? size - n - 1 : 0;
    struct error e = ERROR_INIT;
    CLEANUP(chat_template) struct chat_template *t = NULL;
    CLEANUP(json) json_t *messages = rest ? parse(bytes_of(end + 1, rest)) : NULL;
    if (!chat_template_open(&t, bytes_of(data, n), "fuzz", &e)) {
        if (t) abort();
        check_error(&e);
        return 0;
    }
    if (!messages) messages = parse(bytes_text(messages_text));
    check_render(t, messages);
    return 0;
}

#include "tests/fuzz/replay.h"
