/* Fetches an image from a registry into an OCI layout, with what refers to it. Every byte is checked against size and
 * digest while it is written; the layout (or the new entries of one that is there) appears when all of it is on disk. A
 * run that was stopped at any byte goes on from there. */
#ifndef PACK_PULL_H
#define PACK_PULL_H

#include "core/progress.h"
#include "pack/registry_ref.h"

struct pull_options {
    const struct registry_ref *from; /* no tag and no digest: "latest" */
    const char *dir, *tag;           /* of the layout; tag NULL: that of `from`, or "latest" */
    const char *ca_file;
    bool plain_http, no_referrers;
    bool force; /* the tag may name another image in the layout: then it moves */
    uint32_t jobs, retries;
    const struct progress *progress;
};

struct pull_result {
    struct digest image;
    char tag[OCI_TAG_BYTES_MAX + 1];
    uint32_t n_manifests, n_referrers, n_blobs, n_there; /* n_there: blobs that were on disk already */
    uint64_t bytes;                                      /* of blobs */
};

MUST_CHECK bool pull_run(const struct pull_options *o, struct pull_result *out, struct error *err);

#endif
