#include "pack/pull_place.h"

#include "core/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char *entry_tag(const json_t *entry)
{
    return oci_annotation(json_object_get(entry, "annotations"), OCI_ANNOTATION_REF);
}

static bool is_digest(const json_t *entry, const struct digest *d)
{
    const char *text = json_string_value(json_object_get(entry, "digest"));
    struct digest found;
    return text && oci_digest_parse(text, &found) && digest_equal(&found, d);
}

/* Before anything is fetched: would the tag move? */
static bool check_tag(const struct pull_place *p, const struct graph *g, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    json_t *entries;
    if (!oci_layout_marker(&p->layout, err) || !graph_layout_index(&p->layout, &doc, &entries, err)) return false;
    for (size_t i = 0; i < json_array_size(entries); i++) {
        const char *tag = entry_tag(json_array_get(entries, i));
        if (!tag || strcmp(tag, p->tag) != 0 || is_digest(json_array_get(entries, i), &g->nodes[0].digest) || p->force)
            continue;
        return error_set(err, ERR_USAGE, "'%.256s' has the tag '%s' for another image (--force moves it)", p->dir, tag);
    }
    return true;
}

static bool make_folders(struct pull_place *p, struct error *err)
{
    const char *root = staging_path(p->staging);
    CLEANUP(free) char *outer = NULL;
    CLEANUP(free) char *inner = NULL;
    if (!path_join(&outer, root, "blobs", err) || !path_join(&inner, outer, "sha256", err)) return false;
    if ((mkdir(outer, 0777) != 0 && errno != EEXIST) || (mkdir(inner, 0777) != 0 && errno != EEXIST))
        return error_set_errno(err, "cannot make folder '%.512s'", inner);
    return dir_open(inner, &p->blobs, err);
}

/* What is still to come, as far as sizes tell. */
static bool check_space(const struct pull_place *p, const struct graph *g, struct error *err)
{
    uint64_t need = g->text_bytes, space;
    for (uint32_t i = 0; i < g->n_blobs; i++) {
        char hex[DIGEST_HEX_SIZE], part[DIGEST_HEX_SIZE + sizeof REGISTRY_PART_SUFFIX];
        struct stat st;
        digest_hex(&g->blobs[i].digest, hex);
        snprintf(part, sizeof part, "%s" REGISTRY_PART_SUFFIX, hex);
        bool there = fstatat(p->blobs, hex, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
                     fstatat(p->blobs, part, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
                     (p->exists && fstatat(p->layout.blobs, hex, &st, AT_SYMLINK_NOFOLLOW) == 0);
        uint64_t have = there ? (uint64_t)st.st_size : 0;
        need += have < g->blobs[i].size ? g->blobs[i].size - have : 0;
    }
    if (!dir_space(staging_path(p->staging), &space, err)) return false;
    return need <= space ? true
                         : error_set(err, ERR_IO, "'%.256s': %llu bytes are to come, and the disk has room for %llu",
                                     p->dir, (unsigned long long)need, (unsigned long long)space);
}

bool pull_place_open(struct pull_place *p, const char *dir, const char *tag, bool force, const struct graph *g,
                     struct error *err)
{
    char key[32 + OCI_DIGEST_SIZE], digest[OCI_DIGEST_SIZE];
    CLEANUP(free) char *beside = NULL;
    CLEANUP(free) char *folder = NULL;
    CLEANUP(free) char *name = NULL;
    p->dir = dir;
    p->tag = tag;
    p->force = force;
    p->exists = access(dir, F_OK) == 0;
    oci_digest_text(&g->nodes[0].digest, digest);
    snprintf(key, sizeof key, "pull %s", digest);
    if (!path_split(dir, &folder, &name, err)) return false;
    if (p->exists && (!oci_layout_open(&p->layout, dir, err) || !check_tag(p, g, err))) return false;
    if (asprintf(&beside, "%s/%s.pull", folder, name) < 0) {
        beside = NULL;
        return error_memory(err, strlen(dir));
    }
    return dir_make_parents(dir, err) && staging_open(&p->staging, p->exists ? beside : dir, key, p->exists, err) &&
           make_folders(p, err) && check_space(p, g, err);
}

bool pull_place_has(const struct pull_place *p, const struct registry_blob *b, bool *has, struct error *err)
{
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    struct oci_descriptor d = {.digest = b->digest, .size = b->size};
    struct digest found;
    *has = false;
    if (!p->exists || !oci_blob_open(&p->layout, &d, "blob", &at, NULL, NULL)) return true;
    if (!sha256_of_file(at.fd, "blob", at.offset, b->size, &found, err)) return false;
    *has = digest_equal(&found, &b->digest);
    return true;
}

/* ---- the end -------------------------------------------------------------------------------------------------------
 */
static bool is_wanted(const struct graph *g, const char *name)
{
    struct digest d;
    if (!digest_parse(name, &d)) return false;
    if (graph_find(g, &d)) return true;
    for (uint32_t i = 0; i < g->n_blobs; i++)
        if (digest_equal(&g->blobs[i].digest, &d)) return true;
    return false;
}

/* Parts of what a signer has removed since the last run. */
static bool remove_strays(const struct pull_place *p, const struct graph *g, struct error *err)
{
    int fd = openat(p->blobs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    bool ok = d != NULL;
    if (!d) {
        if (fd >= 0) close(fd);
        error_set_errno(err, "cannot list folder '" OCI_BLOBS_FOLDER "'");
    }
    for (struct dirent *e; ok && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !is_wanted(g, e->d_name))
            ok = dir_remove_tree(p->blobs, e->d_name, err);
    if (d) closedir(d);
    return ok;
}

static bool save_documents(const struct pull_place *p, const struct graph *g, struct error *err)
{
    CLEANUP(free) char *folder = NULL;
    if (!path_join(&folder, staging_path(p->staging), OCI_BLOBS_FOLDER, err)) return false;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        char hex[DIGEST_HEX_SIZE];
        CLEANUP(free) char *path = NULL;
        digest_hex(&g->nodes[i].digest, hex);
        if (!path_join(&path, folder, hex, err) || !file_save(path, buffer_view(&g->nodes[i].text), 0666, err))
            return false;
    }
    return dir_sync(p->blobs, "sha256", err);
}

/* cosign's mark by which it and containers-policy find things on disk; NULL: none. */
static const char *kind_of(const struct graph_node *n, bool first)
{
    const char *end = strrchr(n->tag, '.');
    if (n->kind == GRAPH_IMAGE && n->is_top) return n->is_index ? OCI_KIND_INDEX : OCI_KIND_IMAGE;
    if (n->kind == GRAPH_IMAGE) return first ? OCI_KIND_IMAGE : NULL;
    if (n->kind != GRAPH_TAGGED || !end) return NULL;
    if (strcmp(end, ".sig") == 0) return OCI_KIND_SIGNATURES;
    return strcmp(end, ".att") == 0 ? OCI_KIND_ATTESTATIONS : NULL;
}

/* An entry as `pack` and `sign` write them: images with their tags, a referrer plain. *out NULL: it gets none, as what
 * is below something and has no name. `first`: of the named images, the one that runs anywhere. */
static bool make_entry(const struct pull_place *p, const struct graph_node *n, bool first, json_t **out,
                       struct error *err)
{
    char tag[OCI_TAG_BYTES_MAX + 1] = "";
    *out = NULL;
    if (*n->name && !graph_named_tag(p->tag, n->name, tag)) return true;
    if (!n->is_top && !*n->name) return true;
    if (n->kind == GRAPH_TAGGED) snprintf(tag, sizeof tag, "%s", n->tag);
    if (n->kind == GRAPH_IMAGE && n->is_top) snprintf(tag, sizeof tag, "%.128s", p->tag);
    const char *kind = kind_of(n, first);
    CLEANUP(json) json_t *j = NULL;
    if (!graph_descriptor(n, &j, err)) return false;
    if (n->kind == GRAPH_IMAGE || n->kind == GRAPH_TAGGED) json_object_del(j, "artifactType");
    if (*tag) {
        json_t *a = json_pack("{s:s}", OCI_ANNOTATION_REF, tag);
        if (!json_put(j, "annotations", a, err) || (kind && !json_put(a, OCI_ANNOTATION_KIND, json_string(kind), err)))
            return false;
    }
    *out = take_ptr(&j);
    return true;
}

/* The entry is there already, or comes at the end; its tag is taken from who has it. */
static bool merge_entry(json_t *entries, json_t *fresh, const struct digest *d, struct error *err)
{
    const char *tag = entry_tag(fresh);
    for (size_t i = 0; i < json_array_size(entries); i++) {
        json_t *e = json_array_get(entries, i);
        const char *found = entry_tag(e);
        bool same_tag = tag ? found && strcmp(found, tag) == 0 : !found;
        if (is_digest(e, d) && same_tag) return true;
        if (!tag || !same_tag) continue;
        json_t *annotations = json_object_get(e, "annotations");
        json_object_del(annotations, OCI_ANNOTATION_REF);
        if (json_object_size(annotations) == 0) json_object_del(e, "annotations");
    }
    if (json_array_size(entries) >= OCI_MANIFESTS_MAX)
        return error_set(err, ERR_FORMAT, OCI_INDEX_FILE ": is full: it has %zu entries", json_array_size(entries));
    return json_array_append(entries, fresh) == 0 ? true : error_memory(err, 0);
}

static bool merge_all(const struct pull_place *p, const struct graph *g, json_t *entries, struct error *err)
{
    bool first = true; /* of the named images */
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        const struct graph_node *n = &g->nodes[i];
        CLEANUP(json) json_t *entry = NULL;
        if (!make_entry(p, n, first, &entry, err) || (entry && !merge_entry(entries, entry, &n->digest, err)))
            return false;
        if (n->kind == GRAPH_IMAGE && !n->is_top && *n->name) first = false;
    }
    return true;
}

static bool commit_new(struct pull_place *p, const struct graph *g, struct error *err)
{
    const char *root = staging_path(p->staging);
    CLEANUP(json)
    json_t *doc = json_pack("{s:i,s:s,s:[]}", "schemaVersion", 2, "mediaType", OCI_MEDIA_INDEX, "manifests");
    CLEANUP(free) char *marker = NULL;
    CLEANUP(free) char *index = NULL;
    CLEANUP(free) char *text = NULL;
    size_t n = 0;
    if (!doc) return error_memory(err, 0);
    if (!merge_all(p, g, json_object_get(doc, "manifests"), err) || !json_canonical(doc, &text, &n, err) ||
        !path_join(&marker, root, OCI_LAYOUT_FILE, err) || !path_join(&index, root, OCI_INDEX_FILE, err) ||
        !file_save(marker, bytes_text(OCI_LAYOUT_TEXT), 0666, err) || !file_save(index, bytes_of(text, n), 0666, err))
        return false;
    struct staging *s = take_ptr(&p->staging);
    return staging_commit(s, err);
}

/* One blob from the partial folder, unless the layout has it. */
static bool move(const struct pull_place *p, const struct digest *d, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    if (renameat(p->blobs, hex, p->layout.blobs, hex) == 0) return true;
    if (errno == ENOENT && faccessat(p->layout.blobs, hex, F_OK, AT_SYMLINK_NOFOLLOW) == 0) return true;
    if (errno == EXDEV)
        return error_set(err, ERR_IO,
                         "'%.256s' is on another file system than the folder it is in; pull into a new one", p->dir);
    return error_set_errno(err, "cannot move blob '%s' into '%.256s'", hex, p->dir);
}

static bool add_to_index(struct pull_place *p, const struct graph *g, struct file_out *index, struct error *err)
{
    CLEANUP(json) json_t *doc = NULL;
    CLEANUP(free) char *text = NULL;
    json_t *entries;
    size_t n = 0;
    if (!check_tag(p, g, err) || !graph_layout_index(&p->layout, &doc, &entries, err) ||
        !merge_all(p, g, entries, err) || !json_canonical(doc, &text, &n, err))
        return false;
    for (uint32_t i = 0; i < g->n_blobs; i++)
        if (!move(p, &g->blobs[i].digest, err)) return false;
    for (uint32_t i = 0; i < g->n_nodes; i++)
        if (!move(p, &g->nodes[i].digest, err)) return false;
    return dir_sync(p->layout.blobs, "sha256", err) && file_out_write(index, text, n, err);
}

static bool commit_into(struct pull_place *p, const struct graph *g, struct error *err)
{
    struct file_out index;
    CLEANUP(free) char *path = NULL;
    if (!path_join(&path, p->dir, OCI_INDEX_FILE, err) || !file_out_open(&index, path, 0666, err)) return false;
    p->done = add_to_index(p, g, &index, err);
    if (p->done) return p->done = file_out_commit(&index, err);
    file_out_abort(&index);
    return false;
}

bool pull_place_commit(struct pull_place *p, const struct graph *g, struct error *err)
{
    return remove_strays(p, g, err) && save_documents(p, g, err) &&
           (p->exists ? commit_into(p, g, err) : commit_new(p, g, err));
}

void pull_place_close(struct pull_place *p, bool keep)
{
    if (p->staging) staging_close(p->staging, keep || (staging_resumed(p->staging) && !p->done));
    p->staging = NULL;
    if (p->blobs >= 0) close(p->blobs);
    p->blobs = -1;
    oci_layout_close(&p->layout);
}
