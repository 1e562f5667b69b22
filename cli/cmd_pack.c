#include "cli/commands.h"
#include "cli/image_labels.h"
#include "formats/oci.h"
#include "pack/pack.h"

struct pack_args {
    struct common_args common;
    const char *output, *profiles, *base, *base_key, *release;
    struct option_list adapters; /* NAME=DIR */
    bool force, modelpack, bundle;
};

static const struct option options[] = {
    {"output", 'o', OPTION_TEXT, offsetof(struct pack_args, output), "oci:DIR:TAG",
     "the image layout to write; oci-archive:FILE:TAG: as one file", 0, 0},
    {"profiles", 'p', OPTION_TEXT, offsetof(struct pack_args, profiles), "DIR",
     "serving profiles: one more image for each, of the same layers", 0, 0},
    {"adapter", 0, OPTION_LIST, offsetof(struct pack_args, adapters), "NAME=DIR",
     "a LoRA or DoRA adapter to carry along, checked against the model; may be given again", 0, 0},
    {"base", 'b', OPTION_TEXT, offsetof(struct pack_args, base), "oci:DIR:TAG",
     "an engine's image to put the layers on; profiles set what it starts", 0, 0},
    {"base-key", 0, OPTION_TEXT, offsetof(struct pack_args, base_key), "FILE",
     "public key that must have signed the base", 0, 0},
    {"release", 0, OPTION_TEXT, offsetof(struct pack_args, release), "VERSION",
     "the package's version, signed with it; a policy can ask for a minimum", 0, 0},
    {"modelpack", 0, OPTION_FLAG, offsetof(struct pack_args, modelpack), NULL,
     "a ModelPack manifest over the same blobs, tagged TAG-modelpack", 0, 0},
    {"bundle-only", 0, OPTION_FLAG, offsetof(struct pack_args, bundle), NULL,
     "a folder of a family that is not computed here, as it is", 0, 0},
    {"force", 0, OPTION_FLAG, offsetof(struct pack_args, force), NULL, "replace a layout that exists", 0, 0},
    COMMON_OPTIONS(struct pack_args),
};

static bool images_json(const struct pack_result *r, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    if (!list) return error_memory(err, 0);
    for (uint32_t i = 0; i < r->n_images; i++) {
        char digest[DIGEST_HEX_SIZE];
        digest_hex(&r->images[i].digest, digest);
        if (json_array_append_new(list, json_pack("{s:s,s:s,s:s+}", "profile", r->images[i].name, "tag",
                                                  r->images[i].tag, "image", "sha256:", digest)) != 0)
            return error_memory(err, 0);
    }
    *out = take_ptr(&list);
    return true;
}

struct names {
    char *list[OPTION_LIST_MAX];
};

static void free_names(struct names *n)
{
    for (uint32_t i = 0; i < OPTION_LIST_MAX; i++) free(n->list[i]);
}

/* "NAME=DIR"; the names point into copies. */
static bool read_adapters(const struct option_list *given, struct pack_adapter *out, struct names *copies,
                          struct error *err)
{
    for (uint32_t i = 0; i < given->n; i++) {
        const char *equal = strchr(given->items[i], '=');
        if (!equal || equal == given->items[i] || !equal[1])
            return error_set(err, ERR_USAGE, "option --adapter: expected NAME=DIR, found '%.128s'", given->items[i]);
        copies->list[i] = strndup(given->items[i], (size_t)(equal - given->items[i]));
        if (!copies->list[i]) return error_memory(err, 0);
        out[i] = (struct pack_adapter){.name = copies->list[i], .path = equal + 1};
    }
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct pack_args *a = args;
    if (!a->output) return error_set(err, ERR_USAGE, "option --output is missing");
    CLEANUP(json) json_t *labels = NULL;
    struct key *base_key = NULL;
    struct pack_adapter adapters[OPTION_LIST_MAX];
    __attribute__((cleanup(free_names))) struct names names = {0};
    if (!read_adapters(&a->adapters, adapters, &names, err)) return false;
    if (a->base_key && !a->base) return error_set(err, ERR_USAGE, "option --base-key needs --base");
    if (!image_labels(operands[0], a->profiles, &labels, err) ||
        (a->release && !json_put(labels, OCI_ANNOTATION_VERSION, json_string(a->release), err)) ||
        (a->base_key && !key_load_public(a->base_key, &base_key, err)))
        return false;
    if (a->bundle && !json_put(labels, PACK_ANNOTATION_BUNDLE, json_string("true"), err)) {
        key_close(base_key);
        return false;
    }
    struct pack_options o = {.bundle = a->bundle,
                             .source = operands[0],
                             .profiles = a->profiles,
                             .ref = a->output,
                             .annotations = labels,
                             .adapters = adapters,
                             .n_adapters = a->adapters.n,
                             .base = a->base,
                             .base_key = base_key,
                             .modelpack = a->modelpack,
                             .replace = a->force,
                             .pool = env->pool,
                             .progress = env->progress};
    __attribute__((cleanup(cleanup_pack_result))) struct pack_result r = {0};
    bool packed = pack_run(&o, &r, err);
    key_close(base_key);
    if (!packed) return false;
    char image[DIGEST_HEX_SIZE], size[32];
    digest_hex(&r.image, image);
    if (env->common->json) {
        CLEANUP(json) json_t *images = NULL;
        if (!images_json(&r, &images, err)) return false;
        return print_json(json_pack("{s:s,s:s+,s:I,s:I,s:O}", "package", a->output, "image", "sha256:", image, "layers",
                                    (json_int_t)r.n_files, "bytes", (json_int_t)r.bytes, "images", images),
                          err);
    }
    text_bytes(size, r.bytes);
    print_text("%s sha256:%s, %u layers, %s\n", a->output, image, r.n_files, size);
    for (uint32_t i = 0; r.n_images > 1 && i < r.n_images; i++) {
        digest_hex(&r.images[i].digest, image);
        print_text("  %s sha256:%s\n", r.images[i].tag, image);
    }
    return true;
}

const struct command command_pack = {
    .name = "pack",
    .operands = "DIR",
    .summary = "packs a checkpoint as a container image layout",
    .details =
        "One uncompressed, page-aligned layer per file; the same input gives the same digest on every host and date.\n"
        "With profiles, an index of images: one that runs anywhere, then one per profile, over the same blobs.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct pack_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
