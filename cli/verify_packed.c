#include "cli/verify_packed.h"

#include "pack/pack.h"

/* The manifest, which is signed, says that this is a family of which nothing is computed here. */
static bool is_bundle(const struct oci_kept *k)
{
    const char *bundle = oci_annotation(k->manifest.annotations, PACK_ANNOTATION_BUNDLE);
    return bundle && strcmp(bundle, "true") == 0;
}

/* A package whose model cannot even be opened is a package that fails, not a verification that broke. */
static bool judge(const struct oci_kept *k, const struct error *e, struct report *r, struct error *err)
{
    if (is_bundle(k)) {
        report_add(r, CHECK_LAYOUT, VERDICT_PASS, "model",
                   "bundled as it is, as its manifest says; nothing of it is computed here");
        return true;
    }
    if (e->code == ERR_FORMAT || e->code == ERR_UNSUPPORTED) {
        report_add(r, CHECK_LAYOUT, VERDICT_FAIL, "model", "%s", e->text);
        return true;
    }
    if (err) *err = *e;
    return false;
}

bool packed_open(struct packed *p, const char *ref, const struct oci_kept *k, const struct oci_weights *beside,
                 struct report *r, struct error *err)
{
    struct error e = ERROR_INIT;
    bool missing;
    *p = (struct packed){0};
    if (!k->index.doc) return true; /* said already */
    if (!folder_open_kept(&p->thin, ref, k, beside, &missing, &e)) return judge(k, &e, r, err);
    if (missing && is_bundle(k)) { /* it has no ingot.json that its files could be held against */
        folder_close(take_ptr(&p->thin));
        return judge(k, &e, r, err);
    }
    if (missing) { /* its files alone */
        report_add(r, CHECK_LAYOUT, VERDICT_UNDECIDED, "model", "not read: this layout is thin, %s",
                   beside ? "and not all of its weights are beside it" : "it has no weights");
        return true;
    }
    p->has_model = model_open_folder(&p->model, take_ptr(&p->thin), &e);
    return p->has_model || judge(k, &e, r, err);
}

void packed_close(struct packed *p)
{
    model_close(&p->model);
    folder_close(p->thin);
    *p = (struct packed){0};
}
