#include "cli/verify_run.h"
#include "cli/verify_packed.h"
#include "cli/verify_reencode.h"

#include "core/file.h"
#include "engine/corpus.h"
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

static bool encode_again(const struct command_env *env, const struct verify_request *q, const struct packed *p,
                         const struct oci_kept *kept, const struct model *original, struct report *r, struct error *err)
{
    char image[OCI_DIGEST_SIZE];
    oci_digest_text(&kept->package, image);
    struct reencode_request again = {.all = q->all,
                                     .sample = q->sample,
                                     .seed = q->seed,
                                     .nonce = q->nonce,
                                     .stats = q->stats,
                                     .model = p->has_model ? &p->model : NULL,
                                     .image = image};
    return reencode_check(env, &again, packed_folder(p), original, r, err);
}

static bool check_against(const struct command_env *env, const struct verify_request *q, const struct policy *policy,
                          const struct oci_kept *kept, const struct packed *p, struct report *r, struct parity *parity,
                          struct error *err)
{
    __attribute__((cleanup(cleanup_model))) struct model original = {0};
    if (!model_open(&original, q->against, err)) return false;
    if (!packed_folder(p)) {
        /* Of a bundle that would otherwise be a pass. */
        report_add(r, CHECK_LAYOUT, VERDICT_UNDECIDED, "original",
                   "not compared with: the package's model is not read");
        return true;
    }
    if (!structure_check_against(packed_folder(p), p->has_model ? p->model.checkpoint : NULL, &original, env->pool, r,
                                 env->progress, err))
        return false;
    /* Numbers of a package that is broken already would only hide the cause. */
    if (report_count(r, VERDICT_FAIL)) {
        if (q->all || q->sample)
            report_add(r, CHECK_DIGEST, VERDICT_UNDECIDED, REENCODE_CHECK,
                       "not done: the package failed a check before");
        report_add(r, CHECK_PARITY, VERDICT_UNDECIDED, "parity", "not run: the package failed a check before");
        return true;
    }
    if ((q->all || q->sample) && !encode_again(env, q, p, kept, &original, r, err)) return false;
    if (p->has_model) return run_parity(env, q, policy, &p->model, &original, r, parity, err);
    report_add(r, CHECK_PARITY, VERDICT_UNDECIDED, "parity", "not run: the weights are not here");
    return true;
}

static bool check_model(const struct command_env *env, const struct verify_request *q, const struct policy *policy,
                        const struct oci_kept *kept, const struct oci_weights *beside, struct report *r,
                        struct parity *parity, struct error *err)
{
    __attribute__((cleanup(cleanup_packed))) struct packed p = {0};
    if (!packed_open(&p, q->ref, kept, beside, r, err)) return false;
    if (p.has_model ? !structure_check(&p.model, env->pool, r, env->progress, err)
                    : p.thin && !structure_check_files(p.thin, r, err))
        return false;
    if (!q->against && ((q->policy && policy->has_parity) || q->data))
        report_add(r, CHECK_PARITY, VERDICT_UNDECIDED, "parity",
                   "not run: %s was given, but no original to compare with (--against)",
                   q->policy ? "a policy" : "a file of texts");
    if ((q->all || q->sample) && (!q->against || !packed_folder(&p)))
        report_add(r, CHECK_DIGEST, VERDICT_UNDECIDED, REENCODE_CHECK,
                   "needs ingot.json of the package and the original (--against)");
    return !q->against || check_against(env, q, policy, kept, &p, r, parity, err);
}

/* What the options name, loaded. */
struct inputs {
    struct policy policy;
    struct key *key;
    struct cert_chain *roots;
    struct oci_weights beside;
    struct digest wanted;
    int64_t at;
};

static void cleanup_inputs(struct inputs *in)
{
    policy_close(&in->policy);
    key_close(in->key);
    cert_chain_close(in->roots);
    oci_weights_close(&in->beside);
}

static bool load_inputs(const struct verify_request *q, struct inputs *in, struct error *err)
{
    in->at = (int64_t)time(NULL);
    if (!policy_load(&in->policy, q->policy, err) || (q->key && !key_load_public(q->key, &in->key, err)) ||
        (q->roots && !cert_chain_load(q->roots, &in->roots, err)) ||
        (q->weights && !oci_weights_open(&in->beside, q->weights, err)))
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
    __attribute__((cleanup(cleanup_inputs))) struct inputs in = {.beside = OCI_WEIGHTS_INIT};
    __attribute__((cleanup(cleanup_oci_kept))) struct oci_kept kept = OCI_KEPT_INIT;
    const struct oci_weights *beside = q->weights ? &in.beside : NULL;
    if (!crypto_self_test(err) || !load_inputs(q, &in, err)) return false;
    struct package_options o = {.ref = q->ref,
                                .key = in.key,
                                .roots = in.roots,
                                .name = q->name,
                                .policy = &in.policy,
                                .at = in.at,
                                .before_attestations = q->before_attestations,
                                .wanted = q->digest ? &in.wanted : NULL,
                                .beside = beside,
                                .kept = &kept,
                                .pool = env->pool,
                                .progress = env->progress};
    return package_verify(&o, r, err) && check_model(env, q, &in.policy, &kept, beside, r, parity, err);
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
