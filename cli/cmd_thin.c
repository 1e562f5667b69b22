#include "cli/commands.h"
#include "cli/package_ref.h"
#include "pack/thin.h"

struct thin_args {
    struct common_args common;
    const char *output;
    bool force;
};

static const struct option options[] = {
    {"output", 'o', OPTION_TEXT, offsetof(struct thin_args, output), "DIR", "the folder to write", 0, 0},
    {"force", 0, OPTION_FLAG, offsetof(struct thin_args, force), NULL, "replace a folder that exists", 0, 0},
    COMMON_OPTIONS(struct thin_args),
};

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct thin_args *a = args;
    CLEANUP(free) char *ref = NULL;
    struct thin_result r;
    char image[DIGEST_HEX_SIZE], kept[32], left[32];
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    if (!package_ref(operands[0], &ref, err) || !thin_run(ref, a->output, a->force, env->progress, &r, err))
        return false;
    digest_hex(&r.image, image);
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s+,s:I,s:I,s:I,s:I}", "thin", a->output, "image", "sha256:", image, "blobs",
                                    (json_int_t)r.n_blobs, "bytes", (json_int_t)r.bytes, "blobs_left_out",
                                    (json_int_t)r.n_left_out, "bytes_left_out", (json_int_t)r.bytes_left_out),
                          err);
    text_bytes(kept, r.bytes);
    text_bytes(left, r.bytes_left_out);
    print_text("%s sha256:%s, %u blobs, %s; left out %u, %s\n", a->output, image, r.n_blobs, kept, r.n_left_out, left);
    return true;
}

const struct command command_thin = {
    .name = "thin",
    .operands = "PACKAGE",
    .summary = "copies a package without its weights, to sign or audit it elsewhere",
    .details =
        "The digest is the package's: what is signed there is a signature of it. 'merge' brings signatures back.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct thin_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
