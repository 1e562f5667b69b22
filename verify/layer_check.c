#include "verify/layer_check.h"

#define CHUNK_BYTES ((size_t)1 << 20)

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

/* n bytes at `at` of the layer: what is the file's goes into both hashes at once, which costs hardly more than one. */
static void add_chunk(struct sha256 *layer, struct sha256 *file, const struct tar_layer *t, const uint8_t *chunk,
                      uint64_t at, size_t n)
{
    struct bytes part = t ? file_part(t, chunk, at, n) : bytes_of(NULL, 0);
    if (!part.size) {
        sha256_add(layer, chunk, n);
        return;
    }
    size_t before = (size_t)(part.data - chunk);
    sha256_add(layer, chunk, before);
    sha256_add_pair(layer, part.data, part.size, file, part.data, part.size);
    sha256_add(layer, part.data + part.size, n - before - part.size);
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
        add_chunk(a, b, tar, chunk, at, n);
        at += n;
    }
    ok = sha256_close(a, ok ? whole : NULL, err) && ok;
    return sha256_close(b, ok ? file : NULL, err) && ok;
}

const char *layer_adapter(const char *path, size_t *n)
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
    const char *name = layer_adapter(path, &n), *said = oci_annotation(d->annotations, OCI_ANNOTATION_ADAPTER);
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
    c->ok = tar_layer_check(at, "layer", &c->tar, &found);
    return c->ok || judge(c, CHECK_LAYOUT, &found, err);
}

/* The same of a layer that is open, and stays it when the model is read from it afterwards. */
static bool check_and_keep(struct layer_run *run, uint32_t i, struct file_place *at, uint32_t worker, struct error *err)
{
    if (!check_open_layer(run, i, at, worker, err)) return false;
    if (!run->kept) return true;
    run->kept->layers[i] = *at;
    at->fd = -1;
    return true;
}

/* A layer that follows from its file (formats/tar.h), which lies in a folder: made again in passing, never written. */
static bool hash_file_layer(struct layer_run *run, const struct file_place *file, const struct buffer *head,
                            const struct tar_layer *tar, uint32_t worker, struct digest *whole, struct digest *data,
                            struct error *err)
{
    static const uint8_t zeros[2048];
    CLEANUP(free) uint8_t *chunk = malloc(CHUNK_BYTES);
    struct sha256 *a = NULL, *b = NULL;
    bool ok = (chunk || error_memory(err, CHUNK_BYTES)) && sha256_open(&a, err) && sha256_open(&b, err);
    if (ok) sha256_add(a, head->data, head->size);
    for (uint64_t at = 0; ok && at < file->size;) {
        size_t n = (size_t)u64_min(CHUNK_BYTES, file->size - at);
        ok = file_read_at(file->fd, "layer", file->offset + at, chunk, n, err) && go_on(run, n, worker, err);
        if (ok) sha256_add_pair(a, chunk, n, b, chunk, n);
        at += n;
    }
    if (ok) sha256_add(a, zeros, tar_layer_tail(tar));
    ok = sha256_close(a, ok ? whole : NULL, err) && ok;
    return sha256_close(b, ok ? data : NULL, err) && ok;
}

static bool check_file_layer(struct layer_run *run, uint32_t i, const struct file_place *file, uint32_t worker,
                             struct error *err)
{
    const struct oci_descriptor *d = &run->m->layers[i];
    struct layer_check *c = &run->checks[i];
    CLEANUP_BUFFER struct buffer head = {0};
    struct error found = ERROR_INIT;
    struct digest whole;
    const char *title = oci_annotation(d->annotations, OCI_ANNOTATION_TITLE);
    if (!tar_layer_header(title, file->size, &head, &c->tar, &found)) return judge(c, CHECK_LAYOUT, &found, err);
    if (!hash_file_layer(run, file, &head, &c->tar, worker, &whole, &c->file_digest, &found))
        return judge(c, CHECK_DIGEST, &found, err);
    if (!digest_equal(&whole, &d->digest)) {
        char wanted[OCI_DIGEST_SIZE], got[OCI_DIGEST_SIZE];
        oci_digest_text(&d->digest, wanted);
        oci_digest_text(&whole, got);
        error_set(&found, ERR_FORMAT, "expected %s, of the file beside the layout it would be %s", wanted, got);
        return judge(c, CHECK_DIGEST, &found, err);
    }
    c->ok = true;
    return true;
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

/* A layer that a thin layout lacks: from beside it, or not at all. */
static bool check_thin_layer(struct layer_run *run, uint32_t i, uint32_t worker, struct error *err)
{
    const struct oci_descriptor *d = &run->m->layers[i];
    const struct oci_weights *beside = run->p->o->beside;
    struct layer_check *c = &run->checks[i];
    struct error found = ERROR_INIT;
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    enum weights_found where = WEIGHTS_NONE;
    if (beside && !oci_weights_find(beside, d, "layer", &at, &where, &found))
        return judge(c, CHECK_DIGEST, &found, err);
    c->beside = where != WEIGHTS_NONE;
    if (where == WEIGHTS_NONE)
        set_verdict(c, CHECK_DIGEST, VERDICT_UNDECIDED,
                    beside ? "not looked at: this layout is thin, and it is not beside it either"
                           : "not looked at: this layout is thin, and it was left out");
    else if (where == WEIGHTS_FILE) return check_file_layer(run, i, &at, worker, err);
    else if (i < run->n_base) return check_base_layer(run, i, &at, worker, err);
    else return check_and_keep(run, i, &at, worker, err);
    return true;
}

bool layer_check_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    struct layer_run *run = ctx;
    uint32_t i = (uint32_t)item;
    const struct oci_descriptor *d = &run->m->layers[i];
    struct layer_check *c = &run->checks[i];
    struct error found = ERROR_INIT;
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    bool differs = false;
    if (c->reused) return true;
    const char *title = oci_annotation(d->annotations, OCI_ANNOTATION_TITLE);
    if (oci_is_thin(&run->p->index) && (i < run->n_base || (title && oci_is_weights(title))) &&
        !oci_blob_is_there(&run->p->layout, &d->digest))
        return check_thin_layer(run, i, worker, err);
    if (i < run->n_base) {
        if (oci_blob_open(&run->p->layout, d, "layer", &at, &differs, &found))
            return check_base_layer(run, i, &at, worker, err);
        return judge(c, differs ? CHECK_DIGEST : CHECK_LAYOUT, &found, err);
    }
    if (oci_blob_open(&run->p->layout, d, "layer", &at, &differs, &found))
        return check_and_keep(run, i, &at, worker, err);
    return judge(c, differs ? CHECK_DIGEST : CHECK_LAYOUT, &found, err);
}

void layers_claim(struct layer_run *run)
{
    for (uint32_t i = 0; i < run->m->n_layers; i++) {
        const struct oci_descriptor *d = &run->m->layers[i];
        struct layer_check *c = &run->checks[i];
        c->reused = !seen_layers_claim(&run->p->seen, d, i < run->n_base, run->p->current, &c->shared);
        if (!c->reused) run->total_bytes += d->size; /* 8192 * 2^47 fits */
    }
}

bool layer_settle(struct layer_run *run, uint32_t i, struct error *err)
{
    const struct oci_descriptor *d = &run->m->layers[i];
    struct layer_check *c = &run->checks[i];
    struct error found = ERROR_INIT;
    bool base = i < run->n_base;
    if (c->reused) seen_layers_recall(&run->p->seen, d, base, c);
    else if (!seen_layers_keep(&run->p->seen, d, base, c, err)) return false;
    if (!c->ok || base) return true;
    c->ok = false;
    if (strcmp(d->media_type, OCI_MEDIA_LAYER) != 0)
        error_set(&found, ERR_FORMAT, "expected media type \"" OCI_MEDIA_LAYER "\", found \"%.128s\"", d->media_type);
    else c->ok = check_labels(run, i, &found);
    return c->ok || judge(c, CHECK_LAYOUT, &found, err);
}
