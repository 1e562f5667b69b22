#include "quantize/job.h"

#include "core/file.h"
#include "core/memory.h"
#include "core/text.h"
#include "core/version.h"
#include "plan/fold.h"

#include <math.h>

/* Everything that the output's bytes depend on. The stamp is there because a plan knows headers only: a source file
 * that was fetched anew between two runs must not be mixed with the old one's shards. */
static bool staging_key(const struct job *j, char **out, struct error *err)
{
    char plan[DIGEST_HEX_SIZE], stats[DIGEST_HEX_SIZE] = "none", source[DIGEST_HEX_SIZE];
    struct digest stamp;
    if (!folder_stamp(j->model->folder, &stamp, err)) return false;
    digest_hex(&stamp, source);
    digest_hex(&j->plan->digest, plan);
    if (j->stats) digest_hex(&j->stats->digest, stats);
    struct text t = TEXT_INIT;
    text_add(&t, "ingot %s quantize plan %s stats %s source %s shard %llu", INGOT_VERSION, plan, stats, source,
             (unsigned long long)j->opt->shard_bytes);
    if (j->given) {
        char scales[DIGEST_HEX_SIZE];
        digest_hex(&j->given->digest, scales);
        text_add(&t, " scales %s", scales);
    }
    return text_take(&t, out, NULL, err);
}

static bool check_space(const struct job *j, const char *out_dir, struct error *err)
{
    uint64_t have, need = j->plan->write_bytes;
    const struct folder *f = j->model->folder;
    if (!dir_space(out_dir, &have, err)) return false;
    for (uint32_t i = 0; i < folder_count(f); i++)
        if (!checkpoint_is_weights(folder_name(f, i))) need += folder_size(f, i);
    if (have >= need) return true;
    char a[32], b[32];
    text_bytes(a, need);
    text_bytes(b, have);
    return error_set(err, ERR_IO, "'%.512s' needs %s, the file system has %s left: No space left on device", out_dir, a,
                     b);
}

static bool allocate(struct job *j, struct error *err)
{
    const struct plan *p = j->plan;
    if (!memory_zalloc(&j->input_amax, p->n_items, sizeof(float), err) ||
        !memory_alloc(&j->group_amax, p->n_groups, sizeof(float), err))
        return false;
    j->result->gains = arena_alloc(p->arena, (size_t)p->n_items + 1, sizeof *j->result->gains);
    if (!j->result->gains) return error_memory(err, p->n_items * sizeof *j->result->gains);
    for (uint32_t g = 0; g < p->n_groups; g++) j->group_amax[g] = NAN;
    return true;
}

/* Where scales come from: another folder, or what was calibrated. */
static bool get_scales(struct job *j, const char *out_dir, struct error *err)
{
    if (!j->opt->scales_from && !j->opt->scales_model)
        return job_check_solved(j, err) && job_check_folds(j, err) &&
               stats_input_amaxes(j->stats, j->plan, j->input_amax, err);
    if (j->plan->n_folds)
        return error_set(err, ERR_UNSUPPORTED,
                         "recipe '%s' folds scales per channel, which --scales-from cannot take over",
                         j->plan->recipe->name);
    if (j->again) return given_borrow(&j->given, j->plan, j->opt->scales_model, j->again->wanted, j->pr, err);
    if (!given_open(&j->given, j->plan, j->opt->scales_from, j->pr, err)) return false;
    j->result->scales_digest = j->given->digest;
    return folder_survives(j->given->model.folder, out_dir, err);
}

static void count_clipped(struct job *j)
{
    struct quantize_result *r = j->result;
    double worst = 0;
    for (uint32_t i = 0; i < j->plan->n_items; i++) {
        uint64_t n = j->given->clipped[i], of = j->plan->items[i].tensor->n_elems;
        if (n == 0) continue;
        r->n_clipped += n;
        r->n_clipped_tensors++;
        if ((double)n / (double)of <= worst) continue;
        worst = (double)n / (double)of;
        r->worst_clipped = j->plan->items[i].tensor->name;
        r->worst_n_clipped = n;
        r->worst_n_elems = of;
    }
}

static bool run(struct job *j, const char *out_dir, struct error *err)
{
    CLEANUP(free) char *key = NULL;
    if (j->stats && !stats_fit(j->stats, j->plan, err)) return false;
    if (!folder_survives(j->model->folder, out_dir, err) || !allocate(j, err) || !get_scales(j, out_dir, err) ||
        !job_open_lanes(j, err) || !dir_make_parents(out_dir, err) || !check_space(j, out_dir, err) ||
        !checkpoint_check_sums(j->model->checkpoint, err) || !staging_key(j, &key, err) ||
        !staging_open(&j->staging, out_dir, key, j->opt->replace, err))
        return false;
    if (!job_shards_open(j, err) || !job_make_passes(j, err) || !job_start_readers(j, err) || !job_stream(j, err) ||
        !shard_index_write(staging_path(j->staging), j->plan->specs, &j->layout, err) || !job_write_files(j, err) ||
        !job_audit(j, err))
        return false;
    return staging_commit(take_ptr(&j->staging), err);
}

static void release(struct job *j)
{
    job_stop_readers(j);
    job_close_lanes(j);
    job_shards_close(j);
    given_close(j->given);
    for (size_t i = 0; i < sizeof j->part_hashes / sizeof *j->part_hashes; i++)
        sha256_close(j->part_hashes[i], NULL, NULL);
    for (size_t i = 0; i < QUANT_PARTS_MAX; i++) sha256_close(j->solved_hashes[i], NULL, NULL);
    for (size_t i = 0; i < QUANT_PARTS_MAX; i++) free(j->gathered[i]);
    pthread_cond_destroy(&j->ring.changed);
    pthread_mutex_destroy(&j->ring.lock);
    free(j->pass_counts);
    free(j->passes);
    free(j->input_amax);
    free(j->group_amax);
}

/* ---- digests alone ---- */

bool quantize_needs_stats(const struct plan *p, bool *needs, struct error *err)
{
    CLEANUP(free) bool *folds = NULL;
    if (!memory_zalloc(&folds, (size_t)p->n_groups + 1, sizeof *folds, err)) return false;
    for (uint32_t i = 0; i < p->n_items; i++) folds[p->items[i].group] |= plan_item_folds(&p->items[i]);
    for (uint32_t i = 0; i < p->n_items; i++)
        needs[i] = p->items[i].solve.method != SOLVE_NONE || folds[p->items[i].group];
    return true;
}

static bool make_digests(struct job *j, struct error *err)
{
    const struct plan *p = j->plan;
    bool without = !j->stats && !j->opt->scales_model;
    if (j->stats && !stats_fit(j->stats, p, err)) return false;
    if (!allocate(j, err) || (!without && !get_scales(j, NULL, err)) || !job_open_lanes(j, err) ||
        !memory_zalloc(&j->digests, (size_t)p->n_outputs + 1, sizeof *j->digests, err))
        return false;
    for (uint32_t i = 0; without && i < p->n_items; i++) j->input_amax[i] = p->items[i].input_amax;
    if (!job_make_passes(j, err) || !job_start_readers(j, err) || !job_stream(j, err)) return false;
    static const struct digest none;
    for (uint32_t o = 0; o < p->n_outputs; o++) {
        j->again->made[o] = j->digests[o].written;
        j->again->known[o] = !digest_equal(&j->digests[o].written, &none);
    }
    return true;
}

bool quantize_digests(struct plan *plan, const struct model *m, const struct stats *stats,
                      const struct quantize_options *opt, const struct quantize_again *again,
                      struct quantize_result *result, const struct progress *pr, struct error *err)
{
    *result = (struct quantize_result){0};
    if (opt->scales_model) stats = NULL;
    struct job j = {.plan = plan, .model = m, .stats = stats, .opt = opt, .again = again, .pr = pr, .result = result};
    pthread_mutex_init(&j.ring.lock, NULL);
    pthread_cond_init(&j.ring.changed, NULL);
    bool ok = make_digests(&j, err);
    release(&j);
    return ok;
}

bool quantize_run(struct plan *plan, const struct model *m, const struct stats *stats, const char *out_dir,
                  const struct quantize_options *opt, struct quantize_result *result, const struct progress *pr,
                  struct error *err)
{
    *result = (struct quantize_result){0};
    if (opt->scales_from) stats = NULL;
    struct job j = {.plan = plan, .model = m, .stats = stats, .opt = opt, .pr = pr, .result = result};
    struct error local = ERROR_INIT;
    pthread_mutex_init(&j.ring.lock, NULL);
    pthread_cond_init(&j.ring.changed, NULL);
    bool ok = run(&j, out_dir, &local);
    if (ok && j.given) count_clipped(&j);
    release(&j);
    /* A run that was stopped keeps its finished shards; one that failed for good leaves nothing. */
    staging_close(j.staging, local.code == ERR_CANCELLED);
    if (!ok && err) *err = local;
    return ok;
}
