/* The files that a Hugging Face folder has, from those of a NeMo archive. */
#include "core/yaml.h"
#include "formats/megatron.h"
#include "formats/nemo.h"

static uint32_t find_file(const struct folder *f, const char *name)
{
    uint32_t i = folder_find(f, name);
    for (uint32_t k = 0; i == NAME_NONE && k < folder_count(f); k++) { /* archives of a folder have it in front */
        const char *slash = strrchr(folder_name(f, k), '/');
        if (slash && strcmp(slash + 1, name) == 0) i = k;
    }
    return i;
}

/* "nemo:0123abcd_tokenizer.model" or a path of the machine that trained: the file of that name in the archive. */
static bool add_tokenizer(struct folder *f, const json_t *config, struct error *err)
{
    const json_t *t = json_object_get(config, "tokenizer");
    const char *model = json_string_value(json_object_get(t, "model")),
               *library = json_string_value(json_object_get(t, "library"));
    static const char *const ours[] = {"tokenizer.json", "tokenizer.model", "tekken.json", "tiktoken.model"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (folder_find(f, ours[i]) != NAME_NONE) return true;
    if (model && strncmp(model, "nemo:", 5) == 0) model += 5;
    const char *slash = model ? strrchr(model, '/') : NULL;
    uint32_t member = model && *model ? find_file(f, slash ? slash + 1 : model) : NAME_NONE;
    if (member != NAME_NONE && library && strcmp(library, "sentencepiece") == 0)
        return folder_add_part(f, member, "tokenizer.model", 0, folder_size(f, member), err);
    return folder_explain_absent(f, "tokenizer.json",
                                 "model_config.yaml names no SentencePiece model that the archive holds", err);
}

static bool add_config(struct folder *f, struct bytes yaml, struct error *err)
{
    CLEANUP(json) json_t *config = NULL;
    CLEANUP(free) char *text = NULL;
    struct error why = ERROR_INIT;
    uint64_t vocab = 0;
    size_t n;
    bool read = mega_embedding_rows(f, &vocab, &why), ok = read && nemo_config(yaml, vocab, &config, &why);
    if (!ok && ((read && why.code == ERR_FORMAT) || why.code == ERR_UNSUPPORTED))
        return folder_explain_absent(f, "config.json", why.text, err);
    if (!ok) {
        if (err) *err = why;
        return false;
    }
    return json_pretty(config, &text, &n, err) && folder_add_made(f, "config.json", bytes_of(text, n), err);
}

bool nemo_describe(struct folder *f, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(yaml) struct yaml *y = NULL;
    struct error ignored = ERROR_INIT;
    if (folder_find(f, NEMO_CONFIG_NAME) == NAME_NONE || folder_find(f, "config.json") != NAME_NONE) return true;
    if (folder_size(f, folder_find(f, NEMO_CONFIG_NAME)) > NEMO_CONFIG_MAX) return true;
    if (!folder_load(f, NEMO_CONFIG_NAME, NEMO_CONFIG_MAX, &text, err)) return false;
    if (yaml_parse_documents(buffer_view(&text), NEMO_CONFIG_NAME, &y, &ignored)) {
        const json_t *root = yaml_root(y);
        if (!add_tokenizer(f, json_is_array(root) ? json_array_get(root, 0) : root, err)) return false;
    }
    return add_config(f, buffer_view(&text), err);
}
