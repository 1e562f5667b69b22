/* The steps of one piece: what is asked of its lane, and what becomes of the answer. */
#include "quantize/job.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "plan/scale_method.h"

#include <math.h>

static const struct plan_item *item_of(const struct job *j, const struct slot *s)
{
    return &j->plan->items[s->pass->item];
}

static bool looks_for_amax(const struct slot *s)
{
    return s->pass->kind == PASS_SCAN || s->pass->kind == PASS_KEEP || s->pass->kind == PASS_EACH;
}

static bool is_written(const struct slot *s)
{
    return s->pass->kind == PASS_KEEP || s->pass->kind == PASS_ENCODE || s->pass->kind == PASS_EACH;
}

static struct kernel_args args_of(const struct job *j, const struct slot *s)
{
    bool sideways = is_sideways(j, s);
    return (struct kernel_args){.n_rows = sideways ? s->at.n_cols : s->at.n_rows,
                                .n_cols = sideways ? s->at.n_rows : s->at.n_cols,
                                .dtype = pass_source(j, s->pass)->dtype};
}

/* ---- the largest magnitude ---- */

bool piece_measure(struct job *j, struct slot *s, struct error *err)
{
    if (!s->failed) j->result->read_bytes += s->bytes;
    if (s->failed || !looks_for_amax(s) || s->bytes == 0 || piece_is_cast(j, s)) return true;
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
        if (is_sideways(j, s)) at = s->at.first + i % s->at.n_rows * s->at.n_cols + i / s->at.n_rows;
        return error_set(err, ERR_FORMAT, "file '%.128s': tensor '%.256s': element [%llu, %llu] is %s",
                         folder_name(j->model->folder, t->member), t->name, (unsigned long long)(at / t->dims[1]),
                         (unsigned long long)(at % t->dims[1]), isnan(v) ? "NaN" : "infinite");
    }
    return error_set(err, ERR_INTERNAL, "tensor '%.256s': the maximum is not finite, but every element is", t->name);
}

/* Statistics that say another maximum were made of other weights. */
static bool agree_with_stats(const struct job *j, const struct plan_item *item, float amax, struct error *err)
{
    float seen = 0, v;
    if (!j->stats) return true;
    for (uint32_t i = 0; item->stack && i < j->plan->n_items; i++) { /* of a stack: all its members */
        const struct plan_item *other = &j->plan->items[i];
        if (other->stack != item->stack) continue;
        if (!stats_find(j->stats, other->tensor->module, STAT_WEIGHT_AMAX, &v)) return true;
        if (v > seen) seen = v;
    }
    if (!item->stack && !stats_find(j->stats, item->tensor->module, STAT_WEIGHT_AMAX, &seen)) return true;
    if (seen == amax) return true;
    return error_set(
        err, ERR_FORMAT,
        "tensor '%.256s': its largest magnitude is %g, the statistics say %g: they belong to other weights",
        item->tensor->name, (double)amax, (double)seen);
}

static void note_zero(struct job *j, const struct plan_item *item)
{
    j->result->n_zero++;
    progress_note(j->pr, "quantize", "tensor '%s' is all zero", item->tensor->name);
}

/* `scales: {method: mse, start, ...}` of FP8: what the tensor's scale is made of, in place of its largest magnitude. */
static bool count_piece(struct job *j, const struct slot *s, struct error *err)
{
    if (!fp8_range_chooses(item_of(j, s)) || j->given) return true;
    if (!j->pass_counts && !memory_alloc(&j->pass_counts, 1, sizeof *j->pass_counts, err)) return false;
    if (s->first) memset(j->pass_counts, 0, sizeof *j->pass_counts);
    fp8_range_count(j->pass_counts, s->lane->src, pass_source(j, s->pass)->dtype, s->at.n_rows * s->at.n_cols);
    return true;
}

static float choose_amax(struct job *j, const struct slot *s)
{
    const struct plan_item *item = item_of(j, s);
    if (!fp8_range_chooses(item) || j->given || j->pass_amax == 0) return j->pass_amax;
    struct fp8_choice c = fp8_range_choose(j->pass_counts, item, j->pass_amax, j->plan->recipe->rounding);
    j->result->gains[s->pass->item] =
        (struct quantize_gain){.error_max = c.error_max, .error = c.error, .measured = true};
    return c.amax;
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
    float cast = 0;
    if (s->bytes && piece_is_cast(j, s) && !piece_cast_amax(j, s, &cast, err)) return false;
    if (cast > j->pass_amax) j->pass_amax = cast;
    for (uint64_t i = 0; s->bytes && !piece_is_cast(j, s) && i < args_of(j, s).n_rows; i++) {
        float amax = s->lane->dst_f32[i];
        if (!isfinite(amax)) return not_finite(j, s, err);
        if (amax > j->pass_amax) j->pass_amax = amax;
    }
    if (s->bytes && !count_piece(j, s, err)) return false;
    if (!s->last) return true;
    float *group = &j->group_amax[item_of(j, s)->group], top = choose_amax(j, s);
    if (isnan(*group) || top > *group) *group = top;
    s->pass->collected = true;
    if (s->pass->kind == PASS_EACH && j->pass_amax == 0) note_zero(j, item_of(j, s));
    return agree_with_stats(j, item_of(j, s), j->pass_amax, err);
}

/* ---- encoding ---- */

/* By the scales of another folder: on the CPU, into the lane's results. */
static bool encode_given(struct job *j, struct slot *s, struct error *err)
{
    struct given_piece p = {.item = s->pass->item,
                            .first = s->at.first,
                            .n_rows = s->at.n_rows,
                            .n_cols = s->at.n_cols,
                            .src = s->lane->src,
                            .dtype = pass_source(j, s->pass)->dtype,
                            .dst = s->lane->dst,
                            .dst_scale = s->lane->dst_scale};
    return j->ops->wait(s->lane, err) && given_encode(j->given, j->plan, j->opt->pool, &p, err);
}

bool piece_encode(struct job *j, struct slot *s, struct error *err)
{
    const struct plan_item *item = item_of(j, s);
    enum op chooses = plan_item_scale_op(item);
    bool own = chooses == OP_COUNT; /* each block by its own maximum: nothing to choose */
    bool each = s->pass->kind == PASS_EACH;
    if (!is_written(s)) return true;
    struct kernel_args a = args_of(j, s);
    if (!each && !job_weight_scale(j, s->pass->item, &a.amax, &a.scale, err)) return false;
    if (!each && s->first && j->group_amax[item->group] == 0) note_zero(j, item);
    if (s->bytes && piece_is_cast(j, s)) piece_cast(s, j->group_amax[item->group]);
    if (s->bytes == 0 || piece_is_cast(j, s) || job_is_solved(j, s->pass->item)) return true;
    if (j->given) return encode_given(j, s, err);
    a.static_max = scale_method_max(item->scales);
    a.range_start = item->range.start;
    a.range_stop = item->range.stop;
    a.range_count = item->range.n;
    a.rounding = item->stack ? FP8_SINGLE : j->plan->recipe->rounding;
    a.mxfp4_rule = item->type->mxfp4_rule;
    a.group = item->format->block_cols;
    a.int4_scale = quant_format_int4_scale(item->format);
    struct lane_step steps[2] = {{own ? quant_format_encoder(item->format, item->zero) : chooses, a},
                                 {OP_ENCODE_NVFP4_STATIC, a}};
    return j->ops->submit(s->lane, steps, own ? 1 : 2, s->pass->kind == PASS_ENCODE, err);
}

static bool open_hash(struct pass *p, uint32_t k, struct error *err)
{
    return (p->written || memory_zalloc(&p->written, QUANT_PARTS_MAX, sizeof *p->written, err)) &&
           sha256_open(&p->written[k].hash, err);
}

static bool open_hashes(struct pass *p, const struct quant_format *f, struct error *err)
{
    for (uint32_t k = 0; k < f->n_parts; k++)
        if (f->parts[k].cols_per_elem && !f->parts[k].on_side && !open_hash(p, k, err)) return false;
    return true;
}

/* Digests of a tensor that is written: of its source, and of the parts that are no scalars. */
static bool close_hashes(struct job *j, struct pass *p, struct error *err)
{
    struct tensor_digests *d = &j->digests[p->output];
    if (!sha256_close(take_ptr(&p->read.hash), &d->source, err)) return false;
    d->has_source = true;
    if (p->kind == PASS_COPY) d->written = d->source;
    for (uint32_t k = 0; p->written && k < QUANT_PARTS_MAX; k++)
        if (p->written[k].hash && !sha256_close(take_ptr(&p->written[k].hash), &d[k].written, err)) return false;
    free(take_ptr(&p->written));
    return true;
}

/* Part k of a piece: codes in dst, scales of a byte and zero points in dst_scale, others in dst_f32. */
static bool write_part(struct job *j, struct slot *s, uint32_t k, struct error *err)
{
    const struct quant_part *part = &item_of(j, s)->format->parts[k];
    uint64_t elem = dtype_bytes(part->dtype), all_cols = pass_source(j, s->pass)->dims[1];
    uint64_t before = quant_part_elems(part, s->at.row, all_cols) + quant_part_elems(part, 1, s->at.col);
    uint64_t n = quant_part_elems(part, s->at.n_rows, s->at.n_cols);
    uint8_t *data = (uint8_t *)(void *)s->lane->dst_f32;
    if (elem == 1 || part->part == PART_WEIGHT_ZERO_POINT) data = s->lane->dst_scale;
    if (k == 0) data = s->lane->dst;
    if (is_sideways(j, s)) {
        before = quant_part_elems(part, all_cols, s->at.row);
        n = quant_part_elems(part, s->at.n_cols, s->at.n_rows);
        bool turns_back = !item_of(j, s)->stack->stays_turned;
        if (n && turns_back && !turn_in_place(data, s->at.n_cols, n / s->at.n_cols, elem, err)) return false;
    }
    job_hash(j, s, &s->pass->written[k], data, n * elem);
    return job_write(j, s->pass->output + k, before * elem, data, n * elem, err);
}

static bool write_parts(struct job *j, struct slot *s, struct error *err)
{
    const struct quant_format *f = item_of(j, s)->format;
    if (s->first && !open_hashes(s->pass, f, err)) return false;
    bool solved = job_is_solved(j, s->pass->item);
    if (s->bytes && !(solved ? piece_take_solved(j, s, err) : j->ops->wait(s->lane, err))) return false;
    if (!piece_check_lost(j, s, err) || !piece_gain(j, s, err)) return false;
    if (f->row_pairs) job_wait_source(j, s); /* pairing works in the source's room */
    if (f->parts[0].on_side) return piece_gather(j, s, err);
    if (s->bytes && !piece_repack(j, s, err)) return false;
    for (uint32_t k = 0; k < f->n_parts; k++)
        if (f->parts[k].cols_per_elem && !write_part(j, s, k, err)) return false;
    return true;
}

bool piece_retire(struct job *j, struct slot *s, struct error *err)
{
    struct pass *p = s->pass;
    if (p->kind == PASS_SCAN) return true;
    if (p->kind != PASS_COPY && p->kind != PASS_FOLD && p->kind != PASS_DECODE) return write_parts(j, s, err);
    bool changed = p->kind != PASS_COPY;
    if (changed && s->first && !open_hash(p, 0, err)) return false;
    if (changed) job_hash(j, s, &p->written[0], s->lane->src, s->bytes);
    return job_write(j, p->output, s->offset, s->lane->src, s->bytes, err);
}

bool piece_close(struct job *j, struct slot *s, struct error *err)
{
    job_wait_hashed(j, s);
    piece_drop_raw(s);
    if (!s->last || s->pass->kind == PASS_SCAN) return true;
    return close_hashes(j, s->pass, err) && job_believe_solved(j, s->pass, err);
}
