/* What the layers of a package were found to be, by digest. */
#include "verify/package_state.h"

#define UNCLAIMED UINT32_MAX

struct seen_layer {
    struct digest digest;
    uint64_t size;
    bool base;
    uint32_t image; /* with which it is read */
    /* What was found; kept small, because there may be many. */
    bool ok, beside;
    enum verdict verdict;
    const char *check_class;
    char *text; /* the path when ok, else what is wrong; NULL: not read */
    struct digest file_digest;
    uint64_t data_bytes, data_offset, total_bytes;
};

static int by_key(const void *a, const void *b)
{
    const struct seen_layer *x = a, *y = b;
    int c = memcmp(x->digest.bytes, y->digest.bytes, DIGEST_BYTES);
    if (c) return c;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return (int)x->base - (int)y->base;
}

bool seen_layers_list(struct seen_layers *s, const struct package *p, struct error *err)
{
    size_t n = 0, kept = 0;
    for (uint32_t i = 0; i < p->n_images; i++) n += p->manifests[p->image_entries[i]].n_layers;
    s->list = calloc(n + 1, sizeof *s->list);
    if (!s->list) return error_memory(err, n * sizeof *s->list);
    for (uint32_t i = 0; i < p->n_images; i++) {
        const struct oci_manifest *m = &p->manifests[p->image_entries[i]];
        uint32_t n_base = 0;
        if (m->n_layers == 0 || !oci_base_layers(m, "manifest", &n_base, NULL)) continue; /* said elsewhere */
        for (uint32_t k = 0; k < m->n_layers; k++)
            s->list[s->n++] = (struct seen_layer){
                .digest = m->layers[k].digest, .size = m->layers[k].size, .base = k < n_base, .image = UNCLAIMED};
    }
    qsort(s->list, s->n, sizeof *s->list, by_key);
    for (size_t i = 0; i < s->n; i++)
        if (kept == 0 || by_key(&s->list[kept - 1], &s->list[i]) != 0) s->list[kept++] = s->list[i];
    s->n = kept;
    return true;
}

void seen_layers_free(struct seen_layers *s)
{
    for (size_t i = 0; i < s->n; i++) free(s->list[i].text);
    free(s->list);
    *s = (struct seen_layers){0};
}

/* Every layer that is asked for is in the list. */
static struct seen_layer *find(const struct seen_layers *s, const struct oci_descriptor *d, bool base)
{
    struct seen_layer key = {.digest = d->digest, .size = d->size, .base = base};
    return bsearch(&key, s->list, s->n, sizeof key, by_key);
}

bool seen_layers_claim(struct seen_layers *s, const struct oci_descriptor *d, bool base, uint32_t image, bool *shared)
{
    struct seen_layer *l = find(s, d, base);
    bool first = l->image == UNCLAIMED;
    if (first) l->image = image;
    *shared = l->image != image;
    return first;
}

bool seen_layers_keep(struct seen_layers *s, const struct oci_descriptor *d, bool base, const struct layer_check *c,
                      struct error *err)
{
    struct seen_layer *l = find(s, d, base);
    l->ok = c->ok;
    l->beside = c->beside;
    l->verdict = c->verdict;
    l->check_class = c->check_class;
    l->file_digest = c->file_digest;
    l->data_bytes = c->tar.data_bytes;
    l->data_offset = c->tar.data_offset;
    l->total_bytes = c->tar.total_bytes;
    l->text = strdup(c->ok ? c->tar.path : c->text);
    return l->text ? true : error_memory(err, sizeof c->text);
}

void seen_layers_recall(const struct seen_layers *s, const struct oci_descriptor *d, bool base, struct layer_check *c)
{
    const struct seen_layer *l = find(s, d, base);
    c->ok = l->ok;
    c->beside = l->beside;
    c->verdict = l->verdict;
    c->check_class = l->check_class;
    c->file_digest = l->file_digest;
    c->tar.data_bytes = l->data_bytes;
    c->tar.data_offset = l->data_offset;
    c->tar.total_bytes = l->total_bytes;
    snprintf(l->ok ? c->tar.path : c->text, l->ok ? sizeof c->tar.path : sizeof c->text, "%s", l->text);
}
