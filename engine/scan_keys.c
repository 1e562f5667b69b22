/* Keys of a chunk, and the products of queries and keys that all heads of a group share. */
#include "engine/scan_impl.h"

#include <string.h>

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
    for (uint32_t p = 0; p < SCAN_CHUNK / GEMM_PANEL; p++)
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

void scan_keys_item(void *ctx, uint64_t item, uint32_t worker)
{
    const struct scan_call *c = ctx;
    const struct scan *s = c->s;
    const struct scan_slot *slot = &c->slots[c->from + item / s->n_groups];
    const struct scan_piece *p = &c->pieces[slot->piece];
    uint64_t group = item % s->n_groups;
    const float *k = p->k + slot->row * p->k_stride + group * s->key_dim;
    const float *q = p->q + slot->row * p->q_stride + group * s->key_dim;
    float *keys = scan_slot_keys(c, slot, group);
    float *panels = slot->lo ? keys + scan_keys_floats(s) : c->worker + worker * c->worker_floats;
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

void scan_keep_keys(const struct scan_call *c, const struct scan_slot *slot)
{
    for (uint64_t g = 0; g < c->s->n_groups; g++) {
        float *open = scan_open_keys(c->s, c->pieces[slot->piece].state, g);
        const float *keys = scan_slot_keys(c, slot, g);
        for (uint64_t i = 0; i < c->s->key_dim; i++)
            memcpy(open + i * SCAN_CHUNK, keys + i * SCAN_CHUNK, slot->hi * sizeof *keys);
        panels_from_keys(c->s, open, open + scan_keys_floats(c->s));
    }
}
