/* Weights that calibration has solved: what an encoder would leave in a lane comes from the statistics file. The source
 * is read all the same, so that its digest is known and compared. */
#include "quantize/job.h"

#include "core/text.h"

bool job_is_solved(const struct job *j, uint32_t i)
{
    return !j->given && j->plan->items[i].solve.method != SOLVE_NONE; /* given scales: the weights are what they are */
}

static const struct solved_tensor *find(const struct job *j, uint32_t item, uint32_t part, struct error *err)
{
    const struct model_tensor *t = j->plan->items[item].tensor;
    char name[1024];
    snprintf(name, sizeof name, "%s.%s", t->module, tensor_part_suffix(j->plan->items[item].format->parts[part].part));
    const struct solved_tensor *found = j->stats ? stats_find_solved(j->stats, name) : NULL;
    if (!found) error_set(err, ERR_FORMAT, "the statistics hold no solved '%.512s'", name);
    return found;
}

/* Type and size as the plan has them, for every part that is no scalar. */
static bool check_item(const struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    for (uint32_t k = 0; k < item->format->n_parts; k++) {
        const struct quant_part *part = &item->format->parts[k];
        if (!part->cols_per_elem) continue;
        const struct solved_tensor *t = find(j, i, k, err);
        if (!t) return false;
        uint64_t n = quant_part_elems(part, item->tensor->dims[0], item->tensor->dims[1]);
        if (t->dtype == part->dtype && t->bytes == n * dtype_bytes(part->dtype)) continue;
        return error_set(err, ERR_FORMAT, "solved tensor '%.256s' has %llu bytes of %s; the plan says %llu of %s",
                         t->name, (unsigned long long)t->bytes, dtype_name(t->dtype),
                         (unsigned long long)(n * dtype_bytes(part->dtype)), dtype_name(part->dtype));
    }
    return true;
}

bool job_check_solved(const struct job *j, struct error *err)
{
    for (uint32_t i = 0; i < j->plan->n_items; i++)
        if (job_is_solved(j, i) && !check_item(j, i, err)) return false;
    return true;
}

static bool take_part(struct job *j, const struct slot *s, uint32_t k, struct error *err)
{
    const struct plan_item *item = &j->plan->items[s->pass->item];
    const struct quant_part *part = &item->format->parts[k];
    uint64_t elem = dtype_bytes(part->dtype), cols = item->tensor->dims[1];
    uint64_t before = quant_part_elems(part, s->at.row, cols) + quant_part_elems(part, 1, s->at.col);
    uint64_t n = quant_part_elems(part, s->at.n_rows, s->at.n_cols);
    void *to = k == 0 ? s->lane->dst : elem == 1 ? s->lane->dst_scale : (void *)s->lane->dst_f32;
    const struct solved_tensor *t = find(j, s->pass->item, k, err);
    if (!t || (s->first && !sha256_open(&j->solved_hashes[k], err)) ||
        !stats_read_solved(j->stats, t, before * elem, to, n * elem, err))
        return false;
    sha256_add(j->solved_hashes[k], to, n * elem);
    return true;
}

bool piece_take_solved(struct job *j, const struct slot *s, struct error *err)
{
    const struct quant_format *f = j->plan->items[s->pass->item].format;
    for (uint32_t k = 0; k < f->n_parts; k++)
        if (f->parts[k].cols_per_elem && !take_part(j, s, k, err)) return false;
    return true;
}

bool job_believe_solved(struct job *j, const struct pass *p, struct error *err)
{
    const struct plan_item *item = &j->plan->items[p->item];
    if (p->kind == PASS_COPY || p->kind == PASS_FOLD || !job_is_solved(j, p->item)) return true;
    for (uint32_t k = 0; k < item->format->n_parts; k++) {
        if (!item->format->parts[k].cols_per_elem) continue;
        const struct solved_tensor *t = find(j, p->item, k, err);
        struct digest is;
        if (!t || !sha256_close(take_ptr(&j->solved_hashes[k]), &is, err)) return false;
        if (!digest_equal(&t->digest, &is))
            return error_set(err, ERR_FORMAT,
                             "solved tensor '%.256s' of the statistics has other bytes than were solved", t->name);
        if (!digest_equal(&t->source, &j->digests[p->output].source))
            return error_set(err, ERR_FORMAT,
                             "tensor '%.256s' is not the one that was solved: the statistics belong to other weights",
                             item->tensor->name);
    }
    return true;
}
