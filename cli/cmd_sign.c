#include "cli/key_args.h"
#include "cli/package_ref.h"
#include "pack/sign.h"

struct sign_args {
    struct common_args common;
    struct key_args key;
    const char *docker_reference, *format;
};

static const struct option options[] = {
    KEY_OPTIONS(struct sign_args, key),
    {"format", 'f', OPTION_TEXT, offsetof(struct sign_args, format), "NAME,...",
     "forms to write: bundle, legacy (default: bundle, and those whose options are given)", 0, 0},
    {"docker-reference", 0, OPTION_TEXT, offsetof(struct sign_args, docker_reference), "HOST/REPO:TAG",
     "add the legacy signature that podman and skopeo check, for this name", 0, 0},
    COMMON_OPTIONS(struct sign_args),
};

enum form { FORM_BUNDLE = 1, FORM_LEGACY = 2 };

static bool forms_of(const struct sign_args *a, unsigned *out, struct error *err)
{
    static const char *const names[] = {"bundle", "legacy"};
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
    if (!a->format) *out = FORM_BUNDLE | (a->docker_reference ? FORM_LEGACY : 0);
    if ((*out & FORM_LEGACY) && !a->docker_reference)
        return error_set(err, ERR_USAGE, "the legacy signature names what was signed: --docker-reference is missing");
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

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct sign_args *a = args;
    CLEANUP(free) char *ref = NULL;
    struct key *key = NULL;
    struct sign_result r;
    unsigned forms;
    if (!forms_of(a, &forms, err) || !package_ref(operands[0], &ref, err) || !key_args_open(&a->key, &key, err))
        return false;
    struct sign_options o = {.ref = ref,
                             .key = key,
                             .no_bundle = !(forms & FORM_BUNDLE),
                             .docker_reference = forms & FORM_LEGACY ? a->docker_reference : NULL};
    bool ok = sign_package(&o, &r, err);
    key_close(key);
    return ok && print_result(env, ref, &r, err);
}

const struct command command_sign = {
    .name = "sign",
    .operands = "PACKAGE",
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
