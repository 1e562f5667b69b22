/* Texts, their chunks, and the products of keys that the heads of a group share. */
#include "engine/scan_impl.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_PANELS (SCAN_CHUNK / GEMM_PANEL)

static uint64_t keys_floats(const struct scan *s)
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
    return 2 * keys_floats(s);
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
    return (slot->lo ? 0 : keys_floats(s)) + (uint64_t)score_count(s) * (slot->hi - slot->lo) * SCAN_CHUNK;
}

static float *slot_scratch(const struct scan_call *c, const struct scan_slot *slot, uint64_t group)
{
    return c->scratch + slot->at + group * slot_floats(c->s, slot);
}

static float *slot_keys(const struct scan_call *c, const struct scan_slot *slot, uint64_t group)
{
    if (slot->lo) return scan_open_keys(c->s, c->pieces[slot->piece].state, group);
    return slot_scratch(c, slot, group);
}

const float *scan_slot_keys(const struct scan_call *c, const struct scan_slot *slot, uint64_t group)
{
    return slot_keys(c, slot, group);
}

float *scan_slot_scores(const struct scan_call *c, const struct scan_slot *slot, uint64_t group, uint32_t which)
{
    return slot_scratch(c, slot, group) + (slot->lo ? 0 : keys_floats(c->s)) +
           (uint64_t)which * (slot->hi - slot->lo) * SCAN_CHUNK;
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

/* The keys of a chunk's first n tokens, transposed, from their panels. */
static void transpose_panels(const struct scan *s, const float *panels, uint32_t n, float *keys)
{
    for (uint32_t p = 0; p * GEMM_PANEL < n; p++)
        for (uint64_t i = 0; i < s->key_dim; i++)
            memcpy(keys + i * SCAN_CHUNK + p * GEMM_PANEL, panels + ((uint64_t)p * s->key_dim + i) * GEMM_PANEL,
                   GEMM_PANEL * sizeof *keys);
}

static void panels_from_keys(const struct scan *s, const float *keys, float *panels)
{
    for (uint32_t p = 0; p < CHUNK_PANELS; p++)
        for (uint64_t i = 0; i < s->key_dim; i++)
            memcpy(panels + ((uint64_t)p * s->key_dim + i) * GEMM_PANEL, keys + i * SCAN_CHUNK + p * GEMM_PANEL,
                   GEMM_PANEL * sizeof *keys);
}

/* Tokens lo .. hi behind those that an open chunk has. */
static void append_keys(const struct scan *s, const struct scan_slot *slot, const float *k, uint64_t stride,
                        float *keys, float *panels)
{
    for (uint32_t j = slot->lo; j < slot->hi; j++, k += stride) {
        float *panel = panels + (uint64_t)(j / GEMM_PANEL) * s->key_dim * GEMM_PANEL + j % GEMM_PANEL;
        for (uint64_t i = 0; i < s->key_dim; i++) keys[i * SCAN_CHUNK + j] = panel[i * GEMM_PANEL] = k[i];
    }
}

/* x [hi - lo, key_dim] times the keys that they may look at. */
static void scores(const struct scan *s, const struct scan_slot *slot, const float *x, uint64_t stride,
                   const float *panels, float *out)
{
    for (uint32_t first = 0; first < slot->hi; first += GEMM_PANEL) {
        uint32_t skip = first > slot->lo ? first - slot->lo : 0; /* rows that come before these keys */
        uint32_t n = slot->hi - first < GEMM_PANEL ? slot->hi - first : GEMM_PANEL;
        s->math->gemm_panel(x + skip * stride, stride, slot->hi - slot->lo - skip,
                            panels + (uint64_t)first * s->key_dim, s->key_dim,
                            out + (uint64_t)skip * SCAN_CHUNK + first, SCAN_CHUNK, n);
    }
}

/* Item: slot * n_groups + group. */
static void keys_item(void *ctx, uint64_t item, uint32_t worker)
{
    const struct scan_call *c = ctx;
    const struct scan *s = c->s;
    const struct scan_slot *slot = &c->slots[item / s->n_groups];
    const struct scan_piece *p = &c->pieces[slot->piece];
    uint64_t group = item % s->n_groups;
    const float *k = p->k + slot->row * p->k_stride + group * s->key_dim;
    const float *q = p->q + slot->row * p->q_stride + group * s->key_dim;
    float *keys = slot_keys(c, slot, group);
    float *panels = slot->lo ? keys + keys_floats(s) : c->worker + worker * c->worker_floats;
    if (slot->lo) append_keys(s, slot, k, p->k_stride, keys, panels);
    else {
        for (uint32_t j = 0; j < slot->hi; j += GEMM_PANEL)
            gemm_pack(k + j * p->k_stride, p->k_stride, slot->hi - j < GEMM_PANEL ? slot->hi - j : GEMM_PANEL,
                      s->key_dim, panels + (uint64_t)j * s->key_dim);
        transpose_panels(s, panels, slot->hi, keys);
    }
    scores(s, slot, q, p->q_stride, panels, scan_slot_scores(c, slot, group, 0));
    if (s->delta) scores(s, slot, k, p->k_stride, panels, scan_slot_scores(c, slot, group, 1));
}

/* A chunk that began in this call and stays open: its keys move to the state. */
static void keep_keys(const struct scan_call *c, const struct scan_slot *slot)
{
    for (uint64_t g = 0; g < c->s->n_groups; g++) {
        float *open = scan_open_keys(c->s, c->pieces[slot->piece].state, g);
        const float *keys = scan_slot_keys(c, slot, g);
        for (uint64_t i = 0; i < c->s->key_dim; i++)
            memcpy(open + i * SCAN_CHUNK, keys + i * SCAN_CHUNK, slot->hi * sizeof *keys);
        panels_from_keys(c->s, open, open + keys_floats(c->s));
    }
}

/* ---- texts ----------------------------------------------------------------------------------------------------- */

void scan_state_close(struct scan_state *s)
{
    free(s->state);
    free(s->open);
    *s = (struct scan_state){0};
}

static bool state_ready(const struct scan *s, const struct scan_piece *p, struct error *err)
{
    struct scan_state *st = p->state;
    if (!st->state && !memory_zalloc(&st->state, s->n_heads * scan_head_floats(s), sizeof(float), err)) return false;
    if (st->open || !p->keep) return true;
    return memory_zalloc(&st->open, s->n_heads * scan_open_head_floats(s) + s->n_groups * scan_open_group_floats(s),
                         sizeof(float), err);
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

bool scan_run(const struct scan *s, const struct scan_piece *pieces, uint32_t n_pieces, struct error *err)
{
    uint64_t most = 0, n_slots = 0, floats = 0, threads = pool_threads(s->pool);
    for (uint32_t i = 0; i < n_pieces; i++) most += pieces[i].n / SCAN_CHUNK + 2;
    CLEANUP(free) struct scan_slot *slots = NULL;
    CLEANUP(free) uint64_t *first_slot = NULL;
    CLEANUP(free) float *scratch = NULL;
    CLEANUP(free) float *worker = NULL;
    if (!memory_alloc(&slots, most, sizeof *slots, err) ||
        !memory_alloc(&first_slot, (uint64_t)n_pieces + 1, sizeof *first_slot, err))
        return false;
    for (uint32_t i = 0; i < n_pieces; i++) {
        if (!state_ready(s, &pieces[i], err)) return false;
        first_slot[i] = n_slots;
        n_slots += cut(s, &pieces[i], i, slots + n_slots, &floats);
    }
    first_slot[n_pieces] = n_slots;
    if (!memory_alloc(&scratch, floats, sizeof *scratch, err) ||
        !memory_alloc(&worker, threads * scan_worker_floats(s), sizeof *worker, err))
        return false;
    struct scan_call c = {s, pieces, slots, first_slot, scratch, worker, scan_worker_floats(s)};
    pool_for(s->pool, n_slots * s->n_groups, keys_item, &c);
    pool_for(s->pool, (uint64_t)n_pieces * s->n_heads, scan_head_item, &c);
    for (uint64_t i = 0; i < n_slots; i++)
        if (slots[i].lo == 0 && slots[i].hi < SCAN_CHUNK && pieces[slots[i].piece].keep) keep_keys(&c, &slots[i]);
    return true;
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
