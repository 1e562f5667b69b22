/* A package that was read once and stays open, so that whoever reads it again (its model, after verification) reads the
 * same: the documents as they were parsed, and the layers of the first image, which has the model, by the descriptors
 * through which they were hashed. Neither index.json nor a tag is looked at again. A file that is written to in place
 * is still the same file: who verifies what others write to verifies a copy. */
#ifndef FORMATS_OCI_KEPT_H
#define FORMATS_OCI_KEPT_H

#include "formats/oci_weights.h"

struct oci_kept {
    struct oci_layout layout;
    struct oci_index index;       /* index.json; `doc` NULL: it could not be read, and nothing else is here */
    struct digest package;        /* what the tag named: an image or an index of images */
    struct oci_manifest manifest; /* of the first image; `doc` NULL where it could not be read */
    struct file_place *layers;    /* [n_layers], those of the manifest; fd -1 where one was not opened */
    uint32_t n_layers;            /* 0: nobody came to the layers */
};
#define OCI_KEPT_INIT                                                                                                  \
    {                                                                                                                  \
        .layout = OCI_LAYOUT_INIT                                                                                      \
    }

void oci_kept_close(struct oci_kept *k);

static inline void cleanup_oci_kept(struct oci_kept *k)
{
    oci_kept_close(k);
}

/* Its model as a folder (formats/folder.h) that is called `name`. Layers that were not opened are looked for by their
 * digests; weights that a thin layout lacks come from `beside`, or from nowhere (NULL). *missing: there are such.
 * ERR_FORMAT when there is no manifest. The folder has descriptors of its own: `k` may be closed before it. */
MUST_CHECK bool folder_open_kept(struct folder **out, const char *name, const struct oci_kept *k,
                                 const struct oci_weights *beside, bool *missing, struct error *err);

#endif
