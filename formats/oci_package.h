/* What a tag of a layout names (docs/package.md): one image, or an index of images, one per profile. Either way it has
 * images to go through; the first runs anywhere. Everything it names is an entry of index.json too. */
#ifndef FORMATS_OCI_PACKAGE_H
#define FORMATS_OCI_PACKAGE_H

#include "formats/oci_layout.h"

struct oci_package {
    struct oci_index index;             /* index.json */
    const struct oci_descriptor *entry; /* of index.json, that has the tag: the package's digest */
    struct oci_index images;            /* the index of images; empty (`doc` NULL) when the tag names one image */
};

/* Reads oci-layout, index.json and, when there is one, the index of images; no manifest. ERR_FORMAT when no entry has
 * the tag. `tag` NULL: the one package of the layout, ERR_USAGE when there are several. */
MUST_CHECK bool oci_package_open(struct oci_package *p, const struct oci_layout *l, const char *tag, struct error *err);
void oci_package_close(struct oci_package *p);

static inline void cleanup_oci_package(struct oci_package *p)
{
    oci_package_close(p);
}

static inline bool oci_package_has_index(const struct oci_package *p)
{
    return p->images.doc != NULL;
}

static inline uint32_t oci_package_count(const struct oci_package *p)
{
    return p->images.doc ? p->images.n_manifests : 1;
}

/* Image i of oci_package_count; 0 is the one that runs anywhere. */
static inline const struct oci_descriptor *oci_package_image(const struct oci_package *p, uint32_t i)
{
    return p->images.doc ? &p->images.manifests[i] : p->entry;
}

/* The manifest of an image, whole; its digest is checked. A manifest with a subject is ERR_FORMAT: it is a referrer. */
MUST_CHECK bool oci_package_manifest(const struct oci_layout *l, const struct oci_descriptor *image,
                                     struct oci_manifest *out, struct error *err);
/* How many of its layers are those of a base: 0 without one. ERR_FORMAT when what it says is no number of its layers.
 */
MUST_CHECK bool oci_base_layers(const struct oci_manifest *m, const char *what, uint32_t *out, struct error *err);
/* By its name: a file of weights, which a thin layout leaves out. */
bool oci_is_weights(const char *title);
/* True when index.json says that the layout is thin. */
static inline bool oci_is_thin(const struct oci_index *index)
{
    const char *thin = oci_annotation(index->annotations, OCI_ANNOTATION_THIN);
    return thin && strcmp(thin, "true") == 0;
}
/* The entry of index.json that is the layout's one package: has a tag, is not listed by a tagged index, is no artifact
 * and no legacy signature. NULL with ERR_FORMAT (none) or ERR_USAGE (several). */
const struct oci_descriptor *oci_only_package(const struct oci_layout *l, const struct oci_index *index,
                                              struct error *err);

#endif
