/* The name of an image in a registry: HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX]. The host is always said: there is no
 * default registry. Everything is checked as text (distribution-spec, "Workflow categories") before it becomes part of
 * an address, a file name or a header. */
#ifndef PACK_REGISTRY_REF_H
#define PACK_REGISTRY_REF_H

#include "formats/oci.h"

#define REGISTRY_REPOSITORY_MAX 255u /* bytes; docker-registry's limit for the whole name */
#define REGISTRY_HOST_MAX 255u

struct registry_ref {
    char host[REGISTRY_HOST_MAX + 1]; /* as typed, with the port: "127.0.0.1:5000", "[::1]:5000", "ghcr.io" */
    char repository[REGISTRY_REPOSITORY_MAX + 1];
    char tag[OCI_TAG_BYTES_MAX + 1]; /* "" when none was said */
    bool has_digest;
    struct digest digest;
};

/* ERR_USAGE names what is wrong. */
MUST_CHECK bool registry_ref_parse(const char *text, struct registry_ref *out, struct error *err);
bool registry_repository_is_valid(const char *name);
bool registry_host_is_valid(const char *host);
/* "localhost", 127.0.0.0/8 or [::1] as text, with or without a port. (That the connection really goes there is checked
 * again when it is opened.) */
bool registry_host_is_loopback(const char *host);

#endif
