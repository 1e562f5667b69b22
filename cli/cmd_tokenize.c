#include "cli/commands.h"
#include "core/file.h"
#include "engine/tokenizer.h"

#include <fcntl.h>

#define TEXTS_BYTES_MAX ((size_t)4 << 30)

struct tokenize_args {
    struct common_args common;
    const char *text, *file;
    bool no_special;
};

static const struct option options[] = {
    {"text", 0, OPTION_TEXT, offsetof(struct tokenize_args, text), "TEXT", "one text", 0, 0},
    {"file", 'f', OPTION_TEXT, offsetof(struct tokenize_args, file), "FILE", "JSON lines with \"text\"", 0, 0},
    {"no-special", 0, OPTION_FLAG, offsetof(struct tokenize_args, no_special), NULL,
     "leave out the tokens that the post-processor adds", 0, 0},
    COMMON_OPTIONS(struct tokenize_args),
};

static bool one(const struct tokenizer *t, const struct tokenize_args *a, struct bytes text, struct error *err)
{
    CLEANUP(free) uint32_t *ids = NULL;
    size_t n;
    if (!tokenizer_encode(t, text, !a->no_special, &ids, &n, err)) return false;
    if (!a->common.json) {
        for (size_t i = 0; i < n; i++) print_text("%s%u", i ? " " : "", ids[i]);
        print_text("\n");
        return true;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
    return print_json(json_pack("{s:o}", "ids", list), err);
}

static bool each_line(const struct tokenizer *t, const struct tokenize_args *a, struct error *err)
{
    CLEANUP_BUFFER struct buffer data = {0};
    if (!file_load(AT_FDCWD, a->file, TEXTS_BYTES_MAX, &data, err)) return false;
    const char *p = (const char *)data.data, *end = p + data.size;
    for (uint64_t line = 1; p < end; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        CLEANUP(json) json_t *doc = NULL;
        json_t *v;
        bool ok = stop == p || (json_parse(bytes_of(p, (size_t)(stop - p)), JSON_DIALECT_STRICT, "line", &doc, err) &&
                                json_get(doc, "text", "line", &v, err) &&
                                (json_is_string(v) || error_set(err, ERR_FORMAT, "\"text\": expected a string")) &&
                                one(t, a, bytes_of(json_string_value(v), json_string_length(v)), err));
        if (!ok) return error_wrap(err, "'%.256s': line %llu", a->file, (unsigned long long)line);
        p = stop + 1;
    }
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)env, (void)n_operands;
    const struct tokenize_args *a = args;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    if (!a->text == !a->file) return error_set(err, ERR_USAGE, "give one of --text and --file");
    if (!folder_open(&f, operands[0], err) || !tokenizer_open(&t, f, err)) return false;
    return a->text ? one(t, a, bytes_text(a->text), err) : each_line(t, a, err);
}

const struct command command_tokenize = {
    .name = "tokenize",
    .operands = "DIR",
    .summary = "text to token ids, as the model's tokenizer makes them",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct tokenize_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
