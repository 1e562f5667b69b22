#include "convert/other_files.h"

#include "core/file.h"

struct carry {
    const struct model *m;
    const char *output;
    enum dtype type;
    bool undo;
    const json_t *config;
    struct error *err;
};

static bool is_ours(const struct carry *j, const char *name)
{
    uint32_t n;
    const struct checkpoint_file *files = checkpoint_files(j->m->checkpoint, &n);
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(name, folder_name(j->m->folder, files[i].member)) == 0) return true;
    if (j->undo && (strcmp(name, "hf_quant_config.json") == 0 || strcmp(name, "quantize_config.json") == 0 ||
                    strcmp(name, "quant_config.json") == 0))
        return true;
    if (j->config && (strcmp(name, "config.json") == 0 || strncmp(name, "consolidated", 12) == 0)) return true;
    return strcmp(name, j->m->hf.name) == 0 || strcmp(name, "model.safetensors.index.json") == 0 ||
           checkpoint_is_weights(name);
}

const char *torch_dtype_name(enum dtype t)
{
    return t == DTYPE_F16 ? "float16" : t == DTYPE_BF16 ? "bfloat16" : "float32";
}

/* No more to be said of quantization, here or in the wrapper's part of the language model; *inner is the text then. */
static bool drop_quantization(const struct carry *j, json_t *members, struct bytes *text, char **inner)
{
    static const char *const keys[] = {"quantization_config", "compression_config", "quantization"};
    const json_t *config = j->m->hf.config;
    const char *wrapper = hf_config_wrapper(config);
    CLEANUP(json) json_t *inside = json_object();
    size_t n;
    if (!inside) return error_memory(j->err, 0);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (json_has(config, keys[i]) && !json_put(members, keys[i], json_null(), j->err)) return false;
        if (wrapper && json_has(json_object_get(config, wrapper), keys[i]) &&
            !json_put(inside, keys[i], json_null(), j->err))
            return false;
    }
    if (json_object_size(inside) == 0) return true;
    if (!json_splice_inside(*text, JSON_DIALECT_HF, wrapper, inside, j->m->hf.name, inner, &n, j->err)) return false;
    *text = bytes_of(*inner, n);
    return true;
}

/* config.json keeps every byte but the type, and what it says of quantization when that is undone. */
static bool write_config(const struct carry *j)
{
    CLEANUP(json) json_t *members = json_object();
    CLEANUP(free) char *inner = NULL;
    CLEANUP(free) char *text = NULL;
    CLEANUP(free) char *path = NULL;
    struct bytes source = buffer_view(&j->m->hf.config_text);
    const char *name = j->m->hf.name;
    size_t n;
    if (!members) return error_memory(j->err, 0);
    bool newer = json_has(j->m->hf.config, "dtype") && !json_has(j->m->hf.config, "torch_dtype");
    if (j->type != DTYPE_COUNT &&
        !json_put(members, newer ? "dtype" : "torch_dtype", json_string(torch_dtype_name(j->type)), j->err))
        return false;
    if (j->undo && !drop_quantization(j, members, &source, &inner)) return false;
    return json_splice(source, JSON_DIALECT_HF, members, name, &text, &n, j->err) &&
           path_join(&path, j->output, name, j->err) && file_save(path, bytes_of(text, n), 0666, j->err);
}

/* Another config.json in place of the source's. */
static bool write_other_config(const struct carry *j)
{
    CLEANUP(free) char *text = NULL;
    CLEANUP(free) char *path = NULL;
    size_t n;
    return json_pretty(j->config, &text, &n, j->err) && path_join(&path, j->output, "config.json", j->err) &&
           file_save(path, bytes_of(text, n), 0666, j->err);
}

bool carry_files(const struct model *m, const char *output, enum dtype type, bool undo, const json_t *config,
                 struct error *err)
{
    struct carry c = {m, output, type, undo, config, err};
    struct digest ignored;
    for (uint32_t i = 0; i < folder_count(m->folder); i++)
        if (!is_ours(&c, folder_name(m->folder, i)) && !folder_copy(m->folder, i, output, &ignored, err)) return false;
    return config ? write_other_config(&c) : write_config(&c);
}
