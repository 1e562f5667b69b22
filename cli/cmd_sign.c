#include "cli/key_args.h"
#include "cli/package_ref.h"
#include "core/cert.h"
#include "formats/oms.h"
#include "pack/sign.h"

struct sign_args {
    struct common_args common;
    struct key_args key;
    const char *docker_reference, *format, *chain, *signature;
    bool force;
};

static const struct option options[] = {
    KEY_OPTIONS(struct sign_args, key),
    {"format", 'f', OPTION_TEXT, offsetof(struct sign_args, format), "NAME,...",
     "forms to write: bundle, x509, legacy, notation, oms (default: bundle; x509 and legacy with their options)", 0, 0},
    {"docker-reference", 0, OPTION_TEXT, offsetof(struct sign_args, docker_reference), "HOST/REPO:TAG",
     "add the legacy signature that podman and skopeo check, for this name", 0, 0},
    {"certificate-chain", 0, OPTION_TEXT, offsetof(struct sign_args, chain), "FILE",
     "certificates of the key (PEM, leaf first), for x509, notation, oms", 0, 0},
    {"signature", 0, OPTION_TEXT, offsetof(struct sign_args, signature), "FILE",
     "with --format oms: the file to write (default: DIR/model.sig)", 0, 0},
    {"force", 0, OPTION_FLAG, offsetof(struct sign_args, force), NULL, "with --format oms: replace a file that exists",
     0, 0},
    COMMON_OPTIONS(struct sign_args),
};

enum form { FORM_BUNDLE = 1, FORM_X509 = 2, FORM_LEGACY = 4, FORM_NOTATION = 8, FORM_OMS = 16 };

static bool forms_of(const struct sign_args *a, unsigned *out, struct error *err)
{
    static const char *const names[] = {"bundle", "x509", "legacy", "notation", "oms"};
    *out = 0;
    for (const char *p = a->format; p;) {
        size_t n = strcspn(p, ","), i = 0;
        while (i < sizeof names / sizeof *names && (strlen(names[i]) != n || memcmp(names[i], p, n) != 0)) i++;
        if (i == sizeof names / sizeof *names)
            return error_set(err, ERR_USAGE, "option --format: '%.*s' is no form of a signature", (int)u64_min(n, 64),
                             p);
        *out |= 1u << i;
        p = p[n] ? p + n + 1 : NULL;
    }
    if (!a->format) *out = FORM_BUNDLE | (a->chain ? FORM_X509 : 0) | (a->docker_reference ? FORM_LEGACY : 0);
    if ((*out & FORM_LEGACY) && !a->docker_reference)
        return error_set(err, ERR_USAGE, "the legacy signature names what was signed: --docker-reference is missing");
    if ((*out & (FORM_X509 | FORM_NOTATION)) && !a->chain)
        return error_set(err, ERR_USAGE, "a signature with certificates: --certificate-chain is missing");
    if ((*out & FORM_OMS) && *out != FORM_OMS)
        return error_set(err, ERR_USAGE, "option --format: oms signs a folder, the other forms an image");
    if (!(*out & FORM_OMS) && (a->signature || a->force))
        return error_set(err, ERR_USAGE, "options --signature and --force belong to --format oms");
    return true;
}

/* The folder as it lies there, with or without a package. */
static bool sign_folder(const struct command_env *env, const struct sign_args *a, const struct key *key,
                        const struct cert_chain *chain, const char *folder, struct error *err)
{
    __attribute__((cleanup(cleanup_oms_list))) struct oms_list list = {0};
    struct oms_scan scan = {
        .folder = folder, .signature = a->signature, .pool = env->pool, .progress = env->progress, .stage = "sign"};
    struct oms_signer by = {.key = key, .chain = chain};
    struct digest id;
    char root[DIGEST_HEX_SIZE], hex[DIGEST_HEX_SIZE];
    if (!key_id(key, &id, err) || !oms_sign(&scan, &by, a->force, &list, err)) return false;
    digest_hex(&list.root, root);
    digest_hex(&id, hex);
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s,s:I,s:s}", "folder", folder, "root", root, "files",
                                    (json_int_t)list.n_files, "key_id", hex),
                          err);
    print_text("%s: %u files, root %s, signed by key %.16s...\n", folder, list.n_files, root, hex);
    return true;
}

static bool print_result(const struct command_env *env, const char *ref, const struct sign_result *r, struct error *err)
{
    char image[DIGEST_HEX_SIZE], id[DIGEST_HEX_SIZE];
    digest_hex(&r->image, image);
    digest_hex(&r->key_id, id);
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s+,s:s,s:b,s:I,s:I,s:I}", "package", ref, "image", "sha256:", image,
                                    "key_id", id, "was_signed", r->was_signed, "manifests", (json_int_t)r->n_subjects,
                                    "added", (json_int_t)r->n_added, "there", (json_int_t)r->n_there),
                          err);
    print_text("%s sha256:%s %s by key %.16s...", ref, image, r->was_signed ? "was signed already" : "signed", id);
    if (r->n_subjects > 1) print_text(" (the index and %u images)", r->n_subjects - 1);
    if (!r->was_signed && r->n_there) print_text(", %u signatures were there", r->n_there);
    print_text("\n");
    return true;
}

static bool sign_image(const struct command_env *env, const struct sign_args *a, unsigned forms, const struct key *key,
                       const struct cert_chain *chain, const char *ref, struct error *err)
{
    struct sign_result r;
    struct sign_options o = {.ref = ref,
                             .key = key,
                             .chain = chain,
                             .no_bundle = !(forms & FORM_BUNDLE),
                             .x509 = forms & FORM_X509,
                             .docker_reference = forms & FORM_LEGACY ? a->docker_reference : NULL,
                             .notation = forms & FORM_NOTATION};
    return sign_package(&o, &r, err) && print_result(env, ref, &r, err);
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct sign_args *a = args;
    CLEANUP(free) char *ref = NULL;
    struct key *key = NULL;
    struct cert_chain *chain = NULL;
    unsigned forms;
    bool ok = forms_of(a, &forms, err) && (!a->chain || cert_chain_load(a->chain, &chain, err));
    ok = ok && (forms & FORM_OMS || package_ref(operands[0], &ref, err)) && key_args_open(&a->key, &key, err);
    if (ok && forms & FORM_OMS) ok = sign_folder(env, a, key, chain, operands[0], err);
    else if (ok) ok = sign_image(env, a, forms, key, chain, ref, err);
    key_close(key);
    cert_chain_close(chain);
    return ok;
}

const struct command command_sign = {
    .name = "sign",
    .operands = "PACKAGE|DIR",
    .summary = "adds a signature to a package",
    .details =
        "Writes a sigstore bundle beside the image, which cosign verifies, and other forms on demand; of a package "
        "with profiles the\n"
        "index and every image are signed. No digest changes. A thin layout is enough.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct sign_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
