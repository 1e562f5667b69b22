/* Texts, cut into chunks, and their states. */
#include "engine/scan_impl.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

/* Scratch of one round in floats; a chunk may need more. It stays in the caches that all cores share. */
#define ROUND_FLOATS (1u << 20)

uint64_t scan_keys_floats(const struct scan *s)
{
    return (uint64_t)s->key_dim * SCAN_CHUNK;
}

uint64_t scan_head_floats(const struct scan *s)
{
    return u64_div_up(s->value_dim, GEMM_PANEL) * s->key_dim * GEMM_PANEL;
}

uint64_t scan_open_head_floats(const struct scan *s)
{
    return u64_div_up(s->value_dim, GEMM_PANEL) * SCAN_CHUNK * GEMM_PANEL + SCAN_CHUNK + 16; /* whole cache lines */
}

uint64_t scan_open_group_floats(const struct scan *s)
{
    return 2 * scan_keys_floats(s);
}

float *scan_open_head(const struct scan *s, const struct scan_state *state, uint64_t head)
{
    return state->open + head * scan_open_head_floats(s);
}

float *scan_open_keys(const struct scan *s, const struct scan_state *state, uint64_t group)
{
    return state->open + s->n_heads * scan_open_head_floats(s) + group * scan_open_group_floats(s);
}

static uint32_t score_count(const struct scan *s)
{
    return s->delta ? 2 : 1;
}

/* Floats of a slot's scratch, per group. */
static uint64_t slot_floats(const struct scan *s, const struct scan_slot *slot)
{
    return (slot->lo ? 0 : scan_keys_floats(s)) + (uint64_t)score_count(s) * (slot->hi - slot->lo) * SCAN_CHUNK;
}

static float *slot_scratch(const struct scan_call *c, const struct scan_slot *slot, uint64_t group)
{
    return c->scratch + (slot->at - c->slots[c->from].at) + group * slot_floats(c->s, slot);
}

float *scan_slot_keys(const struct scan_call *c, const struct scan_slot *slot, uint64_t group)
{
    if (slot->lo) return scan_open_keys(c->s, c->pieces[slot->piece].state, group);
    return slot_scratch(c, slot, group);
}

float *scan_slot_scores(const struct scan_call *c, const struct scan_slot *slot, uint64_t group, uint32_t which)
{
    return slot_scratch(c, slot, group) + (slot->lo ? 0 : scan_keys_floats(c->s)) +
           (uint64_t)which * (slot->hi - slot->lo) * SCAN_CHUNK;
}

/* ---- texts ----------------------------------------------------------------------------------------------------- */

void scan_state_close(struct scan_state *s)
{
    free(s->state);
    free(s->open);
    *s = (struct scan_state){0};
}

uint64_t scan_state_floats(const struct scan *s)
{
    return s->n_heads * scan_head_floats(s);
}

uint64_t scan_open_floats(const struct scan *s)
{
    return s->n_heads * scan_open_head_floats(s) + s->n_groups * scan_open_group_floats(s);
}

static bool state_ready(const struct scan *s, const struct scan_piece *p, struct error *err)
{
    struct scan_state *st = p->state;
    st->state_floats = scan_state_floats(s);
    st->open_floats = scan_open_floats(s);
    if (!st->state && !memory_zalloc(&st->state, st->state_floats, sizeof(float), err)) return false;
    return st->open || !p->keep || memory_zalloc(&st->open, st->open_floats, sizeof(float), err);
}

static uint64_t cut(const struct scan *s, const struct scan_piece *p, uint32_t piece, struct scan_slot *out,
                    uint64_t *at)
{
    uint64_t n = 0;
    for (uint32_t row = 0; row < p->n; n++) {
        uint32_t token = p->first + row, lo = token % SCAN_CHUNK, left = p->n - row;
        uint32_t count = left < SCAN_CHUNK - lo ? left : SCAN_CHUNK - lo;
        out[n] = (struct scan_slot){piece, row, lo, lo + count, token < SCAN_CHUNK, *at};
        *at += s->n_groups * slot_floats(s, &out[n]);
        row += count;
    }
    return n;
}

/* Where a round that begins at slot `from` ends. */
static uint64_t round_end(const struct scan *s, const struct scan_slot *slots, uint64_t from, uint64_t n_slots)
{
    uint64_t to = from + 1;
    while (to < n_slots && slots[to].at + s->n_groups * slot_floats(s, &slots[to]) - slots[from].at <= ROUND_FLOATS)
        to++;
    return to;
}

/* Sizes of what a call works in, at most. */
struct room {
    uint64_t slots, first_slot; /* how many */
    uint64_t scratch, worker;   /* floats */
};

static struct room room_for(const struct scan *s, uint64_t n_rows, uint64_t n_pieces)
{
    const struct scan_slot whole = {.hi = SCAN_CHUNK};
    uint64_t slots = n_rows / SCAN_CHUNK + 2 * n_pieces, one = s->n_groups * slot_floats(s, &whole);
    uint64_t round = u64_min(slots * one, ROUND_FLOATS);
    return (struct room){slots, n_pieces + 1, round > one ? round : one, pool_threads(s->pool) * scan_worker_floats(s)};
}

uint64_t scan_need(const struct scan *s, uint64_t n_rows, uint64_t n_pieces)
{
    struct room r = room_for(s, n_rows, n_pieces);
    return scratch_bytes(r.slots, sizeof(struct scan_slot)) + scratch_bytes(r.first_slot, sizeof(uint64_t)) +
           scratch_bytes(r.scratch, sizeof(float)) + scratch_bytes(r.worker, sizeof(float));
}

static void run_round(struct scan_call *c)
{
    const struct scan *s = c->s;
    uint32_t first = c->slots[c->from].piece, last = c->slots[c->to - 1].piece;
    pool_for(s->pool, (c->to - c->from) * s->n_groups, scan_keys_item, c);
    pool_for(s->pool, (uint64_t)(last - first + 1) * s->n_heads, scan_head_item, c);
    for (uint64_t i = c->from; i < c->to; i++) {
        const struct scan_slot *slot = &c->slots[i];
        if (slot->lo == 0 && slot->hi < SCAN_CHUNK && c->pieces[slot->piece].keep) scan_keep_keys(c, slot);
    }
}

static bool run_in(const struct scan *s, const struct scan_piece *pieces, uint32_t n_pieces, struct scratch *from,
                   struct error *err)
{
    uint64_t n_rows = 0, n_slots = 0, floats = 0;
    for (uint32_t i = 0; i < n_pieces; i++) n_rows += pieces[i].n;
    struct room r = room_for(s, n_rows, n_pieces);
    SCRATCH_SCOPE(from);
    struct scan_slot *slots;
    uint64_t *first_slot;
    float *scratch, *worker;
    if (!scratch_alloc(from, &slots, r.slots, sizeof *slots, err) ||
        !scratch_alloc(from, &first_slot, r.first_slot, sizeof *first_slot, err) ||
        !scratch_alloc(from, &scratch, r.scratch, sizeof *scratch, err) ||
        !scratch_alloc(from, &worker, r.worker, sizeof *worker, err))
        return false;
    for (uint32_t i = 0; i < n_pieces; i++) {
        if (!state_ready(s, &pieces[i], err)) return false;
        first_slot[i] = n_slots;
        n_slots += cut(s, &pieces[i], i, slots + n_slots, &floats);
    }
    first_slot[n_pieces] = n_slots;
    struct scan_call c = {s, pieces, slots, first_slot, 0, 0, scratch, worker, scan_worker_floats(s)};
    for (; c.from < n_slots; c.from = c.to) {
        c.to = round_end(s, slots, c.from, n_slots);
        run_round(&c);
    }
    return true;
}

bool scan_run(const struct scan *s, const struct scan_piece *pieces, uint32_t n_pieces, struct error *err)
{
    struct scratch own = {0};
    bool ok = run_in(s, pieces, n_pieces, s->scratch ? s->scratch : &own, err);
    scratch_close(&own);
    return ok;
}

/* One head's panels as rows. */
static void unpack(const struct scan *s, const float *panels, float *out)
{
    for (uint64_t v = 0; v < s->value_dim; v++)
        for (uint64_t k = 0; k < s->key_dim; k++)
            out[s->delta ? k * s->value_dim + v : v * s->key_dim + k] =
                panels[(v / GEMM_PANEL * s->key_dim + k) * GEMM_PANEL + v % GEMM_PANEL];
}

bool scan_export(const struct scan *s, const struct scan_state *state, uint64_t n, float *out, struct error *err)
{
    uint64_t head_floats = scan_head_floats(s), open_floats = scan_open_head_floats(s);
    CLEANUP(free) float *panels = NULL;
    CLEANUP(free) float *open = NULL;
    CLEANUP(free) float *scratch = NULL;
    if (!memory_alloc(&panels, head_floats, sizeof *panels, err) ||
        !memory_alloc(&open, open_floats, sizeof *open, err) ||
        !memory_alloc(&scratch, (uint64_t)s->key_dim * GEMM_PANEL, sizeof *scratch, err))
        return false;
    for (uint64_t h = 0; h < s->n_heads; h++) {
        memcpy(panels, state->state + h * head_floats, head_floats * sizeof *panels);
        if (n % SCAN_CHUNK) {
            memcpy(open, scan_open_head(s, state, h), open_floats * sizeof *open);
            struct scan_head head = scan_head_at(s, open);
            scan_fold(s, panels, &head, scan_open_keys(s, state, h / (s->n_heads / s->n_groups)),
                      (uint32_t)(n % SCAN_CHUNK), scratch);
        }
        unpack(s, panels, out + h * s->key_dim * s->value_dim);
    }
    return true;
}
