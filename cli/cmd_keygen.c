#include "cli/commands.h"
#include "core/crypto.h"

#include <stdlib.h>

struct keygen_args {
    struct common_args common;
    const char *output;
};

static const struct option options[] = {
    {"output", 'o', OPTION_TEXT, offsetof(struct keygen_args, output), "NAME",
     "writes NAME.key (private) and NAME.pub (default: ingot)", 0, 0},
    COMMON_OPTIONS(struct keygen_args),
};

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
    bool ok = crypto_self_test(err) && key_generate(private_path, public_path, getenv("INGOT_KEY_PASSPHRASE"), err) &&
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
    .details = "The private key is encrypted when the environment variable INGOT_KEY_PASSPHRASE is set. An existing "
               "file is never overwritten.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct keygen_args),
    .min_operands = 0,
    .max_operands = 0,
    .run = run,
};
