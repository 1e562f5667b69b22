/* SLSA provenance v1 of a quantization, from what ingot.json says of it. Nothing in it depends on date or host, so that
 * it can be rebuilt and compared. It says what was done; it claims no SLSA level, because whoever runs a program on a
 * workstation cannot vouch for the workstation (docs/signing.md, attestations). */
#include "pack/attest_facts.h"

#include "core/version.h"
#include "pack/attest.h"

static const char *text_of(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

/* {"name": ..., "digest": {"sha256": ...}}; left out when the digest is not known. */
static bool add(json_t *list, const char *name, const char *algorithm, const char *hex, struct error *err)
{
    if (!hex) return true;
    json_t *j = json_pack("{s:s,s:{s:s}}", "name", name, "digest", algorithm, hex);
    return json_array_append_new(list, j) == 0 || error_memory(err, 0);
}

/* The original's files: by what they hold when they were hashed whole, else by their headers (the tensors' own digests
 * stand in ingot.json, which is a by-product here). */
static bool add_sources(const struct attest_facts *f, json_t *list, struct error *err)
{
    size_t i;
    json_t *file;
    const json_t *source = json_object_get(f->checkpoint, "source");
    const json_t *signature = json_object_get(source, "signature");
    const json_t *whole = f->source_files ? f->source_files : json_object_get(signature, "files");
    json_array_foreach ((json_t *)(uintptr_t)whole, i, file)
        if (!add(list, text_of(file, "name"), "sha256", text_of(file, "sha256"), err)) return false;
    if (whole) return true;
    json_array_foreach (json_object_get(source, "files"), i, file)
        if (!add(list, text_of(file, "name"), "safetensors-header-sha256", text_of(file, "header_sha256"), err))
            return false;
    return add(list, "config.json", "sha256", text_of(source, "config_sha256"), err);
}

/* Adapters come from elsewhere, and go into the package as they are. */
static bool add_adapters(const struct attest_facts *f, json_t *list, struct error *err)
{
    for (uint32_t i = 0; i < f->manifest.n_layers; i++) {
        const char *path, *sha256;
        if (!attest_layer_file(&f->manifest.layers[i], &path, &sha256) ||
            strncmp(path, OCI_ADAPTERS_FOLDER, strlen(OCI_ADAPTERS_FOLDER)) != 0)
            continue;
        if (!add(list, path, "sha256", sha256, err)) return false;
    }
    return true;
}

static bool dependencies(const struct attest_facts *f, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    const json_t *c = f->checkpoint, *calibration = json_object_get(c, "calibration");
    const char *base = oci_annotation(f->manifest.annotations, OCI_ANNOTATION_BASE_DIGEST);
    if (!list) return error_memory(err, 0);
    if (!add_sources(f, list, err) || !add(list, "recipe", "sha256", text_of(c, "recipe_sha256"), err) ||
        !add(list, "calibration data", "sha256", text_of(calibration, "data_sha256"), err) ||
        !add(list, "calibration statistics", "sha256", text_of(calibration, "stats_sha256"), err) ||
        !add(list, "scales", "sha256", text_of(json_object_get(c, "scales_from"), "sha256"), err) ||
        !add_adapters(f, list, err) || (base && strlen(base) > 7 && !add(list, "base image", "sha256", base + 7, err)))
        return false;
    *out = take_ptr(&list);
    return true;
}

static bool byproducts(const struct attest_facts *f, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    char hex[DIGEST_HEX_SIZE];
    if (!list) return error_memory(err, 0);
    digest_hex(&f->checkpoint_digest, hex);
    if (!add(list, "plan", "sha256", text_of(f->checkpoint, "plan_sha256"), err) ||
        (f->checkpoint && !add(list, "ingot.json", "sha256", hex, err)))
        return false;
    digest_hex(&f->figures, hex);
    if (json_object_get(f->report, "parity") && !add(list, "parity figures", "sha256", hex, err)) return false;
    *out = take_ptr(&list);
    return true;
}

static bool put_if(json_t *obj, const char *key, const json_t *value, struct error *err)
{
    return !value || json_put(obj, key, json_incref((json_t *)(uintptr_t)value), err);
}

/* What the user chose, and what the program did with it. */
static bool parameters(const struct attest_facts *f, json_t **external, json_t **internal, struct error *err)
{
    const json_t *c = f->checkpoint, *recipe = json_object_get(c, "recipe");
    CLEANUP(json) json_t *e = json_object();
    CLEANUP(json) json_t *i = json_pack("{s:s}", "backend", f->backend);
    if (!e || !i) return error_memory(err, 0);
    if (!put_if(e, "recipe", json_object_get(recipe, "name"), err) ||
        !put_if(e, "recipe_source", json_object_get(recipe, "source"), err) ||
        !put_if(e, "layout", json_object_get(c, "layout"), err) ||
        !put_if(i, "architecture", json_object_get(c, "architecture"), err) ||
        !put_if(i, "plan_sha256", json_object_get(c, "plan_sha256"), err) ||
        !put_if(i, "source_signature", json_object_get(json_object_get(c, "source"), "signature"), err))
        return false;
    *external = take_ptr(&e);
    *internal = take_ptr(&i);
    return true;
}

bool provenance_predicate(const struct attest_facts *f, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *external = NULL;
    CLEANUP(json) json_t *internal = NULL;
    CLEANUP(json) json_t *resolved = NULL;
    CLEANUP(json) json_t *made = NULL;
    char tool[DIGEST_HEX_SIZE];
    digest_hex(&f->tool, tool);
    if (!parameters(f, &external, &internal, err) || !dependencies(f, &resolved, err) || !byproducts(f, &made, err))
        return false;
    *out = json_pack("{s:{s:s,s:O,s:O,s:O},s:{s:{s:s,s:{s:s},s:[{s:s,s:{s:s}}]},s:{},s:O}}", "buildDefinition",
                     "buildType", f->checkpoint ? ATTEST_BUILD_QUANTIZE : ATTEST_BUILD_PACK, "externalParameters",
                     external, "internalParameters", internal, "resolvedDependencies", resolved, "runDetails",
                     "builder", "id", f->builder_id, "version", "ingot", INGOT_VERSION, "builderDependencies", "name",
                     "ingot", "digest", "sha256", tool, "metadata", "byproducts", made);
    return *out ? true : error_memory(err, 0);
}
