/* Which of the statements attached to a package and its images are signatures by those who must have signed. One
 * function reads and one verifies each form (formats/envelope.c, simple_signing.c, notation_read.c; verify/signers.c
 * calls them); there is no second path. */
#include "verify/package_state.h"

#include "formats/referrer.h"

#define ATTACHED_MAX 128u                       /* bundles and artifacts on one image; each is read whole */
#define ATTACHED_BYTES_MAX ((uint64_t)64 << 20) /* of all bundles on one image: each is hashed once for each key */
#define OTHER_BYTES_MAX ((size_t)16 << 20)      /* larger parts of foreign artifacts are only counted */

struct tally {
    const struct oci_descriptor *subject;
    struct signed_by by[PACKAGE_SETS]; /* of each set that must have signed */
    uint32_t n_valid[PACKAGE_SETS];
    uint32_t n_signatures; /* of this subject, by anybody, well-formed */
    uint32_t n_other;      /* statements of other types, and bundles of other kinds of signer */
    uint32_t n_unread;     /* bundles that claim this image and are not what they must be: each has its own line */
};

bool package_choose_signers(struct package *p, bool *go_on, struct error *err)
{
    const struct policy *policy = p->o->policy;
    *go_on = true;
    p->own = (struct signers){.roots = (struct cert_chain *)(uintptr_t)p->o->roots, .threshold = 1};
    if (p->o->key) {
        p->own.keys[p->own.n_keys++] = (struct key *)(uintptr_t)p->o->key; /* only looked at */
        if (!key_check_use(p->o->key, KEY_USE_SIGSTORE, err)) return false;
    }
    if (signers_any(&p->own)) {
        p->set_names[p->n_sets] = p->o->key ? "the given key" : "a certificate of the given roots";
        p->attesters = p->sets[p->n_sets++] = &p->own;
    }
    if (!policy || !policy->n_rules) return true;
    const char *name = p->o->name ? p->o->name : p->ref.tag;
    const struct policy_rule *rule = policy_rule_for(policy, name);
    if (rule) {
        p->set_names[p->n_sets] = "the policy's signers";
        p->attesters = p->sets[p->n_sets++] = &rule->signers;
        return true;
    }
    report_add(p->report, CHECK_POLICY, VERDICT_FAIL, "trust", "no rule of the policy is for the name '%.256s'", name);
    *go_on = false;
    return true;
}

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

/* A failure to verify that lies in what was read (a key in a certificate that is not for this use) counts as a
 * signature that does not fit. */
static bool forgive(struct package *p, struct tally *t, const char *name, const struct error *found, struct error *err)
{
    t->n_unread++;
    return package_judge(p->report, CHECK_SIGNATURE, name, found, err);
}

static void count(struct package *p, struct tally *t, const char *name, const bool valid[PACKAGE_SETS])
{
    bool any = false;
    t->n_signatures++;
    for (uint32_t i = 0; i < p->n_sets; i++) {
        t->n_valid[i] += valid[i];
        any = any || valid[i];
    }
    if (p->n_sets && !any)
        report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, name,
                   "a well-formed signature, not by %s: it counts for nothing", p->set_names[p->n_sets - 1]);
}

static bool weigh(struct package *p, struct tally *t, const char *name, const struct envelope *e, struct error *err)
{
    bool valid[PACKAGE_SETS] = {false};
    struct error found = ERROR_INIT;
    if (strcmp(e->predicate_type, ENVELOPE_PREDICATE_SIGN) == 0) {
        for (uint32_t i = 0; i < p->n_sets; i++)
            if (!signers_bundle(p->sets[i], e, p->o->at, &t->by[i], &valid[i], &found))
                return forgive(p, t, name, &found, err);
        count(p, t, name, valid);
        return true;
    }
    t->n_other++;
    if (t->subject == package_image(p) && !package_weigh_statement(p, e, &valid[0], &found))
        return forgive(p, t, name, &found, err);
    for (uint32_t i = 0; t->subject != package_image(p) && i < p->n_sets && !valid[0]; i++) {
        struct signed_by ignored = {0};
        if (!signers_bundle(p->sets[i], e, p->o->at, &ignored, &valid[0], &found))
            return forgive(p, t, name, &found, err);
    }
    const char *by = valid[0] ? "signed by a given key" : p->n_sets ? "not by a given key" : "not verified";
    report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, name,
               "a statement of type %.256s, %s; it is no signature of the image", e->predicate_type, by);
    return true;
}

static bool same_descriptor(const struct oci_descriptor *a, const struct oci_descriptor *b)
{
    return digest_equal(&a->digest, &b->digest) && a->size == b->size && strcmp(a->media_type, b->media_type) == 0;
}

static bool check_bundle(struct package *p, const struct oci_manifest *m, struct tally *t, struct error *err)
{
    struct error found = ERROR_INIT;
    CLEANUP(envelope) struct envelope e = {0};
    char name[64];
    bool differs;
    bundle_name(m, name);
    if (!same_descriptor(&m->subject, t->subject)) {
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

static bool check_legacy(struct package *p, const struct oci_manifest *m, struct tally *t, struct error *err)
{
    if (m->n_layers > SIMPLE_SIGNATURES_MAX) {
        t->n_unread++;
        report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, "legacy signature", "%u layers, at most %u are read",
                   m->n_layers, SIMPLE_SIGNATURES_MAX);
        return true;
    }
    for (uint32_t i = 0; i < m->n_layers; i++) {
        CLEANUP(simple_signing) struct simple_signing g = {0};
        struct error found = ERROR_INIT;
        bool valid[PACKAGE_SETS] = {false}, differs = false;
        char name[48];
        snprintf(name, sizeof name, "legacy signature %u", i + 1);
        if (simple_load(&p->layout, &m->layers[i], &g, &differs, &found) &&
            !digest_equal(&g.image, &t->subject->digest))
            error_set(&found, ERR_FORMAT, "its payload is about another image than its tag");
        for (uint32_t k = 0; found.code == ERR_NONE && k < p->n_sets; k++)
            if (!signers_legacy(p->sets[k], &g, &t->by[k], &valid[k], &found)) break;
        if (found.code == ERR_NONE) count(p, t, name, valid);
        else {
            t->n_unread++;
            if (!package_judge(p->report, differs ? CHECK_DIGEST : CHECK_SIGNATURE, name, &found, err)) return false;
        }
    }
    return true;
}

static bool check_notation(struct package *p, const struct oci_manifest *m, struct tally *t, struct error *err)
{
    static const char name[] = "notation signature";
    __attribute__((cleanup(cleanup_notation))) struct notation n = {0};
    CLEANUP_BUFFER struct buffer text = {0};
    struct error found = ERROR_INIT;
    bool valid[PACKAGE_SETS] = {false}, differs = false;
    if (m->n_layers != 1 || strcmp(m->layers[0].media_type, NOTATION_LAYER_MEDIA) != 0)
        error_set(&found, ERR_FORMAT, "expected one layer of " NOTATION_LAYER_MEDIA);
    else if (oci_blob_load(&p->layout, &m->layers[0], NOTATION_BYTES_MAX, name, &text, &differs, &found) &&
             notation_parse(buffer_view(&text), name, &n, &found) &&
             !(same_descriptor(&n.target, t->subject) && same_descriptor(&m->subject, t->subject)))
        error_set(&found, ERR_FORMAT, "it is about another image than the one it is attached to");
    for (uint32_t i = 0; found.code == ERR_NONE && i < p->n_sets; i++)
        if (!signers_notation(p->sets[i], &n, p->o->at, &t->by[i], &valid[i], &found)) break;
    if (found.code == ERR_NONE) {
        count(p, t, name, valid);
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
    report_add(p->report, CHECK_LAYOUT, VERDICT_PASS, "artifact", "of type %.256s; what it says is not checked", type);
    return true;
}

/* ---- the verdict on one subject ---- */

static bool own_key_id(const struct package *p, char hex[DIGEST_HEX_SIZE], struct error *err)
{
    struct digest id;
    if (!key_id(p->o->key, &id, err)) return false;
    digest_hex(&id, hex);
    return true;
}

static bool conclude(struct package *p, const struct tally *t, uint32_t set, const char *name, struct error *err)
{
    const struct signed_by *by = &t->by[set];
    const uint32_t threshold = p->sets[set]->threshold;
    struct report *r = p->report;
    char image[OCI_DIGEST_SIZE], who[DIGEST_HEX_SIZE + 16];
    oci_digest_text(&t->subject->digest, image);
    snprintf(who, sizeof who, "%s", p->set_names[set]);
    if (p->sets[set] == &p->own && p->o->key) {
        memcpy(who, "key ", 4);
        if (!own_key_id(p, who + 4, err)) return false;
    }
    if (by->n >= threshold && threshold > 1)
        report_add(r, CHECK_SIGNATURE, VERDICT_PASS, name, "%s is signed by %u of %s, %u are asked for", image, by->n,
                   who, threshold);
    else if (by->n >= threshold)
        report_add(r, CHECK_SIGNATURE, VERDICT_PASS, name, "%s is signed by %s (" ENVELOPE_PREDICATE_SIGN ")", image,
                   who);
    else if (by->n)
        report_add(r, CHECK_SIGNATURE, VERDICT_FAIL, name, "%s is signed by %u of %s, %u are asked for", image, by->n,
                   who, threshold);
    else if (by->certificate)
        report_add(r, CHECK_CERTIFICATE, VERDICT_FAIL, name, "none of the %u signatures of %s holds: %s",
                   t->n_signatures, image, by->why);
    else if (t->n_signatures)
        report_add(r, CHECK_SIGNATURE, VERDICT_FAIL, name, "none of the %u signatures of %s is by %s", t->n_signatures,
                   image, who);
    else if (t->n_unread)
        report_add(r, CHECK_SIGNATURE, VERDICT_FAIL, name, "none of the %u bundles attached to %s can be read",
                   t->n_unread, image);
    else
        report_add(r, CHECK_NO_SIGNATURE, VERDICT_FAIL, name, "%s is not signed (%u other statements are attached)",
                   image, t->n_other);
    return true;
}

/* ---- what is attached ---- */

static bool is_attached(const struct package *p, uint32_t i, const struct oci_descriptor *subject)
{
    const struct oci_manifest *m = &p->manifests[i];
    return m->doc && m->has_subject && digest_equal(&m->subject.digest, &subject->digest);
}

static bool is_legacy(const struct package *p, uint32_t i, const char *tag)
{
    const char *own = oci_annotation(p->index.manifests[i].annotations, OCI_ANNOTATION_REF);
    return p->manifests[i].doc && own && strcmp(own, tag) == 0;
}

static bool too_much(struct package *p, const struct oci_descriptor *subject, const char *tag, const char *name)
{
    uint32_t n = 0;
    uint64_t bytes = 0; /* 1024 entries of 8192 layers of 2^47 bytes would wrap: added up to the limit only */
    for (uint32_t i = 0; i < p->index.n_manifests; i++) {
        if (!is_attached(p, i, subject) && !is_legacy(p, i, tag)) continue;
        n++;
        const struct oci_manifest *m = &p->manifests[i];
        for (uint32_t k = 0; k < m->n_layers && bytes <= ATTACHED_BYTES_MAX; k++)
            if (m->layers[k].size <= OTHER_BYTES_MAX) bytes += m->layers[k].size;
    }
    if (n > ATTACHED_MAX)
        report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, name,
                   "%u manifests are attached to the image, at most %u are read", n, ATTACHED_MAX);
    else if (bytes > ATTACHED_BYTES_MAX)
        report_add(p->report, CHECK_LAYOUT, VERDICT_FAIL, name,
                   "more than %llu bytes are attached to the image, no more are read",
                   (unsigned long long)ATTACHED_BYTES_MAX);
    return n > ATTACHED_MAX || bytes > ATTACHED_BYTES_MAX;
}

static bool look_at(struct package *p, struct tally *t, uint32_t i, const char *tag, struct error *err)
{
    const struct oci_manifest *m = &p->manifests[i];
    if (is_legacy(p, i, tag)) return check_legacy(p, m, t, err);
    if (!is_attached(p, i, t->subject)) return true;
    if (referrer_is_bundle(m)) return check_bundle(p, m, t, err);
    if (strcmp(m->config.media_type, NOTATION_MEDIA) == 0 ||
        (m->artifact_type && strcmp(m->artifact_type, NOTATION_MEDIA) == 0))
        return check_notation(p, m, t, err);
    return check_other(p, m, err);
}

static bool check_subject(struct package *p, const struct oci_descriptor *subject, const char *name, struct error *err)
{
    struct tally t = {.subject = subject};
    char tag[SIMPLE_TAG_SIZE], image[OCI_DIGEST_SIZE];
    simple_tag(&subject->digest, tag);
    if (too_much(p, subject, tag, name)) return true;
    for (uint32_t i = 0; i < p->index.n_manifests; i++)
        if (!look_at(p, &t, i, tag, err)) return false;
    for (uint32_t i = 0; i < p->n_sets; i++)
        if (!conclude(p, &t, i, name, err)) return false;
    oci_digest_text(&subject->digest, image);
    if (!p->n_sets && subject == package_image(p))
        report_add(p->report, CHECK_SIGNATURE, VERDICT_UNDECIDED, name,
                   "no key was given; %u signatures are attached to %s", t.n_signatures, image);
    return true;
}

/* The package, then every image of an index, because a client may resolve to either. */
bool package_check_signatures(struct package *p, struct error *err)
{
    if (!check_subject(p, package_image(p), "signature", err)) return false;
    package_conclude_statements(p);
    for (uint32_t i = 0; p->images.doc && i < p->n_images; i++) {
        char name[48];
        snprintf(name, sizeof name, "signature of image %u", i + 1);
        if (!check_subject(p, &p->index.manifests[p->image_entries[i]], name, err)) return false;
    }
    return true;
}
