#include "pack/attest_facts.h"

#include "formats/licence.h"
#include "formats/tar.h"

#define SMALL_FILE_BYTES_MAX ((size_t)1 << 30) /* ingot.json of the largest models has hundreds of MiB */

bool attest_layer_file(const struct oci_descriptor *layer, const char **path, const char **sha256)
{
    *path = oci_annotation(layer->annotations, OCI_ANNOTATION_TITLE);
    *sha256 = oci_annotation(layer->annotations, OCI_ANNOTATION_FILE_SHA256);
    return *path && *sha256;
}

/* A file of the image, whole, and its digest checked; *found false: there is none of this path. */
static bool load_file(const struct attest_facts *f, const struct oci_layout *l, const char *wanted, struct buffer *out,
                      struct digest *digest, bool *found, struct error *err)
{
    *found = false;
    for (uint32_t i = 0; i < f->manifest.n_layers; i++) {
        const struct oci_descriptor *d = &f->manifest.layers[i];
        const char *path, *sha256;
        CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
        struct tar_layer tar;
        struct digest said;
        if (!attest_layer_file(d, &path, &sha256) || strcmp(path, wanted) != 0) continue;
        if (!oci_blob_open(l, d, path, &at, NULL, err) || !tar_layer_read(&at, path, &tar, err)) return false;
        if (tar.data_bytes > SMALL_FILE_BYTES_MAX)
            return error_set(err, ERR_FORMAT, "'%.256s': too large to be read", path);
        out->data = malloc((size_t)tar.data_bytes + 1);
        if (!out->data) return error_memory(err, (size_t)tar.data_bytes);
        out->size = (size_t)tar.data_bytes;
        out->data[out->size] = 0;
        if (!file_read_at(at.fd, path, at.offset + tar.data_offset, out->data, out->size, err) ||
            !sha256_of(buffer_view(out), digest, err))
            return false;
        *found = true;
        return (digest_parse(sha256, &said) && digest_equal(&said, digest)) ||
               error_set(err, ERR_FORMAT, "'%.256s' is not the file that its layer's annotation names", path);
    }
    return true;
}

static bool load_json(const struct attest_facts *f, const struct oci_layout *l, const char *path,
                      enum json_dialect dialect, struct digest *digest, json_t **out, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    bool found;
    return load_file(f, l, path, &text, digest, &found, err) &&
           (!found || json_parse(buffer_view(&text), dialect, path, out, err));
}

bool attest_facts_read(struct attest_facts *f, const struct oci_layout *l, const struct oci_descriptor *image,
                       struct error *err)
{
    CLEANUP_BUFFER struct buffer card = {0};
    struct digest ignored;
    bool found;
    return oci_package_manifest(l, image, &f->manifest, err) &&
           load_json(f, l, "models/ingot.json", JSON_DIALECT_STRICT, &f->checkpoint_digest, &f->checkpoint, err) &&
           load_json(f, l, "models/config.json", JSON_DIALECT_HF, &ignored, &f->config, err) &&
           load_file(f, l, "models/" LICENCE_CARD, &card, &ignored, &found, err) &&
           licence_declared(buffer_view(&card), &f->licences, err);
}

void attest_facts_close(struct attest_facts *f)
{
    oci_manifest_close(&f->manifest);
    json_decref(f->checkpoint);
    json_decref(f->config);
    json_decref(f->licences);
    *f = (struct attest_facts){0};
}
