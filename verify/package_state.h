/* What the parts of package verification share. Private to verify/package.c, package_images.c, signature.c,
 * image_layers.c, layout_files.c. */
#ifndef VERIFY_PACKAGE_STATE_H
#define VERIFY_PACKAGE_STATE_H

#include "formats/oci_package.h"
#include "formats/tar.h"
#include "verify/package.h"

struct package {
    const struct package_options *o;
    struct report *report;
    struct oci_ref ref;
    struct oci_layout layout;
    struct oci_index index;
    uint32_t image;                 /* entry of the index that has the tag */
    struct oci_manifest *manifests; /* one per index entry; `doc` NULL where it cannot be read, and for an index */
    bool all_read;                  /* every manifest was: it is known what they refer to */
    struct oci_index images;        /* what the tag names, when that is an index; else `doc` NULL */
    uint32_t *image_entries;        /* entries of the images, the first one's first; one for a package of one image */
    uint32_t n_images;
    /* Of the image that is being looked at. */
    uint32_t current;          /* its place in image_entries */
    struct oci_config config;  /* `doc` NULL where it cannot be read */
    struct layer_check *first; /* of the first image: others share its layers, which are read once */
};

struct layer_check {
    const char *check_class;
    enum verdict verdict;
    bool ok, shared;
    char text[ERROR_TEXT_MAX];
    struct tar_layer tar;
    struct digest file_digest;
};

static inline const struct oci_manifest *package_manifest(const struct package *p)
{
    return &p->manifests[p->image_entries[p->current]];
}

static inline const struct oci_descriptor *package_image(const struct package *p)
{
    return &p->index.manifests[p->image];
}

/* Turns a failed call into a line of the report: wrong bytes and shapes are failures of `check_class`, an operating
 * system that does not read is undecided. False (err is set) for what is not about the package: memory, our own
 * mistakes. */
MUST_CHECK bool package_judge(struct report *r, const char *check_class, const char *name, const struct error *found,
                              struct error *err);

/* The parts, in the order of the report. False only as in package_verify. */
/* When the tag names an index of images: reads it, finds its images among the entries. *go_on as in check_index. */
MUST_CHECK bool package_find_images(struct package *p, bool *go_on, struct error *err);
MUST_CHECK bool package_check_signatures(struct package *p, struct error *err);
/* Config and layers of every image. */
MUST_CHECK bool package_check_images(struct package *p, struct error *err);
MUST_CHECK bool package_check_layers(struct package *p, struct error *err);
MUST_CHECK bool package_check_files(struct package *p, struct error *err);

#endif
