/* Whose signatures are asked for: public keys, or certificates that lead to given roots; and how many different ones.
 * One set stands for `--key` or `--roots`, one for each rule and each attestation of a policy. */
#ifndef VERIFY_SIGNERS_H
#define VERIFY_SIGNERS_H

#include "core/cert.h"
#include "core/crypto.h"
#include "core/json.h"
#include "formats/envelope.h"
#include "formats/notation.h"
#include "formats/simple_signing.h"

#define SIGNERS_KEYS_MAX 16u  /* of one set: each is tried on every signature */
#define SIGNERS_FOUND_MAX 64u /* different signers that are told apart */

struct signers {
    struct key *keys[SIGNERS_KEYS_MAX];
    uint32_t n_keys;
    struct cert_chain *roots; /* NULL: certificates count for nothing */
    const char *identity;     /* the leaf's subject as RFC 2253 writes it, whole; NULL: any that leads to the roots */
    uint32_t threshold;       /* different signers that must have signed; at least 1 */
};

/* Who of a set has signed one subject. Zero-initialized. */
struct signed_by {
    struct digest ids[SIGNERS_FOUND_MAX]; /* key_id of each: the same key in two forms, or in a certificate, is one */
    uint32_t n;
    bool certificate; /* a chain was there and did not hold: */
    char why[CERT_WHY_SIZE];
};

/* {"keys": [FILE or PEM, ...], "roots": FILE, "identity": TEXT, "signatures": N} of `j`, other members are not looked
 * at. Relative paths are taken from the folder of `path`. Strings are borrowed from `j`. ERR_FORMAT, ERR_USAGE. */
MUST_CHECK bool signers_read(const json_t *j, const char *what, const char *path, struct signers *out,
                             struct error *err);
MUST_CHECK bool signers_add_key(struct signers *s, struct key *key, const char *what, struct error *err); /* takes it */
void signers_close(struct signers *s);
/* Whether anybody can be in it. */
static inline bool signers_any(const struct signers *s)
{
    return s->n_keys > 0 || s->roots != NULL;
}

/* Whether one of the set has signed, and then adds him. The one place where forms meet sets; each form is verified by
 * its own function. `at`: seconds since 1970. */
MUST_CHECK bool signers_bundle(const struct signers *s, const struct envelope *e, int64_t at, struct signed_by *by,
                               bool *valid, struct error *err);
MUST_CHECK bool signers_legacy(const struct signers *s, const struct simple_signing *g, struct signed_by *by,
                               bool *valid, struct error *err);
MUST_CHECK bool signers_notation(const struct signers *s, const struct notation *n, int64_t at, struct signed_by *by,
                                 bool *valid, struct error *err);

#endif
