/* Which of the statements attached to an image are signatures by the given key. One function reads and one verifies a
 * bundle (formats/referrer.c, formats/envelope.c); there is no second path. */
#include "verify/package_state.h"

#include "formats/referrer.h"

#define ATTACHED_MAX 128u                  /* bundles and artifacts on one image; each is read whole */
#define OTHER_BYTES_MAX ((size_t)16 << 20) /* larger parts of foreign artifacts are only counted */

struct tally {
    uint32_t n_own, n_foreign; /* signatures of this image, by the given key and by others */
    uint32_t n_other;          /* statements of other types, and bundles of other kinds of signer */
    uint32_t n_unread;         /* bundles that claim this image and are not what they must be: each has its own line */
};

static void bundle_name(const struct oci_manifest *m, char name[64])
{
    char digest[OCI_DIGEST_SIZE] = "";
    if (m->n_layers) oci_digest_text(&m->layers[0].digest, digest);
    snprintf(name, 64, "bundle %.19s", digest);
}

static void note(struct package *p, enum verdict v, const char *check_class, const char *name, const char *text)
{
    report_add(p->report, check_class, v, name, "%s", text);
}

static bool weigh(struct package *p, struct tally *t, const char *name, const struct envelope *e, struct error *err)
{
    bool valid = false;
    if (p->o->key && !envelope_verify(e, p->o->key, &valid, err)) return false;
    if (strcmp(e->predicate_type, ENVELOPE_PREDICATE_SIGN) != 0) {
        const char *by = valid ? "signed by the given key" : p->o->key ? "not by the given key" : "not verified";
        t->n_other++;
        report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, name,
                   "a statement of type %s, %s; it is no signature of the image", e->predicate_type, by);
    } else if (valid) t->n_own++;
    else {
        t->n_foreign++;
        if (p->o->key)
            note(p, VERDICT_PASS, CHECK_LAYOUT, name,
                 "a well-formed signature, not by the given key: it counts for nothing");
    }
    return true;
}

static bool check_bundle(struct package *p, const struct oci_manifest *m, struct tally *t, struct error *err)
{
    struct error found = ERROR_INIT;
    CLEANUP(envelope) struct envelope e = {0};
    char name[64];
    bool differs;
    bundle_name(m, name);
    if (m->subject.size != package_image(p)->size || strcmp(m->subject.media_type, package_image(p)->media_type) != 0) {
        t->n_unread++;
        note(p, VERDICT_FAIL, CHECK_SIGNATURE, name,
             "its subject has the image's digest and another size or media type");
        return true;
    }
    if (referrer_load(&p->layout, m, name, &e, &differs, &found)) return weigh(p, t, name, &e, err);
    if (found.code == ERR_UNSUPPORTED) {
        t->n_other++;
        report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, name, "not checked, it counts for nothing: %s", found.text);
        return true;
    }
    t->n_unread++;
    return package_judge(p->report, differs ? CHECK_DIGEST : CHECK_SIGNATURE, name, &found, err);
}

/* Another tool's artifact on this image: its parts must be what they are named, their meaning is not ours. */
static bool check_other(struct package *p, const struct oci_manifest *m, struct error *err)
{
    const char *type = m->artifact_type ? m->artifact_type : m->config.media_type;
    for (uint32_t i = 0; i <= m->n_layers; i++) {
        const struct oci_descriptor *d = i < m->n_layers ? &m->layers[i] : &m->config;
        struct error found = ERROR_INIT;
        CLEANUP_BUFFER struct buffer text = {0};
        bool differs;
        if (d->size > OTHER_BYTES_MAX) continue;
        if (oci_blob_load(&p->layout, d, OTHER_BYTES_MAX, "artifact", &text, &differs, &found)) continue;
        return package_judge(p->report, differs ? CHECK_DIGEST : CHECK_LAYOUT, "artifact", &found, err);
    }
    report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, "artifact", "of type %s; what it says is not checked", type);
    return true;
}

static bool conclude(struct package *p, const struct tally *t, struct error *err)
{
    static const char name[] = "signature";
    struct report *r = p->report;
    char image[OCI_DIGEST_SIZE], key[DIGEST_HEX_SIZE] = "";
    struct digest id;
    oci_digest_text(&package_image(p)->digest, image);
    if (p->o->key && !key_id(p->o->key, &id, err)) return false;
    if (p->o->key) digest_hex(&id, key);
    if (!p->o->key)
        report_add(r, CHECK_SIGNATURE, VERDICT_UNDECIDED, name, "no key was given; %u signatures are attached to %s",
                   t->n_foreign, image);
    else if (t->n_own)
        report_add(r, CHECK_SIGNATURE, VERDICT_PASS, name, "%s is signed by key %s (" ENVELOPE_PREDICATE_SIGN ")",
                   image, key);
    else if (t->n_foreign)
        report_add(r, CHECK_SIGNATURE, VERDICT_FAIL, name, "none of the %u signatures of %s is by key %s", t->n_foreign,
                   image, key);
    else if (t->n_unread)
        report_add(r, CHECK_SIGNATURE, VERDICT_FAIL, name, "none of the %u bundles attached to %s can be read",
                   t->n_unread, image);
    else
        report_add(r, CHECK_NO_SIGNATURE, VERDICT_FAIL, name, "%s is not signed (%u other statements are attached)",
                   image, t->n_other);
    return true;
}

static bool is_attached(const struct package *p, uint32_t i)
{
    const struct oci_manifest *m = &p->manifests[i];
    return m->doc && m->has_subject && digest_equal(&m->subject.digest, &package_image(p)->digest);
}

bool package_check_signatures(struct package *p, struct error *err)
{
    struct tally t = {0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->index.n_manifests; i++) n += is_attached(p, i);
    if (n > ATTACHED_MAX) {
        report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, "signature",
                   "%u manifests are attached to the image, at most %u are read", n, ATTACHED_MAX);
        return true;
    }
    for (uint32_t i = 0; i < p->index.n_manifests; i++) {
        const struct oci_manifest *m = &p->manifests[i];
        if (!is_attached(p, i)) continue;
        if (!(referrer_is_bundle(m) ? check_bundle(p, m, &t, err) : check_other(p, m, err))) return false;
    }
    return conclude(p, &t, err);
}
