#include "pack/pack_job.h"

#include "core/version.h"

#include <sys/stat.h>

#define STAGE "pack"

void pack_result_free(struct pack_result *r)
{
    for (uint32_t i = 0; i < r->n_files; i++) free(r->files[i].path);
    for (uint32_t i = 0; i < r->n_images; i++) {
        free(r->images[i].name);
        free(r->images[i].tag);
    }
    free(r->files);
    free(r->images);
    *r = (struct pack_result){0};
}

/* ---- what will be packed ------------------------------------------------------------------------------------------
 */

bool pack_add_file(struct pack_job *j, const struct folder *f, uint32_t member, const char *prefix, uint32_t profile,
                   struct error *err)
{
    struct pack_file *file = &j->result->files[j->result->n_files];
    j->sources[j->result->n_files] = (struct pack_source){.folder = f, .member = member, .profile = profile};
    *file = (struct pack_file){.bytes = folder_size(f, member)};
    if (!path_join(&file->path, prefix, folder_name(f, member), err)) return false;
    j->result->n_files++;
    if (!tar_path_check(file->path, err)) return error_wrap(err, "folder '%.256s'", folder_path(f));
    if (!u64_add(j->data_bytes, file->bytes, &j->data_bytes) || j->data_bytes > TAR_DATA_BYTES_MAX)
        return error_set(err, ERR_FORMAT, "folder '%.256s': its files are larger than any image", folder_path(f));
    return true;
}

static bool add_files(struct pack_job *j, const struct folder *f, const char *prefix, struct error *err)
{
    for (uint32_t i = 0; i < folder_count(f); i++)
        if (!pack_add_file(j, f, i, prefix, PACK_MODEL, err)) return false;
    return true;
}

/* Folders list their members in byte order, so the layers of each are sorted by path. The model's come first: runtimes
 * that unpack know a layer by all those below it, and the weights' stay what they are when an adapter is added. */
static bool list_files(struct pack_job *j, struct error *err)
{
    uint32_t n = folder_count(j->model) + (j->profiles ? folder_count(j->profiles) : 0) + pack_adapters_count(j);
    if (!j->o->bundle && folder_find(j->model, "config.json") == NAME_NONE &&
        folder_find(j->model, "params.json") == NAME_NONE)
        return error_set(err, ERR_FORMAT,
                         "folder '%.512s' is not a model: it has no config.json (--bundle-only packs it as it is)",
                         j->o->source);
    if (n > OCI_LAYERS_MAX)
        return error_set(err, ERR_FORMAT, "%u files are too many for one image, at most %u can be packed", n,
                         OCI_LAYERS_MAX);
    j->result->files = calloc(n + 1u, sizeof *j->result->files);
    j->sources = calloc(n + 1u, sizeof *j->sources);
    if (!j->result->files || !j->sources) return error_memory(err, n * sizeof *j->result->files);
    return add_files(j, j->model, "models", err) && pack_adapters_add(j, err) &&
           (!j->profiles || (add_files(j, j->profiles, "profiles", err) && pack_profiles_read(j, err)));
}

static bool check_annotations(const json_t *annotations, struct error *err)
{
    const char *key;
    json_t *value;
    if (annotations && (!json_is_object(annotations) || json_object_size(annotations) > OCI_ANNOTATIONS_MAX))
        return error_set(err, ERR_USAGE, "annotations must be an object of at most %u strings", OCI_ANNOTATIONS_MAX);
    json_object_foreach ((json_t *)(uintptr_t)annotations, key, value)
        if (!*key || !json_is_string(value) || strlen(key) > OCI_TEXT_BYTES_MAX ||
            json_string_length(value) > OCI_TEXT_BYTES_MAX)
            return error_set(err, ERR_USAGE, "annotation '%.128s' is not a string of at most %u bytes", key,
                             OCI_TEXT_BYTES_MAX);
    return true;
}

static void give_notes(const struct pack_job *j)
{
    const struct pack_result *r = j->result;
    if (r->n_files > PACK_LAYERS_NOTED)
        progress_note(j->o->progress, STAGE, "%u layers: Docker runs images of at most %u; image volumes take more",
                      r->n_files, PACK_LAYERS_NOTED);
    for (uint32_t i = 0; i < r->n_files; i++) {
        char size[32];
        text_bytes(size, r->files[i].bytes);
        if (r->files[i].bytes > PACK_LAYER_BYTES_NOTED)
            progress_note(j->o->progress, STAGE,
                          "'%s' has %s: some registries refuse layers over 10,000 MiB; use smaller shards",
                          r->files[i].path, size);
    }
}

/* ---- resuming ------------------------------------------------------------------------------------------------------
 */

/* Everything the parts of an unfinished layout depend on. Inputs are known by what the file system says of them: a file
 * that was changed in any way since gets a new change time, and the work starts afresh. */
static bool staging_key(const struct pack_job *j, char key[DIGEST_HEX_SIZE + 8], struct error *err)
{
    CLEANUP(text) struct text t = TEXT_INIT;
    CLEANUP(free) char *annotations = NULL;
    struct digest d;
    if (!json_canonical(j->annotations, &annotations, NULL, err)) return false;
    text_add(&t, "%s %s\n", INGOT_VERSION, annotations);
    for (uint32_t i = 0; i < j->result->n_files; i++) {
        int fd;
        uint64_t offset;
        struct stat st;
        if (!folder_place(j->sources[i].folder, j->sources[i].member, &fd, &offset, err)) return false;
        if (fstat(fd, &st) != 0) return error_set_errno(err, "cannot examine '%.256s'", j->result->files[i].path);
        text_add(&t, "%s %llu %llu ", j->result->files[i].path, (unsigned long long)j->result->files[i].bytes,
                 (unsigned long long)offset);
        text_add(&t, "%llu %llu ", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
        text_add(&t, "%lld.%09ld ", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        text_add(&t, "%lld.%09ld\n", (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    }
    if (t.failed) return error_memory(err, t.capacity);
    if (!sha256_of(bytes_of(t.data, t.size), &d, err)) return false;
    memcpy(key, "layers1 ", 8);
    digest_hex(&d, key + 8);
    return true;
}

static bool check_space(const struct pack_job *j, const struct oci_writer *w, struct error *err)
{
    uint64_t free_bytes, need = 0;
    for (uint32_t i = 0; i < j->result->n_files; i++)
        if (!oci_writer_has_layer(w, i)) need += j->result->files[i].bytes + 2 * TAR_PAGE_BYTES;
    for (uint32_t i = 0; i < j->base.n_layers; i++) need += j->base.layers[i].size; /* 1024 * 2^47 fits */
    if (!dir_space(j->ref.dir, &free_bytes, err)) return false;
    if (need <= free_bytes) return true;
    char a[32], b[32];
    text_bytes(a, need);
    text_bytes(b, free_bytes);
    return error_set(err, ERR_IO, "'%.512s' needs %s, the disk has %s free", j->ref.dir, a, b);
}

/* ---- the run --------------------------------------------------------------------------------------------------------
 */

static bool write_layers(const struct pack_job *j, struct oci_writer *w, struct error *err)
{
    struct pack_result *r = j->result;
    CLEANUP(free) struct oci_layer_source *list = calloc(r->n_files, sizeof *list);
    if (!list) return error_memory(err, r->n_files * sizeof *list);
    for (uint32_t i = 0; i < r->n_files; i++)
        list[i] = (struct oci_layer_source){
            .path = r->files[i].path, .folder = j->sources[i].folder, .member = j->sources[i].member};
    if (!oci_writer_add_layers(w, list, r->n_files, err)) return false;
    for (uint32_t i = 0; i < r->n_files; i++) {
        r->files[i].digest = list[i].layer.file_digest;
        r->files[i].layer = list[i].layer.digest;
        r->bytes += r->files[i].layer_bytes = list[i].layer.layer_bytes;
    }
    return true;
}

/* The NIM manifest names every other file by its digest, so it is the last to be made; its place is that of its path.
 */
static bool add_nim(struct pack_job *j, struct oci_writer *w, struct error *err)
{
    struct pack_result *r = j->result;
    struct oci_layer layer;
    uint32_t at = 0;
    if (!j->n_list) return true;
    if (!pack_nim_make(j, err) || !oci_writer_add_text(w, PACK_NIM_PATH, bytes_text(j->nim), &layer, err)) return false;
    while (at < r->n_files && strcmp(r->files[at].path, PACK_NIM_PATH) < 0) at++;
    memmove(&r->files[at + 1], &r->files[at], (r->n_files - at) * sizeof *r->files);
    memmove(&j->sources[at + 1], &j->sources[at], (r->n_files - at) * sizeof *j->sources);
    r->n_files++;
    r->files[at] = (struct pack_file){.path = strdup(PACK_NIM_PATH),
                                      .bytes = strlen(j->nim),
                                      .digest = layer.file_digest,
                                      .layer = layer.digest,
                                      .layer_bytes = layer.layer_bytes};
    j->sources[at] = (struct pack_source){.profile = PACK_MODEL};
    r->bytes += layer.layer_bytes;
    return r->files[at].path ? true : error_memory(err, sizeof PACK_NIM_PATH);
}

static bool write_images(struct pack_job *j, struct oci_writer *w, struct oci_index *index, json_t *owner,
                         struct error *err)
{
    if (!check_space(j, w, err) || (j->o->base && !pack_base_copy(j, w, err)) || !write_layers(j, w, err) ||
        !add_nim(j, w, err) || !pack_images_write(j, w, index->manifests, &index->n_manifests, owner, err))
        return false;
    return !j->o->modelpack || pack_modelpack_write(j, w, &index->manifests[index->n_manifests++], owner, err);
}

static bool write_layout(struct pack_job *j, struct error *err)
{
    char key[DIGEST_HEX_SIZE + 8];
    struct oci_writer *w = NULL;
    CLEANUP(json) json_t *owner = json_array(); /* of annotations that descriptors borrow */
    CLEANUP(free) struct oci_descriptor *entries = calloc(j->n_list + 3u, sizeof *entries);
    struct oci_index index = {.manifests = entries};
    if (!owner || !entries) return error_memory(err, j->n_list * sizeof *entries);
    if (j->o->base && dir_is_within(j->base_layout.dir, j->ref.dir))
        return error_set(err, ERR_USAGE, "output '%.512s' would replace the base, which is being read", j->ref.dir);
    if (!folder_survives(j->model, j->ref.dir, err) || (j->profiles && !folder_survives(j->profiles, j->ref.dir, err)))
        return false;
    for (uint32_t i = 0; i < j->n_carried; i++)
        if (!folder_survives(j->carried[i].adapter->folder, j->ref.dir, err)) return false;
    if (!staging_key(j, key, err)) return false;
    struct oci_writer_options wo = {.layout_dir = j->ref.dir,
                                    .archive = j->ref.is_archive,
                                    .key = key,
                                    .replace = j->o->replace,
                                    .pool = j->o->pool,
                                    .progress = j->o->progress,
                                    .total_bytes = j->data_bytes};
    if (!oci_writer_open(&w, &wo, err)) return false;
    if (write_images(j, w, &index, owner, err)) return oci_writer_commit(w, &index, err);
    oci_writer_close(w, err && err->code == ERR_CANCELLED);
    return false;
}

static bool run(struct pack_job *j, struct error *err)
{
    if (!check_annotations(j->o->annotations, err) || !oci_ref_parse(j->o->ref, &j->ref, err) ||
        !oci_created(j->created, err) || !folder_open(&j->model, j->o->source, err) ||
        (j->o->profiles && !folder_open(&j->profiles, j->o->profiles, err)) || !pack_adapters_open(j, err) ||
        !list_files(j, err) || (j->o->base && !pack_base_open(j, err)))
        return false;
    give_notes(j);
    return write_layout(j, err);
}

bool pack_run(const struct pack_options *o, struct pack_result *out, struct error *err)
{
    *out = (struct pack_result){0};
    struct error local = ERROR_INIT; /* the code is looked at, so there must be one */
    struct pack_job j = {.o = o, .result = out, .base_layout = OCI_LAYOUT_INIT};
    bool ok = run(&j, &local);
    pack_profiles_free(&j);
    pack_adapters_close(&j);
    pack_base_close(&j);
    oci_ref_close(&j.ref);
    folder_close(j.model);
    folder_close(j.profiles);
    free(j.sources);
    if (ok) return true;
    pack_result_free(out);
    if (err) *err = local;
    return false;
}
