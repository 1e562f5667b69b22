/* The folder itself: that every file in it is a regular file which the documents refer to, and that none is missing. */
#include "verify/package_state.h"

#include "formats/oci_archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define STRAYS_SHOWN 8u
#define FILES_MAX 200000u
#define SIZE_CONFLICT UINT64_MAX /* two documents give a blob two sizes: no file has this one */

struct referred {
    struct digest digest;
    uint64_t size;
    bool seen;
};

struct listing {
    struct package *p;
    struct referred *referred; /* sorted by digest, each once */
    size_t n_referred;
    uint32_t n_files, n_strays;
    bool undecided;
};

static int by_digest(const void *a, const void *b)
{
    return memcmp(((const struct referred *)a)->digest.bytes, ((const struct referred *)b)->digest.bytes, DIGEST_BYTES);
}

/* `spare`: a thin layout may lack it, which is said with the image's layers. */
static void refer(struct listing *l, const struct oci_descriptor *d, bool spare)
{
    l->referred[l->n_referred++] = (struct referred){.digest = d->digest, .size = d->size, .seen = spare};
}

static bool is_spare(const struct package *p, const struct oci_manifest *m, uint32_t layer)
{
    uint32_t n_base = 0;
    const char *title = oci_annotation(m->layers[layer].annotations, OCI_ANNOTATION_TITLE);
    if (!oci_is_thin(&p->index) || m->has_subject || !oci_base_layers(m, "manifest", &n_base, NULL)) return false;
    return layer < n_base || (title && oci_is_weights(title));
}

static bool collect(struct listing *l, struct error *err)
{
    const struct package *p = l->p;
    size_t n = p->index.n_manifests;
    for (uint32_t i = 0; i < p->index.n_manifests; i++) n += p->manifests[i].n_layers + 1u;
    l->referred = calloc(n, sizeof *l->referred);
    if (!l->referred) return error_memory(err, n * sizeof *l->referred);
    for (uint32_t i = 0; i < p->index.n_manifests; i++) {
        const struct oci_manifest *m = &p->manifests[i];
        refer(l, &p->index.manifests[i], false);
        if (!m->doc) continue;
        refer(l, &m->config, false);
        for (uint32_t k = 0; k < m->n_layers; k++) refer(l, &m->layers[k], is_spare(p, m, k));
    }
    qsort(l->referred, l->n_referred, sizeof *l->referred, by_digest);
    size_t kept = 0;
    for (size_t i = 0; i < l->n_referred; i++) {
        struct referred *r = &l->referred[i], *last = kept ? &l->referred[kept - 1] : NULL;
        if (!last || by_digest(r, last) != 0) l->referred[kept++] = *r;
        else if (last->size != r->size) last->size = SIZE_CONFLICT;
        else last->seen = last->seen || r->seen;
    }
    l->n_referred = kept;
    return true;
}

static void stray(struct listing *l, const char *folder, const char *name, const char *why)
{
    static const char temporary[] = ".ingot-tmp";
    size_t n = strlen(name), k = sizeof temporary - 1;
    char path[320];
    if (l->n_strays++ >= STRAYS_SHOWN) return;
    snprintf(path, sizeof path, "%s%.255s", folder, name);
    if (n > k && strcmp(name + n - k, temporary) == 0) why = "is left from a signer that was stopped: sign again";
    report_add(l->p->report, CHECK_LAYOUT, VERDICT_FAIL, path, "%s", why);
}

static void visit_blob(struct listing *l, const char *name, const struct stat *st)
{
    struct referred key;
    struct referred *r = NULL;
    if (!S_ISREG(st->st_mode)) stray(l, OCI_BLOBS_FOLDER "/", name, "is not a regular file");
    else if (!digest_parse(name, &key.digest)) stray(l, OCI_BLOBS_FOLDER "/", name, "is not named by a digest");
    else if (!(r = bsearch(&key, l->referred, l->n_referred, sizeof key, by_digest))) {
        /* Where a manifest cannot be read, that has been said, and what it refers to is not known. */
        if (l->p->all_read) stray(l, OCI_BLOBS_FOLDER "/", name, "is a blob that nothing refers to");
    } else if ((uint64_t)st->st_size != r->size)
        stray(l, OCI_BLOBS_FOLDER "/", name, "has another size than the documents say");
    if (r) r->seen = true;
}

static bool is_empty_folder(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    bool empty = d != NULL;
    if (!d && fd >= 0) close(fd);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) empty = false;
    if (d) closedir(d);
    return empty;
}

static void visit_root(struct listing *l, const char *name, const struct stat *st)
{
    bool file = strcmp(name, OCI_LAYOUT_FILE) == 0 || strcmp(name, OCI_INDEX_FILE) == 0;
    if (file && S_ISREG(st->st_mode)) return;
    if (strcmp(name, "blobs") == 0 && S_ISDIR(st->st_mode)) return;
    /* oras leaves its empty work folder behind. */
    if (strcmp(name, "ingest") == 0 && S_ISDIR(st->st_mode) && is_empty_folder(l->p->layout.dir, name)) return;
    stray(l, "", name, "does not belong into an image layout");
}

static void visit_blobs(struct listing *l, const char *name, const struct stat *st)
{
    if (strcmp(name, "sha256") != 0 || !S_ISDIR(st->st_mode))
        stray(l, "blobs/", name, "does not belong into an image layout");
}

typedef void (*visit_fn)(struct listing *l, const char *name, const struct stat *st);

static void cannot(struct listing *l, const char *name, const char *what)
{
    struct error e = ERROR_INIT;
    error_set_errno(&e, "%s", what);
    l->undecided = true;
    report_add(l->p->report, CHECK_LAYOUT, VERDICT_UNDECIDED, name, "%s", e.text);
}

static void list_folder(struct listing *l, int parent, const char *name, visit_fn visit)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        cannot(l, name, "cannot be listed");
        if (fd >= 0) close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d)) && l->n_files < FILES_MAX;) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        l->n_files++;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) visit(l, e->d_name, &st);
        else cannot(l, e->d_name, "cannot be examined");
    }
    closedir(d);
}

/* An archive that holds anything but documents and blobs was refused when it was opened. */
static void list_archive(struct listing *l, const struct oci_archive *a)
{
    for (uint32_t i = 0; i < oci_archive_count(a); i++) {
        const struct digest *d;
        char hex[DIGEST_HEX_SIZE];
        struct stat st = {.st_mode = S_IFREG, .st_size = (off_t)oci_archive_size(a, i, &d)};
        digest_hex(d, hex);
        visit_blob(l, hex, &st);
    }
}

static void check_missing(struct listing *l)
{
    for (size_t i = 0; i < l->n_referred; i++) {
        char digest[OCI_DIGEST_SIZE];
        oci_digest_text(&l->referred[i].digest, digest);
        if (!l->referred[i].seen) stray(l, "blob ", digest, "is missing");
    }
}

/* Other images may share the layout: that their blobs are there is known, not what they hold. */
static void note_others(const struct package *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->index.n_manifests; i++) {
        bool same = digest_equal(&p->index.manifests[i].digest, &package_image(p)->digest);
        for (uint32_t k = 0; k < p->n_images; k++)
            same = same || digest_equal(&p->index.manifests[i].digest, &p->index.manifests[p->image_entries[k]].digest);
        n += p->manifests[i].doc && !p->manifests[i].has_subject && !same;
    }
    if (n)
        report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, "other images",
                   "%u more in this layout; their layers were not read", n);
}

bool package_check_files(struct package *p, struct error *err)
{
    struct listing l = {.p = p};
    if (!collect(&l, err)) return false;
    if (p->layout.archive) list_archive(&l, p->layout.archive);
    else {
        list_folder(&l, p->layout.dir, ".", visit_root);
        list_folder(&l, p->layout.dir, "blobs", visit_blobs);
        list_folder(&l, p->layout.blobs, ".", visit_blob);
    }
    check_missing(&l);
    if (l.n_files >= FILES_MAX)
        report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, "layout", "has more than %u files", FILES_MAX);
    else if (l.n_strays > STRAYS_SHOWN)
        report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, "layout", "%u files in all do not belong or are missing",
                   l.n_strays);
    else if (l.n_strays == 0 && !l.undecided)
        report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, "layout", "%zu blobs, each referred to, and nothing else",
                   l.n_referred);
    note_others(p);
    free(l.referred);
    return true;
}
