#include "cli/registry_args.h"
#include "pack/pull.h"
#include "pack/registry_call.h"

struct pull_args {
    struct common_args common;
    struct registry_args registry;
    const char *output;
    bool force;
};

static const struct option options[] = {
    {"output", 'o', OPTION_TEXT, offsetof(struct pull_args, output), "oci:DIR[:TAG]",
     "the image layout to write, or to add to", 0, 0},
    {"force", 0, OPTION_FLAG, offsetof(struct pull_args, force), NULL,
     "move a tag that names another image in the layout", 0, 0},
    REGISTRY_OPTIONS(struct pull_args),
    COMMON_OPTIONS(struct pull_args),
};

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct pull_args *a = args;
    CLEANUP(oci_ref) struct oci_ref to = {0};
    struct registry_ref from;
    struct pull_result r;
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    if (!registry_ref_parse(operands[0], &from, err) || !oci_ref_parse(a->output, &to, err)) return false;
    if (to.is_archive)
        return error_set(err, ERR_USAGE, "'%.256s' is an archive; a package is pulled into a folder (oci:DIR:TAG)",
                         a->output);
    bool has_tag = strchr(a->output + strlen(OCI_REF_PREFIX), ':') != NULL;
    struct pull_options o = {.from = &from,
                             .dir = to.dir,
                             .tag = has_tag ? to.tag : NULL,
                             .ca_file = a->registry.ca_file,
                             .plain_http = a->registry.plain_http,
                             .no_referrers = a->registry.no_referrers,
                             .force = a->force,
                             .jobs = (uint32_t)a->registry.jobs,
                             .retries = a->registry.retries ? (uint32_t)a->registry.retries : REGISTRY_RETRIES_DEFAULT,
                             .progress = env->progress};
    if (!pull_run(&o, &r, err)) return false;
    char image[DIGEST_HEX_SIZE], size[32];
    CLEANUP(free) char *package = NULL;
    digest_hex(&r.image, image);
    if (asprintf(&package, OCI_REF_PREFIX "%s:%s", to.dir, r.tag) < 0) {
        package = NULL;
        return error_memory(err, strlen(to.dir));
    }
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s,s:s+,s:I,s:I,s:I,s:I,s:I}", "package", package, "registry", operands[0],
                                    "image", "sha256:", image, "manifests", (json_int_t)r.n_manifests, "referrers",
                                    (json_int_t)r.n_referrers, "blobs", (json_int_t)r.n_blobs, "present",
                                    (json_int_t)r.n_there, "bytes", (json_int_t)r.bytes),
                          err);
    text_bytes(size, r.bytes);
    print_text("%s sha256:%s, %u manifests (%u signatures and attestations), %u blobs, %s, %u of them here already\n",
               package, image, r.n_manifests, r.n_referrers, r.n_blobs, size, r.n_there);
    return true;
}

const struct command command_pull = {
    .name = "pull",
    .operands = "HOST/REPOSITORY[:TAG][@DIGEST]",
    .summary = "fetches a package from a registry",
    .details = "Signatures and attestations come along. Every byte is checked; the layout appears when it is whole. "
               "What it means is `ingot verify`'s\n"
               "to say. Credentials are those of `docker login` or `podman login`.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct pull_args),
    .min_operands = 1,
    .max_operands = 1,
    .resumes = true,
    .run = run,
};
