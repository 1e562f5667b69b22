/* Sends an image of a layout to a registry, with what refers to it: blobs first, then manifests, indexes above them,
 * signatures and attestations, and last the tag, so that nobody who asks for the tag finds half of it. */
#ifndef PACK_PUSH_H
#define PACK_PUSH_H

#include "core/progress.h"
#include "pack/registry_ref.h"

struct push_options {
    const char *package;           /* "oci:DIR:TAG" */
    const struct registry_ref *to; /* no tag and no digest: "latest"; with a digest the image must have it */
    const char *const *mount_from; /* repositories there that may have blobs of this one */
    uint32_t n_mount_from;
    const char *ca_file;
    bool plain_http, no_referrers;
    uint32_t jobs, retries; /* jobs 0: the default */
    uint64_t chunk_bytes;   /* 0: the default */
    const struct progress *progress;
};

struct push_result {
    struct digest image;
    uint32_t n_manifests, n_referrers; /* of them referring to others */
    uint32_t n_blobs, n_sent, n_mounted;
    uint64_t bytes, bytes_sent; /* of blobs */
};

MUST_CHECK bool push_run(const struct push_options *o, struct push_result *out, struct error *err);

#endif
