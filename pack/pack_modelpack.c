/* The model as a ModelPack artifact over the same blobs (docs/package.md, ModelPack; CNCF model-spec). */
#include "pack/pack_job.h"

#include <fnmatch.h>

#define MODEL_CONFIG "application/vnd.cncf.model.config.v1+json"

/* What a file is for, by its name; the first pattern that fits. */
static const struct {
    const char *pattern, *media_type;
} kinds[] = {
    {"*.safetensors", "application/vnd.cncf.model.weight.v1.tar"},
    {"*.gguf", "application/vnd.cncf.model.weight.v1.tar"},
    {"*.bin", "application/vnd.cncf.model.weight.v1.tar"},
    {"*.py", "application/vnd.cncf.model.code.v1.tar"},
    {"*.md", "application/vnd.cncf.model.doc.v1.tar"},
    {"*LICENSE*", "application/vnd.cncf.model.doc.v1.tar"},
    {"*NOTICE*", "application/vnd.cncf.model.doc.v1.tar"},
    {"*", "application/vnd.cncf.model.weight.config.v1.tar"},
};

static const char *media_type_of(const char *path)
{
    size_t i = 0;
    while (fnmatch(kinds[i].pattern, path, 0) != 0) i++;
    return kinds[i].media_type;
}

/* Profiles stay out: they are an engine's, not the model's. */
static bool is_of_model(const char *path)
{
    return strncmp(path, "models/", strlen("models/")) == 0 ||
           strncmp(path, OCI_ADAPTERS_FOLDER, strlen(OCI_ADAPTERS_FOLDER)) == 0;
}

/* All three members are required, and no others are allowed; what is not known is left out of them. */
static bool write_config(const struct pack_job *j, struct oci_writer *w, struct oci_descriptor *out, struct error *err)
{
    CLEANUP(json) json_t *diff_ids = json_array();
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    bool safetensors = false;
    if (!diff_ids) return error_memory(err, 0);
    for (uint32_t i = 0; i < j->result->n_files; i++) {
        char digest[OCI_DIGEST_SIZE];
        if (!is_of_model(j->result->files[i].path)) continue;
        safetensors = safetensors || fnmatch("*.safetensors", j->result->files[i].path, 0) == 0;
        oci_digest_text(&j->result->files[i].layer, digest);
        if (json_array_append_new(diff_ids, json_string(digest)) != 0) return error_memory(err, 0);
    }
    CLEANUP(json)
    json_t *doc = json_pack("{s:{s:s},s:{s:s},s:{s:s,s:O}}", "descriptor", "createdAt", j->created, "config", "format",
                            safetensors ? "safetensors" : "other", "modelfs", "type", "layers", "diffIds", diff_ids);
    if (!doc) return error_memory(err, 0);
    if (!json_canonical(doc, &text, &n, err)) return false;
    *out = (struct oci_descriptor){.media_type = MODEL_CONFIG, .size = n};
    return oci_writer_add_blob(w, bytes_of(text, n), &out->digest, err);
}

static bool write_manifest(const struct pack_job *j, struct oci_writer *w, struct oci_descriptor *layers, json_t *owner,
                           struct oci_descriptor *out, struct error *err)
{
    struct oci_manifest m = {.artifact_type = PACK_MODELPACK_MEDIA,
                             .layers = layers,
                             .annotations = json_object_size(j->annotations) ? j->annotations : NULL};
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    for (uint32_t i = 0; i < j->result->n_files; i++) {
        const struct pack_file *f = &j->result->files[i];
        if (!is_of_model(f->path)) continue;
        json_t *a = json_pack("{s:s,s:s}", OCI_ANNOTATION_TITLE, f->path, "org.cncf.model.filepath", f->path);
        if (json_array_append_new(owner, a) != 0) return error_memory(err, 0);
        layers[m.n_layers++] = (struct oci_descriptor){
            .media_type = media_type_of(f->path), .digest = f->layer, .size = f->layer_bytes, .annotations = a};
    }
    if (!write_config(j, w, &m.config, err) || !oci_manifest_text(&m, &text, &n, err)) return false;
    *out = (struct oci_descriptor){.media_type = OCI_MEDIA_MANIFEST, .artifact_type = PACK_MODELPACK_MEDIA, .size = n};
    return oci_writer_add_blob(w, bytes_of(text, n), &out->digest, err);
}

bool pack_modelpack_write(const struct pack_job *j, struct oci_writer *w, struct oci_descriptor *entry, json_t *owner,
                          struct error *err)
{
    CLEANUP(free) struct oci_descriptor *layers = calloc(j->result->n_files, sizeof *layers);
    char tag[OCI_TAG_BYTES_MAX + 16];
    if (!layers) return error_memory(err, j->result->n_files * sizeof *layers);
    snprintf(tag, sizeof tag, "%s-" PACK_MODELPACK_NAME, j->ref.tag);
    if (!oci_tag_is_valid(tag)) return error_set(err, ERR_USAGE, "'%s' is too long for a tag", tag);
    json_t *a = json_pack("{s:s}", OCI_ANNOTATION_REF, tag);
    if (json_array_append_new(owner, a) != 0) return error_memory(err, 0);
    if (!write_manifest(j, w, layers, owner, entry, err)) return false;
    entry->annotations = a;
    return true;
}
