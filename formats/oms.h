/* OpenSSF model signing: one file, model.sig, that names every file of a folder with its SHA-256 and is signed. A
 * sigstore bundle as in formats/envelope.h with another predicate (docs/signing.md, forms), so it survives unpacking
 * and copying.
 *
 * Read and checked strictly: files that the signature does not name fail, apart from the ones it says it ignores (they
 * are handed out, to be shown), symbolic links fail, names must be plain relative paths, and each at most once. */
#ifndef FORMATS_OMS_H
#define FORMATS_OMS_H

#include "core/pool.h"
#include "core/progress.h"
#include "formats/envelope.h"

#define OMS_PREDICATE_TYPE "https://model_signing/signature/v1.0"
#define OMS_FILE "model.sig" /* where the signature lies, unless it is said */
#define OMS_FILES_MAX 100000u
#define OMS_DEPTH_MAX 16u
#define OMS_IGNORED_MAX 256u

struct oms_file {
    char *name; /* relative path */
    uint64_t bytes;
    struct digest digest;
};

struct oms_list {
    struct oms_file *files; /* in the order of their paths' parts, or of the statement */
    uint32_t n_files;
    char **ignored; /* relative paths, of files or of folders with all below them */
    uint32_t n_ignored;
    struct digest root; /* SHA-256 of the raw digests side by side */
};

void oms_list_free(struct oms_list *l);
static inline void cleanup_oms_list(struct oms_list *l)
{
    oms_list_free(l);
}

/* What a folder is hashed with. */
struct oms_scan {
    const char *folder;
    const char *signature; /* path of the signature file, left out where it lies in the folder; or NULL */
    struct pool *pool;     /* or NULL */
    const struct progress *progress;
    const char *stage; /* for the progress */
};
/* Every file of the folder, hidden ones too, but for git's own and those that `out->ignored` names already. A symbolic
 * link, or anything but files and folders, is ERR_FORMAT. */
MUST_CHECK bool oms_list_files(const struct oms_scan *scan, struct oms_list *out, struct error *err);
/* Computes the digests and the root. */
MUST_CHECK bool oms_hash(const struct oms_scan *scan, struct oms_list *list, struct error *err);

/* The statement's bytes for a list; `name` is the folder's. *out: caller frees. */
MUST_CHECK bool oms_statement(const struct oms_list *list, const char *name, char **out, size_t *out_size,
                              struct error *err);
/* The list of a statement; ERR_FORMAT, also when its root is not that of its digests. */
MUST_CHECK bool oms_read(const struct envelope *e, const char *what, struct oms_list *out, struct error *err);

struct oms_signer {
    const struct key *key;
    const struct cert_chain *chain; /* or NULL */
};
/* Signs the folder and writes the signature file, which must not exist unless `replace`. */
MUST_CHECK bool oms_sign(const struct oms_scan *scan, const struct oms_signer *by, bool replace, struct oms_list *out,
                         struct error *err);

struct oms_verifier {
    const struct key *key;          /* the public key that must have signed; or NULL */
    const struct cert_chain *roots; /* else: the chain in the signature must lead here ... */
    int64_t at;                     /* ... at this time, in seconds since 1970 */
};
/* Reads the signature file, verifies it, and holds the folder against it. ERR_MISMATCH with the class ("signature",
 * "certificate", "digest", "no-signature") when something does not fit; its sentence names the file. *out: what was
 * signed. */
MUST_CHECK bool oms_verify(const struct oms_scan *scan, const struct oms_verifier *by, struct oms_list *out,
                           struct error *err);

#endif
