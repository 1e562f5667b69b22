#include "cli/verify_run.h"
#include "cli/verify_reencode.h"

#include "core/file.h"
#include "engine/corpus.h"
#include "formats/oci_package.h"
#include "verify/package.h"
#include "pack/pack.h"
#include "verify/structure.h"

#include <math.h>
#include <time.h>

static bool load_texts(const struct verify_request *q, const struct policy *policy, const struct model *m,
                       struct corpus *out, struct error *err)
{
    struct corpus_options o = {.max_tokens = policy->max_tokens};
    const char *path = q->data ? q->data : policy->data;
    if (path) return corpus_load(out, path, m, &o, err);
    if (policy->texts) return corpus_from_texts(out, policy->texts, m, &o, err);
    return error_set(err, ERR_USAGE, "policy '%s' names no texts; give --data", policy->name);
}

static void add_layers(struct report *r, const struct policy *p, const struct parity *x, const char *more)
{
    uint32_t worst = 0;
    for (uint32_t i = 1; i < x->n_layers; i++)
        if (x->layer_sqnr_db[i] < x->layer_sqnr_db[worst]) worst = i;
    report_add_figure(r, CHECK_PARITY, "layers", x->layer_sqnr_db[worst], p->layer_sqnr_at_least_db, false,
                      "lowest signal to noise %.2f dB, behind layer %u%s", x->layer_sqnr_db[worst], worst, more);
}

static void add_encoded(struct report *r, const struct policy *p, const struct parity *x)
{
    if (x->output == OUTPUT_EMBEDDING)
        report_add_figure(r, CHECK_PARITY, "cosine", x->cosine_least, p->cosine_at_least, false,
                          "%.6f at least, mean %.6f, of the embeddings of %llu texts", x->cosine_least, x->cosine_mean,
                          (unsigned long long)x->n_texts);
    else
        report_add_figure(r, CHECK_PARITY, "scores", x->score_difference_max, p->score_difference_at_most, true,
                          "%.6f apart at most, %.6f in the mean, of %llu texts", x->score_difference_max,
                          x->score_difference_mean, (unsigned long long)x->n_texts);
    add_layers(r, p, x, "");
}

static void add_logits(struct report *r, const struct policy *p, const struct parity *x)
{
    report_add_figure(r, CHECK_PARITY, "KL divergence", x->kl.mean, p->kl_mean_at_most, true,
                      "%.6f +- %.6f nats per token, 99 %% below %.4f", x->kl.mean, x->kl.half_width, x->kl_p99);
    report_add_figure(r, CHECK_PARITY, "top-1 agreement", x->top1.mean, p->top1_at_least, false,
                      "%.3f %% +- %.3f %% of %llu tokens", 100 * x->top1.mean, 100 * x->top1.half_width,
                      (unsigned long long)x->n_tokens);
    double ratio = x->ppl_quantized / x->ppl_original;
    if (!isnan(ratio))
        report_add_figure(r, CHECK_PARITY, "perplexity", ratio, p->perplexity_ratio_at_most, true,
                          "%.4f, the original's is %.4f", x->ppl_quantized, x->ppl_original);
    char logits[40];
    snprintf(logits, sizeof logits, "; logits %.2f dB", x->logit_sqnr_db);
    add_layers(r, p, x, logits);
}

static bool run_parity(const struct command_env *env, const struct verify_request *q, const struct policy *policy,
                       const struct model *m, const struct model *original, struct report *r, struct parity *parity,
                       struct error *err)
{
    __attribute__((cleanup(cleanup_corpus))) struct corpus corpus = {0};
    struct parity_options o = {.pool = env->pool, .isa = env->isa, .spill_dir = q->spill_dir};
    json_t *figures;
    if (!load_texts(q, policy, original, &corpus, err) ||
        !parity_run(parity, original->inventory, m->inventory, &corpus, &o, env->progress, err) ||
        !parity_json(parity, &corpus, &figures, err))
        return false;
    report_attach(r, "parity", figures);
    if (parity->output == OUTPUT_LOGITS) add_logits(r, policy, parity);
    else add_encoded(r, policy, parity);
    return true;
}

static bool is_thin(const char *text)
{
    CLEANUP(oci_ref) struct oci_ref ref = {0};
    CLEANUP(oci_layout) struct oci_layout layout = OCI_LAYOUT_INIT;
    CLEANUP(oci_index) struct oci_index index = {0};
    struct error ignored = ERROR_INIT;
    return oci_ref_parse(text, &ref, &ignored) && oci_layout_open_ref(&layout, &ref, &ignored) &&
           oci_layout_index(&layout, &index, &ignored) && oci_is_thin(&index);
}

/* The digest that the tag names: what was verified. */
static bool image_digest(const char *text, char out[OCI_DIGEST_SIZE], struct error *err)
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
static bool open_packed_model(const char *ref, struct model *m, struct report *r, bool *opened, struct error *err)
{
    struct error e = ERROR_INIT;
    if (is_thin(ref)) {
        *opened = false;
        report_add(r, CHECK_LAYOUT, VERDICT_UNDECIDED, "model", "not read: this layout is thin, it has no weights");
        return true;
    }
    *opened = model_open(m, ref, &e);
    if (*opened) return true;
    if (is_bundle(ref)) {
        report_add(r, CHECK_LAYOUT, VERDICT_PASS, "model",
                   "bundled as it is, as its manifest says; nothing of it is computed here");
        return true;
    }
    if (e.code == ERR_FORMAT || e.code == ERR_UNSUPPORTED) {
        report_add(r, CHECK_LAYOUT, VERDICT_FAIL, "model", "%s", e.text);
        return true;
    }
    if (err) *err = e;
    return false;
}

static bool encode_again(const struct command_env *env, const struct verify_request *q, const struct model *m,
                         const struct model *original, struct report *r, struct error *err)
{
    char image[OCI_DIGEST_SIZE];
    struct reencode_request again = {.all = q->all,
                                     .sample = q->sample,
                                     .seed = q->seed,
                                     .nonce = q->nonce,
                                     .stats = q->stats,
                                     .ref = q->ref,
                                     .image = image};
    return image_digest(q->ref, image, err) && reencode_check(env, &again, m, original, r, err);
}

static bool check_model(const struct command_env *env, const struct verify_request *q, const struct policy *policy,
                        struct report *r, struct parity *parity, struct error *err)
{
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    __attribute__((cleanup(cleanup_model))) struct model original = {0};
    bool opened;
    if (!open_packed_model(q->ref, &m, r, &opened, err)) return false;
    if (opened && !structure_check(&m, env->pool, r, env->progress, err)) return false;
    if (!q->against && ((q->policy && policy->has_parity) || q->data))
        report_add(r, CHECK_PARITY, VERDICT_UNDECIDED, "parity",
                   "not run: %s was given, but no original to compare with (--against)",
                   q->policy ? "a policy" : "a file of texts");
    bool again = q->all || q->sample;
    if (again && (!q->against || !opened))
        report_add(r, CHECK_DIGEST, VERDICT_UNDECIDED, REENCODE_CHECK,
                   "needs the weights and the original (--against)");
    if (!q->against) return true;
    if (!model_open(&original, q->against, err)) return false;
    if (!opened) return true;
    if (!structure_check_against(&m, &original, env->pool, r, env->progress, err)) return false;
    /* Numbers of a package that is broken already would only hide the cause. */
    if (report_count(r, VERDICT_FAIL)) {
        if (again)
            report_add(r, CHECK_DIGEST, VERDICT_UNDECIDED, REENCODE_CHECK,
                       "not done: the package failed a check before");
        report_add(r, CHECK_PARITY, VERDICT_UNDECIDED, "parity", "not run: the package failed a check before");
        return true;
    }
    if (again && !encode_again(env, q, &m, &original, r, err)) return false;
    return run_parity(env, q, policy, &m, &original, r, parity, err);
}

/* What the options name, loaded. */
struct inputs {
    struct policy policy;
    struct key *key;
    struct cert_chain *roots;
    struct digest wanted;
    int64_t at;
};

static void cleanup_inputs(struct inputs *in)
{
    policy_close(&in->policy);
    key_close(in->key);
    cert_chain_close(in->roots);
}

static bool load_inputs(const struct verify_request *q, struct inputs *in, struct error *err)
{
    in->at = (int64_t)time(NULL);
    if (!policy_load(&in->policy, q->policy, err) || (q->key && !key_load_public(q->key, &in->key, err)) ||
        (q->roots && !cert_chain_load(q->roots, &in->roots, err)))
        return false;
    if (q->time && !policy_parse_time(q->time, &in->at))
        return error_set(err, ERR_USAGE, "option --time: expected a time like 2026-11-21T10:00:00Z, found '%.80s'",
                         q->time);
    if (q->digest && !oci_digest_parse(q->digest, &in->wanted))
        return error_set(err, ERR_USAGE, "option --digest: expected sha256: and 64 hex digits, found '%.80s'",
                         q->digest);
    return true;
}

bool verify_run(const struct command_env *env, const struct verify_request *q, struct report *r, struct parity *parity,
                struct error *err)
{
    __attribute__((cleanup(cleanup_inputs))) struct inputs in = {0};
    if (!crypto_self_test(err) || !load_inputs(q, &in, err)) return false;
    struct package_options o = {.ref = q->ref,
                                .key = in.key,
                                .roots = in.roots,
                                .name = q->name,
                                .policy = &in.policy,
                                .at = in.at,
                                .before_attestations = q->before_attestations,
                                .wanted = q->digest ? &in.wanted : NULL,
                                .pool = env->pool,
                                .progress = env->progress};
    return package_verify(&o, r, err) && check_model(env, q, &in.policy, r, parity, err);
}

bool verify_text(const struct report *r, char **out, struct error *err)
{
    CLEANUP(json) json_t *j = NULL;
    if (!report_json(r, &j, err)) return false;
    struct text t = TEXT_INIT;
    size_t i;
    json_t *c;
    json_array_foreach (json_object_get(j, "checks"), i, c) {
        text_add(&t, "%-9s %-12s %s: %s\n", json_string_value(json_object_get(c, "verdict")),
                 json_string_value(json_object_get(c, "check")), json_string_value(json_object_get(c, "name")),
                 json_string_value(json_object_get(c, "detail")));
    }
    text_add(&t, "\nverdict: %s (%u passed, %u failed, %u undecided)\n",
             json_string_value(json_object_get(j, "verdict")), report_count(r, VERDICT_PASS),
             report_count(r, VERDICT_FAIL), report_count(r, VERDICT_UNDECIDED));
    return text_take(&t, out, NULL, err);
}
