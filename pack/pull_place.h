/* Where a pulled image goes. A new layout is made in its partial folder (core/staging.h) and gets its name at the end.
 * Into one that is there, blobs come over from a partial folder beside it, under the lock of its index, and the index
 * is replaced last: who reads the layout sees all of the image or nothing. */
#ifndef PACK_PULL_PLACE_H
#define PACK_PULL_PLACE_H

#include "core/staging.h"
#include "formats/oci_layout.h"
#include "pack/registry_graph.h"

struct pull_place {
    const char *dir, *tag;
    bool force, exists, done;
    struct oci_layout layout; /* the one that is there */
    struct staging *staging;
    int blobs; /* blobs/sha256 of the partial folder */
};
#define PULL_PLACE_INIT                                                                                                \
    {                                                                                                                  \
        .layout = OCI_LAYOUT_INIT, .blobs = -1                                                                         \
    }

/* ERR_USAGE when the tag names another image there and `force` is not given; ERR_IO when the disk is too small. */
MUST_CHECK bool pull_place_open(struct pull_place *p, const char *dir, const char *tag, bool force,
                                const struct graph *g, struct error *err);
/* Whether the layout that is there has the blob, read and found right. */
MUST_CHECK bool pull_place_has(const struct pull_place *p, const struct registry_blob *b, bool *has, struct error *err);
/* All blobs are there: writes the documents and the index, and makes them visible. */
MUST_CHECK bool pull_place_commit(struct pull_place *p, const struct graph *g, struct error *err);
/* keep: a later run goes on from what is in the partial folder; what an earlier run left is kept until it is done. */
void pull_place_close(struct pull_place *p, bool keep);

#endif
