/* The steps of one piece: what is asked of its lane, and what becomes of the answer. */
#include "quantize/job.h"

#include "backends/cpu/kernel.h"
#include "plan/scale_method.h"

#include <math.h>

static const struct plan_item *item_of(const struct job *j, const struct slot *s)
{
    return &j->plan->items[s->pass->item];
}

static bool looks_for_amax(const struct slot *s)
{
    return s->pass->kind == PASS_SCAN || s->pass->kind == PASS_KEEP;
}

static bool is_written(const struct slot *s)
{
    return s->pass->kind == PASS_KEEP || s->pass->kind == PASS_ENCODE;
}

static struct kernel_args args_of(const struct job *j, const struct slot *s)
{
    return (struct kernel_args){
        .n_rows = s->at.n_rows, .n_cols = s->at.n_cols, .dtype = pass_source(j, s->pass)->dtype};
}

/* ---- the largest magnitude ---- */

bool piece_measure(struct job *j, struct slot *s, struct error *err)
{
    if (!s->failed) j->result->read_bytes += s->bytes;
    if (s->failed || !looks_for_amax(s) || s->bytes == 0) return true;
    struct lane_step amax = {.op = OP_AMAX, .args = args_of(j, s)};
    return j->ops->submit(s->lane, &amax, 1, true, err);
}

/* Names the first value that is not finite. */
static bool not_finite(const struct job *j, const struct slot *s, struct error *err)
{
    const struct tensor_info *t = pass_source(j, s->pass);
    kernel_fn widen = kernel_for(OP_WIDEN, 0);
    for (uint64_t i = 0; i < s->at.n_rows * s->at.n_cols; i++) {
        float v;
        widen(&(struct kernel_args){.n_rows = 1,
                                    .n_cols = 1,
                                    .src = s->lane->src + i * dtype_bytes(t->dtype),
                                    .dtype = t->dtype,
                                    .dst_f32 = &v});
        if (isfinite(v)) continue;
        uint64_t at = s->at.first + i;
        return error_set(err, ERR_FORMAT, "file '%.128s': tensor '%.256s': element [%llu, %llu] is %s",
                         folder_name(j->model->folder, t->member), t->name, (unsigned long long)(at / t->dims[1]),
                         (unsigned long long)(at % t->dims[1]), isnan(v) ? "NaN" : "infinite");
    }
    return error_set(err, ERR_INTERNAL, "tensor '%.256s': the maximum is not finite, but every element is", t->name);
}

/* Statistics that say another maximum were made of other weights. */
static bool agree_with_stats(const struct job *j, const struct plan_item *item, float amax, struct error *err)
{
    float seen;
    if (!j->stats || !stats_find(j->stats, item->tensor->module, STAT_WEIGHT_AMAX, &seen) || seen == amax) return true;
    return error_set(
        err, ERR_FORMAT,
        "tensor '%.256s': its largest magnitude is %g, the statistics say %g: they belong to other weights",
        item->tensor->name, (double)amax, (double)seen);
}

bool piece_collect(struct job *j, struct slot *s, struct error *err)
{
    if (s->failed) {
        if (err) *err = s->err;
        return false;
    }
    if (!looks_for_amax(s)) return true;
    if (s->bytes && !j->ops->wait(s->lane, err)) return false;
    if (s->first) j->pass_amax = 0;
    for (uint64_t i = 0; s->bytes && i < s->at.n_rows; i++) {
        float amax = s->lane->dst_f32[i];
        if (!isfinite(amax)) return not_finite(j, s, err);
        if (amax > j->pass_amax) j->pass_amax = amax;
    }
    if (!s->last) return true;
    float *group = &j->group_amax[item_of(j, s)->group];
    if (isnan(*group) || j->pass_amax > *group) *group = j->pass_amax;
    s->pass->collected = true;
    return agree_with_stats(j, item_of(j, s), j->pass_amax, err);
}

/* ---- encoding ---- */

bool piece_encode(struct job *j, struct slot *s, struct error *err)
{
    const struct plan_item *item = item_of(j, s);
    enum op chooses = scale_method_op(item->scales);
    bool own = chooses == OP_COUNT; /* each block by its own maximum: nothing to choose */
    if (!is_written(s)) return true;
    struct kernel_args a = args_of(j, s);
    if (!job_weight_scale(j, s->pass->item, &a.amax, &a.scale, err)) return false;
    if (s->first && j->group_amax[item->group] == 0) {
        j->result->n_zero++;
        progress_note(j->pr, "quantize", "tensor '%s' is all zero", item->tensor->name);
    }
    if (s->bytes == 0 || job_is_solved(j, s->pass->item)) return true;
    a.static_max = scale_method_max(item->scales);
    a.rounding = j->plan->recipe->rounding;
    struct lane_step steps[2] = {{own ? item->format->encode_op : chooses, a}, {OP_ENCODE_NVFP4_STATIC, a}};
    return j->ops->submit(s->lane, steps, own ? 1 : 2, s->pass->kind != PASS_KEEP, err);
}

static bool open_hashes(struct job *j, struct error *err)
{
    return sha256_open(&j->part_hashes[0], err) && sha256_open(&j->part_hashes[1], err);
}

/* Digests of a tensor that is written: of its source, and of up to two parts. */
static bool close_hashes(struct job *j, struct pass *p, struct error *err)
{
    const struct plan_item *item = &j->plan->items[p->item];
    struct tensor_digests *d = &j->digests[p->output];
    bool copied = p->kind == PASS_COPY, blocks = !copied && item->format->block_cols > 1;
    if (!sha256_close(take_ptr(&p->hash), &d->source, err)) return false;
    d->has_source = true;
    if (copied) d->written = d->source;
    return copied || (sha256_close(take_ptr(&j->part_hashes[0]), &d->written, err) &&
                      sha256_close(take_ptr(&j->part_hashes[1]), blocks ? &d[1].written : NULL, err) &&
                      (!job_is_solved(j, p->item) || job_believe_solved(j, p->item, d, err)));
}

static bool write_part(struct job *j, const struct slot *s, uint32_t part, const uint8_t *data, struct error *err)
{
    uint64_t per_byte = item_of(j, s)->format->parts[part].cols_per_elem; /* both parts have elements of a byte */
    uint64_t n = s->at.n_rows * s->at.n_cols / per_byte;
    sha256_add(j->part_hashes[part], data, n);
    return job_write(j, s->pass->output + part, s->at.first / per_byte, data, n, err);
}

bool piece_retire(struct job *j, struct slot *s, struct error *err)
{
    struct pass *p = s->pass;
    if (p->kind == PASS_SCAN) return true;
    if (p->kind == PASS_COPY) {
        if (!job_write(j, p->output, s->offset, s->lane->src, s->bytes, err)) return false;
    } else {
        if (s->first && !open_hashes(j, err)) return false;
        bool solved = job_is_solved(j, p->item);
        if (s->bytes && !(solved ? piece_take_solved(j, s, err) : j->ops->wait(s->lane, err))) return false;
        if (!write_part(j, s, 0, s->lane->dst, err) ||
            (item_of(j, s)->format->block_cols > 1 && !write_part(j, s, 1, s->lane->dst_scale, err)))
            return false;
    }
    return !s->last || close_hashes(j, p, err);
}
