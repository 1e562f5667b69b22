/* All pieces through their steps, by the thread that runs the stage. Four positions in the list, each at most as far as
 * the one before; pieces between two of them wait for the step. */
#include "quantize/job.h"

struct positions {
    uint64_t measured, collected, encoded, retired; /* pieces that have done the step */
};

/* The plan in file order, as far as it has been written. */
static void show_progress(struct job *j, const struct pass *p)
{
    const struct plan *plan = j->plan;
    for (; j->progress_item < p->item; j->progress_item++) {
        uint32_t weight = plan->items[j->progress_item].tensor->parts[PART_WEIGHT];
        j->progress_bytes += checkpoint_tensor(plan->inventory->checkpoint, weight)->bytes;
    }
    progress_update(j->pr, "quantize", plan->items[p->item].tensor->name, j->progress_bytes, plan->read_bytes);
}

static bool end_item(struct job *j, uint32_t i, struct error *err)
{
    const struct plan_item *item = &j->plan->items[i];
    if (item->action == ACTION_COPY) j->result->n_copied++;
    else j->result->n_quantized += item->stack ? item->stack->n_items : 1;
    return (item->action == ACTION_COPY || job_write_scalars(j, i, err)) && job_write_pre_scale(j, i, err) &&
           job_write_cache_scale(j, i, err) && job_shards_done_before(j, item->first_output + item->n_outputs, err);
}

static bool retire(struct job *j, uint64_t n, struct error *err)
{
    struct slot *s = job_piece(j, n, true);
    const struct pass *p = s->pass;
    if (s->first) show_progress(j, p);
    if (!piece_retire(j, s, err) || (s->last && p->ends_item && !end_item(j, p->item, err))) return false;
    job_retired(j, n);
    return true;
}

/* Submits one piece that is ready for it; *did says whether there was one. Encoding first: it frees lanes. */
static bool submit_one(struct job *j, struct positions *at, bool wait, bool *did, struct error *err)
{
    *did = true;
    if (at->encoded < at->collected) {
        struct slot *s = job_piece(j, at->encoded, true);
        if (s->pass->kind != PASS_KEEP || s->pass->collected) {
            at->encoded++;
            return piece_encode(j, s, err);
        }
    }
    struct slot *s = job_piece(j, at->measured, wait);
    *did = s != NULL;
    if (!s) return true;
    at->measured++;
    return piece_measure(j, s, err);
}

/* Waits for the oldest piece that is on a device. */
static bool finish_one(struct job *j, struct positions *at, struct error *err)
{
    if (at->retired < at->encoded) return retire(j, at->retired++, err);
    return piece_collect(j, job_piece(j, at->collected++, true), err);
}

bool job_stream(struct job *j, struct error *err)
{
    struct positions at = {0};
    const struct plan *plan = j->plan;
    while (at.retired < j->ring.n_pieces) {
        uint64_t on_devices = at.measured - at.collected + at.encoded - at.retired;
        bool did = false;
        if (!progress_go_on(j->pr, err)) return false;
        if (on_devices < j->ring.depth && !submit_one(j, &at, on_devices == 0, &did, err)) return false;
        if (!did && !finish_one(j, &at, err)) return false;
    }
    progress_update(j->pr, "quantize", NULL, plan->read_bytes, plan->read_bytes);
    return job_shards_done_before(j, plan->n_outputs, err);
}
