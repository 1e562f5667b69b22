#include "engine/chat_template.h"

#include <stdio.h>

#define CONFIG_FILE_MAX ((size_t)16 << 20) /* 49 KB to 1.2 MB in published models */
#define FOLDER_PREFIX "additional_chat_templates/"

static bool load_config(json_t **out, const struct folder *f, const char *name, struct error *err)
{
    CLEANUP_BUFFER struct buffer data = {0};
    *out = NULL;
    if (folder_find(f, name) == NAME_NONE) return true;
    if (!folder_load(f, name, CONFIG_FILE_MAX, &data, err) ||
        !json_parse(buffer_view(&data), JSON_DIALECT_HF, name, out, err))
        return false;
    return json_is_object(*out) ||
           error_set(err, ERR_FORMAT, "%s: expected an object, found %.64s", name, json_brief(*out));
}

static bool open_file(struct chat_template **out, const struct folder *f, const char *name, struct error *err)
{
    CLEANUP_BUFFER struct buffer data = {0};
    return folder_load(f, name, CHAT_TEMPLATE_MAX, &data, err) &&
           chat_template_open(out, buffer_view(&data), name, err);
}

static bool open_string(struct chat_template **out, const json_t *text, const char *file, struct error *err)
{
    char what[128];
    if (!json_is_string(text))
        return error_set(err, ERR_FORMAT, "%s: key 'chat_template': expected a string or a list of {name, template}",
                         file);
    snprintf(what, sizeof what, "%s: chat_template", file);
    return chat_template_open(out, bytes_of(json_string_value(text), json_string_length(text)), what, err);
}

/* chat_template.jinja, or anything in chat_templates/. */
static bool has_files(const struct folder *f)
{
    bool has = folder_find(f, "chat_template.jinja") != NAME_NONE;
    for (uint32_t i = 0; i < folder_count(f) && !has; i++) {
        const char *name = folder_name(f, i), *end = strrchr(name, '.');
        has = strncmp(name, FOLDER_PREFIX, strlen(FOLDER_PREFIX)) == 0 && end && strcmp(end, ".jinja") == 0;
    }
    return has;
}

/* The file of the template `name`; "default" is chat_template.jinja too. */
static bool find_file(const struct folder *f, const char *name, char path[256])
{
    snprintf(path, 256, FOLDER_PREFIX "%.200s.jinja", name);
    if (folder_find(f, path) != NAME_NONE) return true;
    snprintf(path, 256, "chat_template.jinja");
    return strcmp(name, "default") == 0 && folder_find(f, path) != NAME_NONE;
}

static const json_t *find_named(const json_t *list, const char *name)
{
    const json_t *found = NULL;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        const char *its = json_string_value(json_object_get(one, "name"));
        if (its && strcmp(its, name) == 0) found = json_object_get(one, "template");
    }
    return found;
}

static bool no_such(const struct folder *f, const char *name, struct error *err)
{
    return error_set(err, ERR_FORMAT, "'%.256s': no chat template '%.64s'", folder_path(f), name);
}

static bool open_files(struct chat_template **out, const struct folder *f, const char *name, bool has_tools,
                       struct error *err)
{
    char path[256];
    if (name && !find_file(f, name, path)) return no_such(f, name, err);
    if (!name && !(has_tools && find_file(f, "tool_use", path)) && !find_file(f, "default", path))
        return no_such(f, "default", err);
    return open_file(out, f, path, err);
}

static bool open_value(struct chat_template **out, const struct folder *f, const json_t *value, const char *file,
                       const char *name, bool has_tools, struct error *err)
{
    if (!json_is_array(value)) {
        if (name && strcmp(name, "default") != 0) return no_such(f, name, err);
        return open_string(out, value, file, err);
    }
    const json_t *text = name ? find_named(value, name) : has_tools ? find_named(value, "tool_use") : NULL;
    if (!text && !name) text = find_named(value, "default");
    return text ? open_string(out, text, file, err) : no_such(f, name ? name : "default", err);
}

bool chat_template_find(struct chat_template **out, const struct folder *f, const char *name, bool has_tools,
                        struct error *err)
{
    static const char *const files[] = {"tokenizer_config.json", "chat_template.json"};
    if (has_files(f)) return open_files(out, f, name, has_tools, err);
    for (size_t i = 0; i < 2; i++) {
        CLEANUP(json) json_t *doc = NULL;
        if (!load_config(&doc, f, files[i], err)) return false;
        const json_t *value = json_object_get(doc, "chat_template");
        if (value && !json_is_null(value)) return open_value(out, f, value, files[i], name, has_tools, err);
    }
    return error_set(err, ERR_FORMAT,
                     "'%.256s' has no chat template: neither chat_template.jinja nor a key in tokenizer_config.json",
                     folder_path(f));
}

static bool ends_with_token(const char *name)
{
    size_t n = strlen(name);
    return n >= 6 && strcmp(name + n - 6, "_token") == 0;
}

/* A string, or an object of a token's properties with its "content". */
static bool put_token(json_t *tokens, const char *name, json_t *value, struct error *err)
{
    json_t *text = json_is_object(value) ? json_object_get(value, "content") : value;
    if (!json_is_string(text)) return true; /* null: none; "add_bos_token": no token at all */
    return json_put(tokens, name, json_incref(text), err);
}

static bool put_tokens(json_t *tokens, const json_t *config, struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)config, name, value)
        if (ends_with_token(name) && !put_token(tokens, name, value, err)) return false;
    value = json_object_get(config, "extra_special_tokens");
    if (!json_is_object(value)) return true;
    const json_t *extra = value;
    json_object_foreach ((json_t *)(uintptr_t)extra, name, value)
        if (!put_token(tokens, name, value, err)) return false;
    return true;
}

bool chat_tokens_read(json_t **out, const struct folder *f, struct error *err)
{
    CLEANUP(json) json_t *config = NULL, *map = NULL, *tokens = json_object();
    if (!tokens) return error_memory(err, 0);
    if (!load_config(&config, f, "tokenizer_config.json", err) || !put_tokens(tokens, config, err)) return false;
    /* the older file counts where the newer one does not list the added tokens itself */
    if (!json_object_get(config, "added_tokens_decoder") &&
        (!load_config(&map, f, "special_tokens_map.json", err) || !put_tokens(tokens, map, err)))
        return false;
    *out = take_ptr(&tokens);
    return true;
}
