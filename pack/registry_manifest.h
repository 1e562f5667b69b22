/* Manifests and indexes of a repository, and what refers to them. A document is at most 4 MiB, and what is asked for by
 * digest has that digest, or the answer is ERR_MISMATCH. */
#ifndef PACK_REGISTRY_MANIFEST_H
#define PACK_REGISTRY_MANIFEST_H

#include "formats/oci.h"
#include "pack/registry_call.h"

struct registry_document {
    struct buffer text;
    struct digest digest; /* of the text */
    char media_type[256]; /* as the registry says it; "" when it does not */
    char etag[128];       /* "" when there is none */
};
void registry_document_free(struct registry_document *d);

static inline void cleanup_registry_document(struct registry_document *d)
{
    registry_document_free(d);
}

/* `name`: a tag or "sha256:HEX" (`wanted` is then that digest, else NULL). *found false: the registry has none. */
MUST_CHECK bool registry_manifest_get(struct registry_line *l, const char *name, const struct digest *wanted,
                                      struct registry_document *out, bool *found, struct error *err);
/* *has: the registry has a manifest of that digest. */
MUST_CHECK bool registry_manifest_has(struct registry_line *l, const struct digest *d, bool *has, struct error *err);
/* *lists_subject (may be NULL): the registry has taken it into its own list of referrers. *conflict (may be NULL, then
 * the put is unconditional): with `etag` ("" for "must not exist"), somebody else was faster, and nothing was put. */
struct manifest_put {
    const char *name; /* a tag or "sha256:HEX" */
    const char *media_type;
    struct bytes text;
    const char *etag;
};
MUST_CHECK bool registry_manifest_put(struct registry_line *l, const struct manifest_put *p, bool *lists_subject,
                                      bool *conflict, struct error *err);

/* ---- pack/registry_referrers.c -------------------------------------------------------------------------------------
 */
#define REGISTRY_REFERRERS_MAX OCI_MANIFESTS_MAX /* of one subject */
#define REGISTRY_PAGES_MAX 64u

struct registry_referrer {
    struct digest digest;
    uint64_t size;
};
/* By the referrers API, or by the tag "sha256-HEX" where the registry has none. *out: caller frees. */
MUST_CHECK bool registry_referrers(struct registry_line *l, const struct digest *subject,
                                   struct registry_referrer **out, uint32_t *n, struct error *err);

/* An entry for the tag "sha256-HEX" of a subject: for registries without the API, whose clients keep that index. */
struct fallback_entry {
    struct digest subject;
    json_t *descriptor; /* borrowed */
};
/* Puts all entries into their indexes and sees to it that they stay: read, merge, write (If-Match where the registry
 * gives an ETag), wait, and read again, until a reading after a wait finds them all. So of several signers at once none
 * loses an entry, as long as no write takes longer than the wait. */
MUST_CHECK bool registry_fallback_add(struct registry_line *l, const struct fallback_entry *entries, uint32_t n,
                                      struct error *err);
/* The merged index: `old` (may be empty) with what it lacks. *missing: how many that were. For tests too. */
MUST_CHECK bool registry_fallback_merge(struct bytes old, const struct digest *subject,
                                        const struct fallback_entry *entries, uint32_t n, char **out, size_t *out_size,
                                        uint32_t *missing, struct error *err);

#endif
