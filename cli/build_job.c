#include "cli/build_job.h"
#include "cli/build_attest.h"
#include "cli/build_stamp.h"

#include "calibrate/calibrate.h"
#include "cli/image_labels.h"
#include "cli/key_args.h"
#include "cli/source_check.h"
#include "core/file.h"
#include "formats/oci.h"
#include "pack/pack.h"
#include "pack/profile.h"
#include "pack/sign.h"
#include "quantize/quantize.h"

#include <fcntl.h>
#include <stdlib.h>

static bool inside(const struct build_job *j, const char *name, char **out, struct error *err)
{
    return path_join(out, j->out, name, err);
}

bool build_open(struct build_job *j, const struct command_env *env, const char *release, const char *out,
                struct error *err)
{
    *j = (struct build_job){.env = env, .out = out};
    if (!release_load(&j->release, release, err)) return false;
    if (!inside(j, "stats.safetensors", &j->stats_path, err) || !inside(j, "quantized", &j->quantized, err) ||
        !inside(j, "profiles", &j->profiles, err) || !inside(j, "package", &j->package, err) ||
        !inside(j, "plan.json", &j->plan_path, err) || !inside(j, "report.json", &j->report_path, err) ||
        !inside(j, "release.key", &j->private_key, err) || !inside(j, "release.pub", &j->public_key, err))
        return false;
    if (!oci_tag_is_valid(j->release.tag))
        return error_set(err, ERR_FORMAT, "release: '%.128s' is not a tag", j->release.tag);
    if (asprintf(&j->ref, OCI_REF_PREFIX "%s:%s", j->package, j->release.tag) < 0) return error_memory(err, 0);
    return dir_make_parents(j->stats_path, err) && report_open(&j->report, err);
}

void build_close(struct build_job *j)
{
    char **paths[] = {&j->stats_path,  &j->quantized,  &j->profiles,  &j->package,    &j->ref,
                      &j->private_key, &j->public_key, &j->plan_path, &j->report_path};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) free(*paths[i]);
    parity_free(&j->parity);
    report_close(j->report);
    stats_free(j->stats);
    plan_free(j->plan);
    recipe_free(j->recipe);
    model_close(&j->source);
    json_decref(j->source_signature);
    release_close(&j->release);
}

static bool save_json(const char *path, const json_t *doc, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n;
    return json_pretty(doc, &text, &n, err) && file_save(path, bytes_of(text, n), 0666, err);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* ---- inspect, plan ---- */

static bool inspect(struct build_job *j, bool *skipped, struct error *err)
{
    (void)skipped;
    struct source_args source = {.key = j->release.source_key, .signature = j->release.source_signature};
    if (!source_check(j->env, &source, j->release.source, &j->source_signature, err) ||
        !model_open(&j->source, j->release.source, err))
        return false;
    const struct inventory *inv = j->source.inventory;
    uint64_t elems = 0;
    for (uint32_t i = 0; i < inv->n_tensors; i++) elems += inv->tensors[i].n_elems;
    j->source_bytes = checkpoint_bytes(j->source.checkpoint);
    char size[32];
    text_bytes(size, j->source_bytes);
    progress_note(j->env->progress, "inspect", "%s: %s, %.1f million parameters, %s in %u tensors", j->release.name,
                  inv->config.arch->name, (double)elems / 1e6, size, inv->n_tensors);
    return true;
}

static bool plan(struct build_job *j, bool *skipped, struct error *err)
{
    (void)skipped;
    CLEANUP(json) json_t *doc = NULL;
    if (!recipe_load(&j->recipe, j->release.recipe, err) ||
        !plan_build(&j->plan, j->source.inventory, j->recipe, err) || !plan_json(j->plan, &doc, err) ||
        !save_json(j->plan_path, doc, err))
        return false;
    j->quantized_bytes = j->plan->write_bytes;
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&j->plan->digest, hex);
    progress_note(j->env->progress, "plan", "recipe %s: %.3f bits per weight, sha256 %.16s...", j->recipe->name,
                  plan_effective_bits(j->plan), hex);
    return true;
}

/* ---- calibrate ---- */

/* Statistics of an earlier run, when they were made for this plan from these weights and tokens. */
static bool keep_stats(struct build_job *j, const struct corpus *corpus)
{
    struct error ignored = ERROR_INIT;
    if (!build_stamp_fits(j->out, "calibrate", j->release.source, NULL) ||
        !stats_load(&j->stats, j->stats_path, &ignored))
        return false;
    if (stats_fit(j->stats, j->plan, &ignored) && digest_equal(&j->stats->data_digest, &corpus->digest)) return true;
    stats_free(take_ptr(&j->stats));
    return false;
}

static bool calibrate(struct build_job *j, bool *skipped, struct error *err)
{
    if (!j->plan->needs_data) {
        progress_note(j->env->progress, "calibrate", "the recipe needs no data");
        return true;
    }
    if (!j->release.data)
        return error_set(err, ERR_USAGE, "recipe '%s' needs calibration data; the release file names none",
                         j->recipe->name);
    __attribute__((cleanup(cleanup_corpus))) struct corpus corpus = {0};
    struct corpus_options co = {.max_tokens = (uint32_t)j->release.max_tokens};
    struct calibrate_options o = {
        .pool = j->env->pool, .isa = j->env->isa, .spill_dir = j->out, .work_path = j->stats_path};
    if (!corpus_load(&corpus, j->release.data, &j->source, &co, err)) return false;
    *skipped = keep_stats(j, &corpus);
    if (!*skipped && (!build_stamp_drop(j->out, "calibrate", err) ||
                      !calibrate_run(j->plan, &corpus, &o, &j->stats, j->env->progress, err) ||
                      !stats_save(j->stats, j->stats_path, err) ||
                      !build_stamp_save(j->out, "calibrate", j->release.source, NULL, err)))
        return false;
    progress_note(j->env->progress, "calibrate", "%llu texts, %llu tokens, %u maxima",
                  (unsigned long long)j->stats->n_texts, (unsigned long long)j->stats->n_tokens, j->stats->n_stats);
    return true;
}

/* ---- quantize ---- */

static bool same_digest(const json_t *doc, const char *key, const struct digest *d)
{
    char hex[DIGEST_HEX_SIZE];
    const char *said = json_string_value(json_object_get(doc, key));
    digest_hex(d, hex);
    return said && strcmp(said, hex) == 0;
}

/* What ingot.json says of the source's signature is what was verified now. */
static bool same_signature(const json_t *doc, const json_t *verified)
{
    const json_t *said = json_object_get(json_object_get(doc, "source"), "signature");
    return json_equal(said, verified) || (!said && !verified);
}

static bool keep_quantized(const struct build_job *j)
{
    struct error ignored = ERROR_INIT;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *doc = NULL;
    if (!build_stamp_fits(j->out, "quantize", j->release.source, j->quantized) ||
        !folder_open(&f, j->quantized, &ignored) || !folder_load(f, "ingot.json", (size_t)1 << 30, &text, &ignored) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, "ingot.json", &doc, &ignored) ||
        !same_digest(doc, "plan_sha256", &j->plan->digest) || !same_signature(doc, j->source_signature))
        return false;
    const json_t *calibration = json_object_get(doc, "calibration");
    return j->stats ? same_digest(calibration, "stats_sha256", &j->stats->digest) : json_is_null(calibration);
}

static bool quantize(struct build_job *j, bool *skipped, struct error *err)
{
    struct quantize_options o = {.pool = j->env->pool,
                                 .isa = j->env->isa,
                                 .shard_bytes = SHARD_BYTES_DEFAULT,
                                 .replace = true,
                                 .source_signature = j->source_signature};
    struct quantize_result r;
    *skipped = keep_quantized(j);
    if (!*skipped &&
        (!backend_find(j->env->common->backend, &o.backend, err) || !build_stamp_drop(j->out, "quantize", err) ||
         !quantize_run(j->plan, &j->source, j->stats, j->quantized, &o, &r, j->env->progress, err) ||
         !build_stamp_save(j->out, "quantize", j->release.source, j->quantized, err)))
        return false;
    char was[32], is[32];
    text_bytes(was, j->source_bytes);
    text_bytes(is, j->quantized_bytes);
    progress_note(j->env->progress, "quantize", "%s -> %s", was, is);
    return true;
}

/* ---- profile, pack, sign ---- */

static bool profile(struct build_job *j, bool *skipped, struct error *err)
{
    (void)skipped;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    if (!model_open(&m, j->quantized, err)) return false;
    for (uint32_t i = 0; i < j->release.n_profiles; i++) {
        const struct release_profile *p = &j->release.profiles[i];
        __attribute__((cleanup(cleanup_profile_result))) struct profile_result r = {0};
        struct profile_request req = {.engine = p->engine,
                                      .gpu = p->gpu,
                                      .context = p->context,
                                      .sequences = p->sequences,
                                      .draft_tokens = (uint32_t)p->draft,
                                      .replace = true};
        if (!profile_build(&m, &req, j->profiles, j->env->progress, &r, err)) return false;
        progress_note(j->env->progress, "profile", "%s", r.name);
        for (uint32_t k = 0; k < r.n_notes; k++) progress_note(j->env->progress, "profile", "%s", r.notes[k]);
        for (uint32_t k = 0; k < r.lint.n; k++)
            progress_note(j->env->progress, "profile", "%s %s: %s", lint_severity_name(r.lint.findings[k].severity),
                          r.lint.findings[k].rule->id, r.lint.findings[k].text);
    }
    return true;
}

/* The package is still right when nobody touched it and its manifest carries the labels that the folders would give it
 * now. */
static bool keep_package(struct build_job *j, const json_t *labels)
{
    struct error ignored = ERROR_INIT;
    return build_stamp_fits(j->out, "package", j->package, NULL) &&
           image_labels_of(j->ref, labels, &j->image, &ignored);
}

static bool pack(struct build_job *j, bool *skipped, struct error *err)
{
    CLEANUP(json) json_t *labels = NULL;
    const char *profiles = j->release.n_profiles ? j->profiles : NULL;
    if (!image_labels(j->quantized, profiles, &labels, err)) return false;
    *skipped = keep_package(j, labels);
    if (!*skipped) {
        struct pack_options o = {.source = j->quantized,
                                 .profiles = profiles,
                                 .ref = j->ref,
                                 .annotations = labels,
                                 .replace = true,
                                 .pool = j->env->pool,
                                 .progress = j->env->progress};
        __attribute__((cleanup(cleanup_pack_result))) struct pack_result r = {0};
        if (!build_stamp_drop(j->out, "package", err) || !pack_run(&o, &r, err)) return false;
        j->image = r.image;
    }
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&j->image, hex);
    progress_note(j->env->progress, "pack", "%s sha256:%.16s...", j->ref, hex);
    return true;
}

static bool sign(struct build_job *j, bool *skipped, struct error *err)
{
    const char *passphrase = getenv("INGOT_KEY_PASSPHRASE");
    const char *path = j->release.private_key ? j->release.private_key : j->private_key;
    struct key *key = NULL;
    struct sign_result r;
    /* A build without a key of its own gets one: enough for a trial, and said so. */
    if (!j->release.private_key && !exists(path)) {
        if (!key_generate(j->private_key, j->public_key, passphrase, err)) return false;
        progress_note(j->env->progress, "sign", "made a key: %s", j->private_key);
    }
    struct key_args args = {.key = path};
    bool ok = key_args_open(&args, &key, err) && sign_run(j->ref, key, &r, err);
    key_close(key);
    if (!ok) return false;
    *skipped = r.was_signed;
    if (!build_stamp_save(j->out, "package", j->package, NULL, err)) return false;
    char id[DIGEST_HEX_SIZE];
    digest_hex(&r.key_id, id);
    progress_note(j->env->progress, "sign", "by key %.16s...", id);
    return true;
}

/* ---- verify ---- */

static bool verify(struct build_job *j, bool *skipped, struct error *err)
{
    (void)skipped;
    CLEANUP(json) json_t *doc = NULL;
    struct verify_request q = {.ref = j->ref,
                               .against = j->release.source,
                               .policy = j->release.policy,
                               .key = j->release.public_key ? j->release.public_key : j->public_key,
                               .before_attestations = true,
                               .spill_dir = j->out};
    if (!verify_run(j->env, &q, j->report, &j->parity, err) || !report_json(j->report, &doc, err) ||
        !save_json(j->report_path, doc, err))
        return false;
    progress_note(j->env->progress, "verify", "%u checks passed, %u failed, %u undecided",
                  report_count(j->report, VERDICT_PASS), report_count(j->report, VERDICT_FAIL),
                  report_count(j->report, VERDICT_UNDECIDED));
    return report_result(j->report, err);
}

const struct build_stage build_stages[] = {
    {"inspect", inspect}, {"plan", plan}, {"calibrate", calibrate}, {"quantize", quantize},   {"profile", profile},
    {"pack", pack},       {"sign", sign}, {"verify", verify},       {"attest", build_attest}, {NULL, NULL},
};
