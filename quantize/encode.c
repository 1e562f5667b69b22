/* One item of the plan: read, encode or copy, write. Rows go through in pieces; the pool shares a piece's rows. */
#include "quantize/job.h"

#include "core/memory.h"

#include <math.h>

#define ROWS_PER_TASK_BYTES ((uint64_t)256 << 10) /* source bytes of a parallel item: about a level-2 cache */

static const struct tensor_info *source_of(const struct job *j, const struct plan_item *item)
{
    return checkpoint_tensor(j->plan->inventory->checkpoint, item->tensor->parts[PART_WEIGHT]);
}

/* Rows of one piece, and of one parallel item inside it. */
struct cut {
    uint64_t n_rows, n_cols, row_bytes, piece_rows, task_rows;
};

static struct cut cut_of(const struct job *j, const struct plan_item *item)
{
    const struct tensor_info *t = source_of(j, item);
    struct cut c = {.n_rows = item->tensor->dims[0], .n_cols = item->tensor->dims[1]};
    c.row_bytes = c.n_cols * dtype_bytes(t->dtype);
    c.piece_rows = c.row_bytes ? u64_min(PLAN_CHUNK_BYTES / c.row_bytes, c.n_rows) : c.n_rows;
    c.task_rows = c.row_bytes ? ROWS_PER_TASK_BYTES / c.row_bytes : c.n_rows;
    if (c.piece_rows == 0) c.piece_rows = 1;
    if (c.task_rows == 0) c.task_rows = 1;
    return c;
}

/* ---- the largest magnitude ---- */

struct amax_ctx {
    kernel_fn run;
    const uint8_t *rows;
    struct cut cut;
    uint64_t n_rows;
    enum dtype dtype;
    float *result;
};

static void amax_task(void *ctx, uint64_t task, uint32_t worker)
{
    (void)worker;
    const struct amax_ctx *c = ctx;
    uint64_t first = task * c->cut.task_rows, n = u64_min(c->cut.task_rows, c->n_rows - first);
    c->run(&(struct kernel_args){.n_rows = 1,
                                 .n_cols = n * c->cut.n_cols,
                                 .src = c->rows + first * c->cut.row_bytes,
                                 .dtype = c->dtype,
                                 .dst_f32 = &c->result[task]});
}

/* Names the first value that is not finite. */
static bool not_finite(const struct job *j, const struct plan_item *item, const uint8_t *rows, uint64_t first_row,
                       const struct cut *c, uint64_t n_rows, struct error *err)
{
    const struct tensor_info *t = source_of(j, item);
    kernel_fn widen = kernel_for(OP_WIDEN, 0);
    for (uint64_t i = 0; i < n_rows * c->n_cols; i++) {
        float v;
        widen(&(struct kernel_args){
            .n_rows = 1, .n_cols = 1, .src = rows + i * dtype_bytes(t->dtype), .dtype = t->dtype, .dst_f32 = &v});
        if (isfinite(v)) continue;
        return error_set(err, ERR_FORMAT, "file '%.128s': tensor '%.256s': element [%llu, %llu] is %s",
                         folder_name(j->model->folder, t->member), t->name,
                         (unsigned long long)(first_row + i / c->n_cols), (unsigned long long)(i % c->n_cols),
                         isnan(v) ? "NaN" : "infinite");
    }
    return error_set(err, ERR_INTERNAL, "tensor '%.256s': the maximum is not finite, but every element is", t->name);
}

static bool piece_amax(const struct job *j, const struct plan_item *item, const uint8_t *rows, uint64_t first_row,
                       uint64_t n_rows, const struct cut *c, float *amax, struct error *err)
{
    uint64_t n_tasks = u64_div_up(n_rows, c->task_rows);
    CLEANUP(free) float *results = NULL;
    if (!memory_alloc(&results, n_tasks, sizeof *results, err)) return false;
    struct amax_ctx a = {kernel_for(OP_AMAX, j->opt->isa), rows, *c, n_rows, source_of(j, item)->dtype, results};
    pool_for(j->opt->pool, n_tasks, amax_task, &a);
    for (uint64_t i = 0; i < n_tasks; i++) {
        if (!isfinite(results[i])) return not_finite(j, item, rows, first_row, c, n_rows, err);
        if (results[i] > *amax) *amax = results[i];
    }
    return true;
}

static bool read_piece(const struct job *j, const struct plan_item *item, uint64_t first, uint64_t n,
                       const struct cut *c, uint8_t *dst, struct error *err)
{
    j->result->read_bytes += n * c->row_bytes;
    return progress_go_on(j->pr, err) &&
           checkpoint_read(j->plan->inventory->checkpoint, item->tensor->parts[PART_WEIGHT], first * c->row_bytes, dst,
                           n * c->row_bytes, err);
}

/* One pass over an item. When it fits, its bytes stay in j->hold. */
static bool scan_item(struct job *j, const struct plan_item *item, bool hold, float *amax, struct error *err)
{
    struct cut c = cut_of(j, item);
    for (uint64_t row = 0; row < c.n_rows; row += c.piece_rows) {
        uint64_t n = u64_min(c.piece_rows, c.n_rows - row);
        uint8_t *dst = hold ? j->hold + row * c.row_bytes : j->hold;
        if (!read_piece(j, item, row, n, &c, dst, err) || !piece_amax(j, item, dst, row, n, &c, amax, err))
            return false;
    }
    return true;
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

static bool is_held(const struct job *j, uint32_t i)
{
    return source_of(j, &j->plan->items[i])->bytes <= j->hold_bytes;
}

static bool same_layer(const struct plan *p, uint32_t a, uint32_t b)
{
    return p->items[a].tensor->place.layer == p->items[b].tensor->place.layer &&
           p->items[a].tensor->place.mtp == p->items[b].tensor->place.mtp;
}

/* The group's members except item i itself, which the caller has or reads anyway. After a resume they may lie in front
 * of i, in a shard that is done. */
static bool scan_others(struct job *j, uint32_t i, float *top, struct error *err)
{
    const struct plan *p = j->plan;
    uint32_t k = i;
    while (k > 0 && same_layer(p, k - 1, i)) k--;
    for (; k < p->n_items && same_layer(p, k, i); k++) {
        float amax = 0;
        if (k == i || p->items[k].group != p->items[i].group) continue;
        if (!scan_item(j, &p->items[k], false, &amax, err) || !agree_with_stats(j, &p->items[k], amax, err))
            return false;
        if (amax > *top) *top = amax;
    }
    return true;
}

/* The maximum that the item's group is scaled by. Leaves the item itself in j->hold when it fits. */
static bool find_group_amax(struct job *j, uint32_t i, struct error *err)
{
    float *group = &j->group_amax[j->plan->items[i].group];
    bool known = !isnan(*group), held = is_held(j, i);
    float others = 0, own = 0;
    if (!known && !scan_others(j, i, &others, err)) return false;
    if (known && !held) return true;
    if (!scan_item(j, &j->plan->items[i], held, &own, err)) return false;
    if (known) return true;
    *group = own > others ? own : others;
    return agree_with_stats(j, &j->plan->items[i], own, err);
}

/* ---- encoding ---- */

struct encode_ctx {
    const struct job *j;
    const struct plan_item *item;
    struct cut cut;
    const uint8_t *rows;
    uint64_t n_rows;
    struct kernel_args common; /* scales; src and dst are the task's */
    kernel_fn encode, sweep;
};

static void encode_task(void *ctx, uint64_t task, uint32_t worker)
{
    (void)worker;
    const struct encode_ctx *c = ctx;
    uint64_t first = task * c->cut.task_rows;
    const struct quant_format *f = c->item->format;
    uint64_t blocks = c->cut.n_cols / 16;
    struct kernel_args a = c->common;
    a.n_rows = u64_min(c->cut.task_rows, c->n_rows - first);
    a.src = c->rows + first * c->cut.row_bytes;
    a.dst = c->j->weight + first * (c->cut.n_cols / f->parts[0].cols_per_elem);
    if (f->block_cols > 1) a.dst_scale = c->j->scales + first * blocks;
    if (c->sweep) {
        struct kernel_args s = a;
        s.dst_f32 = c->j->block_amax + first * blocks;
        c->sweep(&s);
        a.block_amax = s.dst_f32;
    }
    c->encode(&a);
}

static bool write_scalar(struct job *j, uint32_t output, float value, struct error *err)
{
    const char *name = j->plan->specs[output].name;
    if (!(value > 0) || !isfinite(value))
        return error_set(err, ERR_FORMAT, "tensor '%.256s' would be %g; a scale must be positive and finite", name,
                         (double)value);
    return sha256_of(bytes_of(&value, sizeof value), &j->digests[output].written, err) &&
           job_write(j, output, 0, &value, sizeof value, err);
}

/* Hashes of the source and of the written parts, made while the bytes pass. */
struct hashes {
    struct sha256 *source, *part[QUANT_PARTS_MAX];
};

static bool hashes_open(struct hashes *h, struct error *err)
{
    *h = (struct hashes){0};
    return sha256_open(&h->source, err) && sha256_open(&h->part[0], err) && sha256_open(&h->part[1], err);
}

static bool hashes_close(struct hashes *h, struct job *j, const struct plan_item *item, bool keep, struct error *err)
{
    struct tensor_digests *d = &j->digests[item->first_output];
    bool blocks = item->format->block_cols > 1;
    bool ok = sha256_close(h->source, keep ? &d->source : NULL, err);
    ok &= sha256_close(h->part[0], keep ? &d->written : NULL, err);
    ok &= sha256_close(h->part[1], keep && blocks ? &d[1].written : NULL, err);
    d->has_source = keep;
    return ok;
}

static bool encode_pieces(struct job *j, uint32_t i, const struct kernel_args *common, struct hashes *h,
                          struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    const struct quant_format *f = item->format;
    struct cut c = cut_of(j, item);
    bool blocks = f->block_cols > 1, mse = item->scales == SCALES_MSE;
    uint64_t row_out = c.n_cols / f->parts[0].cols_per_elem, row_scales = c.n_cols / 16;
    struct encode_ctx e = {.j = j,
                           .item = item,
                           .cut = c,
                           .common = *common,
                           .encode = kernel_for(mse ? OP_ENCODE_NVFP4_STATIC : f->encode_op, j->opt->isa),
                           .sweep = mse ? kernel_for(OP_SWEEP_NVFP4, j->opt->isa) : NULL};
    for (uint64_t row = 0; row < c.n_rows; row += c.piece_rows) {
        uint64_t n = u64_min(c.piece_rows, c.n_rows - row);
        e.rows = is_held(j, i) ? j->hold + row * c.row_bytes : j->hold;
        e.n_rows = n;
        if (!is_held(j, i) && !read_piece(j, item, row, n, &c, j->hold, err)) return false;
        pool_for(j->opt->pool, u64_div_up(n, c.task_rows), encode_task, &e);
        sha256_add(h->source, e.rows, n * c.row_bytes);
        sha256_add(h->part[0], j->weight, n * row_out);
        if (!job_write(j, item->first_output, row * row_out, j->weight, n * row_out, err)) return false;
        if (!blocks) continue;
        sha256_add(h->part[1], j->scales, n * row_scales);
        if (!job_write(j, item->first_output + 1, row * row_scales, j->scales, n * row_scales, err)) return false;
    }
    return true;
}

/* Scalars behind weight (and block scales): weight_scale or weight_scale_2, then input_scale. */
static bool write_scalars(struct job *j, uint32_t i, float weight_scale, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    for (uint32_t k = 0; k < item->format->n_parts; k++) {
        const struct quant_part *part = &item->format->parts[k];
        if (part->cols_per_elem) continue;
        float v = part->part == PART_INPUT_SCALE ? j->input_amax[i] / item->format->amax_per_scale : weight_scale;
        if (!write_scalar(j, item->first_output + k, v, err)) return false;
    }
    return true;
}

bool job_quantize_item(struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    if (!find_group_amax(j, i, err)) return false;
    float g = j->group_amax[item->group];
    if (g == 0) { /* an all-zero tensor: any scale says the same; 0/0 must not (docs/numerics.md, zero tensors) */
        g = 1;
        j->result->n_zero++;
        progress_note(j->pr, "quantize", "tensor '%s' is all zero", item->tensor->name);
    }
    float weight_scale = g / item->format->amax_per_scale;
    if (!(weight_scale > 0))
        return error_set(err, ERR_FORMAT, "tensor '%.256s': its largest magnitude %g is too small for a scale",
                         item->tensor->name, (double)g);
    struct kernel_args common = {.n_cols = item->tensor->dims[1],
                                 .dtype = source_of(j, item)->dtype,
                                 .scale = weight_scale,
                                 .amax = g,
                                 .static_max = 448.0f,
                                 .rounding = j->plan->recipe->rounding};
    struct hashes h;
    bool ok = hashes_open(&h, err) && encode_pieces(j, i, &common, &h, err);
    ok = hashes_close(&h, j, item, ok, err) && ok;
    j->result->n_quantized += ok;
    return ok && write_scalars(j, i, weight_scale, err);
}

/* ---- copying ---- */

/* What is carried is looked at too: a NaN in an attention weight spoils the model as much as one in an expert. */
static bool check_copied(const struct job *j, const struct tensor_info *t, uint64_t at, size_t n, struct error *err)
{
    if (!dtype_is_plain_float(t->dtype)) return true;
    uint64_t elem = dtype_bytes(t->dtype);
    float amax;
    kernel_for(OP_AMAX, j->opt->isa)(
        &(struct kernel_args){.n_rows = 1, .n_cols = n / elem, .src = j->hold, .dtype = t->dtype, .dst_f32 = &amax});
    if (isfinite(amax)) return true;
    return error_set(err, ERR_FORMAT,
                     "file '%.128s': tensor '%.256s' holds a value that is not finite (elements %llu to %llu)",
                     folder_name(j->model->folder, t->member), t->name, (unsigned long long)(at / elem),
                     (unsigned long long)((at + n) / elem - 1));
}

static bool copy_part(struct job *j, uint32_t source, uint32_t output, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(j->plan->inventory->checkpoint, source);
    struct sha256 *h;
    if (!sha256_open(&h, err)) return false;
    bool ok = true;
    for (uint64_t at = 0; ok && at < t->bytes; at += PLAN_CHUNK_BYTES) {
        size_t n = (size_t)u64_min(PLAN_CHUNK_BYTES, t->bytes - at);
        ok = progress_go_on(j->pr, err) &&
             checkpoint_read(j->plan->inventory->checkpoint, source, at, j->hold, n, err) &&
             check_copied(j, t, at, n, err) && job_write(j, output, at, j->hold, n, err);
        if (ok) sha256_add(h, j->hold, n);
        j->result->read_bytes += n;
    }
    struct tensor_digests *d = &j->digests[output];
    if (!sha256_close(h, ok ? &d->written : NULL, err) || !ok) return false;
    d->source = d->written;
    d->has_source = true;
    return true;
}

bool job_copy_item(struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    for (uint32_t k = 0; k < item->n_outputs; k++) {
        const struct plan_output *o = &j->plan->outputs[item->first_output + k];
        if (item->tensor->parts[o->part] == NAME_NONE) continue; /* a cache scale: written by the caller */
        if (!copy_part(j, item->tensor->parts[o->part], item->first_output + k, err)) return false;
    }
    j->result->n_copied++;
    return true;
}
