#include "cli/commands.h"
#include "cli/package_ref.h"
#include "formats/checkpoint.h"
#include "formats/oci_package.h"
#include "formats/tar.h"

struct mount_map_args {
    struct common_args common;
};

static const struct option options[] = {COMMON_OPTIONS(struct mount_map_args)};

#define MODELS "models/"

struct map {
    struct oci_ref ref;
    struct oci_layout layout;
    struct oci_package package;
    struct oci_manifest manifest; /* of the first image: it has every file */
    struct folder *folder;        /* the model */
    struct checkpoint *checkpoint;
    bool json;
};

/* One file: where it lies in its layer. */
struct place {
    const struct oci_descriptor *layer;
    char blob[sizeof OCI_BLOBS_FOLDER + DIGEST_HEX_SIZE];
    uint64_t base; /* of the layer in the file that holds it: 0, unless that is an archive */
    struct tar_layer tar;
};

static bool open_map(struct map *m, const char *operand, struct error *err)
{
    CLEANUP(free) char *ref = NULL;
    return package_ref(operand, &ref, err) && oci_ref_parse(ref, &m->ref, err) &&
           oci_layout_open_ref(&m->layout, &m->ref, err) &&
           oci_package_open(&m->package, &m->layout, m->ref.tag, err) &&
           oci_package_manifest(&m->layout, oci_package_image(&m->package, 0), &m->manifest, err) &&
           folder_open(&m->folder, ref, err) && checkpoint_open(&m->checkpoint, m->folder, err);
}

static void close_map(struct map *m)
{
    checkpoint_close(m->checkpoint);
    folder_close(m->folder);
    oci_manifest_close(&m->manifest);
    oci_package_close(&m->package);
    oci_layout_close(&m->layout);
    oci_ref_close(&m->ref);
}

static bool find_place(const struct map *m, uint32_t i, struct place *p, struct error *err)
{
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    char what[64], hex[DIGEST_HEX_SIZE];
    snprintf(what, sizeof what, "layer %u of %u", i + 1, m->manifest.n_layers);
    p->layer = &m->manifest.layers[i];
    digest_hex(&p->layer->digest, hex);
    snprintf(p->blob, sizeof p->blob, OCI_BLOBS_FOLDER "/%s", hex);
    if (!oci_blob_open(&m->layout, p->layer, what, &at, NULL, err) || !tar_layer_read(&at, what, &p->tar, err))
        return false;
    p->base = at.offset;
    return true;
}

/* The member of the model that the file is, or NAME_NONE. */
static uint32_t member_of(const struct map *m, const struct place *p)
{
    size_t n = strlen(MODELS);
    return strncmp(p->tar.path, MODELS, n) == 0 ? folder_find(m->folder, p->tar.path + n) : NAME_NONE;
}

static json_t *shape_json(const struct tensor_info *t)
{
    json_t *shape = json_array();
    for (uint32_t d = 0; shape && d < t->n_dims; d++)
        if (json_array_append_new(shape, json_integer((json_int_t)t->dims[d])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return shape;
}

static bool print_file_json(const struct map *m, const struct place *p, struct error *err)
{
    CLEANUP(json) json_t *tensors = json_array();
    uint32_t member = member_of(m, p);
    if (!tensors) return error_memory(err, 0);
    for (uint32_t i = 0; member != NAME_NONE && i < checkpoint_count(m->checkpoint); i++) {
        const struct tensor_info *t = checkpoint_tensor(m->checkpoint, i);
        if (t->member != member) continue;
        json_t *j =
            json_pack("{s:s,s:s,s:o,s:I,s:I}", "name", t->name, "dtype", dtype_name(t->dtype), "shape", shape_json(t),
                      "offset", (json_int_t)(p->base + p->tar.data_offset + t->offset), "bytes", (json_int_t)t->bytes);
        if (json_array_append_new(tensors, j) != 0) return error_memory(err, 0);
    }
    return print_json(json_pack("{s:s,s:s,s:I,s:I,s:O}", "path", p->tar.path, "blob", p->blob, "offset",
                                (json_int_t)(p->base + p->tar.data_offset), "bytes", (json_int_t)p->tar.data_bytes,
                                "tensors", tensors),
                      err);
}

static void print_file(const struct map *m, const struct place *p)
{
    uint32_t member = member_of(m, p);
    print_text("%s\n  %s\n%16llu %16llu\n", p->tar.path, p->blob, (unsigned long long)(p->base + p->tar.data_offset),
               (unsigned long long)p->tar.data_bytes);
    for (uint32_t i = 0; member != NAME_NONE && i < checkpoint_count(m->checkpoint); i++) {
        const struct tensor_info *t = checkpoint_tensor(m->checkpoint, i);
        if (t->member == member)
            print_text("%16llu %16llu  %s %s\n", (unsigned long long)(p->base + p->tar.data_offset + t->offset),
                       (unsigned long long)t->bytes, dtype_name(t->dtype), t->name);
    }
}

static bool print_map(const struct map *m, struct error *err)
{
    uint32_t n_base;
    if (!oci_base_layers(&m->manifest, "manifest", &n_base, err)) return false;
    if (!m->json) print_text("%16s %16s  what\n", "offset", "bytes");
    for (uint32_t i = n_base; i < m->manifest.n_layers; i++) {
        struct place p;
        if (!find_place(m, i, &p, err)) return false;
        if (!m->json) print_file(m, &p);
        else if (!print_file_json(m, &p, err)) return false;
    }
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)args, (void)n_operands;
    struct map m = {.layout = OCI_LAYOUT_INIT, .json = env->common->json};
    bool ok = open_map(&m, operands[0], err) && print_map(&m, err);
    close_map(&m);
    return ok;
}

const struct command command_mount_map = {
    .name = "mount-map",
    .operands = "PACKAGE",
    .summary = "says where each file and tensor lies in a package's blobs",
    .details = "Offsets are those in the blob, or in the archive that holds it, so that weights can be mapped from\n"
               "it, without unpacking.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct mount_map_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
