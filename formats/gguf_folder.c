#include "formats/gguf_folder.h"

#include "formats/gguf_arch.h"

static bool absent(const struct folder *f, const char *name)
{
    return folder_find(f, name) == NAME_NONE;
}

static bool add_json(struct folder *f, const char *name, const json_t *doc, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n;
    return json_pretty(doc, &text, &n, err) && folder_add_made(f, name, bytes_of(text, n), err);
}

static bool add_config(struct folder *f, const struct gguf *g, struct error *err)
{
    const struct gguf_arch *arch;
    const char *name;
    CLEANUP(json) json_t *config = NULL;
    return gguf_architecture(g, &name, err) && gguf_arch_find(&arch, name, err) && gguf_config(g, arch, &config, err) &&
           add_json(f, "config.json", config, err);
}

/* The text of the token that a key names; left out when there is none. */
static bool put_token(const struct gguf *g, const char *key, const char *name, json_t *doc, struct error *err)
{
    const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    uint64_t id;
    bool has;
    size_t at = 0;
    struct bytes text = {0};
    if (!gguf_opt_u64(g, key, UINT32_MAX, &id, &has, err)) return false;
    if (!has || !tokens || !tokens->is_array || id >= tokens->n) return true;
    for (uint64_t i = 0; i <= id; i++)
        if (!gguf_next_text(tokens, &at, &text, err)) return false;
    return json_put(doc, name, json_stringn((const char *)text.data, text.size), err);
}

static bool add_tokenizer_config(struct folder *f, const struct gguf *g, struct error *err)
{
    CLEANUP(json) json_t *doc = json_pack("{s:s}", "tokenizer_class", "PreTrainedTokenizerFast");
    bool add_bos, has;
    if (!doc) return error_memory(err, 0);
    if (!put_token(g, "tokenizer.ggml.bos_token_id", "bos_token", doc, err) ||
        !put_token(g, "tokenizer.ggml.eos_token_id", "eos_token", doc, err) ||
        !put_token(g, "tokenizer.ggml.unknown_token_id", "unk_token", doc, err) ||
        !put_token(g, "tokenizer.ggml.padding_token_id", "pad_token", doc, err) ||
        !gguf_opt_bool(g, "tokenizer.ggml.add_bos_token", &add_bos, &has, err) ||
        (has && !json_put(doc, "add_bos_token", json_boolean(add_bos), err)))
        return false;
    return add_json(f, "tokenizer_config.json", doc, err);
}

static bool add_tokenizer(struct folder *f, const struct gguf *g, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n;
    char why[256] = "";
    const char *name;
    if (!gguf_tokenizer(g, &name, &text, &n, why, err)) return false;
    return text ? folder_add_made(f, name, bytes_of(text, n), err)
                : folder_explain_absent(f, "tokenizer.json", why, err);
}

static bool add_template(struct folder *f, const struct gguf *g, struct error *err)
{
    struct bytes text;
    bool has;
    if (!gguf_opt_text(g, "tokenizer.chat_template", &text, &has, err)) return false;
    return !has || folder_add_made(f, "chat_template.jinja", text, err);
}

bool gguf_describe(struct folder *f, struct error *err)
{
    CLEANUP(gguf) struct gguf *g = NULL;
    if (!gguf_folder_has(f)) return true;
    if (!gguf_open(&g, f, err)) return false;
    bool config = absent(f, "config.json"),
         tokenizer = absent(f, "tokenizer.json") && absent(f, "tokenizer.model") && absent(f, "tekken.json") &&
                     absent(f, "tiktoken.model"),
         tokens = absent(f, "tokenizer_config.json"), chat = absent(f, "chat_template.jinja");
    return (!config || add_config(f, g, err)) && (!tokenizer || add_tokenizer(f, g, err)) &&
           (!tokens || add_tokenizer_config(f, g, err)) && (!chat || add_template(f, g, err));
}
