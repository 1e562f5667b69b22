/* Tensors that a scale per channel goes through (plan/fold.h): what is read is changed on its way into the lane, in its
 * own type, and all that follows sees a checkpoint of these weights. Vectors come from the statistics, piece by piece.
 */
#include "quantize/job.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "numeric/half.h"
#include "plan/fold.h"

#include <math.h>

bool piece_is_folded(const struct job *j, const struct pass *p)
{
    if (!plan_item_folds(&j->plan->items[p->item])) return false;
    bool copied = p->kind == PASS_COPY || p->kind == PASS_FOLD;
    return !copied || j->plan->outputs[p->output].part == PART_WEIGHT; /* not the cache scale beside a weight */
}

static const struct solved_tensor *find(const struct job *j, uint32_t fold, struct error *err)
{
    const char *name = j->plan->folds[fold].name;
    const struct solved_tensor *t = j->stats ? stats_find_solved(j->stats, name) : NULL;
    if (!t) error_set(err, ERR_FORMAT, "the statistics hold no '%.512s'", name);
    return t;
}

static bool read_vector(const struct job *j, uint32_t fold, float **out, struct error *err)
{
    uint64_t n = j->plan->folds[fold].n;
    const struct solved_tensor *t = find(j, fold, err);
    return t && memory_alloc(out, n, sizeof **out, err) &&
           stats_read_solved(j->stats, t, 0, *out, n * sizeof **out, err);
}

static bool check_vector(const struct job *j, uint32_t fold, struct error *err)
{
    const struct plan_fold *g = &j->plan->folds[fold];
    const struct solved_tensor *t = find(j, fold, err);
    CLEANUP(free) float *v = NULL;
    struct digest is;
    if (!t) return false;
    if (t->dtype != DTYPE_F32 || t->bytes != g->n * sizeof *v)
        return error_set(err, ERR_FORMAT,
                         "'%.256s' of the statistics has %llu bytes of %s; the plan says %u channels of F32", g->name,
                         (unsigned long long)t->bytes, dtype_name(t->dtype), g->n);
    if (!read_vector(j, fold, &v, err) || !sha256_of(bytes_of(v, g->n * sizeof *v), &is, err)) return false;
    if (!digest_equal(&is, &t->digest))
        return error_set(err, ERR_FORMAT, "'%.256s' of the statistics has other bytes than were found", g->name);
    for (uint32_t c = 0; c < g->n; c++)
        if (!(v[c] > 0) || !isfinite(v[c]))
            return error_set(err, ERR_FORMAT, "'%.256s' of the statistics holds %g; a scale is positive and finite",
                             g->name, (double)v[c]);
    return true;
}

bool job_check_folds(const struct job *j, struct error *err)
{
    for (uint32_t i = 0; i < j->plan->n_folds; i++)
        if (!check_vector(j, i, err)) return false;
    return true;
}

static bool factors_of(const struct job *j, uint32_t i, struct fold_factors *f, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    CLEANUP(free) float *in = NULL;
    CLEANUP(free) float *out = NULL;
    return (item->fold_in == NAME_NONE || read_vector(j, item->fold_in, &in, err)) &&
           (item->fold_out == NAME_NONE || read_vector(j, item->fold_out, &out, err)) &&
           fold_factors_make(j->plan, i, in, out, f, err);
}

/* The weights were finite, the scales are: their product may be too large for the type. */
static bool check_finite(const struct job *j, const struct slot *s, enum dtype dtype, uint64_t n, struct error *err)
{
    float amax;
    kernel_for(OP_AMAX, j->opt->isa)(
        &(struct kernel_args){.n_rows = 1, .n_cols = n, .src = s->lane->src, .dtype = dtype, .dst_f32 = &amax});
    if (isfinite(amax)) return true;
    return error_set(err, ERR_FORMAT, "tensor '%.256s' holds a value that is not finite, or is not after folding",
                     j->plan->items[s->pass->item].tensor->name);
}

bool piece_read_folded(const struct job *j, struct slot *s, struct error *err)
{
    __attribute__((cleanup(cleanup_fold_factors))) struct fold_factors f = {0};
    const struct checkpoint *ck = j->plan->inventory->checkpoint;
    enum dtype dtype = checkpoint_tensor(ck, s->pass->source)->dtype;
    uint64_t elem = dtype_bytes(dtype), n = s->bytes / elem;
    piece_drop_raw(s);
    if (s->bytes == 0) return true;
    s->raw_bytes = s->bytes;
    if (!memory_alloc(&s->raw, s->bytes, 1, err) ||
        !checkpoint_read(ck, s->pass->source, s->offset, s->raw, s->bytes, err) ||
        !factors_of(j, s->pass->item, &f, err))
        return false;
    fold_apply(j->plan, s->pass->item, &f, dtype, s->offset / elem, n, s->raw, s->lane->src);
    return check_finite(j, s, dtype, n, err);
}

bool job_write_pre_scale(struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    if (item->action != ACTION_QUANTIZE || !plan_item_pre_scaled(j->plan, item)) return true;
    uint32_t output = item->first_output + item->format->n_parts; /* behind the format's own */
    enum dtype dtype = j->plan->specs[output].dtype;
    uint64_t n = item->tensor->dims[1], bytes = n * dtype_bytes(dtype);
    CLEANUP(free) float *s = NULL;
    CLEANUP(free) uint8_t *data = NULL;
    if (!read_vector(j, item->fold_in, &s, err) || !memory_alloc(&data, bytes, 1, err)) return false;
    for (uint64_t c = 0; c < n; c++) {
        float v = 1.0f / s[c];
        uint16_t h = dtype == DTYPE_BF16 ? bf16_encode(v) : f16_encode(v);
        if (dtype == DTYPE_F32) memcpy(data + c * sizeof v, &v, sizeof v);
        else memcpy(data + c * sizeof h, &h, sizeof h);
    }
    return sha256_of(bytes_of(data, bytes), &j->digests[output].written, err) &&
           job_write(j, output, 0, data, bytes, err);
}
