/* What an image says of itself, read from the layers of its small files: enough for every attestation, and there in a
 * thin layout too. Private to pack/. */
#ifndef PACK_ATTEST_FACTS_H
#define PACK_ATTEST_FACTS_H

#include "formats/oci_package.h"

struct attest_facts {
    struct oci_manifest manifest; /* of the image */
    struct digest image;          /* what the attestation is about: the image, or the index that it is the first of */
    const char *name;             /* of the model: the tag, borrowed */
    json_t *checkpoint;           /* ingot.json; NULL: an original was packed */
    struct digest checkpoint_digest;
    json_t *config;        /* config.json, or NULL */
    json_t *licences;      /* declared by the card: array of strings */
    const json_t *report;  /* of `ingot verify --report`, or NULL; borrowed */
    struct digest figures; /* SHA-256 of the canonical JSON of its figures; of nothing else in it, because it also lists
                              the statements that are attached, this one's forerunner among them */
    const json_t
        *source_files; /* [{"name", "bytes", "sha256"}] of the original, when it was hashed; or NULL; borrowed */
    const char *builder_id, *backend;
    struct digest tool; /* of the running program */
};

MUST_CHECK bool attest_facts_read(struct attest_facts *f, const struct oci_layout *l,
                                  const struct oci_descriptor *image, struct error *err);
void attest_facts_close(struct attest_facts *f);

static inline void cleanup_attest_facts(struct attest_facts *f)
{
    attest_facts_close(f);
}

/* The path of a layer's file in the image and its SHA-256 as text, from its annotations; false: it has none (a base's).
 */
bool attest_layer_file(const struct oci_descriptor *layer, const char **path, const char **sha256);

/* The predicates. *out: a new reference. */
MUST_CHECK bool provenance_predicate(const struct attest_facts *f, json_t **out, struct error *err);
MUST_CHECK bool sbom_predicate(const struct attest_facts *f, json_t **out, struct error *err);
MUST_CHECK bool licence_predicate(const struct attest_facts *f, json_t **out, struct error *err);
MUST_CHECK bool parity_predicate(const struct attest_facts *f, json_t **out, struct error *err);

#endif
