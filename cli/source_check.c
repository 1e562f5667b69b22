#include "cli/source_check.h"

#include "formats/oms.h"
#include "verify/policy.h"

#include <time.h>

static bool files_json(const struct oms_list *l, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    for (uint32_t i = 0; i < l->n_files; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&l->files[i].digest, hex);
        json_t *j =
            json_pack("{s:s,s:I,s:s}", "name", l->files[i].name, "bytes", (json_int_t)l->files[i].bytes, "sha256", hex);
        if (json_array_append_new(list, j) != 0) return error_memory(err, 0);
    }
    *out = take_ptr(&list);
    return *out ? true : error_memory(err, 0);
}

static bool ignored_json(const struct oms_list *l, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    for (uint32_t i = 0; i < l->n_ignored; i++)
        if (json_array_append_new(list, json_string(l->ignored[i])) != 0) return error_memory(err, 0);
    *out = take_ptr(&list);
    return *out ? true : error_memory(err, 0);
}

static bool result_json(const struct oms_list *l, const struct oms_verifier *by, json_t **out, struct error *err)
{
    char root[DIGEST_HEX_SIZE], hex[DIGEST_HEX_SIZE];
    json_t *files = NULL, *ignored = NULL;
    struct digest id;
    digest_hex(&l->root, root);
    CLEANUP(json) json_t *j = json_pack("{s:s,s:s}", "root", root, "form", OMS_PREDICATE_TYPE);
    if (!j) return error_memory(err, 0);
    if (!(by->key ? key_id(by->key, &id, err) : cert_chain_thumbprint(by->roots, 0, &id, err))) return false;
    digest_hex(&id, hex);
    if (!json_put(j, by->key ? "key_id" : "root_certificate", json_string(hex), err) || !files_json(l, &files, err) ||
        !json_put(j, "files", files, err) || !ignored_json(l, &ignored, err) || !json_put(j, "ignored", ignored, err))
        return false;
    *out = take_ptr(&j);
    return true;
}

static bool verify(const struct command_env *env, const struct source_args *args, const struct oms_verifier *by,
                   const char *folder, json_t **out, struct error *err)
{
    __attribute__((cleanup(cleanup_oms_list))) struct oms_list list = {0};
    struct oms_scan scan = {.folder = folder,
                            .signature = args->signature,
                            .pool = env->pool,
                            .progress = env->progress,
                            .stage = "source"};
    if (!oms_verify(&scan, by, &list, err) || !result_json(&list, by, out, err)) return false;
    progress_note(env->progress, "source", "'%s' is signed: %u files as they were signed", folder, list.n_files);
    return true;
}

bool source_check(const struct command_env *env, const struct source_args *args, const char *folder, json_t **out,
                  struct error *err)
{
    struct key *key = NULL;
    struct cert_chain *roots = NULL;
    *out = NULL;
    if (!args->key && !args->roots)
        return !args->signature ||
               error_set(err, ERR_USAGE, "option --source-signature needs --source-key or --source-roots");
    if (args->key && args->roots)
        return error_set(err, ERR_USAGE, "options --source-key and --source-roots exclude each other");
    int64_t at = (int64_t)time(NULL);
    if (args->time && !policy_parse_time(args->time, &at))
        return error_set(err, ERR_USAGE, "option --time: expected a time like 2026-11-21T10:00:00Z, found '%.80s'",
                         args->time);
    bool ok = args->key ? key_load_public(args->key, &key, err) : cert_chain_load(args->roots, &roots, err);
    struct oms_verifier by = {.key = key, .roots = roots, .at = at};
    ok = ok && verify(env, args, &by, folder, out, err);
    key_close(key);
    cert_chain_close(roots);
    return ok || error_wrap(err, "source");
}
