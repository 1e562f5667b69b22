#include "cli/image_labels.h"

#include "core/version.h"
#include "formats/folder.h"

#define MANIFEST_BYTES_MAX ((size_t)1 << 30)

static bool put_text(json_t *labels, const char *key, const json_t *value, struct error *err)
{
    return !json_is_string(value) || json_put(labels, key, json_copy((json_t *)(uintptr_t)value), err);
}

bool image_labels(const char *path, json_t **out, struct error *err)
{
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *doc = NULL;
    CLEANUP(json) json_t *labels = json_pack("{s:s}", "ingot.tool.version", INGOT_VERSION);
    if (!labels) return error_memory(err, 0);
    if (!folder_open(&f, path, err)) return false;
    if (folder_find(f, "ingot.json") != NAME_NONE) {
        if (!folder_load(f, "ingot.json", MANIFEST_BYTES_MAX, &text, err) ||
            !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, "ingot.json", &doc, err))
            return false;
        if (!put_text(labels, "ingot.plan.sha256", json_object_get(doc, "plan_sha256"), err) ||
            !put_text(labels, "ingot.recipe.sha256", json_object_get(doc, "recipe_sha256"), err) ||
            !put_text(labels, "ingot.recipe.name", json_object_get(json_object_get(doc, "recipe"), "name"), err) ||
            !put_text(labels, "ingot.architecture", json_object_get(doc, "architecture"), err))
            return false;
    }
    *out = take_ptr(&labels);
    return true;
}
