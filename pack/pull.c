#include "pack/pull.h"

#include "core/cleanup.h"
#include "pack/pull_place.h"
#include "pack/registry_graph.h"
#include "pack/registry_jobs.h"

struct pulling {
    const struct pull_options *o;
    struct pull_result *out;
    struct registry *registry;
    struct registry_jobs jobs;
    struct graph graph;
    struct pull_place place;
    bool began; /* fetching */
    _Atomic uint32_t n_there;
};

static bool fetch_blob(void *ctx, uint64_t item, struct registry_line *l, struct error *err)
{
    struct pulling *p = ctx;
    const struct registry_blob *b = &p->graph.blobs[item];
    bool there;
    if (!pull_place_has(&p->place, b, &there, err)) return false;
    if (there) atomic_fetch_add(&p->jobs.done_bytes, b->size);
    else {
        struct blob_fetch f = {.blob = *b, .dirfd = p->place.blobs, .received = &p->jobs.done_bytes};
        if (!registry_blob_fetch(l, &f, &there, err)) return false;
    }
    if (there) atomic_fetch_add(&p->n_there, 1u);
    return true;
}

static bool open_registry(struct pulling *p, struct error *err)
{
    const struct pull_options *o = p->o;
    struct registry_options r = {.ref = o->from,
                                 .plain_http = o->plain_http,
                                 .ca_file = o->ca_file,
                                 .retries = o->retries,
                                 .progress = o->progress};
    return registry_open(&p->registry, &r, err) && registry_jobs_open(&p->jobs, p->registry, o->jobs, "pull", err);
}

static void describe(struct pulling *p)
{
    const struct pull_options *o = p->o;
    p->out->image = p->graph.nodes[0].digest;
    p->out->n_manifests = p->graph.n_nodes;
    for (uint32_t i = 0; i < p->graph.n_nodes; i++)
        p->out->n_referrers += p->graph.nodes[i].kind != GRAPH_IMAGE && p->graph.nodes[i].kind != GRAPH_MODELPACK;
    p->out->n_blobs = p->graph.n_blobs;
    p->out->bytes = graph_blob_bytes(&p->graph);
    const char *tag = o->tag ? o->tag : *o->from->tag ? o->from->tag : OCI_TAG_DEFAULT;
    snprintf(p->out->tag, sizeof p->out->tag, "%.128s", tag);
}

bool pull_run(const struct pull_options *o, struct pull_result *out, struct error *err)
{
    struct pulling p = {.o = o, .out = out, .place = PULL_PLACE_INIT};
    struct error own = ERROR_INIT;
    *out = (struct pull_result){0};
    bool ok =
        open_registry(&p, &own) && graph_from_registry(&p.graph, &p.jobs.lines[0], o->from, !o->no_referrers, &own);
    if (ok) {
        describe(&p);
        p.jobs.total_bytes = out->bytes;
        ok = pull_place_open(&p.place, o->dir, out->tag, o->force, &p.graph, &own) && (p.began = true) &&
             registry_jobs_run(&p.jobs, p.graph.n_blobs, fetch_blob, &p, &own) &&
             pull_place_commit(&p.place, &p.graph, &own);
    }
    out->n_there = atomic_load(&p.n_there);
    /* What came is right as far as it came, whatever went wrong: the next run goes on from there. */
    pull_place_close(&p.place, !ok && p.began);
    registry_jobs_close(&p.jobs);
    registry_close(p.registry);
    graph_close(&p.graph);
    if (!ok && err) *err = own;
    return ok;
}
