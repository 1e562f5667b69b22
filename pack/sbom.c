/* CycloneDX 1.6: the model as a component with its files, its original, its card and its licences; and the licence
 * report. */
#include "pack/attest_facts.h"

#include "core/version.h"
#include "formats/licence.h"

#define SCHEMA "http://cyclonedx.org/schema/bom-1.6.schema.json"

/* A UUID (version 8: of our own making) from the image's digest: the same image, the same serial number. */
static void serial_of(const struct digest *d, char out[64])
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    snprintf(out, 64, "urn:uuid:%.8s-%.4s-8%.3s-8%.3s-%.12s", hex, hex + 8, hex + 12, hex + 15, hex + 18);
}

/* One entry of CycloneDX' list of licences. */
static json_t *licence_choice(const char *word)
{
    const char *id = licence_spdx(word);
    return json_pack("{s:{s:s}}", "license", id ? "id" : "name", id ? id : word);
}

static bool licence_choices(const struct attest_facts *f, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    size_t i;
    json_t *word;
    json_array_foreach (f->licences, i, word)
        if (json_array_append_new(list, licence_choice(json_string_value(word))) != 0) return error_memory(err, 0);
    *out = take_ptr(&list);
    return *out ? true : error_memory(err, 0);
}

static bool file_components(const struct attest_facts *f, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    for (uint32_t i = 0; i < f->manifest.n_layers; i++) {
        const char *path, *sha256;
        if (!attest_layer_file(&f->manifest.layers[i], &path, &sha256)) continue;
        json_t *j = json_pack("{s:s,s:s+,s:s,s:[{s:s,s:s}]}", "type", "file", "bom-ref", "file:", path, "name", path,
                              "hashes", "alg", "SHA-256", "content", sha256);
        if (json_array_append_new(list, j) != 0) return error_memory(err, 0);
    }
    *out = take_ptr(&list);
    return *out ? true : error_memory(err, 0);
}

static json_t *property(const char *name, const char *value)
{
    return json_pack("{s:s,s:s}", "name", name, "value", value);
}

static bool properties(const struct attest_facts *f, json_t **out, struct error *err)
{
    static const char *const keys[] = {"plan_sha256", "recipe_sha256", "layout"};
    CLEANUP(json) json_t *list = json_array();
    const char *recipe = json_string_value(json_object_get(json_object_get(f->checkpoint, "recipe"), "name"));
    if (!list || (recipe && json_array_append_new(list, property("ingot:recipe", recipe)) != 0))
        return error_memory(err, 0);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char name[64];
        const char *value = json_string_value(json_object_get(f->checkpoint, keys[i]));
        snprintf(name, sizeof name, "ingot:%s", keys[i]);
        if (value && json_array_append_new(list, property(name, value)) != 0) return error_memory(err, 0);
    }
    *out = take_ptr(&list);
    return true;
}

static bool metric(json_t *list, const char *type, const json_t *figures, const char *key, struct error *err)
{
    const json_t *v = json_object_get(figures, key);
    char text[40];
    if (!json_is_number(v)) return true;
    snprintf(text, sizeof text, "%.9g", json_number_value(v));
    return json_array_append_new(list, json_pack("{s:s,s:s}", "type", type, "value", text)) == 0 ||
           error_memory(err, 0);
}

static bool model_card(const struct attest_facts *f, json_t **out, struct error *err)
{
    const json_t *figures = json_object_get(f->report, "parity"),
                 *calibration = json_object_get(f->checkpoint, "calibration");
    const char *family = json_string_value(json_object_get(f->config, "model_type")),
               *class_name = json_string_value(json_array_get(json_object_get(f->config, "architectures"), 0));
    CLEANUP(json) json_t *metrics = json_array();
    CLEANUP(json) json_t *props = NULL;
    CLEANUP(json)
    json_t *p = json_pack("{s:s,s:[{s:s}],s:[{s:s}]}", "task", "text-generation", "inputs", "format", "text", "outputs",
                          "format", "text");
    CLEANUP(json) json_t *card = json_object();
    if (!metrics || !p || !card) return error_memory(err, 0);
    if ((family && !json_put(p, "architectureFamily", json_string(family), err)) ||
        (class_name && !json_put(p, "modelArchitecture", json_string(class_name), err)) ||
        (json_is_object(calibration) && !json_put(p, "datasets", json_pack("[{s:s}]", "ref", "calibration"), err)) ||
        !properties(f, &props, err) || !json_put(card, "modelParameters", json_incref(p), err) ||
        !json_put(card, "properties", json_incref(props), err) ||
        !metric(metrics, "KL divergence from the original, nats per token", figures, "kl_mean", err) ||
        !metric(metrics, "top-1 agreement with the original", figures, "top1_agreement", err) ||
        !metric(metrics, "perplexity", figures, "perplexity_quantized", err) ||
        !metric(metrics, "perplexity of the original", figures, "perplexity_original", err))
        return false;
    if (json_array_size(metrics) &&
        !json_put(card, "quantitativeAnalysis", json_pack("{s:O}", "performanceMetrics", metrics), err))
        return false;
    *out = take_ptr(&card);
    return true;
}

/* The original, by its name where the configuration has one, and by the digest of its configuration. */
static json_t *ancestors(const struct attest_facts *f)
{
    const char *name = json_string_value(json_object_get(f->config, "_name_or_path")),
               *digest = json_string_value(json_object_get(json_object_get(f->checkpoint, "source"), "config_sha256"));
    json_t *j = json_pack("{s:s,s:s,s:s}", "type", "machine-learning-model", "bom-ref", "original", "name",
                          name && *name ? name : "original checkpoint");
    if (j && digest) json_object_set_new(j, "properties", json_pack("[o]", property("ingot:config_sha256", digest)));
    return json_pack("{s:[o]}", "ancestors", j);
}

static bool model_component(const struct attest_facts *f, json_t **out, struct error *err)
{
    char image[DIGEST_HEX_SIZE];
    json_t *licences = NULL, *files = NULL, *card = NULL;
    digest_hex(&f->image, image);
    CLEANUP(json)
    json_t *j = json_pack("{s:s,s:s,s:s,s:s+}", "type", "machine-learning-model", "bom-ref", "model", "name", f->name,
                          "version", "sha256:", image);
    if (!j) return error_memory(err, 0);
    if (!licence_choices(f, &licences, err) || !json_put(j, "licenses", licences, err) ||
        !json_put(j, "hashes", json_pack("[{s:s,s:s}]", "alg", "SHA-256", "content", image), err) ||
        (f->checkpoint && !json_put(j, "pedigree", ancestors(f), err)) || !model_card(f, &card, err) ||
        !json_put(j, "modelCard", card, err) || !file_components(f, &files, err) ||
        !json_put(j, "components", files, err))
        return false;
    *out = take_ptr(&j);
    return true;
}

/* The calibration data as a component of its own; it has a digest, and no file in the package. */
static bool data_components(const struct attest_facts *f, json_t **out, struct error *err)
{
    const char *digest =
        json_string_value(json_object_get(json_object_get(f->checkpoint, "calibration"), "data_sha256"));
    CLEANUP(json) json_t *list = json_array();
    if (digest) {
        json_t *j = json_pack("{s:s,s:s,s:s,s:[{s:s,s:s}],s:[{s:s,s:s}]}", "type", "data", "bom-ref", "calibration",
                              "name", "calibration data", "hashes", "alg", "SHA-256", "content", digest, "data", "type",
                              "dataset", "name", "calibration");
        if (json_array_append_new(list, j) != 0) return error_memory(err, 0);
    }
    *out = take_ptr(&list);
    return *out ? true : error_memory(err, 0);
}

bool sbom_predicate(const struct attest_facts *f, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *model = NULL;
    CLEANUP(json) json_t *data = NULL;
    CLEANUP(json) json_t *on = json_array();
    char serial[64];
    serial_of(&f->image, serial);
    if (!model_component(f, &model, err) || !data_components(f, &data, err)) return false;
    if (json_array_size(data) && json_array_append_new(on, json_string("calibration")) != 0)
        return error_memory(err, 0);
    *out = json_pack("{s:s,s:s,s:s,s:s,s:i,s:{s:{s:[{s:s,s:s,s:s}]},s:O},s:O,s:[{s:s,s:O}]}", "$schema", SCHEMA,
                     "bomFormat", "CycloneDX", "specVersion", "1.6", "serialNumber", serial, "version", 1, "metadata",
                     "tools", "components", "type", "application", "name", "ingot", "version", INGOT_VERSION,
                     "component", model, "components", data, "dependencies", "ref", "model", "dependsOn", on);
    return *out ? true : error_memory(err, 0);
}

/* ---- licences -------------------------------------------------------------------------------------------------------
 */

static bool licence_files(const struct attest_facts *f, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    for (uint32_t i = 0; i < f->manifest.n_layers; i++) {
        const char *path, *sha256;
        if (!attest_layer_file(&f->manifest.layers[i], &path, &sha256) || !licence_is_file(path)) continue;
        if (json_array_append_new(list, json_pack("{s:s,s:s}", "path", path, "sha256", sha256)) != 0)
            return error_memory(err, 0);
    }
    *out = take_ptr(&list);
    return *out ? true : error_memory(err, 0);
}

/* Every word of the card by itself, never one for all. */
static bool licence_words(const json_t *words, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    size_t i;
    json_t *word;
    json_array_foreach ((json_t *)(uintptr_t)words, i, word) {
        const char *text = json_string_value(word), *id = text ? licence_spdx(text) : NULL;
        json_t *j = text ? json_pack("{s:s,s:s?}", "declared", text, "spdx", id) : NULL;
        if (json_array_append_new(list, j) != 0) return error_memory(err, 0);
    }
    *out = take_ptr(&list);
    return *out ? true : error_memory(err, 0);
}

bool licence_predicate(const struct attest_facts *f, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *files = NULL;
    CLEANUP(json) json_t *here = NULL;
    CLEANUP(json) json_t *original = NULL;
    if (!licence_files(f, &files, err) || !licence_words(f->licences, &here, err) ||
        !licence_words(json_object_get(f->checkpoint, "licences"), &original, err))
        return false;
    *out = json_pack("{s:s,s:O,s:O,s:O}", "schema", "ingot.licences/1", "licences", here, "original", original, "files",
                     files);
    return *out ? true : error_memory(err, 0);
}
