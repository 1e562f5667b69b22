#include "calibrate/factor.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

#include <math.h>

#define TILE 64u /* rows of an item */

void factor_close(struct factor *f)
{
    free(f->panels);
    free(f->diagonal);
    *f = (struct factor){0};
}

uint64_t factor_rows(const struct factor *f, uint64_t first)
{
    return u64_min(first + FACTOR_PANEL, f->n);
}

/* Floats of the panels in front of number p, all of which are full. */
static uint64_t panel_at(uint64_t p)
{
    return FACTOR_PANEL * FACTOR_PANEL * p * (p + 1) / 2;
}

const float *factor_panel(const struct factor *f, uint64_t first)
{
    return f->panels + panel_at(first / FACTOR_PANEL);
}

uint64_t factor_bytes(uint64_t n)
{
    return (panel_at(u64_div_up(n, FACTOR_PANEL)) + n) * sizeof(float);
}

uint64_t factor_work_bytes(uint64_t n)
{
    return (n * n + n * FACTOR_BLOCK) * sizeof(float);
}

/* ---- L of the reversed matrix, in place ---- */

struct lower {
    float *a; /* [n, n] */
    uint64_t n, from, width;
    const struct math_ops *math;
    float *panels; /* minus L[block, 0 .. from], then the inverse of the diagonal block; [width / 32][..][32] */
};

static void pack_item(void *ctx, uint64_t panel, uint32_t worker)
{
    (void)worker;
    struct lower *l = ctx;
    uint64_t first = l->from + panel * GEMM_PANEL, n = u64_min(GEMM_PANEL, l->from + l->width - first);
    float *out = l->panels + panel * l->from * GEMM_PANEL;
    gemm_pack(l->a + first * l->n, l->n, (uint32_t)n, l->from, out);
    l->math->scale(out, out, -1.0f, l->from * GEMM_PANEL);
}

/* Rows of this block column less what the columns in front explain. */
static void update_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    struct lower *l = ctx;
    uint64_t row = l->from + item * TILE, m = u64_min(TILE, l->n - row);
    for (uint64_t c = 0; c < l->width; c += GEMM_PANEL)
        l->math->gemm_panel_more(l->a + row * l->n, l->n, m, l->panels + c * l->from, l->from,
                                 l->a + row * l->n + l->from + c, l->n, (uint32_t)u64_min(GEMM_PANEL, l->width - c));
}

/* The block on the diagonal: its factor and that one's inverse, in fp64. */
static bool diagonal_block(const struct lower *l, double *d, double *inverse)
{
    uint64_t w = l->width;
    float *a = l->a + l->from * l->n + l->from;
    for (uint64_t i = 0; i < w; i++)
        for (uint64_t j = 0; j <= i; j++) {
            double s = (double)a[i * l->n + j];
            for (uint64_t k = 0; k < j; k++) s -= d[i * w + k] * d[j * w + k];
            if (i == j && !(s > 0 && s < (double)INFINITY)) return false;
            d[i * w + j] = i == j ? sqrt(s) : s / d[j * w + j];
            a[i * l->n + j] = (float)d[i * w + j];
        }
    for (uint64_t j = 0; j < w; j++)
        for (uint64_t i = 0; i < w; i++) {
            double s = i == j;
            for (uint64_t k = j; k < i; k++) s -= d[i * w + k] * inverse[k * w + j];
            inverse[i * w + j] = i < j ? 0 : s / d[i * w + i];
        }
    return true;
}

/* Rows below the block times the inverse's transpose. */
static void solve_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    struct lower *l = ctx;
    float x[TILE * FACTOR_BLOCK];
    uint64_t row = l->from + l->width + item * TILE, m = u64_min(TILE, l->n - row);
    for (uint64_t i = 0; i < m; i++) memcpy(x + i * l->width, l->a + (row + i) * l->n + l->from, l->width * sizeof *x);
    for (uint64_t c = 0; c < l->width; c += GEMM_PANEL)
        l->math->gemm_panel(x, l->width, m, l->panels + c * l->width, l->width, l->a + row * l->n + l->from + c, l->n,
                            (uint32_t)u64_min(GEMM_PANEL, l->width - c));
}

static bool block_column(struct lower *l, struct pool *pool)
{
    double d[FACTOR_BLOCK * FACTOR_BLOCK], inverse[FACTOR_BLOCK * FACTOR_BLOCK];
    float packed[FACTOR_BLOCK * FACTOR_BLOCK];
    uint64_t w = l->width;
    if (l->from) {
        pool_for(pool, u64_div_up(w, GEMM_PANEL), pack_item, l);
        pool_for(pool, u64_div_up(l->n - l->from, TILE), update_item, l);
    }
    if (!diagonal_block(l, d, inverse)) return false;
    for (uint64_t i = 0; i < w * w; i++) packed[i] = (float)inverse[i];
    for (uint64_t c = 0; c < w; c += GEMM_PANEL)
        gemm_pack(packed + c * w, w, (uint32_t)u64_min(GEMM_PANEL, w - c), w, l->panels + c * w);
    pool_for(pool, u64_div_up(l->n - l->from - w, TILE), solve_item, l);
    return true;
}

/* ---- M ---- */

struct copy {
    const float *a, *h;
    float *to;
    const uint32_t *order;
    struct factor *f;
    double add;
    uint64_t n;
};

static void reverse_item(void *ctx, uint64_t i, uint32_t worker)
{
    (void)worker;
    const struct copy *c = ctx;
    uint64_t n = c->n;
    uint32_t row = c->order[n - 1 - i];
    for (uint64_t j = 0; j <= i; j++) {
        uint32_t col = c->order[n - 1 - j];
        c->to[i * n + j] = row >= col ? c->h[row * n + col] : c->h[col * n + row];
    }
    c->to[i * n + i] = (float)((double)c->to[i * n + i] + c->add);
}

static void panel_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    const struct copy *c = ctx;
    uint64_t n = c->n, first = item * FACTOR_PANEL, rows = factor_rows(c->f, first);
    float *out = c->f->panels + panel_at(item);
    memset(out, 0, rows * FACTOR_PANEL * sizeof *out);
    for (uint64_t k = 0; k < rows; k++)
        for (uint64_t j = k < first ? first : k + 1; j < rows; j++)
            out[k * FACTOR_PANEL + j - first] = c->a[(n - 1 - k) * n + n - 1 - j] / c->f->diagonal[j];
}

bool factor_make(struct factor *out, const float *h, uint64_t n, const uint32_t *order, double add,
                 const struct math_ops *math, struct pool *pool, bool *definite, struct error *err)
{
    *out = (struct factor){.n = n};
    *definite = false;
    CLEANUP(free) float *a = NULL;
    CLEANUP(free) float *panels = NULL;
    uint64_t wide = u64_div_up(n > FACTOR_BLOCK ? n : FACTOR_BLOCK, GEMM_PANEL) * GEMM_PANEL;
    if (!memory_alloc(&a, n * n, sizeof *a, err) || !memory_alloc(&panels, wide * FACTOR_BLOCK, sizeof *panels, err))
        return false;
    struct copy c = {.a = a, .h = h, .to = a, .order = order, .f = out, .add = add, .n = n};
    pool_for(pool, n, reverse_item, &c);
    struct lower l = {.a = a, .n = n, .math = math, .panels = panels};
    for (; l.from < n; l.from += l.width) {
        l.width = u64_min(FACTOR_BLOCK, n - l.from);
        if (!block_column(&l, pool)) return true;
    }
    if (!memory_alloc(&out->panels, panel_at(u64_div_up(n, FACTOR_PANEL)), sizeof(float), err) ||
        !memory_alloc(&out->diagonal, n, sizeof(float), err)) {
        factor_close(out);
        return false;
    }
    for (uint64_t i = 0; i < n; i++) out->diagonal[i] = a[(n - 1 - i) * n + n - 1 - i];
    pool_for(pool, u64_div_up(n, FACTOR_PANEL), panel_item, &c);
    *definite = true;
    return true;
}
