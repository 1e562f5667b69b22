/* tokenizer_tool FOLDER: JSON lines on stdin, one on stdout for each.
 *   {"text": "..."}                 -> {"ids": with special tokens, "no_special": without}
 *   {"ids": [...]}                  -> {"text": "...", "skip": without special tokens}
 * or {"error": word, "text": sentence}. Texts may hold NUL. */
#include "engine/tokenizer.h"
#include "core/json.h"

static bool encode(const struct tokenizer *t, struct bytes text, bool special, json_t **out, struct error *err)
{
    CLEANUP(free) uint32_t *ids = NULL;
    size_t n;
    if (!tokenizer_encode(t, text, special, &ids, &n, err)) return false;
    *out = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(*out, json_integer(ids[i]));
    return true;
}

static bool decode(const struct tokenizer *t, const json_t *list, bool skip, json_t **out, struct error *err)
{
    size_t n = json_array_size(list), n_text;
    CLEANUP(free) uint32_t *ids = malloc((n + 1) * sizeof *ids);
    CLEANUP(free) char *text = NULL;
    for (size_t i = 0; i < n; i++) ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    if (!tokenizer_decode(t, ids, n, skip, &text, &n_text, err)) return false;
    *out = json_stringn(text, n_text);    /* NULL when it is not UTF-8 */
    return true;
}

static bool answer(const struct tokenizer *t, const json_t *in, json_t **out, struct error *err)
{
    const json_t *text = json_object_get(in, "text"), *ids = json_object_get(in, "ids");
    json_t *a = NULL, *b = NULL;
    struct bytes bytes = bytes_of(json_string_value(text), json_string_length(text));
    if (text ? !encode(t, bytes, true, &a, err) || !encode(t, bytes, false, &b, err)
             : !decode(t, ids, false, &a, err) || !decode(t, ids, true, &b, err))
        return false;
    *out = json_pack("{s:o,s:o}", text ? "ids" : "text", a, text ? "no_special" : "skip", b);
    return *out != NULL;
}

int main(int argc, char **argv)
{
    struct error e = ERROR_INIT;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    if (argc != 2 || !folder_open(&f, argv[1], &e) || !tokenizer_open(&t, f, &e)) {
        fprintf(stderr, "%s: %s\n", error_code_name(e.code), e.text);
        return 1;
    }
    char *line = NULL;
    size_t capacity = 0;
    for (ssize_t n; (n = getline(&line, &capacity, stdin)) > 0;) {
        CLEANUP(json) json_t *in = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL), *out = NULL;
        struct error err = ERROR_INIT;
        if (!in || !answer(t, in, &out, &err)) {
            json_decref(out);
            out = json_pack("{s:s,s:s}", "error", error_code_name(err.code), "text", err.text);
        }
        json_dumpf(out, stdout, JSON_COMPACT | JSON_SORT_KEYS);
        putchar('\n');
        fflush(stdout);
    }
    free(line);
    return 0;
}
