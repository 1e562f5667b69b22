#include "cli/image_labels.h"

#include "core/file.h"
#include "core/version.h"
#include "formats/folder.h"
#include "formats/licence.h"
#include "formats/oci_package.h"

#define MANIFEST_BYTES_MAX ((size_t)1 << 30)

static bool put_text(json_t *labels, const char *key, const json_t *value, struct error *err)
{
    return !json_is_string(value) || json_put(labels, key, json_string(json_string_value(value)), err);
}

static bool put_digest(json_t *labels, const char *key, const struct digest *d, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    return json_put(labels, key, json_string(hex), err);
}

static bool label_checkpoint(const struct folder *f, json_t *labels, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *doc = NULL;
    struct digest d;
    if (folder_find(f, "ingot.json") == NAME_NONE) return true;
    return folder_load(f, "ingot.json", MANIFEST_BYTES_MAX, &text, err) &&
           json_parse(buffer_view(&text), JSON_DIALECT_STRICT, "ingot.json", &doc, err) &&
           sha256_of(buffer_view(&text), &d, err) && put_digest(labels, "ingot.checkpoint.sha256", &d, err) &&
           put_text(labels, "ingot.plan.sha256", json_object_get(doc, "plan_sha256"), err) &&
           put_text(labels, "ingot.recipe.sha256", json_object_get(doc, "recipe_sha256"), err) &&
           put_text(labels, "ingot.recipe.name", json_object_get(json_object_get(doc, "recipe"), "name"), err) &&
           put_text(labels, "ingot.architecture", json_object_get(doc, "architecture"), err);
}

/* Names and bytes of all files of a folder, in name order. */
static bool hash_folder(const char *path, struct digest *out, struct error *err)
{
    CLEANUP(folder) struct folder *f = NULL;
    struct sha256 *h;
    if (!folder_open(&f, path, err) || !sha256_open(&h, err)) return false;
    bool ok = true;
    for (uint32_t i = 0; ok && i < folder_count(f); i++) {
        CLEANUP_BUFFER struct buffer b = {0};
        ok = folder_load(f, folder_name(f, i), MANIFEST_BYTES_MAX, &b, err);
        uint64_t size = b.size;
        sha256_add(h, folder_name(f, i), strlen(folder_name(f, i)) + 1);
        sha256_add(h, &size, sizeof size);
        if (ok) sha256_add(h, b.data, b.size);
    }
    return sha256_close(h, ok ? out : NULL, err) && ok;
}

bool image_labels(const char *path, const char *profiles, json_t **out, struct error *err)
{
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(json) json_t *labels = json_pack("{s:s}", "ingot.tool.version", INGOT_VERSION);
    struct digest d;
    if (!labels) return error_memory(err, 0);
    if (!folder_open(&f, path, err) || !licence_check_carried(f, err) || !label_checkpoint(f, labels, err))
        return false;
    if (profiles && (!hash_folder(profiles, &d, err) || !put_digest(labels, "ingot.profiles.sha256", &d, err)))
        return false;
    *out = take_ptr(&labels);
    return true;
}

bool image_labels_of(const char *text, const json_t *labels, struct digest *image, struct error *err)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    CLEANUP(oci_package) struct oci_package package = {0};
    CLEANUP(oci_manifest) struct oci_manifest manifest = {0};
    if (!oci_ref_parse(text, &ref, err) || !oci_layout_open_ref(&layout, &ref, err) ||
        !oci_package_open(&package, &layout, ref.tag, err))
        return error_wrap(err, "'%.256s'", text);
    const json_t *found = package.images.annotations;
    if (!oci_package_has_index(&package)) {
        if (!oci_package_manifest(&layout, package.entry, &manifest, err)) return false;
        found = manifest.annotations;
    }
    *image = package.entry->digest;
    return json_equal(found, labels) ? true : error_set(err, ERR_FORMAT, "the labels differ");
}
