/* Weights that calibration has solved: what an encoder would leave in a lane comes from the statistics file. The source
 * is read all the same, so that its digest is known and compared. */
#include "quantize/job.h"

#include "core/text.h"
#include "plan/solved_parts.h"

bool job_is_solved(const struct job *j, uint32_t i)
{
    return !j->given && j->plan->items[i].solve.method != SOLVE_NONE; /* given scales: the weights are what they are */
}

const struct solved_tensor *job_find_solved(const struct job *j, uint32_t item, enum tensor_part part,
                                            struct error *err)
{
    char name[1024];
    snprintf(name, sizeof name, "%s.%s", j->plan->items[item].tensor->module, tensor_part_suffix(part));
    const struct solved_tensor *found = j->stats ? stats_find_solved(j->stats, name) : NULL;
    if (!found) error_set(err, ERR_FORMAT, "the statistics hold no solved '%.512s'", name);
    return found;
}

/* Type and size as the plan has them, for every part. */
static bool check_item(const struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    struct solved_part parts[SOLVED_PARTS_MAX];
    uint32_t n = solved_parts(item, parts);
    for (uint32_t k = 0; k < n; k++) {
        const struct solved_tensor *t = job_find_solved(j, i, parts[k].part, err);
        if (!t) return false;
        uint64_t bytes = item->tensor->dims[0] * parts[k].row_bytes;
        if (t->dtype == parts[k].dtype && t->bytes == bytes) continue;
        return error_set(err, ERR_FORMAT, "solved tensor '%.256s' has %llu bytes of %s; the plan says %llu of %s",
                         t->name, (unsigned long long)t->bytes, dtype_name(t->dtype), (unsigned long long)bytes,
                         dtype_name(parts[k].dtype));
    }
    return true;
}

bool job_check_solved(const struct job *j, struct error *err)
{
    for (uint32_t i = 0; i < j->plan->n_items; i++)
        if (job_is_solved(j, i) && !check_item(j, i, err)) return false;
    return true;
}

/* Pieces are rows, or whole blocks of one row. */
static bool take_part(struct job *j, const struct slot *s, uint32_t k, const struct solved_part *part,
                      struct error *err)
{
    uint64_t cols = j->plan->items[s->pass->item].tensor->dims[1];
    uint64_t before = s->at.row * part->row_bytes + s->at.col * part->row_bytes / cols;
    uint64_t n = s->at.n_rows * (s->at.n_cols * part->row_bytes / cols);
    void *const rooms[] = {
        [SOLVED_CODES] = s->lane->dst, [SOLVED_BYTES] = s->lane->dst_scale, [SOLVED_FLOATS] = s->lane->dst_f32};
    void *to = rooms[part->room];
    const struct solved_tensor *t = job_find_solved(j, s->pass->item, part->part, err);
    if (!t || (s->first && !sha256_open(&j->solved_hashes[k], err)) ||
        !stats_read_solved(j->stats, t, before, to, n, err))
        return false;
    sha256_add(j->solved_hashes[k], to, n);
    return true;
}

bool piece_take_solved(struct job *j, const struct slot *s, struct error *err)
{
    struct solved_part parts[SOLVED_PARTS_MAX];
    if (j->plan->items[s->pass->item].stack) return piece_take_stack(j, s, err);
    uint32_t n = solved_parts(&j->plan->items[s->pass->item], parts);
    for (uint32_t k = 0; k < n; k++)
        if (!take_part(j, s, k, &parts[k], err)) return false;
    return true;
}

/* The weight that was solved is the one that was read. */
static bool same_source(const struct job *j, const struct pass *p, const struct solved_tensor *t, struct error *err)
{
    return digest_equal(&t->source, &j->digests[p->output].source) ||
           error_set(err, ERR_FORMAT,
                     "tensor '%.256s' is not the one that was solved: the statistics belong to other weights",
                     pass_source(j, p)->name);
}

/* Of a stack, whose experts' bytes were compared as they came. */
static bool believe_stack(const struct job *j, const struct pass *p, struct error *err)
{
    const struct plan *plan = j->plan;
    struct solved_part parts[SOLVED_PARTS_MAX];
    uint32_t n = solved_parts(&plan->items[p->item], parts);
    for (uint32_t i = p->item; i < plan->n_items; i++)
        for (uint32_t k = 0; plan->items[i].stack == plan->items[p->item].stack && k < n; k++) {
            const struct solved_tensor *t = job_find_solved(j, i, parts[k].part, err);
            if (!t || !same_source(j, p, t, err)) return false;
        }
    return true;
}

bool job_believe_solved(struct job *j, const struct pass *p, struct error *err)
{
    const struct plan_item *item = &j->plan->items[p->item];
    if (p->kind == PASS_COPY || p->kind == PASS_FOLD || !job_is_solved(j, p->item)) return true;
    if (item->stack) return believe_stack(j, p, err);
    struct solved_part parts[SOLVED_PARTS_MAX];
    uint32_t n = solved_parts(item, parts);
    for (uint32_t k = 0; k < n; k++) {
        const struct solved_tensor *t = job_find_solved(j, p->item, parts[k].part, err);
        struct digest is;
        if (!t || !sha256_close(take_ptr(&j->solved_hashes[k]), &is, err)) return false;
        if (!digest_equal(&t->digest, &is))
            return error_set(err, ERR_FORMAT,
                             "solved tensor '%.256s' of the statistics has other bytes than were solved", t->name);
        if (!same_source(j, p, t, err)) return false;
    }
    return true;
}
