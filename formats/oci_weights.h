/* The weights that a thin layout lacks, from a place beside it: a layout or archive that has their layers, or a folder
 * that has their files. A layer of ours follows from its path and its file (formats/tar.h), so that either is enough to
 * hold against the digest in the manifest. Digests are not looked at here. */
#ifndef FORMATS_OCI_WEIGHTS_H
#define FORMATS_OCI_WEIGHTS_H

#include "formats/folder.h"
#include "formats/oci_layout.h"

struct oci_weights {
    struct oci_layout layout;
    struct folder *folder; /* NULL: it is a layout */
};
#define OCI_WEIGHTS_INIT                                                                                               \
    {                                                                                                                  \
        .layout = OCI_LAYOUT_INIT                                                                                      \
    }

enum weights_found {
    WEIGHTS_NONE,
    WEIGHTS_LAYER, /* the layer as it is in the manifest */
    WEIGHTS_FILE   /* the file that the layer holds */
};

/* "oci:DIR[:TAG]" and "oci-archive:FILE[:TAG]" (the tag does not matter, layers go by their digests), a folder that is
 * a layout, or any other that models are read from. */
MUST_CHECK bool oci_weights_open(struct oci_weights *w, const char *path, struct error *err);
void oci_weights_close(struct oci_weights *w);

static inline void cleanup_oci_weights(struct oci_weights *w)
{
    oci_weights_close(w);
}

/* Where the weights of layer `d` lie, whose size is the layer's (else ERR_FORMAT) or, of a file, fits it; the caller
 * closes the descriptor (cleanup_file_place). Not there is WEIGHTS_NONE and no error. */
MUST_CHECK bool oci_weights_find(const struct oci_weights *w, const struct oci_descriptor *d, const char *what,
                                 struct file_place *out, enum weights_found *found, struct error *err);
/* What a thin image's layer is as a file, by its title: "model.safetensors" of "models/model.safetensors"; or NULL. */
const char *oci_weights_name(const struct oci_descriptor *d);

#endif
