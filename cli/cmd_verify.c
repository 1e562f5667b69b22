#include "cli/backend_args.h"
#include "cli/commands.h"
#include "cli/package_ref.h"
#include "cli/verify_oms.h"
#include "cli/verify_run.h"
#include "core/file.h"

struct verify_args {
    struct common_args common;
    const char *key, *against, *policy, *data, *digest, *report, *spill, *roots, *signature, *name, *time;
    const char *seed, *nonce, *stats, *weights;
    uint64_t sample;
    bool oms, all;
};

static const struct option options[] = {
    {"key", 'k', OPTION_TEXT, offsetof(struct verify_args, key), "FILE",
     "public key (PEM) that must have signed the image", 0, 0},
    {"roots", 0, OPTION_TEXT, offsetof(struct verify_args, roots), "FILE",
     "certificates (PEM) that the signer's must lead to, instead of a key", 0, 0},
    {"time", 0, OPTION_TEXT, offsetof(struct verify_args, time), "TIME",
     "when certificates must hold, such as 2026-11-21T10:00:00Z (default: now)", 0, 0},
    {"name", 0, OPTION_TEXT, offsetof(struct verify_args, name), "NAME",
     "what the policy's rules know the package by (default: its tag)", 0, 0},
    {"against", 'a', OPTION_TEXT, offsetof(struct verify_args, against), "DIR",
     "the original checkpoint: rebuild the plan, compare sources, run parity", 0, 0},
    {"all", 0, OPTION_FLAG, offsetof(struct verify_args, all), NULL,
     "with --against: encode every tensor from the original again and compare the bytes", 0, 0},
    {"sample", 0, OPTION_NUMBER, offsetof(struct verify_args, sample), "N",
     "like --all, but of N weights that are drawn by a seed", 1, UINT32_MAX},
    {"seed", 0, OPTION_TEXT, offsetof(struct verify_args, seed), "TEXT",
     "with --sample: what they are drawn by (default: the image's digest)", 0, 0},
    {"nonce", 0, OPTION_TEXT, offsetof(struct verify_args, nonce), "TEXT",
     "with --sample: behind the image's digest, so that nobody knew the draw when it was packed", 0, 0},
    {"stats", 's', OPTION_TEXT, offsetof(struct verify_args, stats), "FILE",
     "with --all or --sample: the calibration statistics that ingot.json names", 0, 0},
    {"weights", 'w', OPTION_TEXT, offsetof(struct verify_args, weights), "SOURCE",
     "of a thin layout: a package or folder that has its weights", 0, 0},
    {"policy", 0, OPTION_TEXT, offsetof(struct verify_args, policy), "FILE",
     "who must have signed, attestations, licences, versions, limits of the parity run", 0, 0},
    {"data", 'd', OPTION_TEXT, offsetof(struct verify_args, data), "FILE",
     "texts for the parity run, instead of the policy's", 0, 0},
    {"digest", 0, OPTION_TEXT, offsetof(struct verify_args, digest), "sha256:HEX",
     "the image digest that the tag must name", 0, 0},
    {"report", 0, OPTION_TEXT, offsetof(struct verify_args, report), "FILE", "write the report as JSON too", 0, 0},
    {"spill-dir", 0, OPTION_TEXT, offsetof(struct verify_args, spill), "DIR",
     "where activations go that do not fit in memory", 0, 0},
    {"oms", 0, OPTION_FLAG, offsetof(struct verify_args, oms), NULL,
     "a folder instead of a package: hold it against its OpenSSF model signature", 0, 0},
    {"signature", 0, OPTION_TEXT, offsetof(struct verify_args, signature), "FILE",
     "with --oms: the signature's file (default: DIR/model.sig)", 0, 0},
    BACKEND_OPTION(struct verify_args),
    COMMON_OPTIONS(struct verify_args),
};

/* The error, when there is one, is part of the JSON: one document says everything. */
static bool print_report(const struct command_env *env, const struct report *r, const char *path, struct error *err)
{
    CLEANUP(json) json_t *j = NULL;
    CLEANUP(free) char *text = NULL;
    struct error verdict = ERROR_INIT;
    if (!report_json(r, &j, err)) return false;
    if (!report_result(r, &verdict) && !json_put(j, "error", error_json(&verdict), err)) return false;
    if (path) {
        CLEANUP(free) char *pretty = NULL;
        size_t n;
        if (!json_pretty(j, &pretty, &n, err) || !dir_make_parents(path, err) ||
            !file_save(path, bytes_of(pretty, n), 0666, err))
            return false;
    }
    *env->error_printed = true;
    if (env->common->json) return print_json(take_ptr(&j), err);
    if (!verify_text(r, &text, err)) return false;
    print_text("%s", text);
    return true;
}

static bool run_oms(const struct command_env *env, const struct verify_args *a, const char *folder, struct error *err)
{
    CLEANUP(report) struct report *r = NULL;
    struct source_args source = {.key = a->key, .roots = a->roots, .signature = a->signature, .time = a->time};
    if (a->against || a->policy || a->data || a->digest || a->name || a->all || a->sample || a->weights)
        return error_set(err, ERR_USAGE,
                         "option --oms goes with --key or --roots, --signature, --time and --report alone");
    return report_open(&r, err) && verify_oms(env, &source, folder, r, err) && print_report(env, r, a->report, err) &&
           report_result(r, err);
}

static bool check_usage(const struct verify_args *a, struct error *err)
{
    if (a->signature) return error_set(err, ERR_USAGE, "option --signature needs --oms");
    if (a->all && a->sample) return error_set(err, ERR_USAGE, "options --all and --sample exclude each other");
    if ((a->seed || a->nonce) && !a->sample)
        return error_set(err, ERR_USAGE, "option --%s needs --sample", a->seed ? "seed" : "nonce");
    if (a->seed && a->nonce) return error_set(err, ERR_USAGE, "options --seed and --nonce exclude each other");
    if (a->stats && !a->all && !a->sample) return error_set(err, ERR_USAGE, "option --stats needs --all or --sample");
    return true;
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct verify_args *a = args;
    CLEANUP(free) char *ref = NULL;
    CLEANUP(report) struct report *r = NULL;
    struct parity parity = {0};
    if (a->oms) return run_oms(env, a, operands[0], err);
    if (!check_usage(a, err)) return false;
    if (!backend_forward(env->common, "the parity check", err)) return false;
    if (!package_ref(operands[0], &ref, err) || !report_open(&r, err)) return false;
    struct verify_request q = {.ref = ref,
                               .key = a->key,
                               .against = a->against,
                               .policy = a->policy,
                               .data = a->data,
                               .digest = a->digest,
                               .roots = a->roots,
                               .name = a->name,
                               .time = a->time,
                               .all = a->all,
                               .sample = a->sample,
                               .seed = a->seed,
                               .nonce = a->nonce,
                               .stats = a->stats,
                               .weights = a->weights,
                               .spill_dir = a->spill};
    bool ok = verify_run(env, &q, r, &parity, err) && print_report(env, r, a->report, err);
    parity_free(&parity);
    return ok && report_result(r, err);
}

const struct command command_verify = {
    .name = "verify",
    .operands = "PACKAGE|DIR",
    .summary = "checks signature, digests, structure, and parity with the original",
    .details =
        "Exit status 0: everything asked for was checked and holds. 1: something does not. 9: something asked for "
        "could not be\n"
        "checked. Without a key, roots or a policy that trusts somebody the signature is undecided; without --against "
        "nothing is said about the original.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct verify_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
