/* Blobs of a repository: whether one is there, sending one from a file, fetching one into a folder.
 *
 * Sending: first it is asked whether the registry has it, then whether it can be mounted from another repository; then
 * an upload session (distribution-spec, "Pushing a blob in chunks"): POST, PATCH with Content-Range, PUT. After any
 * failure the session is asked how far it came before a byte more is sent, because docker-registry 2.8.2 appends an
 * out-of-order chunk with 202. The file is not hashed on the way: the registry compares with the digest, and only when
 * it says no is the file read to see who is wrong.
 *
 * Fetching: into "HEX.part" in the folder, which gets the name HEX when size and digest are right and it is flushed;
 * what a killed run left is read again for its digest, and the rest is asked for by range. */
#ifndef PACK_REGISTRY_BLOB_H
#define PACK_REGISTRY_BLOB_H

#include "formats/oci.h"
#include "pack/registry_call.h"

#define REGISTRY_CHUNK_BYTES_DEFAULT ((uint64_t)64 << 20)
#define REGISTRY_PART_SUFFIX ".part"

enum blob_way { BLOB_WAS_THERE, BLOB_MOUNTED, BLOB_SENT };

struct registry_blob {
    struct digest digest;
    uint64_t size;
};

struct blob_send {
    struct registry_blob blob;
    int fd;
    uint64_t offset; /* of the blob in the file */
    uint64_t chunk_bytes;
    _Atomic uint64_t *sent; /* for progress; may be NULL */
    /* Where the address of an unfinished upload is kept between runs; NULL: nowhere. */
    const char *session_file;
};
MUST_CHECK bool registry_blob_send(struct registry_line *l, const struct blob_send *b, enum blob_way *way,
                                   struct error *err);

/* Only asks. */
MUST_CHECK bool registry_blob_has(struct registry_line *l, const struct registry_blob *b, bool *has, struct error *err);

struct blob_fetch {
    struct registry_blob blob;
    int dirfd; /* of the folder */
    _Atomic uint64_t *received;
    const char *url;    /* where it is; NULL: among the repository's blobs */
    const char *suffix; /* of the unfinished file; NULL: REGISTRY_PART_SUFFIX */
};
/* *was_there: HEX was in the folder, and has been read and found right. ERR_MISMATCH (class "digest") when what the
 * registry sends is not the blob that was asked for. */
MUST_CHECK bool registry_blob_fetch(struct registry_line *l, const struct blob_fetch *b, bool *was_there,
                                    struct error *err);

#endif
