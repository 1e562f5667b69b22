/* Every layer of the image: bytes, shape, labels; and that their files make one tree. Layers are read in parallel, each
 * once; the report is written in layer order afterwards. */
#include "verify/package_state.h"

#include "core/name_index.h"
#include "core/text.h"

#include <stdatomic.h>

#define CHUNK_BYTES ((size_t)1 << 20)

struct layer_run {
    struct package *p;
    const struct oci_manifest *m;
    struct layer_check *checks;
    _Atomic uint64_t done_bytes;
    _Atomic bool cancelled;
    uint64_t total_bytes;
    uint32_t n_base; /* layers of the base: only their bytes are checked */
};

static void set_verdict(struct layer_check *c, const char *check_class, enum verdict v, const char *text)
{
    c->check_class = check_class;
    c->verdict = v;
    snprintf(c->text, sizeof c->text, "%s", text);
}

/* Like package_judge, but into the layer's own place: items of a parallel-for do not share the report. */
static bool judge(struct layer_check *c, const char *check_class, const struct error *found, struct error *err)
{
    if (found->code == ERR_FORMAT || found->code == ERR_UNSUPPORTED)
        set_verdict(c, check_class, VERDICT_FAIL, found->text);
    else if (found->code == ERR_IO) set_verdict(c, check_class, VERDICT_UNDECIDED, found->text);
    else {
        if (err) *err = *found;
        return false;
    }
    return true;
}

/* Progress is told by the calling thread, which is worker 0. */
static bool go_on(struct layer_run *run, uint64_t more_bytes, uint32_t worker, struct error *err)
{
    uint64_t done = atomic_fetch_add(&run->done_bytes, more_bytes) + more_bytes;
    if (worker == 0) {
        progress_update(run->p->o->progress, "verify", "layers", done, run->total_bytes);
        if (!progress_go_on(run->p->o->progress, err)) {
            atomic_store(&run->cancelled, true);
            return false;
        }
    }
    return !atomic_load(&run->cancelled) || error_set(err, ERR_CANCELLED, "cancelled");
}

/* The part of a chunk (n bytes at `at` of the layer) that belongs to the file. */
static struct bytes file_part(const struct tar_layer *t, const uint8_t *chunk, uint64_t at, size_t n)
{
    uint64_t first = t->data_offset > at ? t->data_offset : at, end = u64_min(t->data_offset + t->data_bytes, at + n);
    return first < end ? bytes_of(chunk + (first - at), (size_t)(end - first)) : bytes_of(NULL, 0);
}

/* SHA-256 of the layer and, when its shape is known, of the file inside, from one read. */
static bool hash_layer(struct layer_run *run, const struct file_place *place, const char *what,
                       const struct tar_layer *tar, uint32_t worker, struct digest *whole, struct digest *file,
                       struct error *err)
{
    CLEANUP(free) uint8_t *chunk = malloc(CHUNK_BYTES);
    struct sha256 *a = NULL, *b = NULL;
    bool ok = (chunk || error_memory(err, CHUNK_BYTES)) && sha256_open(&a, err) && sha256_open(&b, err);
    for (uint64_t at = 0; ok && at < place->size;) {
        size_t n = (size_t)u64_min(CHUNK_BYTES, place->size - at);
        ok = file_read_at(place->fd, what, place->offset + at, chunk, n, err) && go_on(run, n, worker, err);
        if (!ok) break;
        sha256_add(a, chunk, n);
        if (tar) {
            struct bytes part = file_part(tar, chunk, at, n);
            sha256_add(b, part.data, part.size);
        }
        at += n;
    }
    ok = sha256_close(a, ok ? whole : NULL, err) && ok;
    return sha256_close(b, ok ? file : NULL, err) && ok;
}

/* "adapters/NAME/..." -> NAME; *n its bytes, 0 for other paths. */
static const char *adapter_of(const char *path, size_t *n)
{
    size_t k = strlen(OCI_ADAPTERS_FOLDER);
    *n = 0;
    if (strncmp(path, OCI_ADAPTERS_FOLDER, k) != 0) return NULL;
    *n = strcspn(path + k, "/");
    return path + k;
}

static bool check_adapter_label(const struct oci_descriptor *d, const char *path, struct error *err)
{
    size_t n;
    const char *name = adapter_of(path, &n), *said = oci_annotation(d->annotations, OCI_ANNOTATION_ADAPTER);
    if (name ? said && strlen(said) == n && strncmp(said, name, n) == 0 : !said) return true;
    return error_set(err, ERR_FORMAT, "'%.256s' is said to belong to adapter '%.128s'", path, said ? said : "");
}

/* Title, file digest and diff id say the same as the layer. */
static bool check_labels(const struct layer_run *run, uint32_t i, struct error *err)
{
    const struct oci_descriptor *d = &run->m->layers[i];
    const struct layer_check *c = &run->checks[i];
    const struct oci_config *config = &run->p->config;
    static const char *const known[] = {OCI_ANNOTATION_TITLE, OCI_ANNOTATION_FILE_SHA256, OCI_ANNOTATION_ADAPTER, NULL};
    char hex[DIGEST_HEX_SIZE];
    const char *title = oci_annotation(d->annotations, OCI_ANNOTATION_TITLE);
    const char *said = oci_annotation(d->annotations, OCI_ANNOTATION_FILE_SHA256);
    digest_hex(&c->file_digest, hex);
    if (!title || strcmp(title, c->tar.path) != 0)
        return error_set(err, ERR_FORMAT, "its title is '%.256s', the file inside is '%.256s'", title ? title : "",
                         c->tar.path);
    if (said && strcmp(said, hex) != 0)
        return error_set(err, ERR_FORMAT, "its file is said to be %.80s, it is %s", said, hex);
    if (!json_known_keys(d->annotations, "annotations", known, err) || !check_adapter_label(d, c->tar.path, err))
        return false;
    if (d->artifact_type) return error_set(err, ERR_FORMAT, "has an artifact type");
    if (config->doc && (i >= config->n_layers || !digest_equal(&config->diff_ids[i], &d->digest)))
        return error_set(err, ERR_FORMAT, "the config's diff id is not the digest of this layer");
    return true;
}

static bool check_open_layer(struct layer_run *run, uint32_t i, const struct file_place *at, uint32_t worker,
                             struct error *err)
{
    const struct oci_descriptor *d = &run->m->layers[i];
    struct layer_check *c = &run->checks[i];
    struct error shape = ERROR_INIT, found = ERROR_INIT;
    struct digest whole;
    char wanted[OCI_DIGEST_SIZE], got[OCI_DIGEST_SIZE];
    bool shaped = tar_layer_read(at, "layer", &c->tar, &shape);
    if (!shaped && shape.code != ERR_FORMAT) return judge(c, CHECK_LAYOUT, &shape, err);
    if (!hash_layer(run, at, "layer", shaped ? &c->tar : NULL, worker, &whole, &c->file_digest, &found))
        return judge(c, CHECK_DIGEST, &found, err);
    if (!digest_equal(&whole, &d->digest)) {
        oci_digest_text(&d->digest, wanted);
        oci_digest_text(&whole, got);
        error_set(&found, ERR_FORMAT, "expected %s, found %s", wanted, got);
        return judge(c, CHECK_DIGEST, &found, err);
    }
    if (!shaped) return judge(c, CHECK_LAYOUT, &shape, err);
    if (!tar_layer_check(at, "layer", &c->tar, &found) || !check_labels(run, i, &found))
        return judge(c, CHECK_LAYOUT, &found, err);
    c->ok = true;
    return true;
}

/* The first image's layer of this digest, when that was found good. */
static const struct layer_check *known(const struct layer_run *run, const struct oci_descriptor *d)
{
    const struct package *p = run->p;
    const struct oci_manifest *first = &p->manifests[p->image_entries[0]];
    for (uint32_t i = 0; p->first && i < first->n_layers; i++)
        if (p->first[i].ok && digest_equal(&first->layers[i].digest, &d->digest) && first->layers[i].size == d->size)
            return &p->first[i];
    return NULL;
}

static bool check_base_layer(struct layer_run *run, uint32_t i, const struct file_place *at, uint32_t worker,
                             struct error *err)
{
    const struct oci_descriptor *d = &run->m->layers[i];
    struct layer_check *c = &run->checks[i];
    struct error found = ERROR_INIT;
    struct digest whole;
    if (!hash_layer(run, at, "layer", NULL, worker, &whole, &c->file_digest, &found))
        return judge(c, CHECK_DIGEST, &found, err);
    c->ok = digest_equal(&whole, &d->digest);
    if (c->ok) return true;
    error_set(&found, ERR_FORMAT, "a layer of the base has other bytes than its digest says");
    return judge(c, CHECK_DIGEST, &found, err);
}

static bool check_layer(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    struct layer_run *run = ctx;
    uint32_t i = (uint32_t)item;
    const struct oci_descriptor *d = &run->m->layers[i];
    struct layer_check *c = &run->checks[i];
    struct error found = ERROR_INIT;
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    bool differs = false;
    const struct layer_check *same = known(run, d);
    if (same) {
        *c = *same;
        c->shared = true;
        c->ok = i < run->n_base || check_labels(run, i, &found);
        return c->ok || judge(c, CHECK_LAYOUT, &found, err);
    }
    const char *title = oci_annotation(d->annotations, OCI_ANNOTATION_TITLE);
    if (oci_is_thin(&run->p->index) && (i < run->n_base || (title && oci_is_weights(title))) &&
        !oci_blob_is_there(&run->p->layout, &d->digest)) {
        set_verdict(c, CHECK_DIGEST, VERDICT_UNDECIDED, "not looked at: this layout is thin, and it was left out");
        return true;
    }
    if (i < run->n_base) {
        if (oci_blob_open(&run->p->layout, d, "layer", &at, &differs, &found))
            return check_base_layer(run, i, &at, worker, err);
        return judge(c, differs ? CHECK_DIGEST : CHECK_LAYOUT, &found, err);
    }
    if (strcmp(d->media_type, OCI_MEDIA_LAYER) != 0)
        error_set(&found, ERR_FORMAT, "expected media type \"" OCI_MEDIA_LAYER "\", found \"%.128s\"", d->media_type);
    else if (oci_blob_open(&run->p->layout, d, "layer", &at, &differs, &found))
        return check_open_layer(run, i, &at, worker, err);
    return judge(c, differs ? CHECK_DIGEST : CHECK_LAYOUT, &found, err);
}

static void report_layers(const struct layer_run *run)
{
    for (uint32_t i = 0; i < run->m->n_layers; i++) {
        const struct layer_check *c = &run->checks[i];
        const char *title = oci_annotation(run->m->layers[i].annotations, OCI_ANNOTATION_TITLE);
        const char *text = strncmp(c->text, "layer: ", 7) == 0 ? c->text + 7 : c->text;
        char name[256], hex[DIGEST_HEX_SIZE];
        snprintf(name, sizeof name, "layer %u of %u (%.180s)", i + 1, run->m->n_layers, title ? title : "no title");
        digest_hex(&c->file_digest, hex);
        if (c->ok && c->shared) continue; /* its line stands with the first image */
        if (c->ok && i < run->n_base)
            report_add(run->p->report, CHECK_DIGEST, VERDICT_PASS, name, "%llu bytes of the base as named",
                       (unsigned long long)run->m->layers[i].size);
        else if (c->ok)
            report_add(run->p->report, CHECK_DIGEST, VERDICT_PASS, name,
                       "%llu bytes as named, one file of %llu bytes, sha256 %s",
                       (unsigned long long)run->m->layers[i].size, (unsigned long long)c->tar.data_bytes, hex);
        else report_add(run->p->report, c->check_class, c->verdict, name, "%s", text);
    }
}

/* No path twice, none that is a folder of another, and nothing outside the folders that pack fills. */
static bool tree_fault(const struct layer_run *run, char fault[ERROR_TEXT_MAX], struct error *err)
{
    uint32_t n = run->m->n_layers, used = 0;
    CLEANUP(free) const char **paths = calloc(n, sizeof *paths);
    struct name_index ix;
    struct error found = ERROR_INIT;
    if (!paths) return error_memory(err, n * sizeof *paths);
    fault[0] = '\0';
    for (uint32_t i = run->n_base; i < n; i++)
        if (run->checks[i].ok) paths[used++] = run->checks[i].tar.path;
    if (!name_index_build(&ix, paths, used, "files", &found)) {
        if (found.code == ERR_FORMAT) snprintf(fault, ERROR_TEXT_MAX, "%s", found.text);
        else if (err) *err = found;
        return found.code == ERR_FORMAT;
    }
    for (uint32_t i = 0; i < used; i++) {
        char parent[TAR_PATH_BYTES_MAX + 1];
        strcpy(parent, paths[i]);
        if (strncmp(parent, "models/", 7) != 0 && strncmp(parent, "profiles/", 9) != 0 &&
            strncmp(parent, OCI_ADAPTERS_FOLDER, strlen(OCI_ADAPTERS_FOLDER)) != 0)
            snprintf(fault, ERROR_TEXT_MAX, "file '%.512s' is outside models/, adapters/ and profiles/", paths[i]);
        for (char *slash; (slash = strrchr(parent, '/'));) {
            *slash = '\0';
            if (name_index_find(&ix, parent) != NAME_NONE)
                snprintf(fault, ERROR_TEXT_MAX, "'%.512s' is a file and a folder", parent);
        }
    }
    name_index_free(&ix);
    return true;
}

/* The manifest names the adapters whose layers are there, in the order of the layers. */
static bool adapters_fault(const struct layer_run *run, char fault[ERROR_TEXT_MAX], struct error *err)
{
    CLEANUP(text) struct text names = TEXT_INIT;
    const char *said = oci_annotation(run->m->annotations, OCI_ANNOTATION_ADAPTERS), *last = "";
    size_t last_bytes = 0;
    for (uint32_t i = run->n_base; i < run->m->n_layers; i++) {
        size_t n;
        const char *title = oci_annotation(run->m->layers[i].annotations, OCI_ANNOTATION_TITLE);
        const char *name = adapter_of(title ? title : "", &n);
        if (!name || (n == last_bytes && strncmp(name, last, n) == 0)) continue;
        text_add(&names, "%s%.*s", names.size ? "," : "", (int)n, name);
        last = name;
        last_bytes = n;
    }
    if (names.failed) return error_memory(err, names.capacity);
    if (!fault[0] && strcmp(said ? said : "", names.size ? names.data : "") != 0)
        snprintf(fault, ERROR_TEXT_MAX, "the manifest names the adapters '%.256s', the layers are of '%.256s'",
                 said ? said : "", names.size ? names.data : "");
    return true;
}

static bool attach_files(const struct layer_run *run, struct error *err)
{
    char image[OCI_DIGEST_SIZE];
    oci_digest_text(&package_image(run->p)->digest, image);
    CLEANUP(json) json_t *files = json_array();
    if (!files) return error_memory(err, 0);
    for (uint32_t i = run->n_base; i < run->m->n_layers; i++) {
        const struct layer_check *c = &run->checks[i];
        char hex[DIGEST_HEX_SIZE], layer[OCI_DIGEST_SIZE];
        if (!c->ok) continue;
        digest_hex(&c->file_digest, hex);
        oci_digest_text(&run->m->layers[i].digest, layer);
        json_t *file = json_pack("{s:s,s:I,s:s,s:s}", "path", c->tar.path, "bytes", (json_int_t)c->tar.data_bytes,
                                 "sha256", hex, "layer", layer);
        if (json_array_append_new(files, file) != 0) return error_memory(err, 0);
    }
    json_t *j = json_pack("{s:s,s:s,s:O}", "image", image, "tag", run->p->ref.tag, "files", files);
    if (!j) return error_memory(err, 0);
    report_attach(run->p->report, "package", j);
    return true;
}

bool package_check_layers(struct package *p, struct error *err)
{
    struct layer_run run = {.p = p, .m = package_manifest(p)};
    char fault[ERROR_TEXT_MAX];
    if (run.m->n_layers == 0 || !oci_base_layers(run.m, "manifest", &run.n_base, NULL)) return true; /* said already */
    run.checks = calloc(run.m->n_layers, sizeof *run.checks);
    if (!run.checks) return error_memory(err, run.m->n_layers * sizeof *run.checks);
    for (uint32_t i = 0; i < run.m->n_layers; i++) run.total_bytes += run.m->layers[i].size; /* 8192 * 2^47 fits */
    bool ok = pool_try(p->o->pool, run.m->n_layers, check_layer, &run, err);
    if (ok) {
        report_layers(&run);
        ok = tree_fault(&run, fault, err) && adapters_fault(&run, fault, err) &&
             (p->current > 0 || attach_files(&run, err));
    }
    if (ok)
        report_add(p->report, CHECK_LAYOUT, fault[0] ? VERDICT_FAIL : VERDICT_PASS, "files", "%s",
                   fault[0] ? fault : "every path once, all of them below models/, adapters/ and profiles/");
    if (p->current == 0) p->first = take_ptr(&run.checks);
    free(run.checks);
    return ok;
}
