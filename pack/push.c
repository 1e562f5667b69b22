#include "pack/push.h"

#include "core/cleanup.h"
#include "formats/oci_layout.h"
#include "pack/registry_graph.h"
#include "pack/registry_jobs.h"

#define ANNOTATION_BASE "org.opencontainers.image.base.name"

struct pushing {
    const struct push_options *o;
    struct push_result *out;
    struct oci_layout layout;
    struct graph graph;
    struct registry *registry;
    struct registry_jobs jobs;
    const char *mounts[REGISTRY_MOUNTS_MAX];
    uint32_t n_mounts;
    struct registry_ref base; /* of the image, when it is in the same registry */
    _Atomic uint32_t n_sent, n_mounted;
    _Atomic uint64_t bytes_sent;
    struct fallback_entry *fallback; /* what the registry does not list by itself */
    uint32_t n_fallback;
};

/* The image it stands on is likely to be there. */
static void find_base(struct pushing *p)
{
    for (uint32_t i = 0; i < p->graph.n_nodes && !p->base.host[0]; i++) {
        CLEANUP(json) json_t *doc = NULL;
        struct registry_ref ref;
        if (p->graph.nodes[i].kind != GRAPH_IMAGE ||
            !json_parse(buffer_view(&p->graph.nodes[i].text), JSON_DIALECT_STRICT, "manifest", &doc, NULL))
            continue;
        const char *name = oci_annotation(json_object_get(doc, "annotations"), ANNOTATION_BASE);
        if (name && registry_ref_parse(name, &ref, NULL) && strcmp(ref.host, p->o->to->host) == 0) p->base = ref;
    }
    if (p->base.host[0] && p->n_mounts < REGISTRY_MOUNTS_MAX) p->mounts[p->n_mounts++] = p->base.repository;
}

static bool choose_mounts(struct pushing *p, struct error *err)
{
    if (p->o->n_mount_from > REGISTRY_MOUNTS_MAX)
        return error_set(err, ERR_USAGE, "blobs can be mounted from at most %u repositories", REGISTRY_MOUNTS_MAX);
    for (uint32_t i = 0; i < p->o->n_mount_from; i++) {
        if (!registry_repository_is_valid(p->o->mount_from[i]))
            return error_set(err, ERR_USAGE, "--mount-from: '%.256s' is not the name of a repository",
                             p->o->mount_from[i]);
        p->mounts[p->n_mounts++] = p->o->mount_from[i];
    }
    find_base(p);
    return true;
}

/* Where the state of an unfinished upload is kept: $XDG_CACHE_HOME or ~/.cache, ingot/push/NAME; *out NULL: nowhere. */
static bool session_path(const struct pushing *p, const struct registry_blob *b, char **out, struct error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    CLEANUP(free) char *name = NULL;
    struct digest d;
    char digest[OCI_DIGEST_SIZE], hex[DIGEST_HEX_SIZE];
    oci_digest_text(&b->digest, digest);
    *out = NULL;
    bool own = cache && *cache == '/';
    if (!own && !(home && *home == '/')) return true;
    if (asprintf(&name, "%s/%s@%s", p->o->to->host, p->o->to->repository, digest) < 0) return error_memory(err, 0);
    if (!sha256_of(bytes_text(name), &d, err)) return false;
    digest_hex(&d, hex);
    int n = asprintf(out, "%s%s/ingot/push/%s", own ? cache : home, own ? "" : "/.cache", hex);
    return n >= 0 ? true : error_memory(err, 0);
}

static bool send_blob(void *ctx, uint64_t item, struct registry_line *l, struct error *err)
{
    struct pushing *p = ctx;
    const struct registry_blob *b = &p->graph.blobs[item];
    struct oci_descriptor d = {.digest = b->digest, .size = b->size};
    CLEANUP(file_place) struct file_place at = FILE_PLACE_INIT;
    CLEANUP(free) char *session = NULL;
    enum blob_way way;
    bool differs;
    if (!oci_blob_open(&p->layout, &d, "blob", &at, &differs, err)) {
        bool has = false;
        if (differs) return error_class(err, "digest", "a blob of the package has another size than the manifest says");
        /* A thin layout has no weights; the registry may have them. */
        struct error own = ERROR_INIT;
        if (!registry_blob_has(l, b, &has, &own)) {
            if (err) *err = own;
            return false;
        }
        atomic_fetch_add(&p->jobs.done_bytes, b->size);
        return has;
    }
    if (!session_path(p, b, &session, err)) return false;
    struct blob_send s = {.blob = *b,
                          .fd = at.fd,
                          .offset = at.offset,
                          .chunk_bytes = p->o->chunk_bytes,
                          .sent = &p->jobs.done_bytes,
                          .session_file = session};
    if (!registry_blob_send(l, &s, &way, err)) return false;
    if (way == BLOB_SENT) {
        atomic_fetch_add(&p->n_sent, 1u);
        atomic_fetch_add(&p->bytes_sent, b->size);
    } else if (way == BLOB_MOUNTED) atomic_fetch_add(&p->n_mounted, 1u);
    return true;
}

/* By its digest; a tagged one by its tag. */
static bool put_node(struct pushing *p, const struct graph_node *n, const char *tag, bool *lists, struct error *err)
{
    char name[OCI_DIGEST_SIZE];
    oci_digest_text(&n->digest, name);
    struct manifest_put put = {
        .name = tag && *tag ? tag : name, .media_type = n->media_type, .text = buffer_view(&n->text)};
    return registry_manifest_put(&p->jobs.lines[0], &put, lists, NULL, err);
}

static bool add_fallback(struct pushing *p, const struct graph_node *n, struct error *err)
{
    struct fallback_entry *e = realloc(p->fallback, (p->n_fallback + 1u) * sizeof *e);
    if (!e) return error_memory(err, sizeof *e);
    p->fallback = e;
    e[p->n_fallback] = (struct fallback_entry){.subject = n->subject};
    if (!graph_descriptor(n, &e[p->n_fallback].descriptor, err)) return false;
    p->n_fallback++;
    return true;
}

/* Images from the leaves up, then what refers to them, in the order in which it was found. */
static bool put_manifests(struct pushing *p, struct error *err)
{
    const struct graph *g = &p->graph;
    for (uint32_t i = 0; i < g->n_order; i++) {
        const struct graph_node *n = &g->nodes[g->order[i]];
        bool lists = true;
        if (n->kind == GRAPH_TAGGED && n->is_top ? !registry_tagged_put(&p->jobs.lines[0], n, err)
                                                 : !put_node(p, n, NULL, &lists, err))
            return false;
        if (n->kind == GRAPH_REFERRER && n->is_top && !lists && !add_fallback(p, n, err)) return false;
    }
    return p->n_fallback == 0 || registry_fallback_add(&p->jobs.lines[0], p->fallback, p->n_fallback, err);
}

/* The tags of profiles and of the ModelPack manifest, and last the package's own. */
static bool put_tags(struct pushing *p, const char *tag, struct error *err)
{
    for (uint32_t i = 1; i < p->graph.n_nodes; i++) {
        const struct graph_node *n = &p->graph.nodes[i];
        char named[OCI_TAG_BYTES_MAX + 1];
        if (*n->name && graph_named_tag(tag, n->name, named) && !put_node(p, n, named, NULL, err)) return false;
    }
    return put_node(p, &p->graph.nodes[0], tag, NULL, err);
}

static bool check_wanted(const struct pushing *p, struct error *err)
{
    char wanted[OCI_DIGEST_SIZE], found[OCI_DIGEST_SIZE];
    if (!p->o->to->has_digest || digest_equal(&p->o->to->digest, &p->out->image)) return true;
    oci_digest_text(&p->o->to->digest, wanted);
    oci_digest_text(&p->out->image, found);
    return error_class(err, "digest", "the package is %s, and %s is to be pushed", found, wanted);
}

static bool send_all(struct pushing *p, struct error *err)
{
    const struct push_options *o = p->o;
    struct registry_options r = {.ref = o->to,
                                 .plain_http = o->plain_http,
                                 .push = true,
                                 .ca_file = o->ca_file,
                                 .retries = o->retries,
                                 .mount_from = p->mounts,
                                 .n_mount_from = p->n_mounts,
                                 .progress = o->progress};
    if (!registry_open(&p->registry, &r, err) || !registry_jobs_open(&p->jobs, p->registry, o->jobs, "push", err))
        return false;
    p->jobs.total_bytes = p->out->bytes;
    const char *tag = *o->to->tag ? o->to->tag : o->to->has_digest ? NULL : OCI_TAG_DEFAULT;
    return registry_jobs_run(&p->jobs, p->graph.n_blobs, send_blob, p, err) && put_manifests(p, err) &&
           (!tag || put_tags(p, tag, err));
}

static void close_all(struct pushing *p)
{
    registry_jobs_close(&p->jobs);
    registry_close(p->registry);
    for (uint32_t i = 0; i < p->n_fallback; i++) json_decref(p->fallback[i].descriptor);
    free(p->fallback);
    graph_close(&p->graph);
    oci_layout_close(&p->layout);
}

bool push_run(const struct push_options *o, struct push_result *out, struct error *err)
{
    struct pushing p = {.o = o, .out = out, .layout = OCI_LAYOUT_INIT};
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    *out = (struct push_result){0};
    bool ok = oci_ref_parse(o->package, &ref, err) && oci_layout_open_ref(&p.layout, &ref, err) &&
              graph_from_layout(&p.graph, &p.layout, ref.tag, !o->no_referrers, err);
    if (ok) {
        out->image = p.graph.nodes[0].digest;
        out->n_manifests = p.graph.n_nodes;
        for (uint32_t i = 0; i < p.graph.n_nodes; i++)
            out->n_referrers += p.graph.nodes[i].kind != GRAPH_IMAGE && p.graph.nodes[i].kind != GRAPH_MODELPACK;
        out->n_blobs = p.graph.n_blobs;
        out->bytes = graph_blob_bytes(&p.graph);
        ok = check_wanted(&p, err) && choose_mounts(&p, err) && send_all(&p, err);
    }
    out->n_sent = atomic_load(&p.n_sent);
    out->n_mounted = atomic_load(&p.n_mounted);
    out->bytes_sent = atomic_load(&p.bytes_sent);
    close_all(&p);
    return ok;
}
