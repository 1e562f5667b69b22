#include "cli/key_args.h"
#include "cli/package_ref.h"
#include "pack/sign.h"

struct sign_args {
    struct common_args common;
    struct key_args key;
};

static const struct option options[] = {
    KEY_OPTIONS(struct sign_args, key),
    COMMON_OPTIONS(struct sign_args),
};

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct sign_args *a = args;
    CLEANUP(free) char *ref = NULL;
    struct key *key = NULL;
    struct sign_result r;
    bool ok = package_ref(operands[0], &ref, err) && key_args_open(&a->key, &key, err) && sign_run(ref, key, &r, err);
    key_close(key);
    if (!ok) return false;
    char image[DIGEST_HEX_SIZE], id[DIGEST_HEX_SIZE];
    digest_hex(&r.image, image);
    digest_hex(&r.key_id, id);
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s+,s:s,s:b}", "package", ref, "image", "sha256:", image, "key_id", id,
                                    "was_signed", r.was_signed),
                          err);
    print_text("%s sha256:%s %s by key %.16s...\n", ref, image, r.was_signed ? "was signed already" : "signed", id);
    return true;
}

const struct command command_sign = {
    .name = "sign",
    .operands = "PACKAGE",
    .summary = "adds a signature to a package",
    .details = "Writes a sigstore bundle beside the image, which cosign verifies; the image and its digest do not "
               "change. The passphrase of an\n"
               "encrypted key is taken from the environment variable INGOT_KEY_PASSPHRASE.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct sign_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
