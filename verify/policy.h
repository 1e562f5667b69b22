/* What a verification asks for: who must have signed, which attestations must be there and what they must say,
 * licences, versions, one digest; and texts to compare on, and how far the models may be apart. A YAML file; the
 * built-in one (verify/policy_default.yaml, inside the program), which asks for parity only, serves when none is given.
 */
#ifndef VERIFY_POLICY_H
#define VERIFY_POLICY_H

#include "core/json.h"
#include "verify/signers.h"

#define POLICY_RULES_MAX 64u
#define POLICY_NAMES_MAX 64u
#define POLICY_ATTESTATIONS_MAX 16u
#define POLICY_SOURCES_MAX 4096u
#define POLICY_LICENCES_MAX 256u

/* Predicate types with a meaning here; their names in a policy. */
#define POLICY_TYPE_PROVENANCE "https://slsa.dev/provenance/v1" /* provenance */
#define POLICY_TYPE_SBOM "https://cyclonedx.org/bom"            /* sbom */
#define POLICY_TYPE_LICENCES "urn:ingot:attestation:licences:v1"
#define POLICY_TYPE_PARITY "urn:ingot:attestation:parity:v1"

/* Whose packages: the first rule with a pattern that the name fits. Strings here and below are borrowed from json. */
struct policy_rule {
    const char *names[POLICY_NAMES_MAX]; /* fnmatch patterns; `*` stands for slashes too */
    uint32_t n_names;
    struct signers signers;
};

struct policy_attestation {
    const char *type;       /* of the predicate, a URI */
    struct signers signers; /* empty: those of the package's rule, or --key */
    uint32_t threshold;
    const char *builder;   /* provenance: runDetails.builder.id; NULL: any */
    const json_t *sources; /* provenance: digests that must be among the resolved dependencies; or NULL */
};

struct policy {
    const char *name;    /* path, or "built in" */
    char *data;          /* path of the texts, resolved against the policy's folder; NULL: texts[] */
    const char **texts;  /* built-in texts, borrowed from json; NULL-terminated; NULL when there are none */
    bool has_parity;     /* the file has a section for it */
    uint32_t max_tokens; /* per text, the beginning-of-text token included */
    double kl_mean_at_most, top1_at_least, perplexity_ratio_at_most;
    double cosine_at_least, score_difference_at_most; /* of every text: embedders, rerankers */
    double layer_sqnr_at_least_db;                    /* of every layer; -inf: not asked */
    struct policy_rule *rules;
    uint32_t n_rules; /* 0: the policy says nothing of signers */
    struct policy_attestation *attestations;
    uint32_t n_attestations;
    const json_t *licences;      /* allowed: array of SPDX identifiers or words of the card; NULL: not asked */
    const char *minimum_version; /* NULL: not asked */
    int64_t minimum_created;     /* seconds since 1970; INT64_MIN: not asked */
    bool has_digest;
    struct digest digest; /* wanted */
    json_t *json;
};

/* `path` NULL: the built-in policy. */
MUST_CHECK bool policy_load(struct policy *out, const char *path, struct error *err);
/* The same of a text; files that it names are taken from the folder of `path`. */
MUST_CHECK bool policy_parse(struct policy *out, const char *path, struct bytes text, struct error *err);
void policy_close(struct policy *p);
/* The rule for this name, or NULL. */
const struct policy_rule *policy_rule_for(const struct policy *p, const char *name);
/* -1, 0, 1 like strcmp; numbers between dots by value, "1.2" below "1.2.0", "1.2.0-rc9" below "1.2.0-rc10" below
 * both. false: one of them is no version (digits and dots, then at most one "-" and a word; a leading "v" is passed
 * over). */
bool policy_compare_versions(const char *a, const char *b, int *out);
/* "2026-11-21" or "2026-11-21T10:00:00Z" in seconds since 1970. */
bool policy_parse_time(const char *text, int64_t *out);
/* Private to verify/policy*.c: everything but `parity`. `path` NULL: built in. */
MUST_CHECK bool policy_read_trust(struct policy *p, const char *path, struct error *err);

static inline void cleanup_policy(struct policy *p)
{
    policy_close(p);
}

#endif
