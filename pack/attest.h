/* Attestations: signed statements about a package besides its signature, each a sigstore bundle that `cosign
 * verify-attestation` takes. What they say comes from the package itself (ingot.json, manifest, card) and from the
 * report of a verification; none needs the weights. */
#ifndef PACK_ATTEST_H
#define PACK_ATTEST_H

#include "core/crypto.h"
#include "core/json.h"

#define ATTEST_PROVENANCE "https://slsa.dev/provenance/v1"
#define ATTEST_SBOM "https://cyclonedx.org/bom"
#define ATTEST_PARITY "urn:ingot:attestation:parity:v1"
#define ATTEST_LICENCES "urn:ingot:attestation:licences:v1"
#define ATTEST_BUILD_QUANTIZE "urn:ingot:build:quantize:v1"
#define ATTEST_BUILD_PACK "urn:ingot:build:pack:v1"
/* A workstation; a build service that has an identity of its own says which by --builder-id. */
#define ATTEST_BUILDER_DEFAULT "urn:ingot:builder:local"
#define ATTEST_TYPES_MAX 8u
#define ATTEST_PREDICATE_BYTES_MAX ((size_t)8 << 20)

enum attest_kind {
    ATTEST_KIND_PROVENANCE,
    ATTEST_KIND_SBOM,
    ATTEST_KIND_LICENCES,
    ATTEST_KIND_PARITY,
    ATTEST_KIND_COUNT
};
/* "provenance", "sbom", "licences", "parity" */
const char *attest_kind_name(enum attest_kind kind);
const char *attest_kind_type(enum attest_kind kind); /* the predicate's type */

struct attest_options {
    const char *ref; /* "oci:DIR:TAG"; a thin layout is enough */
    const struct key *key;
    bool kinds[ATTEST_KIND_COUNT];
    const char *custom_type;    /* any URI, with its predicate; or NULL */
    const json_t *custom;       /* an object */
    const char *report;         /* report.json of `ingot verify`; needed for parity; or NULL */
    const json_t *source_files; /* as in attest_facts; or NULL */
    const char *builder_id;     /* NULL: ATTEST_BUILDER_DEFAULT */
    const char *backend;        /* that computed, or NULL: not recorded */
};

struct attest_done {
    const char *type; /* borrowed: static, or of the options */
    bool was_there;   /* the same statement by this key: nothing has been changed */
    bool replaced;    /* another statement of this type by this key went */
};

struct attest_result {
    struct digest image, key_id;
    uint32_t n_subjects;
    struct attest_done done[ATTEST_TYPES_MAX]; /* of the package itself; its images get the same */
    uint32_t n_done;
};

/* ERR_USAGE: parity without a report, a type that is no URI. ERR_FORMAT: a broken package, a report of another image.
 * Writes as sign_package does. */
MUST_CHECK bool attest_package(const struct attest_options *o, struct attest_result *out, struct error *err);

#endif
