/* Small tokenizer.json files written inside tests: ' stands for ", so that C can hold them. */
#ifndef TESTS_TOKENIZER_TEXT_H
#define TESTS_TOKENIZER_TEXT_H

#include "tests/checks.h"

#include "core/json.h"
#include "engine/tokenizer.h"

/* The text with ' turned into ". Overwritten by the fourth call from here on. */
static inline char *quoted(const char *text)
{
    static char ring[4][1 << 16];
    static unsigned turn;
    char *out = ring[turn++ % 4];
    if (strlen(text) >= sizeof ring[0]) fail_msg("a document of %zu bytes", strlen(text));
    strcpy(out, text);
    for (char *p = out; *p; p++)
        if (*p == '\'') *p = '"';
    return out;
}

static inline json_t *quoted_json(const char *text)
{
    json_t *list = NULL;
    char wrapped[1 << 14];
    snprintf(wrapped, sizeof wrapped, "[%s]", quoted(text));
    CHECK_OK(json_parse(bytes_text(wrapped), JSON_DIALECT_STRICT, "test", &list, e_));
    json_t *value = json_incref(json_array_get(list, 0));
    json_decref(list);
    return value;
}

static inline bool open_text(struct tokenizer **out, const char *text, struct error *err)
{
    return tokenizer_open_bytes(out, bytes_text(quoted(text)), "test", err);
}

/* The ids of a text as "1 2 3". */
static inline const char *ids_of_bytes(const struct tokenizer *t, struct bytes text, bool special)
{
    static char out[1 << 16];
    uint32_t *ids;
    size_t n, at = 0;
    CHECK_OK(tokenizer_encode(t, text, special, &ids, &n, e_));
    out[0] = '\0';
    for (size_t i = 0; i < n && at < sizeof out; i++)
        at += (size_t)snprintf(out + at, sizeof out - at, i ? " %u" : "%u", ids[i]);
    free(ids);
    return out;
}

static inline const char *ids_of(const struct tokenizer *t, const char *text)
{
    return ids_of_bytes(t, bytes_text(text), false);
}

#endif
