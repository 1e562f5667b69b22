/* Adding small things to a layout: a referrer (signature, attestation) of the package or one of its images, or a legacy
 * signature under its own tag. No image is touched. Blobs are written first and index.json is replaced in one step at
 * the end; its temporary is the lock, so of two writers at once one fails and nothing is lost. What a writer that was
 * killed has left is removed (pack/sign_sweep.h). Private to pack/. */
#ifndef PACK_ATTACH_H
#define PACK_ATTACH_H

#include "formats/oci_package.h"

#define ATTACH_REPLACED_MAX (OCI_MANIFESTS_MAX / 8)

struct attach {
    struct oci_ref ref;
    struct oci_layout layout;
    struct oci_package package;
    struct file_out index_file;
    char *blobs;
    struct oci_descriptor *entries; /* those of index.json, then what was added */
    uint32_t n_entries, n_old;
    json_t *texts;                                   /* owns the strings of what was added */
    bool wrote;                                      /* a blob that index.json on disk does not name yet */
    struct digest replaced[2 * ATTACH_REPLACED_MAX]; /* manifests and configs that go when index.json is written */
    uint32_t n_replaced;
};

/* "oci:DIR:TAG". Reads and checks the package, its index and every manifest in it: what is broken is not signed. Holds
 * the lock until attach_close. */
MUST_CHECK bool attach_open(struct attach *a, const char *ref, struct error *err);
/* What is to be signed: the package, then, when it is an index, each image. */
static inline uint32_t attach_subjects(const struct attach *a)
{
    return oci_package_has_index(&a->package) ? 1 + oci_package_count(&a->package) : 1;
}
static inline const struct oci_descriptor *attach_subject(const struct attach *a, uint32_t i)
{
    return i ? oci_package_image(&a->package, i - 1) : a->package.entry;
}

/* Writes a blob; fills digest and size of *out. */
MUST_CHECK bool attach_blob(struct attach *a, struct bytes data, struct oci_descriptor *out, struct error *err);

/* What kind of referrer: media types of manifest, config and the one layer. */
struct attach_form {
    const char *artifact_type; /* NULL: the config's type says it */
    const char *config_type;   /* of the blob "{}" */
    const char *layer_type;
};
extern const struct attach_form attach_form_bundle;
/* A manifest with the body as its layer and `subject`, and its entry. `annotations` (object of strings) may be NULL. */
MUST_CHECK bool attach_referrer(struct attach *a, const struct oci_descriptor *subject, const struct attach_form *form,
                                struct bytes body, const json_t *annotations, struct error *err);
/* An entry as it stands in another layout's index.json; its blobs were written before. Its texts must live as long. */
MUST_CHECK bool attach_entry(struct attach *a, const struct oci_descriptor *entry, struct error *err);
/* Calls `look` with each referrer of `subject` that can be read, until it says stop; *found says whether it did. */
typedef bool (*attach_look_fn)(void *ctx, const struct attach *a, const struct oci_manifest *m, uint32_t entry,
                               bool *stop, struct error *err);
/* Takes an entry out, a referrer with one layer; what it named goes when index.json is written. Later entries keep
 * their numbers until then. */
MUST_CHECK bool attach_drop(struct attach *a, uint32_t entry, struct error *err);
MUST_CHECK bool attach_find(const struct attach *a, const struct oci_descriptor *subject, attach_look_fn look,
                            void *ctx, bool *found, struct error *err);
/* The manifest of a tag becomes this one, with this `kind`; `old`, what the tag named so far (or NULL), goes, and its
 * config. */
MUST_CHECK bool attach_tagged(struct attach *a, const char *tag, const char *kind, const struct oci_manifest *m,
                              const struct oci_manifest *old, struct error *err);

/* Writes index.json when anything was added. */
MUST_CHECK bool attach_commit(struct attach *a, struct error *err);
/* Lets go; without a commit what was written is removed. */
void attach_close(struct attach *a);

#endif
