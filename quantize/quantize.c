#include "quantize/job.h"

#include "core/file.h"
#include "core/memory.h"
#include "core/text.h"
#include "core/version.h"

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
    uint64_t hold = PLAN_CHUNK_BYTES, piece = PLAN_CHUNK_BYTES;
    bool mse = false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        const struct tensor_info *t = checkpoint_tensor(p->inventory->checkpoint, item->tensor->parts[PART_WEIGHT]);
        if (item->action != ACTION_QUANTIZE) continue;
        if (t->bytes <= PLAN_HOLD_BYTES && t->bytes > hold) hold = t->bytes;
        uint64_t row_bytes = t->bytes / (t->dims[0] ? t->dims[0] : 1);
        if (row_bytes > piece) piece = row_bytes;
        mse |= item->scales == SCALES_MSE;
    }
    j->hold_bytes = hold > piece ? hold : piece;
    /* A piece has at most piece / 2 elements: a byte of weight each, a scale and a maximum per 16. */
    uint64_t elems = piece / 2;
    if (!memory_alloc(&j->hold, j->hold_bytes, 1, err) || !memory_alloc(&j->weight, elems, 1, err) ||
        !memory_alloc(&j->scales, elems / 16 + 1, 1, err) ||
        (mse && !memory_alloc(&j->block_amax, elems / 16 + 1, sizeof(float), err)) ||
        !memory_zalloc(&j->input_amax, p->n_items, sizeof(float), err) ||
        !memory_alloc(&j->group_amax, p->n_groups, sizeof(float), err))
        return false;
    for (uint32_t g = 0; g < p->n_groups; g++) j->group_amax[g] = NAN;
    return true;
}

static bool write_cache_scale(struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    if (!item->kv_scale) return true;
    uint32_t output = item->first_output + item->n_outputs - 1; /* behind the item's other parts */
    float amax;
    if (!j->stats || !stats_find(j->stats, item->tensor->module, STAT_OUTPUT_AMAX, &amax))
        return error_set(err, ERR_FORMAT, "the statistics hold nothing of the output of '%.256s'",
                         item->tensor->module);
    float scale = amax / 448.0f; /* largest finite E4M3 */
    if (!(scale > 0) || !isfinite(scale))
        return error_set(err, ERR_FORMAT,
                         "the output of '%.256s' reached %g during calibration: no cache scale can be made of it",
                         item->tensor->module, (double)amax);
    if (scale > 0.5f)
        progress_note(j->pr, "quantize", "'%s' has a cache scale of %.3f; above 0.5 the FP8 cache loses precision",
                      j->plan->specs[output].name, (double)scale);
    return sha256_of(bytes_of(&scale, sizeof scale), &j->digests[output].written, err) &&
           job_write(j, output, 0, &scale, sizeof scale, err);
}

static bool run_items(struct job *j, struct error *err)
{
    const struct plan *p = j->plan;
    uint64_t done = 0;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        progress_update(j->pr, "quantize", item->tensor->name, done, p->read_bytes);
        done += checkpoint_tensor(p->inventory->checkpoint, item->tensor->parts[PART_WEIGHT])->bytes;
        if (!progress_go_on(j->pr, err)) return false;
        if (!job_needs_item(j, i)) continue;
        bool ok = item->action == ACTION_QUANTIZE ? job_quantize_item(j, i, err) : job_copy_item(j, i, err);
        if (!ok || !write_cache_scale(j, i, err) ||
            !job_shards_done_before(j, item->first_output + item->n_outputs, err))
            return false;
    }
    progress_update(j->pr, "quantize", NULL, p->read_bytes, p->read_bytes);
    return job_shards_done_before(j, p->n_outputs, err);
}

static bool run(struct job *j, const char *out_dir, struct error *err)
{
    CLEANUP(free) char *key = NULL;
    if (j->stats && !stats_fit(j->stats, j->plan, err)) return false;
    if (!folder_survives(j->model->folder, out_dir, err) || !allocate(j, err) ||
        !stats_input_amaxes(j->stats, j->plan, j->input_amax, err) || !dir_make_parents(out_dir, err) ||
        !check_space(j, out_dir, err) || !staging_key(j, &key, err) ||
        !staging_open(&j->staging, out_dir, key, j->opt->replace, err))
        return false;
    if (!job_shards_open(j, err) || !run_items(j, err) ||
        !shard_index_write(staging_path(j->staging), j->plan->specs, &j->layout, err) || !job_write_files(j, err))
        return false;
    return staging_commit(take_ptr(&j->staging), err);
}

bool quantize_run(struct plan *plan, const struct model *m, const struct stats *stats, const char *out_dir,
                  const struct quantize_options *opt, struct quantize_result *result, const struct progress *pr,
                  struct error *err)
{
    *result = (struct quantize_result){0};
    struct job j = {.plan = plan, .model = m, .stats = stats, .opt = opt, .pr = pr, .result = result};
    struct error local = ERROR_INIT;
    bool ok = run(&j, out_dir, &local);
    job_shards_close(&j);
    /* A run that was stopped keeps its finished shards; one that failed for good leaves nothing. */
    staging_close(j.staging, local.code == ERR_CANCELLED);
    free(j.hold);
    free(j.weight);
    free(j.scales);
    free(j.block_amax);
    free(j.input_amax);
    free(j.group_amax);
    if (!ok && err) *err = local;
    return ok;
}
