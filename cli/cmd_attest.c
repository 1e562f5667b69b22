#include "cli/key_args.h"
#include "cli/package_ref.h"
#include "cli/source_files.h"
#include "core/file.h"
#include "pack/attest.h"

#include <fcntl.h>

struct attest_args {
    struct common_args common;
    struct key_args key;
    const char *type, *predicate, *report, *source, *builder, *backend;
};

static const struct option options[] = {
    KEY_OPTIONS(struct attest_args, key),
    {"type", 0, OPTION_TEXT, offsetof(struct attest_args, type), "NAME,...|URI",
     "provenance, sbom, licences, parity (default: the first three, and parity with --report); or a URI", 0, 0},
    {"report", 0, OPTION_TEXT, offsetof(struct attest_args, report), "FILE",
     "report.json of `ingot verify --against`, for parity", 0, 0},
    {"source", 0, OPTION_TEXT, offsetof(struct attest_args, source), "DIR",
     "the original, read once, so that provenance names its files by digest", 0, 0},
    {"predicate", 0, OPTION_TEXT, offsetof(struct attest_args, predicate), "FILE",
     "with --type URI: the predicate, a JSON object", 0, 0},
    {"builder-id", 0, OPTION_TEXT, offsetof(struct attest_args, builder), "URI",
     "who built, in provenance (default: " ATTEST_BUILDER_DEFAULT ")", 0, 0},
    {"backend", 0, OPTION_TEXT, offsetof(struct attest_args, backend), "NAME", "what computed, in provenance", 0, 0},
    COMMON_OPTIONS(struct attest_args),
};

static bool kind_of(const char *word, size_t n, int *out)
{
    for (int i = 0; i < ATTEST_KIND_COUNT; i++) {
        const char *name = attest_kind_name((enum attest_kind)i);
        if (strlen(name) != n || memcmp(name, word, n) != 0) continue;
        *out = i;
        return true;
    }
    return false;
}

static bool read_types(const struct attest_args *a, struct attest_options *o, struct error *err)
{
    int kind;
    for (int i = 0; !a->type && i < ATTEST_KIND_COUNT; i++) o->kinds[i] = i != ATTEST_KIND_PARITY || a->report;
    if (a->type && strchr(a->type, ':')) o->custom_type = a->type;
    for (const char *p = o->custom_type ? NULL : a->type; p;) {
        size_t n = strcspn(p, ",");
        if (!kind_of(p, n, &kind))
            return error_set(err, ERR_USAGE, "option --type: '%.*s' is neither a kind of attestation nor a URI",
                             (int)u64_min(n, 64), p);
        o->kinds[kind] = true;
        p = p[n] ? p + n + 1 : NULL;
    }
    if (!a->predicate != !o->custom_type)
        return error_set(err, ERR_USAGE, "options --predicate and --type URI belong together");
    return true;
}

static bool load_predicate(const char *path, json_t **out, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    if (!file_load(AT_FDCWD, path, ATTEST_PREDICATE_BYTES_MAX, &text, err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, path, out, err))
        return false;
    return json_is_object(*out) || error_set(err, ERR_FORMAT, "'%.512s': expected an object", path);
}

static bool print_result(const struct command_env *env, const char *ref, const struct attest_result *r,
                         struct error *err)
{
    char image[DIGEST_HEX_SIZE], id[DIGEST_HEX_SIZE];
    CLEANUP(json) json_t *list = json_array();
    digest_hex(&r->image, image);
    digest_hex(&r->key_id, id);
    for (uint32_t i = 0; i < r->n_done; i++) {
        const struct attest_done *d = &r->done[i];
        if (!env->common->json)
            print_text("%-45s %s\n", d->type, d->was_there ? "was there" : d->replaced ? "replaced" : "added");
        json_t *j = json_pack("{s:s,s:b,s:b}", "type", d->type, "was_there", d->was_there, "replaced", d->replaced);
        if (json_array_append_new(list, j) != 0) return error_memory(err, 0);
    }
    if (!env->common->json) {
        print_text("%s sha256:%s by key %.16s...\n", ref, image, id);
        return true;
    }
    return print_json(json_pack("{s:s,s:s+,s:s,s:I,s:O}", "package", ref, "image", "sha256:", image, "key_id", id,
                                "manifests", (json_int_t)r->n_subjects, "attestations", list),
                      err);
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct attest_args *a = args;
    CLEANUP(free) char *ref = NULL;
    CLEANUP(json) json_t *custom = NULL;
    CLEANUP(json) json_t *files = NULL;
    struct key *key = NULL;
    struct attest_result r;
    struct attest_options o = {.report = a->report, .builder_id = a->builder, .backend = a->backend};
    if (!read_types(a, &o, err) || !package_ref(operands[0], &ref, err) ||
        (a->predicate && !load_predicate(a->predicate, &custom, err)) ||
        (a->source && !source_files(env, a->source, &files, err)) || !key_args_open(&a->key, &key, err))
        return false;
    o.ref = ref;
    o.key = key;
    o.custom = custom;
    o.source_files = files;
    bool ok = attest_package(&o, &r, err);
    key_close(key);
    return ok && print_result(env, ref, &r, err);
}

const struct command command_attest = {
    .name = "attest",
    .operands = "PACKAGE",
    .summary = "adds signed statements to a package: provenance, bill of materials, licences, parity",
    .details =
        "Each is a sigstore bundle that `cosign verify-attestation` takes. What they say is read from the package; "
        "the weights are not needed.\n"
        "A newer statement of the same type by the same key takes the place of the older one.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct attest_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
