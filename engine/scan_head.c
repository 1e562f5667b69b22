/* One head of one text through its chunks. */
#include "engine/scan_impl.h"

#include "core/bytes.h"

#include <string.h>

#define ROW_BLOCK                                                                                                      \
    32u /* rows of a chunk that look at the same number of earlier tokens, the later ones with weight 0                \
         */
#define SOLVE_BLOCK 16u /* rows of the triangular system that are solved one after the other */

/* A worker's scratch, in floats from its beginning. A chunk's keys as panels use the same memory before. */
struct work {
    float *decay, *weight, *fresh, *through; /* [SCAN_CHUNK] each */
    float *m[2];                             /* [SCAN_CHUNK, SCAN_CHUNK] each: outputs; for delta the system */
    float *product;                          /* [SCAN_CHUNK or key_dim, GEMM_PANEL] */
    float *head;                             /* struct scan_head, where the state has none */
};

static uint64_t product_rows(const struct scan *s)
{
    return s->key_dim > SCAN_CHUNK ? s->key_dim : SCAN_CHUNK;
}

static struct work work_at(const struct scan *s, float *at)
{
    struct work w;
    w.decay = at;
    w.weight = at + SCAN_CHUNK;
    w.fresh = at + (uint64_t)2 * SCAN_CHUNK;
    w.through = at + (uint64_t)3 * SCAN_CHUNK;
    w.m[0] = at + (uint64_t)4 * SCAN_CHUNK;
    w.m[1] = w.m[0] + (uint64_t)SCAN_CHUNK * SCAN_CHUNK;
    w.product = w.m[1] + (uint64_t)SCAN_CHUNK * SCAN_CHUNK;
    w.head = w.product + product_rows(s) * GEMM_PANEL;
    return w;
}

uint64_t scan_worker_floats(const struct scan *s)
{
    uint64_t head = 4u * SCAN_CHUNK + 2u * SCAN_CHUNK * SCAN_CHUNK + product_rows(s) * GEMM_PANEL +
                    scan_open_head_floats(s),
             keys = scan_open_group_floats(s) / 2;
    return u64_div_up(head > keys ? head : keys, 16) * 16;
}

struct scan_head scan_head_at(const struct scan *s, float *at)
{
    uint64_t values = u64_div_up(s->value_dim, GEMM_PANEL) * SCAN_CHUNK * GEMM_PANEL;
    return (struct scan_head){at, at + values, at + values + SCAN_CHUNK};
}

/* One chunk of one head. */
struct chunk {
    const struct scan *s;
    const struct scan_slot *slot;
    const struct scan_piece *p;
    struct work w;
    struct scan_head h;
    uint64_t head, group;
    uint32_t rows; /* hi - lo */
};

static void weights(const struct chunk *c, const struct scan_call *call)
{
    const struct scan_slot *slot = c->slot;
    const float *decay = c->p->decay + slot->row * c->p->decay_stride + c->head;
    const float *weight = c->p->weight + slot->row * c->p->weight_stride + c->head;
    for (uint32_t i = 0; i < c->rows; i++) {
        c->w.decay[i] = decay[i * c->p->decay_stride];
        c->w.weight[i] = weight[i * c->p->weight_stride];
        c->w.fresh[i] = 1.0f;
    }
    if (slot->lo == 0) {
        memset(c->h.w, 0, SCAN_CHUNK * sizeof *c->h.w);
        *c->h.total = 1.0f;
    }
    struct decay_rows d = {
        .from = slot->lo,
        .to = slot->hi,
        .decay = c->w.decay,
        .fresh = c->s->delta ? c->w.fresh : c->w.weight,
        .w = c->h.w,
        .total = c->h.total,
        .through = c->w.through,
        .n_products = c->s->delta ? 2 : 1,
        .s = {scan_slot_scores(call, slot, c->group, 0),
              c->s->delta ? scan_slot_scores(call, slot, c->group, 1) : NULL},
        .m = {c->w.m[0], c->w.m[1]},
        .s_stride = SCAN_CHUNK,
        .m_stride = SCAN_CHUNK,
    };
    c->s->math->decay_rows(&d);
    if (c->s->skip)
        for (uint32_t i = 0; i < c->rows; i++) c->w.m[0][i * SCAN_CHUNK + slot->lo + i] += c->s->skip[c->head];
}

/* A panel of columns of one chunk. */
struct columns {
    float *values; /* [SCAN_CHUNK][GEMM_PANEL] */
    float *state;  /* [key_dim][GEMM_PANEL] */
    uint64_t first;
    uint32_t n;
};

static void put_values(const struct chunk *c, const struct columns *k)
{
    const float *v = c->p->v + c->slot->row * c->p->v_stride + c->head * c->s->value_dim + k->first;
    for (uint32_t i = 0; i < c->rows; i++, v += c->p->v_stride) {
        float *to = k->values + (uint64_t)(c->slot->lo + i) * GEMM_PANEL;
        memcpy(to, v, k->n * sizeof *v);
        memset(to + k->n, 0, (GEMM_PANEL - k->n) * sizeof *v);
    }
}

/* x [rows, key_dim] times the state before the chunk, into w.product. */
static void times_state(const struct chunk *c, const struct columns *k, const float *x, uint64_t stride)
{
    c->s->math->gemm_panel(x + c->slot->row * stride + c->group * c->s->key_dim, stride, c->rows, k->state,
                           c->s->key_dim, c->w.product, GEMM_PANEL, GEMM_PANEL);
}

/* values <- the u of the delta rule. A row subtracts what the state gives, then what the blocks before its own give,
 * then what the rows of its own block give. */
static void solve(const struct chunk *c, const struct columns *k)
{
    const struct math_ops *math = c->s->math;
    const struct scan_slot *slot = c->slot;
    float *u = k->values, earlier[SOLVE_BLOCK * GEMM_PANEL], *m = c->w.m[1];
    if (!slot->zero) {
        times_state(c, k, c->p->k, c->p->k_stride);
        for (uint32_t i = 0; i < c->rows; i++)
            math->multiply_add(u + (uint64_t)(slot->lo + i) * GEMM_PANEL, c->w.product + (uint64_t)i * GEMM_PANEL,
                               -c->w.through[i], GEMM_PANEL);
    }
    for (uint32_t i = slot->lo; i < slot->hi; i++, m += SCAN_CHUNK) {
        uint32_t block = i / SOLVE_BLOCK * SOLVE_BLOCK, end = block + SOLVE_BLOCK;
        float *row = u + (uint64_t)i * GEMM_PANEL, own[GEMM_PANEL];
        if (block > 0) {
            if (i == block || i == slot->lo)
                math->gemm_panel(m, SCAN_CHUNK, (end < slot->hi ? end : slot->hi) - i, u, block,
                                 earlier + (uint64_t)(i - block) * GEMM_PANEL, GEMM_PANEL, GEMM_PANEL);
            math->multiply_add(row, earlier + (uint64_t)(i - block) * GEMM_PANEL, -1.0f, GEMM_PANEL);
        }
        if (i > block) {
            math->gemm_panel(m + block, SCAN_CHUNK, 1, u + (uint64_t)block * GEMM_PANEL, i - block, own, GEMM_PANEL,
                             GEMM_PANEL);
            math->multiply_add(row, own, -1.0f, GEMM_PANEL);
        }
        math->scale(row, row, c->w.weight[i - slot->lo], GEMM_PANEL);
    }
}

static void outputs(const struct chunk *c, const struct columns *k)
{
    const struct math_ops *math = c->s->math;
    const struct scan_slot *slot = c->slot;
    float *o = c->p->o + slot->row * c->p->o_stride + c->head * c->s->value_dim + k->first;
    for (uint32_t i = slot->lo; i < slot->hi;) {
        uint32_t end = (i / ROW_BLOCK + 1) * ROW_BLOCK, row = i - slot->lo;
        if (end > slot->hi) end = slot->hi;
        math->gemm_panel(c->w.m[0] + (uint64_t)row * SCAN_CHUNK, SCAN_CHUNK, end - i, k->values, end,
                         o + row * c->p->o_stride, c->p->o_stride, k->n);
        i = end;
    }
    if (slot->zero) return;
    times_state(c, k, c->p->q, c->p->q_stride);
    for (uint32_t i = 0; i < c->rows; i++)
        math->multiply_add(o + i * c->p->o_stride, c->w.product + (uint64_t)i * GEMM_PANEL, c->w.through[i], k->n);
}

static void fold_panel(const struct scan *s, float *state, const struct scan_head *h, float *values, const float *keys,
                       uint32_t n, float *scratch)
{
    uint64_t floats = (uint64_t)s->key_dim * GEMM_PANEL;
    for (uint32_t j = 0; j < n; j++)
        s->math->scale(values + (uint64_t)j * GEMM_PANEL, values + (uint64_t)j * GEMM_PANEL, h->w[j], GEMM_PANEL);
    s->math->gemm_panel(keys, SCAN_CHUNK, s->key_dim, values, n, scratch, GEMM_PANEL, GEMM_PANEL);
    s->math->scale(state, state, *h->total, floats);
    s->math->add(state, state, scratch, floats);
}

void scan_fold(const struct scan *s, float *state, const struct scan_head *h, const float *keys, uint32_t n,
               float *scratch)
{
    for (uint64_t p = 0; p * GEMM_PANEL < s->value_dim; p++)
        fold_panel(s, state + p * s->key_dim * GEMM_PANEL, h, h->values + p * SCAN_CHUNK * GEMM_PANEL, keys, n,
                   scratch);
}

static void run_chunk(const struct chunk *c, const struct scan_call *call)
{
    const struct scan *s = c->s;
    float *state = c->p->state->state + c->head * scan_head_floats(s);
    weights(c, call);
    for (uint64_t first = 0; first < s->value_dim; first += GEMM_PANEL) {
        struct columns k = {c->h.values + first * SCAN_CHUNK, state + first * s->key_dim, first,
                            (uint32_t)u64_min(GEMM_PANEL, s->value_dim - first)};
        put_values(c, &k);
        if (s->delta) solve(c, &k);
        outputs(c, &k);
    }
    if (c->slot->hi == SCAN_CHUNK)
        scan_fold(s, state, &c->h, scan_slot_keys(call, c->slot, c->group), SCAN_CHUNK, c->w.product);
}

void scan_head_item(void *ctx, uint64_t item, uint32_t worker)
{
    const struct scan_call *call = ctx;
    const struct scan *s = call->s;
    uint64_t piece = call->slots[call->from].piece + item / s->n_heads, head = item % s->n_heads;
    struct chunk c = {.s = s,
                      .p = &call->pieces[piece],
                      .w = work_at(s, call->worker + worker * call->worker_floats),
                      .head = head,
                      .group = head / (s->n_heads / s->n_groups)};
    c.h = scan_head_at(s, c.p->state->open ? scan_open_head(s, c.p->state, head) : c.w.head);
    uint64_t from = call->first_slot[piece] > call->from ? call->first_slot[piece] : call->from;
    for (uint64_t i = from; i < u64_min(call->first_slot[piece + 1], call->to); i++) {
        c.slot = &call->slots[i];
        c.rows = c.slot->hi - c.slot->lo;
        run_chunk(&c, call);
    }
}
