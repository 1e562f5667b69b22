#include "engine/recurrence.h"

#include "core/memory.h"

struct scan recurrence_shape(const struct engine *e)
{
    const struct ssm_config *c = &e->inv->config.ssm;
    return (struct scan){.math = e->math,
                         .pool = e->pool,
                         .scratch = e->scratch,
                         .n_heads = c->n_heads,
                         .n_groups = c->n_groups,
                         .key_dim = c->state_size,
                         .value_dim = c->head_dim};
}

static struct scan_piece piece_of(const struct segment *s, const struct scan_piece *rows, bool keep)
{
    struct scan_piece p = *rows;
    p.n = s->n;
    p.first = s->first;
    p.keep = keep || !s->last;
    p.k += s->row * p.k_stride;
    p.q += s->row * p.q_stride;
    p.v += s->row * p.v_stride;
    p.decay += s->row * p.decay_stride;
    p.weight += s->row * p.weight_stride;
    p.o += s->row * p.o_stride;
    p.state = &s->state->scan;
    return p;
}

static bool report(const struct block_call *call, const struct scan *scan, struct error *err)
{
    const struct observer *ob = call->observer;
    CLEANUP(free) float *state = NULL;
    if (!memory_alloc(&state, (uint64_t)scan->n_heads * scan->key_dim * scan->value_dim, sizeof *state, err))
        return false;
    for (uint32_t i = 0; i < call->n_segments; i++) {
        const struct segment *s = &call->segments[i];
        if (!s->last) continue;
        if (!scan_export(scan, &s->state->scan, (uint64_t)s->first + s->n, state, err)) return false;
        ob->state(ob->ctx, call->block->config->layer, s->text, state, s->state->conv);
    }
    return true;
}

bool recurrence_run(const struct block_call *call, const struct scan *scan, const struct scan_piece *rows,
                    struct error *err)
{
    bool watched = call->observer && call->observer->state;
    struct scratch *from = call->engine->scratch;
    SCRATCH_SCOPE(from);
    struct scan_piece *pieces;
    if (!scratch_alloc(from, &pieces, call->n_segments, sizeof *pieces, err)) return false;
    for (uint32_t i = 0; i < call->n_segments; i++) pieces[i] = piece_of(&call->segments[i], rows, watched);
    return scan_run(scan, pieces, call->n_segments, err) && (!watched || report(call, scan, err));
}

uint64_t recurrence_need(const struct scan *scan, const struct call_shape *c)
{
    return scratch_bytes(c->n_segments, sizeof(struct scan_piece)) + scan_need(scan, c->n_rows, c->n_segments);
}

uint64_t recurrence_state(const struct engine *e, const struct short_conv *conv, uint64_t n_texts, uint64_t n_open)
{
    struct scan scan = recurrence_shape(e);
    return (n_texts * (scan_state_floats(&scan) + short_conv_state_floats(conv)) + n_open * scan_open_floats(&scan)) *
           sizeof(float);
}
