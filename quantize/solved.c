/* Weights that calibration has solved: their bytes come from the statistics file in place of an encoder's. The source
 * is read all the same, so that its digest is known and compared. */
#include "quantize/job.h"

bool job_is_solved(const struct job *j, uint32_t i)
{
    return j->plan->items[i].solve.method != SOLVE_NONE;
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

/* Shape and type as the plan has them, for every part that is not a scalar. */
static bool check_item(const struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    for (uint32_t k = 0; k < item->format->n_parts; k++) {
        const struct quant_part *part = &item->format->parts[k];
        if (!part->cols_per_elem) continue;
        uint64_t dims[2];
        uint32_t n_dims;
        const struct solved_tensor *t = find(j, i, k, err);
        if (!t) return false;
        quant_part_shape(part, item->tensor->dims[0], item->tensor->dims[1], &n_dims, dims);
        if (t->dtype != part->dtype || t->n_dims != n_dims || memcmp(t->dims, dims, n_dims * sizeof *dims) != 0)
            return error_set(err, ERR_FORMAT,
                             "solved tensor '%.256s' is %s [%llu, %llu]; the plan says %s [%llu, %llu]", t->name,
                             dtype_name(t->dtype), (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                             dtype_name(part->dtype), (unsigned long long)dims[0], (unsigned long long)dims[1]);
    }
    return true;
}

bool job_check_solved(const struct job *j, struct error *err)
{
    for (uint32_t i = 0; i < j->plan->n_items; i++)
        if (job_is_solved(j, i) && !check_item(j, i, err)) return false;
    return true;
}

/* Bytes of one part for the piece in a slot: all solved parts have elements of a byte. */
static bool read_part(const struct job *j, const struct slot *s, uint32_t part, uint8_t *dst, struct error *err)
{
    const struct solved_tensor *t = find(j, s->pass->item, part, err);
    uint64_t per_byte = j->plan->items[s->pass->item].format->parts[part].cols_per_elem;
    return t &&
           stats_read_solved(j->stats, t, s->at.first / per_byte, dst, s->at.n_rows * s->at.n_cols / per_byte, err);
}

bool piece_take_solved(const struct job *j, const struct slot *s, struct error *err)
{
    const struct quant_format *f = j->plan->items[s->pass->item].format;
    return read_part(j, s, 0, s->lane->dst, err) && (f->block_cols == 1 || read_part(j, s, 1, s->lane->dst_scale, err));
}

bool job_believe_solved(const struct job *j, uint32_t i, const struct tensor_digests *d, struct error *err)
{
    const struct quant_format *f = j->plan->items[i].format;
    for (uint32_t k = 0; k < (f->block_cols > 1 ? 2u : 1u); k++) {
        const struct solved_tensor *t = find(j, i, k, err);
        if (!t) return false;
        if (!digest_equal(&t->digest, &d[k].written))
            return error_set(err, ERR_FORMAT,
                             "solved tensor '%.256s' of the statistics has other bytes than were solved", t->name);
        if (k == 0 && !digest_equal(&t->source, &d->source))
            return error_set(err, ERR_FORMAT,
                             "tensor '%.256s' is not the one that was solved: the statistics belong to other weights",
                             j->plan->items[i].tensor->name);
    }
    return true;
}
