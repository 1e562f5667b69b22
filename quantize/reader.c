/* Threads that read ahead: each takes the next piece of the list whose slot is free and reads it; while no slot is free
 * it hashes what has been read. They change no file and report no progress. */
#include "quantize/job.h"

#include "backends/cpu/kernel.h"
#include "formats/not_finite.h"

#include <math.h>

/* The next piece of the list, when there is one and its slot is free. */
static struct slot *claim(struct job *j)
{
    struct ring *r = &j->ring;
    if (r->n_claimed == r->n_pieces || r->n_claimed >= r->n_closed + r->n_slots) return NULL;
    struct pass *p = &j->passes[r->next_pass];
    struct plan_cut c = pass_cut(j, p);
    uint64_t n = r->n_claimed++, index = r->next_index++;
    if (r->next_index == c.n_pieces) {
        r->next_index = 0;
        r->next_pass++;
    }
    struct slot *s = &r->slots[n % r->n_slots];
    s->pass = p;
    s->index = index;
    s->first = index == 0;
    s->last = index + 1 == c.n_pieces;
    s->at = plan_cut_piece(&c, index);
    s->offset = s->at.first * c.elem_bytes;
    s->bytes = s->at.n_rows * s->at.n_cols * c.elem_bytes;
    s->n_stretches = s->n_unhashed = 0;
    s->failed = false;
    return s;
}

/* What is carried is looked at too: a NaN in an attention weight spoils the model as much as one in an expert. */
static bool check_copied(const struct job *j, const struct slot *s, struct error *err)
{
    const struct tensor_info *t = pass_source(j, s->pass);
    if (s->bytes == 0 || !dtype_is_plain_float(t->dtype)) return true;
    uint64_t elem = dtype_bytes(t->dtype);
    float amax;
    kernel_for(OP_AMAX, j->opt->isa)(&(struct kernel_args){
        .n_rows = 1, .n_cols = s->bytes / elem, .src = s->lane->src, .dtype = t->dtype, .dst_f32 = &amax});
    return isfinite(amax) ||
           tensor_not_finite(j->model->checkpoint, t, s->lane->src, s->offset / elem, s->bytes / elem, err);
}

static bool fill(const struct job *j, struct slot *s)
{
    struct pass *p = s->pass;
    if (s->first && p->kind != PASS_SCAN && !sha256_open(&p->read.hash, &s->err)) return false;
    if (piece_is_folded(j, p)) return piece_read_folded(j, s, &s->err);
    if (p->kind != PASS_COPY && j->plan->items[p->item].decoded) return piece_read_quantized(j, s, &s->err);
    if (is_sideways(j, s)) return piece_read_sideways(j, s, &s->err);
    return (s->bytes == 0 ||
            checkpoint_read(j->plan->inventory->checkpoint, p->source, s->offset, s->lane->src, s->bytes, &s->err)) &&
           (p->kind != PASS_COPY || check_copied(j, s, &s->err));
}

static void *read_pieces(void *ctx)
{
    struct job *j = ctx;
    struct ring *r = &j->ring;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        struct slot *s = claim(j);
        if (!s) {
            if (ring_hash_some(j)) continue;
            if (r->n_claimed == r->n_pieces && r->n_closed == r->n_pieces) break;
            pthread_cond_wait(&r->changed, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        bool ok = fill(j, s);
        pthread_mutex_lock(&r->lock);
        s->failed = !ok;
        if (ok && s->pass->kind != PASS_SCAN)
            slot_to_hash(s, &s->pass->read, s->raw ? s->raw : s->lane->src, s->raw ? s->raw_bytes : s->bytes);
        else if (!piece_is_cast(j, s)) piece_drop_raw(s);
        s->full = true;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

bool job_start_readers(struct job *j, struct error *err)
{
    struct ring *r = &j->ring;
    uint32_t n = pool_threads(j->opt->pool) / 2;
    n = n < 1 ? 1 : n > READERS_MAX ? READERS_MAX : n;
    for (; r->n_readers < n; r->n_readers++) {
        int rc = pthread_create(&r->readers[r->n_readers], NULL, read_pieces, j);
        if (rc != 0) return error_set(err, ERR_MEMORY, "cannot start a thread that reads: %s", strerror(rc));
    }
    return true;
}

void job_stop_readers(struct job *j)
{
    struct ring *r = &j->ring;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    while (r->n_readers) pthread_join(r->readers[--r->n_readers], NULL);
    for (uint32_t i = 0; i < j->n_passes; i++) {
        struct pass *p = &j->passes[i];
        sha256_close(p->read.hash, NULL, NULL);
        for (uint32_t k = 0; p->written && k < QUANT_PARTS_MAX; k++) sha256_close(p->written[k].hash, NULL, NULL);
        free(p->written);
    }
}

struct slot *job_piece(struct job *j, uint64_t n, bool wait)
{
    struct ring *r = &j->ring;
    struct slot *s = &r->slots[n % r->n_slots];
    pthread_mutex_lock(&r->lock);
    bool in_reach = n < r->n_pieces && n < r->n_closed + r->n_slots; /* else the slot still holds an earlier piece */
    while (in_reach && wait && !s->full)
        if (!ring_hash_some(j)) pthread_cond_wait(&r->changed, &r->lock);
    bool full = in_reach && s->full;
    pthread_mutex_unlock(&r->lock);
    return full ? s : NULL;
}

void job_closed(struct job *j, uint64_t n)
{
    struct ring *r = &j->ring;
    pthread_mutex_lock(&r->lock);
    r->slots[n % r->n_slots].full = false;
    r->n_closed = n + 1;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}
