#include "verify/signers.h"

#include "core/file.h"

static bool read_key(const char *text, const char *what, const char *path, struct key **out, struct error *err)
{
    CLEANUP(free) char *folder = NULL;
    CLEANUP(free) char *name = NULL;
    CLEANUP(free) char *file = NULL;
    if (strncmp(text, "-----BEGIN ", 11) == 0) return key_read_public(bytes_text(text), what, out, err);
    if (*text == '/' || !path) return key_load_public(text, out, err);
    return path_split(path, &folder, &name, err) && path_join(&file, folder, text, err) &&
           key_load_public(file, out, err);
}

static bool read_roots(const char *text, const char *path, struct cert_chain **out, struct error *err)
{
    CLEANUP(free) char *folder = NULL;
    CLEANUP(free) char *name = NULL;
    CLEANUP(free) char *file = NULL;
    if (*text == '/' || !path) return cert_chain_load(text, out, err);
    return path_split(path, &folder, &name, err) && path_join(&file, folder, text, err) &&
           cert_chain_load(file, out, err);
}

/* Two names of one key would count as two signers for who reads the policy, and as one for us. */
bool signers_add_key(struct signers *s, struct key *key, const char *what, struct error *err)
{
    struct digest id, other;
    bool ok = key_id(key, &id, err) && key_check_use(key, KEY_USE_SIGSTORE, err);
    if (ok && s->n_keys == SIGNERS_KEYS_MAX)
        ok = error_set(err, ERR_FORMAT, "%s: keys: at most %u are taken", what, SIGNERS_KEYS_MAX);
    for (uint32_t i = 0; ok && i < s->n_keys; i++)
        ok = key_id(s->keys[i], &other, err) &&
             (!digest_equal(&id, &other) || error_set(err, ERR_FORMAT, "%s: keys: one key is there twice", what));
    if (ok) s->keys[s->n_keys++] = key;
    else key_close(key);
    return ok;
}

static bool read_all(const json_t *j, const char *what, const char *path, struct signers *out, struct error *err)
{
    const char *roots = NULL;
    uint64_t threshold = 1;
    json_t *list = NULL, *item;
    size_t i;
    if ((json_has(j, "keys") && !json_get_array(j, "keys", what, &list, err)) ||
        !json_opt_string(j, "roots", what, &roots, err) || !json_opt_string(j, "identity", what, &out->identity, err) ||
        !json_opt_u64(j, "signatures", what, 1, SIGNERS_FOUND_MAX, &threshold, err))
        return false;
    json_array_foreach (list, i, item) {
        struct key *key;
        const char *text = json_string_value(item);
        if (!text) return error_set(err, ERR_FORMAT, "%s: keys: expected files or PEM texts", what);
        if (!read_key(text, what, path, &key, err) || !signers_add_key(out, key, what, err)) return false;
    }
    if (list && json_array_size(list) == 0) return error_set(err, ERR_FORMAT, "%s: keys: the list is empty", what);
    if (roots && !read_roots(roots, path, &out->roots, err)) return false;
    if (out->identity && !roots) return error_set(err, ERR_FORMAT, "%s: identity: needs roots", what);
    out->threshold = (uint32_t)threshold;
    if (!out->roots && out->n_keys && threshold > out->n_keys)
        return error_set(err, ERR_FORMAT, "%s: signatures: %u are asked for, and %u keys are given", what,
                         out->threshold, out->n_keys);
    return true;
}

bool signers_read(const json_t *j, const char *what, const char *path, struct signers *out, struct error *err)
{
    *out = (struct signers){0};
    if (read_all(j, what, path, out, err)) return true;
    signers_close(out);
    return false;
}

void signers_close(struct signers *s)
{
    for (uint32_t i = 0; i < s->n_keys; i++) key_close(s->keys[i]);
    cert_chain_close(s->roots);
    *s = (struct signers){0};
}

/* ---- who has signed ---- */

static bool add(struct signed_by *by, const struct key *key, struct error *err)
{
    struct digest id;
    if (!key_id(key, &id, err)) return false;
    for (uint32_t i = 0; i < by->n; i++)
        if (digest_equal(&by->ids[i], &id)) return true;
    if (by->n < SIGNERS_FOUND_MAX) by->ids[by->n++] = id;
    return true;
}

/* A chain that holds, of the identity that is asked for, adds its leaf's key. */
static bool add_chain(const struct signers *s, const struct cert_chain *chain, struct signed_by *by, bool *valid,
                      struct error *err)
{
    char subject[CERT_SUBJECT_SIZE];
    struct key *key = NULL;
    cert_chain_subject(chain, subject);
    if (s->identity && strcmp(s->identity, subject) != 0) {
        *valid = false;
        by->certificate = true;
        snprintf(by->why, sizeof by->why, "its certificate is of '%.200s', expected '%.200s'", subject, s->identity);
        return true;
    }
    bool ok = cert_chain_key(chain, "certificate", &key, err) && add(by, key, err);
    key_close(key);
    return ok;
}

bool signers_bundle(const struct signers *s, const struct envelope *e, int64_t at, struct signed_by *by, bool *valid,
                    struct error *err)
{
    char why[CERT_WHY_SIZE];
    *valid = false;
    for (uint32_t i = 0; i < s->n_keys && !*valid; i++) {
        if (!envelope_verify(e, s->keys[i], valid, err)) return false;
        if (*valid && !add(by, s->keys[i], err)) return false;
    }
    if (*valid || !e->chain || !s->roots) return true;
    if (!envelope_verify_chain(e, KEY_USE_SIGSTORE, s->roots, at, valid, why, err)) return false;
    if (*valid) return add_chain(s, e->chain, by, valid, err);
    by->certificate = true;
    memcpy(by->why, why, sizeof why);
    return true;
}

bool signers_legacy(const struct signers *s, const struct simple_signing *g, struct signed_by *by, bool *valid,
                    struct error *err)
{
    *valid = false;
    for (uint32_t i = 0; i < s->n_keys && !*valid; i++) {
        if (!simple_verify(g, s->keys[i], valid, err)) return false;
        if (*valid && !add(by, s->keys[i], err)) return false;
    }
    return true;
}

bool signers_notation(const struct signers *s, const struct notation *n, int64_t at, struct signed_by *by, bool *valid,
                      struct error *err)
{
    char why[CERT_WHY_SIZE];
    *valid = false;
    if (!s->roots) return true;
    if (!notation_verify(n, s->roots, at, valid, why, err)) return false;
    if (*valid) return add_chain(s, n->chain, by, valid, err);
    by->certificate = true;
    memcpy(by->why, why, sizeof why);
    return true;
}
