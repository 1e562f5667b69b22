/* One verification, start to end: shared by `verify` and `build`. */
#ifndef CLI_VERIFY_RUN_H
#define CLI_VERIFY_RUN_H

#include "cli/commands.h"
#include "verify/parity.h"
#include "verify/policy.h"
#include "verify/report.h"

struct verify_request {
    const char *ref;          /* "oci:DIR:TAG" */
    const char *key;          /* public key file, or NULL: the signature stays undecided */
    const char *against;      /* the original's folder, or NULL */
    const char *policy;       /* file, or NULL: built in */
    const char *data;         /* texts, instead of the policy's; or NULL */
    const char *digest;       /* wanted image digest "sha256:...", or NULL */
    const char *spill_dir;    /* or NULL */
    bool all;                 /* with against: encode the original again and compare */
    uint64_t sample;          /* the same of so many weights; 0: none */
    const char *seed, *nonce; /* what the sample is drawn by (cli/verify_reencode.h); or NULL */
    const char *weights;      /* where the weights of a thin layout are (formats/oci_weights.h); or NULL */
    const char *stats;        /* calibration statistics for all and sample; or NULL */
    const char *roots;        /* certificates that a signer must lead to; or NULL */
    const char *name;         /* what the policy's rules know the package by; NULL: the tag */
    const char *time;         /* when certificates must hold; NULL: now */
    bool before_attestations; /* what the policy asks of attestations is not looked at: they are not made yet */
};

/* Fills the report; `parity` when it was run (n_tokens > 0). False only when checking itself failed: what was found is
 * in the report. */
MUST_CHECK bool verify_run(const struct command_env *env, const struct verify_request *q, struct report *r,
                           struct parity *parity, struct error *err);
/* The report as a text for people. */
MUST_CHECK bool verify_text(const struct report *r, char **out, struct error *err);

#endif
