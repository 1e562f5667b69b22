#include "cli/verify_packed.h"

#include "formats/oci_package.h"
#include "pack/pack.h"

bool packed_is_thin(const char *text)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    CLEANUP(oci_index) struct oci_index index = {0};
    struct error ignored = ERROR_INIT;
    return oci_ref_parse(text, &ref, &ignored) && oci_layout_open_ref(&layout, &ref, &ignored) &&
           oci_layout_index(&layout, &index, &ignored) && oci_is_thin(&index);
}

bool packed_digest(const char *text, char out[OCI_DIGEST_SIZE], struct error *err)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    __attribute__((cleanup(cleanup_oci_package))) struct oci_package package = {0};
    if (!oci_ref_parse(text, &ref, err) || !oci_layout_open_ref(&layout, &ref, err) ||
        !oci_package_open(&package, &layout, ref.tag, err))
        return false;
    oci_digest_text(&package.entry->digest, out);
    return true;
}

/* The manifest, which is signed, says that this is a family of which nothing is computed here. */
static bool is_bundle(const char *text)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    __attribute__((cleanup(cleanup_oci_package))) struct oci_package package = {0};
    CLEANUP(oci_manifest) struct oci_manifest manifest = {0};
    struct error ignored = ERROR_INIT;
    if (!oci_ref_parse(text, &ref, &ignored) || !oci_layout_open_ref(&layout, &ref, &ignored) ||
        !oci_package_open(&package, &layout, ref.tag, &ignored) ||
        !oci_package_manifest(&layout, oci_package_image(&package, 0), &manifest, &ignored))
        return false;
    const char *bundle = oci_annotation(manifest.annotations, PACK_ANNOTATION_BUNDLE);
    return bundle && strcmp(bundle, "true") == 0;
}

/* A package whose model cannot even be opened is a package that fails, not a verification that broke. */
static bool judge(const char *ref, const struct error *e, struct report *r, struct error *err)
{
    if (is_bundle(ref)) {
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

/* With the weights from beside it, or its files alone. */
static bool open_thin(struct packed *p, const char *ref, const struct oci_weights *beside, struct report *r,
                      struct error *err)
{
    struct error e = ERROR_INIT;
    bool missing;
    if (!folder_open_thin(&p->thin, ref, beside, &missing, &e)) return judge(ref, &e, r, err);
    if (missing && is_bundle(ref)) { /* it has no ingot.json that its files could be held against */
        folder_close(take_ptr(&p->thin));
        return judge(ref, &e, r, err);
    }
    if (missing) {
        report_add(r, CHECK_LAYOUT, VERDICT_UNDECIDED, "model", "not read: this layout is thin, %s",
                   beside ? "and not all of its weights are beside it" : "it has no weights");
        return true;
    }
    p->has_model = model_open_folder(&p->model, take_ptr(&p->thin), &e);
    return p->has_model || judge(ref, &e, r, err);
}

bool packed_open(struct packed *p, const char *ref, const struct oci_weights *beside, struct report *r,
                 struct error *err)
{
    struct error e = ERROR_INIT;
    *p = (struct packed){0};
    if (packed_is_thin(ref)) return open_thin(p, ref, beside, r, err);
    p->has_model = model_open(&p->model, ref, &e);
    return p->has_model || judge(ref, &e, r, err);
}

void packed_close(struct packed *p)
{
    model_close(&p->model);
    folder_close(p->thin);
    *p = (struct packed){0};
}
