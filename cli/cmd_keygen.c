#include "cli/key_args.h"
#include "core/cleanup.h"

#include <string.h>

struct keygen_args {
    struct common_args common;
    const char *output, *format;
    bool encrypt;
    struct key_args secret; /* without --key */
};

static const struct option options[] = {
    {"output", 'o', OPTION_TEXT, offsetof(struct keygen_args, output), "NAME",
     "writes NAME.key (private) and NAME.pub (default: ingot)", 0, 0},
    {"format", 'f', OPTION_TEXT, offsetof(struct keygen_args, format), "NAME",
     "pem: PKCS#8 (default); cosign: cosign's own form, always encrypted", 0, 0},
    {"encrypt", 0, OPTION_FLAG, offsetof(struct keygen_args, encrypt), NULL,
     "ask for a passphrase when option and variable give none", 0, 0},
    PASSPHRASE_OPTIONS(struct keygen_args, secret),
    COMMON_OPTIONS(struct keygen_args),
};

static bool format_of(const struct keygen_args *a, enum key_format *out, struct error *err)
{
    const char *name = a->format ? a->format : "pem";
    *out = strcmp(name, "cosign") == 0 ? KEY_FORMAT_COSIGN : KEY_FORMAT_PKCS8;
    if (*out == KEY_FORMAT_COSIGN || strcmp(name, "pem") == 0) return true;
    return error_set(err, ERR_USAGE, "option --format: expected pem or cosign, found '%.64s'", name);
}

static bool generate(const struct keygen_args *a, const char *private_path, const char *public_path, struct error *err)
{
    enum key_format format;
    char passphrase[KEY_SECRET_MAX];
    if (!format_of(a, &format, err)) return false;
    bool ok = key_args_new_passphrase(&a->secret, a->encrypt || format == KEY_FORMAT_COSIGN, passphrase, err);
    if (ok && a->encrypt && !*passphrase) ok = error_set(err, ERR_USAGE, "option --encrypt: there is no passphrase");
    /* cosign's own form is encrypted with an empty passphrase too, as cosign does it. */
    ok = ok && key_generate_as(format, private_path, public_path,
                               *passphrase || format == KEY_FORMAT_COSIGN ? passphrase : NULL, err);
    secret_wipe(passphrase, sizeof passphrase);
    return ok;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)operands, (void)n_operands;
    const struct keygen_args *a = args;
    const char *name = a->output ? a->output : "ingot";
    CLEANUP(free) char *private_path = NULL;
    CLEANUP(free) char *public_path = NULL;
    if (asprintf(&private_path, "%s.key", name) < 0 || asprintf(&public_path, "%s.pub", name) < 0)
        return error_memory(err, 0);
    struct key *key = NULL;
    struct digest id;
    char hex[DIGEST_HEX_SIZE];
    bool ok = crypto_self_test(err) && generate(a, private_path, public_path, err) &&
              key_load_public(public_path, &key, err) && key_id(key, &id, err);
    key_close(key);
    if (!ok) return false;
    digest_hex(&id, hex);
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s,s:s}", "private", private_path, "public", public_path, "key_id", hex),
                          err);
    print_text("private key  %s (keep it)\npublic key   %s\nkey id       %s\n", private_path, public_path, hex);
    return true;
}

const struct command command_keygen = {
    .name = "keygen",
    .operands = "",
    .summary = "makes a signing key (ECDSA P-256)",
    .details = "The private key is encrypted when a passphrase is given: by --passphrase-env, --passphrase-fd, or the\n"
               "environment variable INGOT_KEY_PASSPHRASE. An existing file is never overwritten.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct keygen_args),
    .min_operands = 0,
    .max_operands = 0,
    .run = run,
};
