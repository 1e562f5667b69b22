#include "calibrate/descent.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"
#include "numeric/nvfp4_local.h"

#define WIDTH GEMM_PANEL /* columns of a product; two blocks */

struct rows {
    const struct descent *d;
    const float *w;
    float *q;
    const struct grid_scales *scales;
    uint64_t n, cols;
    float *error; /* [n, cols]: w - q */
    float *panel; /* [cols][WIDTH]: of H */
    float *pull;  /* [n, WIDTH]: errors times H */
    float *moved; /* [n, NVFP4_BLOCK]: what the block's errors changed by */
};

static float moment(const struct moments *m, uint64_t i, uint64_t j)
{
    return i < j ? m->sum[j * m->cols + i] : m->sum[i * m->cols + j];
}

void descent_block_moments(const struct moments *m, const float *add, uint64_t first, float h[256])
{
    for (uint64_t i = 0; i < NVFP4_BLOCK; i++)
        for (uint64_t j = 0; j < NVFP4_BLOCK; j++)
            h[NVFP4_BLOCK * i + j] = moment(m, first + i, first + j) + (i == j ? add[first + i] : 0.0f);
}

void descent_panel(const struct descent *d, uint64_t first, uint64_t width, float *panel)
{
    const struct moments *m = d->moments;
    for (uint64_t j = 0; j < width; j++) {
        const float *row = m->sum + (first + j) * m->cols;
        for (uint64_t k = 0; k <= first + j; k++) panel[k * WIDTH + j] = row[k];
    }
    for (uint64_t k = first + 1; k < m->cols; k++)
        for (uint64_t j = 0; j < width && first + j < k; j++) panel[k * WIDTH + j] = m->sum[k * m->cols + first + j];
    for (uint64_t j = 0; j < width; j++) panel[(first + j) * WIDTH + j] += d->add[first + j];
    for (uint64_t k = 0; k < m->cols; k++)
        for (uint64_t j = width; j < WIDTH; j++) panel[k * WIDTH + j] = 0.0f;
}

void descent_codes(enum grid_kind kind, float q[16], float hd[16], float step, uint8_t zero, const float h[256])
{
    bool changed = true;
    for (uint32_t sweep = 0; changed && sweep < NVFP4_DESCENT_SWEEPS; sweep++) {
        changed = false;
        for (uint32_t i = 0; i < NVFP4_BLOCK; i++) {
            float own = h[(NVFP4_BLOCK + 1) * i];
            float to = grid_value(kind, grid_code(kind, q[i] + hd[i] / own, step, zero), step, zero);
            float move = q[i] - to, gain = move * (hd[i] + hd[i] + move * own);
            if (!(gain < 0.0f)) continue;
            for (uint32_t j = 0; j < NVFP4_BLOCK; j++) hd[j] = hd[j] + h[NVFP4_BLOCK * i + j] * move;
            q[i] = to;
            changed = true;
        }
    }
}

/* The block of INT4 at `first`. */
static void descend_codes(const struct rows *r, uint64_t first, uint64_t at, const float *h)
{
    const struct grid *g = r->d->grid;
    enum grid_kind kind = grid_kind(g);
    for (uint64_t row = 0; row < r->n; row++) {
        uint64_t group = (row * r->cols + first) / g->format->block_cols;
        descent_codes(kind, r->q + row * r->cols + first, r->pull + row * WIDTH + at, r->scales->steps[group],
                      kind == GRID_INT4_ZERO ? r->scales->bytes[group] : 0, h);
    }
}

/* The block at `first`, column `at` of the panel. True when a code or a scale moved. */
static bool move_block(const struct rows *r, uint64_t first, uint64_t at)
{
    float h[NVFP4_BLOCK * NVFP4_BLOCK];
    bool any = false;
    for (uint64_t i = 0; i < NVFP4_BLOCK; i++)
        memcpy(h + NVFP4_BLOCK * i, r->panel + (first + i) * WIDTH + at, NVFP4_BLOCK * sizeof *h);
    for (uint64_t row = 0; row < r->n; row++)
        memcpy(r->moved + row * NVFP4_BLOCK, r->q + row * r->cols + first, NVFP4_BLOCK * sizeof *h);
    if (grid_kind(r->d->grid) == GRID_NVFP4)
        r->d->search->descend(r->q + first, r->cols, r->pull + at, WIDTH, r->n, h, r->d->grid->tensor_scale,
                              r->scales->bytes + first / NVFP4_BLOCK, r->cols / NVFP4_BLOCK);
    else descend_codes(r, first, at, h);
    for (uint64_t row = 0; row < r->n; row++)
        for (uint64_t i = 0; i < NVFP4_BLOCK; i++) {
            uint64_t k = row * r->cols + first + i;
            float was = r->error[k];
            r->error[k] = r->w[k] - r->q[k];
            r->moved[row * NVFP4_BLOCK + i] = r->error[k] - was;
            any |= r->error[k] != was;
        }
    return any;
}

static bool pass(const struct rows *r)
{
    const struct math_ops *math = r->d->math;
    bool any = false;
    for (uint64_t first = 0; first < r->cols; first += WIDTH) {
        uint64_t width = u64_min(WIDTH, r->cols - first);
        descent_panel(r->d, first, width, r->panel);
        math->gemm_panel(r->error, r->cols, r->n, r->panel, r->cols, r->pull, WIDTH, (uint32_t)width);
        for (uint64_t at = 0; at < width; at += NVFP4_BLOCK) {
            bool moved = move_block(r, first + at, at);
            any |= moved;
            if (moved && at + NVFP4_BLOCK < width)
                math->gemm_panel_more(r->moved, NVFP4_BLOCK, r->n, r->panel + (first + at) * WIDTH, NVFP4_BLOCK,
                                      r->pull, WIDTH, (uint32_t)width);
        }
    }
    return any;
}

bool descent_rows(const struct descent *d, const float *w, float *q, const struct grid_scales *scales, uint64_t n,
                  struct error *err)
{
    uint64_t cols = d->moments->cols;
    CLEANUP(free) float *error = NULL;
    CLEANUP(free) float *panel = NULL;
    CLEANUP(free) float *pull = NULL;
    CLEANUP(free) float *moved = NULL;
    if (!memory_alloc(&error, n * cols, sizeof *error, err) ||
        !memory_alloc(&panel, cols * WIDTH, sizeof *panel, err) || !memory_alloc(&pull, n * WIDTH, sizeof *pull, err) ||
        !memory_alloc(&moved, n * NVFP4_BLOCK, sizeof *moved, err))
        return false;
    for (uint64_t i = 0; i < n * cols; i++) error[i] = w[i] - q[i];
    struct rows r = {.d = d,
                     .w = w,
                     .q = q,
                     .scales = scales,
                     .n = n,
                     .cols = cols,
                     .error = error,
                     .panel = panel,
                     .pull = pull,
                     .moved = moved};
    for (uint32_t i = 0; i < d->passes; i++)
        if (!pass(&r)) break;
    return true;
}
