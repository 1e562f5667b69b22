#include "engine/token_config.h"

#include "engine/tokenizer.h"

#define ADDED "added_tokens_decoder"

size_t token_config_count(const json_t *config)
{
    return json_object_size(json_object_get(config, ADDED));
}

static bool read_id(const char *key, uint32_t least, uint32_t *out, struct error *err)
{
    uint64_t id;
    if (!json_token_u64(bytes_text(key), &id) || id >= TOKENIZER_IDS_MAX || id < least)
        return error_set(err, ERR_FORMAT, "'%.40s': expected an id from %u to %u", key, least, TOKENIZER_IDS_MAX - 1);
    *out = (uint32_t)id;
    return true;
}

static bool read_token(const json_t *item, bool keep_spaces, struct added_token *out, struct error *err)
{
    const char *content;
    if (!json_get_string(item, "content", "token", &content, err) ||
        !json_opt_bool(item, "special", "token", &out->special, err) ||
        !json_opt_bool(item, "single_word", "token", &out->single_word, err) ||
        !json_opt_bool(item, "lstrip", "token", &out->lstrip, err) ||
        !json_opt_bool(item, "rstrip", "token", &out->rstrip, err))
        return false;
    out->content = bytes_text(content);
    if (!keep_spaces) out->single_word = out->lstrip = out->rstrip = false;
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

bool token_config_add(struct added_tokens *a, const json_t *config, uint32_t least, bool keep_spaces, struct error *err)
{
    json_t *list = json_object_get(config, ADDED), *item;
    const char *key;
    uint32_t first = a->n;
    if (!list || json_is_null(list)) return true;
    if (!json_is_object(list))
        return error_set(err, ERR_FORMAT, "tokenizer_config.json: %s: expected an object", ADDED);
    json_object_foreach (list, key, item) {
        struct added_token t = {0};
        if (!read_id(key, least, &t.id, err) || !read_token(item, keep_spaces, &t, err) ||
            !added_tokens_add(a, &t, err))
            return error_wrap(err, "tokenizer_config.json: %s: '%.40s'", ADDED, key);
    }
    qsort(a->tokens + first, a->n - first, sizeof *a->tokens, by_id);
    return true;
}
