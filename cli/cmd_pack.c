#include "cli/commands.h"
#include "cli/image_labels.h"
#include "pack/pack.h"

struct pack_args {
    struct common_args common;
    const char *output, *profiles;
    bool force;
};

static const struct option options[] = {
    {"output", 'o', OPTION_TEXT, offsetof(struct pack_args, output), "oci:DIR:TAG", "the image layout to write", 0, 0},
    {"profiles", 'p', OPTION_TEXT, offsetof(struct pack_args, profiles), "DIR",
     "serving profiles to put beside the model", 0, 0},
    {"force", 0, OPTION_FLAG, offsetof(struct pack_args, force), NULL, "replace a layout that exists", 0, 0},
    COMMON_OPTIONS(struct pack_args),
};

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct pack_args *a = args;
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    CLEANUP(json) json_t *labels = NULL;
    if (!image_labels(operands[0], a->profiles, &labels, err)) return false;
    struct pack_options o = {.source = operands[0],
                             .profiles = a->profiles,
                             .ref = a->output,
                             .annotations = labels,
                             .replace = a->force,
                             .pool = env->pool,
                             .progress = env->progress};
    __attribute__((cleanup(cleanup_pack_result))) struct pack_result r = {0};
    if (!pack_run(&o, &r, err)) return false;
    char image[DIGEST_HEX_SIZE], size[32];
    digest_hex(&r.image, image);
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s+,s:I,s:I}", "package", a->output, "image", "sha256:", image, "layers",
                                    (json_int_t)r.n_files, "bytes", (json_int_t)r.bytes),
                          err);
    text_bytes(size, r.bytes);
    print_text("%s sha256:%s, %u layers, %s\n", a->output, image, r.n_files, size);
    return true;
}

const struct command command_pack = {
    .name = "pack",
    .operands = "DIR",
    .summary = "packs a checkpoint as a container image layout",
    .details =
        "One uncompressed, page-aligned layer per file; the same input gives the same digest on every host and date.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct pack_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
