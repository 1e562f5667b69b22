/* An image that others are put on: any builder's, read from a layout. Only what is carried over is looked at: its
 * layers by size and digest, the diff ids, the settings (entrypoint, environment, ...) and the history. */
#ifndef FORMATS_OCI_BASE_H
#define FORMATS_OCI_BASE_H

#include "formats/oci_layout.h"

#define OCI_BASE_LAYERS_MAX 1024u

struct oci_base {
    struct digest digest;          /* of its manifest */
    struct oci_descriptor *layers; /* without annotations */
    uint32_t n_layers;
    struct digest *diff_ids;
    const char *architecture, *os;
    const json_t *settings; /* borrowed from config */
    json_t *history;        /* as many entries that made a layer as there are layers */
    json_t *manifest, *config;
};

/* The image that `tag` names. `wanted` (or NULL): the digest that it must have, else ERR_FORMAT. ERR_UNSUPPORTED for an
 * index. */
MUST_CHECK bool oci_base_open(struct oci_base *b, const struct oci_layout *l, const char *tag,
                              const struct digest *wanted, struct error *err);
void oci_base_close(struct oci_base *b);

#endif
