#include "cli/package_ref.h"
#include "cli/registry_args.h"
#include "pack/push.h"
#include "pack/registry_call.h"

struct push_args {
    struct common_args common;
    struct registry_args registry;
    const char *mount_from;
    uint64_t chunk_mib;
};

static const struct option options[] = {
    {"mount-from", 0, OPTION_TEXT, offsetof(struct push_args, mount_from), "REPO[,REPO]",
     "repositories of the registry whose blobs may be taken over", 0, 0},
    {"chunk", 0, OPTION_NUMBER, offsetof(struct push_args, chunk_mib), "MIB",
     "size of one piece of an upload (default 64)", 1, 65536},
    REGISTRY_OPTIONS(struct push_args),
    COMMON_OPTIONS(struct push_args),
};

/* Cuts the list at its commas, in place. */
static uint32_t split_list(char *list, const char *out[REGISTRY_MOUNTS_MAX + 1])
{
    uint32_t n = 0;
    for (char *p = list; p && n <= REGISTRY_MOUNTS_MAX;) {
        char *comma = strchr(p, ',');
        if (comma) *comma++ = '\0';
        out[n++] = p;
        p = comma;
    }
    return n;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct push_args *a = args;
    CLEANUP(free) char *package = NULL;
    CLEANUP(free) char *list = a->mount_from ? strdup(a->mount_from) : NULL;
    const char *mounts[REGISTRY_MOUNTS_MAX + 1];
    struct registry_ref to;
    struct push_result r;
    if (a->mount_from && !list) return error_memory(err, strlen(a->mount_from));
    if (!registry_ref_parse(operands[1], &to, err) || !package_ref(operands[0], &package, err)) return false;
    struct push_options o = {.package = package,
                             .to = &to,
                             .mount_from = mounts,
                             .n_mount_from = split_list(list, mounts),
                             .ca_file = a->registry.ca_file,
                             .plain_http = a->registry.plain_http,
                             .no_referrers = a->registry.no_referrers,
                             .jobs = (uint32_t)a->registry.jobs,
                             .retries = a->registry.retries ? (uint32_t)a->registry.retries : REGISTRY_RETRIES_DEFAULT,
                             .chunk_bytes = a->chunk_mib << 20,
                             .progress = env->progress};
    if (!push_run(&o, &r, err)) return false;
    char image[DIGEST_HEX_SIZE], size[32];
    digest_hex(&r.image, image);
    if (env->common->json)
        return print_json(json_pack("{s:s,s:s,s:s+,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "package", package, "registry",
                                    operands[1], "image", "sha256:", image, "manifests", (json_int_t)r.n_manifests,
                                    "referrers", (json_int_t)r.n_referrers, "blobs", (json_int_t)r.n_blobs, "sent",
                                    (json_int_t)r.n_sent, "mounted", (json_int_t)r.n_mounted, "bytes",
                                    (json_int_t)r.bytes, "bytes_sent", (json_int_t)r.bytes_sent),
                          err);
    text_bytes(size, r.bytes_sent);
    print_text("%s sha256:%s, %u manifests (%u signatures and attestations), %u blobs: %u sent (%s), %u mounted, %u "
               "there already\n",
               operands[1], image, r.n_manifests, r.n_referrers, r.n_blobs, r.n_sent, size, r.n_mounted,
               r.n_blobs - r.n_sent - r.n_mounted);
    return true;
}

const struct command command_push = {
    .name = "push",
    .operands = "PACKAGE HOST/REPOSITORY[:TAG][@DIGEST]",
    .summary = "sends a package to a registry",
    .details = "Signatures and attestations go along. What the registry has is not sent again; an upload that broke "
               "goes on where it was.\n"
               "Credentials are those of `docker login` or `podman login`.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct push_args),
    .min_operands = 2,
    .max_operands = 2,
    .resumes = true,
    .run = run,
};
