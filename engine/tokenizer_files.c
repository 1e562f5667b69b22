/* Which file of a folder the tokenizer comes from. */
#include "engine/spm_load.h"
#include "engine/tekken.h"
#include "engine/tiktoken.h"
#include "engine/tokenizer_impl.h"

/* One row per format, the first whose file is there is used. tokenizer.json says everything itself, and serving
 * engines prefer it; tekken.json does too, but for Mistral's own engine, whose folders may keep an older
 * tokenizer.model beside it. The other two need tokenizer_config.json for what they leave open. */
static const struct kind {
    const char *file;
    bool (*open)(struct tokenizer *t, struct bytes file, const json_t *config, struct error *err);
} kinds[] = {
    {"tokenizer.json", tokenizer_json_open},
    {"tekken.json", tekken_open},
    {"tiktoken.model", tiktoken_open},
    {"tokenizer.model", spm_open},
};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds };
#define CONFIG_FILE "tokenizer_config.json"
#define CONFIG_BYTES_MAX ((size_t)32 << 20)

const char *tokenizer_file(const struct folder *f)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (folder_find(f, kinds[i].file) != NAME_NONE) return kinds[i].file;
    return NULL;
}

static bool open_with(struct tokenizer **out, const struct kind *kind, struct bytes file, const json_t *config,
                      const char *what, struct error *err)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t) return error_memory(err, sizeof *t);
    bool ok = file.size <= TOKENIZER_FILE_MAX
                  ? kind->open(t, file, config, err)
                  : error_set(err, ERR_FORMAT, "%zu bytes, at most %zu are read", file.size, TOKENIZER_FILE_MAX);
    if (!ok) {
        tokenizer_close(t);
        return error_wrap(err, "%s", what);
    }
    *out = t;
    return true;
}

bool tokenizer_open_file(struct tokenizer **out, const char *name, struct bytes file, struct bytes config,
                         const char *what, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    size_t i = 0;
    *out = NULL;
    while (i < KIND_COUNT && strcmp(kinds[i].file, name) != 0) i++;
    if (i == KIND_COUNT) return error_set(err, ERR_UNSUPPORTED, "'%.100s' is not a tokenizer's file", name);
    if (config.size && !json_parse(config, JSON_DIALECT_HF, CONFIG_FILE, &doc, err)) return false;
    if (doc && !json_is_object(doc))
        return error_set(err, ERR_FORMAT, "%s: expected an object, found %s", CONFIG_FILE, json_brief(doc));
    return open_with(out, &kinds[i], file, doc, what, err);
}

bool tokenizer_open_bytes(struct tokenizer **out, struct bytes json, const char *what, struct error *err)
{
    *out = NULL;
    return open_with(out, &kinds[0], json, NULL, what, err);
}

bool tokenizer_open(struct tokenizer **out, const struct folder *f, struct error *err)
{
    CLEANUP_BUFFER struct buffer file = {0}, config = {0};
    const char *name = tokenizer_file(f);
    *out = NULL;
    /* Without any, the error names the file that most models have. */
    if (!name) name = kinds[0].file;
    if (!folder_load(f, name, TOKENIZER_FILE_MAX, &file, err)) return false;
    if (strcmp(name, kinds[0].file) != 0 && folder_find(f, CONFIG_FILE) != NAME_NONE &&
        !folder_load(f, CONFIG_FILE, CONFIG_BYTES_MAX, &config, err))
        return false;
    return tokenizer_open_file(out, name, buffer_view(&file), buffer_view(&config), name, err);
}
