/* Signing a folder, and holding a folder against its signature. */
#include "core/file.h"
#include "formats/oms.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

static bool signature_path(const struct oms_scan *scan, char **out, struct error *err)
{
    if (!scan->signature) return path_join(out, scan->folder, OMS_FILE, err);
    *out = strdup(scan->signature);
    return *out ? true : error_memory(err, strlen(scan->signature));
}

/* Hex of SHA-256 of the public key's PEM text: model_signing's hint, which is not cosign's. */
static bool hint_of(const struct key *key, char out[DIGEST_HEX_SIZE], struct error *err)
{
    CLEANUP(free) char *pem = NULL;
    size_t n = 0;
    struct digest d;
    if (!key_public_pem(key, &pem, &n, err) || !sha256_of(bytes_of(pem, n), &d, err)) return false;
    digest_hex(&d, out);
    return true;
}

static bool folder_name_of(const char *folder, char **out, struct error *err)
{
    CLEANUP(free) char *parent = NULL;
    CLEANUP(free) char *whole = realpath(folder, NULL);
    if (!whole) return error_set_errno(err, "cannot examine '%.256s'", folder);
    return path_split(whole, &parent, out, err);
}

bool oms_sign(const struct oms_scan *scan, const struct oms_signer *by, bool replace, struct oms_list *out,
              struct error *err)
{
    CLEANUP(free) char *path = NULL;
    CLEANUP(free) char *name = NULL;
    CLEANUP(free) char *statement = NULL;
    CLEANUP(free) char *bundle = NULL;
    size_t n = 0, n_bundle = 0;
    char hint[DIGEST_HEX_SIZE];
    struct envelope_signer signer = {.key = by->key, .use = KEY_USE_OMS, .chain = by->chain, .hint = hint};
    *out = (struct oms_list){0};
    if (!crypto_self_test(err) || !key_check_use(by->key, KEY_USE_OMS, err) || !signature_path(scan, &path, err))
        return false;
    struct oms_scan with = *scan;
    with.signature = path;
    if (!replace && access(path, F_OK) == 0)
        return error_set(err, ERR_USAGE, "'%.512s' exists already; --force replaces it", path);
    if (by->chain && !cert_chain_check_signer(by->chain, by->key, (int64_t)time(NULL), err)) return false;
    return hint_of(by->key, hint, err) && folder_name_of(scan->folder, &name, err) && oms_list_files(&with, out, err) &&
           oms_hash(&with, out, err) && oms_statement(out, name, &statement, &n, err) &&
           envelope_sign_by(&signer, bytes_of(statement, n), &bundle, &n_bundle, err) &&
           file_save(path, bytes_of(bundle, n_bundle), 0666, err);
}

/* ---- verifying ------------------------------------------------------------------------------------------------------
 */

static bool check_signer(const struct envelope *e, const struct oms_verifier *by, const char *path, struct error *err)
{
    bool valid = false;
    char why[CERT_WHY_SIZE];
    if (by->key) {
        if (!envelope_verify_for(e, KEY_USE_OMS, by->key, &valid, err)) return false;
        return valid || error_class(err, "signature", "'%.256s' is not signed by the given key", path);
    }
    if (!by->roots)
        return error_set(err, ERR_USAGE, "no key and no certificate was given to check '%.256s' with", path);
    if (!e->chain) return error_class(err, "signature", "'%.256s' holds no certificate", path);
    if (!envelope_verify_chain(e, KEY_USE_OMS, by->roots, by->at, &valid, why, err)) return false;
    return valid || error_class(err, "certificate", "'%.256s': %s", path, why);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct oms_file *)a)->name, ((const struct oms_file *)b)->name);
}

/* Both lists sorted by name; the first difference. Names are compared before anything is hashed. */
static bool compare_names(const struct oms_list *signed_, const struct oms_list *there, struct error *err)
{
    uint32_t i = 0, k = 0;
    while (i < signed_->n_files || k < there->n_files) {
        int c = i == signed_->n_files ? 1
                : k == there->n_files ? -1
                                      : strcmp(signed_->files[i].name, there->files[k].name);
        if (c < 0) return error_class(err, "digest", "file '%.256s' is signed, and missing", signed_->files[i].name);
        if (c > 0) return error_class(err, "digest", "file '%.256s' is there, and not signed", there->files[k].name);
        i++, k++;
    }
    return true;
}

static bool compare_digests(const struct oms_list *signed_, const struct oms_list *there, struct error *err)
{
    for (uint32_t i = 0; i < there->n_files; i++)
        if (!digest_equal(&signed_->files[i].digest, &there->files[i].digest))
            return error_class(err, "digest", "file '%.256s' is not the one that was signed", there->files[i].name);
    return true;
}

static bool copy_ignored(const struct oms_list *from, struct oms_list *to, struct error *err)
{
    to->ignored = calloc(from->n_ignored + 1u, sizeof *to->ignored);
    if (!to->ignored) return error_memory(err, 0);
    for (uint32_t i = 0; i < from->n_ignored; i++) {
        if (!(to->ignored[i] = strdup(from->ignored[i]))) return error_memory(err, 0);
        to->n_ignored++;
    }
    return true;
}

static bool compare(const struct oms_scan *scan, struct oms_list *signed_, struct error *err)
{
    __attribute__((cleanup(cleanup_oms_list))) struct oms_list there = {0};
    if (!copy_ignored(signed_, &there, err) || !oms_list_files(scan, &there, err)) return false;
    qsort(signed_->files, signed_->n_files, sizeof *signed_->files, by_name);
    qsort(there.files, there.n_files, sizeof *there.files, by_name);
    if (!compare_names(signed_, &there, err) || !oms_hash(scan, &there, err) || !compare_digests(signed_, &there, err))
        return false;
    for (uint32_t i = 0; i < there.n_files; i++) signed_->files[i].bytes = there.files[i].bytes;
    return true;
}

bool oms_verify(const struct oms_scan *scan, const struct oms_verifier *by, struct oms_list *out, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(envelope) struct envelope e = {0};
    *out = (struct oms_list){0};
    if (!crypto_self_test(err) || !signature_path(scan, &path, err)) return false;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return error_class(err, "no-signature", "folder '%.256s' has no signature '%.256s'", scan->folder, path);
    struct oms_scan with = *scan;
    with.signature = path;
    if (file_load(AT_FDCWD, path, ENVELOPE_BYTES_MAX, &text, err) &&
        envelope_parse(buffer_view(&text), path, &e, err) && check_signer(&e, by, path, err) &&
        oms_read(&e, path, out, err) && compare(&with, out, err))
        return true;
    oms_list_free(out);
    return false;
}
