/* The attestations that a policy asks for: who made them, and what they say. A statement by a right signer that does
 * not hold is a failure even when another one does: nobody could tell which of the two a reader would take. */
#include "verify/package_state.h"

#include "formats/oci_package.h"

#include <math.h>

static const char *text_at(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

/* "WHAT 'FOUND'", or without the second. */
static void wrong(struct package *p, struct attested *a, const char *name, const char *what, const char *found)
{
    a->failed = true;
    if (found) report_add(p->report, CHECK_POLICY, VERDICT_FAIL, name, "%s '%.300s'", what, found);
    else report_add(p->report, CHECK_POLICY, VERDICT_FAIL, name, "%s", what);
}

/* ---- provenance ---- */

static bool has_dependency(const json_t *list, const char *digest)
{
    size_t i;
    json_t *d;
    json_array_foreach ((json_t *)(uintptr_t)list, i, d) {
        const char *sha256 = text_at(json_object_get(d, "digest"), "sha256");
        if (sha256 && strcmp(sha256, digest + 7) == 0) return true; /* behind "sha256:" */
    }
    return false;
}

static void check_provenance(struct package *p, struct attested *a, const struct policy_attestation *want,
                             const char *name, const json_t *predicate)
{
    const json_t *run = json_object_get(predicate, "runDetails");
    const json_t *build = json_object_get(predicate, "buildDefinition");
    const char *id = text_at(json_object_get(run, "builder"), "id");
    size_t i;
    json_t *digest;
    if (!id || !text_at(build, "buildType"))
        wrong(p, a, name, "is no provenance: builder or build type is missing", NULL);
    if (want->builder && (!id || strcmp(id, want->builder) != 0))
        wrong(p, a, name, "the builder is not the policy's, it is", id ? id : "");
    json_array_foreach ((json_t *)(uintptr_t)want->sources, i, digest)
        if (!has_dependency(json_object_get(build, "resolvedDependencies"), json_string_value(digest)))
            wrong(p, a, name, "among its dependencies is not the source", json_string_value(digest));
}

/* ---- licences ---- */

static bool is_allowed(const struct policy *policy, const char *word)
{
    size_t i;
    json_t *allowed;
    json_array_foreach ((json_t *)(uintptr_t)policy->licences, i, allowed)
        if (word && strcmp(json_string_value(allowed), word) == 0) return true;
    return false;
}

/* {"declared", "spdx"} of the licence report, {"license": {"id" or "name"}} of the bill of materials. */
static void check_licence_list(struct package *p, struct attested *a, const char *name, const json_t *list)
{
    size_t i;
    json_t *j;
    json_array_foreach ((json_t *)(uintptr_t)list, i, j) {
        const json_t *choice = json_object_get(j, "license");
        const char *word = choice ? text_at(choice, "name") : text_at(j, "declared");
        const char *id = choice ? text_at(choice, "id") : text_at(j, "spdx");
        if (!is_allowed(p->o->policy, word) && !is_allowed(p->o->policy, id))
            wrong(p, a, name, "the policy does not allow licence", word ? word : id ? id : "");
    }
}

static void check_licences(struct package *p, struct attested *a, const char *name, const char *type,
                           const json_t *predicate)
{
    const json_t *own, *original = NULL;
    if (!p->o->policy->licences) return;
    if (strcmp(type, POLICY_TYPE_SBOM) == 0)
        own = json_object_get(json_object_get(json_object_get(predicate, "metadata"), "component"), "licenses");
    else {
        own = json_object_get(predicate, "licences");
        original = json_object_get(predicate, "original");
    }
    if (json_array_size(own) == 0) wrong(p, a, name, "declares no licence, the policy allows certain ones", NULL);
    check_licence_list(p, a, name, own);
    check_licence_list(p, a, name, original);
}

/* ---- parity ---- */

static double figure_of(const json_t *figures, const char *key)
{
    double v = NAN; /* an absent figure meets no limit */
    const json_t *j = json_object_get(figures, key);
    return json_is_number(j) ? json_number_value(j) : v;
}

static void limit(struct package *p, struct attested *a, const char *name, double measured, double allowed,
                  bool at_most)
{
    if (at_most ? !(measured <= allowed) : !(measured >= allowed)) a->failed = true;
    report_add_figure(p->report, CHECK_PARITY, name, measured, allowed, at_most, "%.6f, as attested", measured);
}

static void check_parity(struct package *p, struct attested *a, const char *name, const json_t *predicate)
{
    const struct policy *want = p->o->policy;
    const json_t *f = json_object_get(predicate, "figures"), *layers = json_object_get(f, "layer_sqnr_db");
    const char *verdict = text_at(predicate, "verdict");
    size_t i;
    json_t *j;
    if (!json_is_object(f)) wrong(p, a, name, "is no parity report: figures are missing", NULL);
    /* Undecided is what a report says that was made before the package was signed. */
    if (!verdict || (strcmp(verdict, "pass") != 0 && strcmp(verdict, "undecided") != 0))
        wrong(p, a, name, "the attested verdict is", verdict ? verdict : "");
    if (isfinite(want->kl_mean_at_most))
        limit(p, a, "attested KL divergence", figure_of(f, "kl_mean"), want->kl_mean_at_most, true);
    if (want->top1_at_least > 0)
        limit(p, a, "attested top-1 agreement", figure_of(f, "top1_agreement"), want->top1_at_least, false);
    if (isfinite(want->perplexity_ratio_at_most))
        limit(p, a, "attested perplexity", figure_of(f, "ppl_quantized") / figure_of(f, "ppl_original"),
              want->perplexity_ratio_at_most, true);
    if (!isfinite(want->layer_sqnr_at_least_db)) return;
    double worst = json_array_size(layers) ? HUGE_VAL : nan("");
    json_array_foreach ((json_t *)(uintptr_t)layers, i, j) {
        /* null stands for a layer without a difference (parity_json). */
        double v = json_is_null(j) ? HUGE_VAL : json_is_number(j) ? json_number_value(j) : -HUGE_VAL;
        if (v < worst) worst = v;
    }
    limit(p, a, "attested layers", worst, want->layer_sqnr_at_least_db, false);
}

/* ---- one statement, and the end ---- */

static void check_statement(struct package *p, struct attested *a, const struct policy_attestation *want,
                            const char *name, const json_t *predicate)
{
    if (!json_is_object(predicate)) wrong(p, a, name, "its predicate is no object", NULL);
    else if (strcmp(want->type, POLICY_TYPE_PROVENANCE) == 0) check_provenance(p, a, want, name, predicate);
    else if (strcmp(want->type, POLICY_TYPE_PARITY) == 0) check_parity(p, a, name, predicate);
    else if (strcmp(want->type, POLICY_TYPE_SBOM) == 0 || strcmp(want->type, POLICY_TYPE_LICENCES) == 0)
        check_licences(p, a, name, want->type, predicate);
}

static void attestation_name(const struct policy_attestation *want, char name[200])
{
    snprintf(name, 200, "attestation %.180s", want->type);
}

bool package_weigh_statement(struct package *p, const struct envelope *e, bool *valid, struct error *err)
{
    const struct policy *policy = p->o->policy;
    *valid = false;
    for (uint32_t i = 0; policy && i < policy->n_attestations; i++) {
        const struct policy_attestation *want = &policy->attestations[i];
        const struct signers *by = signers_any(&want->signers) ? &want->signers : p->attesters;
        char name[200];
        bool fits = false;
        if (strcmp(want->type, e->predicate_type) != 0 || p->o->before_attestations || !by) continue;
        p->attested[i].n_seen++;
        if (!signers_bundle(by, e, p->o->at, &p->attested[i].by, &fits, err)) return false;
        attestation_name(want, name);
        if (fits) check_statement(p, &p->attested[i], want, name, json_object_get(e->statement, "predicate"));
        *valid = *valid || fits;
    }
    for (uint32_t i = 0; i < p->n_sets && !*valid; i++) {
        struct signed_by ignored = {0};
        if (!signers_bundle(p->sets[i], e, p->o->at, &ignored, valid, err)) return false;
    }
    return true;
}

void package_conclude_statements(struct package *p)
{
    const struct policy *policy = p->o->policy;
    for (uint32_t i = 0; policy && i < policy->n_attestations && !p->o->before_attestations; i++) {
        const struct policy_attestation *want = &policy->attestations[i];
        const struct attested *a = &p->attested[i];
        char name[200];
        attestation_name(want, name);
        if (!signers_any(&want->signers) && !p->attesters)
            report_add(p->report, CHECK_POLICY, VERDICT_UNDECIDED, name, "nobody is named who may make it");
        else if (a->by.n == 0 && a->by.certificate)
            report_add(p->report, CHECK_CERTIFICATE, VERDICT_FAIL, name, "%s", a->by.why);
        else if (a->by.n == 0)
            report_add(p->report, CHECK_POLICY, VERDICT_FAIL, name,
                       a->n_seen ? "none of the %u that are attached is by a signer whom the policy asks for"
                                 : "is missing (%u are attached)",
                       a->n_seen);
        else if (a->by.n < want->threshold)
            report_add(p->report, CHECK_POLICY, VERDICT_FAIL, name, "by %u signers, the policy asks for %u", a->by.n,
                       want->threshold);
        else if (!a->failed)
            report_add(p->report, CHECK_POLICY, VERDICT_PASS, name, "by %u of the signers, and says what it must",
                       a->by.n);
    }
}

/* ---- how new ---- */

void package_check_minimum(struct package *p)
{
    const struct policy *policy = p->o->policy;
    char name[48];
    int order;
    int64_t created;
    if (!policy) return;
    if (policy->minimum_version) {
        const char *found = oci_annotation(package_manifest(p)->annotations, OCI_ANNOTATION_VERSION);
        bool known = found && policy_compare_versions(found, policy->minimum_version, &order);
        snprintf(name, sizeof name, "version of image %u", p->current + 1);
        report_add(p->report, CHECK_POLICY, known && order >= 0 ? VERDICT_PASS : VERDICT_FAIL, name,
                   "expected %.80s or later, found %.80s", policy->minimum_version, found ? found : "none");
    }
    if (policy->minimum_created != INT64_MIN) {
        const char *found = p->config.doc ? p->config.created : NULL;
        bool known = found && policy_parse_time(found, &created);
        snprintf(name, sizeof name, "date of image %u", p->current + 1);
        report_add(p->report, CHECK_POLICY, known && created >= policy->minimum_created ? VERDICT_PASS : VERDICT_FAIL,
                   name, "%.40s; the policy's minimum_created is %s", found ? found : "none",
                   json_string_value(json_object_get(policy->json, "minimum_created")));
    }
}
