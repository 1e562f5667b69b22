#include "calibrate/together.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

#define WIDTH GEMM_PANEL /* columns of a product; two blocks */
#define GROUP 32u        /* rows that hear of each other's moves at once; the others by products */

struct together {
    const struct descent *d;
    const float *g, *w;
    float *q;
    const struct grid_scales *scales;
    uint64_t rows, cols;
    uint64_t first, width; /* of the panel */
    float *error;          /* [rows, cols]: w - q */
    float *panel;          /* [cols][WIDTH]: of H */
    float *own;            /* [rows][WIDTH]: errors times H */
    float *pull;           /* [rows][WIDTH]: G times that */
    float *moved;          /* [rows][WIDTH]: what `own` changed by in this panel */
};

static void own_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    const struct together *t = ctx;
    uint64_t row = item * GROUP, n = u64_min(GROUP, t->rows - row);
    t->d->math->gemm_panel(t->error + row * t->cols, t->cols, n, t->panel, t->cols, t->own + row * WIDTH, WIDTH, WIDTH);
}

static void pull_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    const struct together *t = ctx;
    uint64_t row = item * GROUP, n = u64_min(GROUP, t->rows - row);
    t->d->math->gemm_panel(t->g + row * t->rows, t->rows, n, t->own, t->rows, t->pull + row * WIDTH, WIDTH, WIDTH);
}

/* Codes and scale of one block, by `hd`, as if the row were alone. */
static void descend(const struct together *t, uint64_t row, uint64_t at, float hd[16], const float h[256])
{
    const struct grid *g = t->d->grid;
    enum grid_kind kind = grid_kind(g);
    float *q = t->q + row * t->cols + at;
    uint64_t block = (row * t->cols + at) / g->format->block_cols;
    if (kind == GRID_NVFP4)
        t->d->search->descend(q, t->cols, hd, NVFP4_BLOCK, 1, h, g->tensor_scale, t->scales->bytes + block, 1);
    else descent_codes(kind, q, hd, t->scales->steps[block], kind == GRID_INT4_ZERO ? t->scales->bytes[block] : 0, h);
}

/* The block `at` columns into the panel. True when it moved; then `change` is what the row's errors times H change by
 * in all columns of the panel. */
static bool move_block(const struct together *t, uint64_t row, uint64_t at, const float h[256], float change[WIDTH])
{
    float hd[NVFP4_BLOCK], one = t->g[row * t->rows + row];
    uint64_t col = t->first + at;
    bool any = false;
    for (uint64_t i = 0; i < NVFP4_BLOCK; i++) hd[i] = t->pull[row * WIDTH + at + i] / one;
    descend(t, row, col, hd, h);
    memset(change, 0, WIDTH * sizeof *change);
    for (uint64_t i = 0; i < NVFP4_BLOCK; i++) {
        uint64_t k = row * t->cols + col + i;
        float was = t->error[k];
        t->error[k] = t->w[k] - t->q[k];
        float by = t->error[k] - was;
        if (by == 0) continue;
        any = true;
        for (uint64_t j = 0; j < WIDTH; j++) change[j] = change[j] + by * t->panel[(col + i) * WIDTH + j];
    }
    return any;
}

static void add_times(float *y, const float *x, float f)
{
    for (uint64_t j = 0; j < WIDTH; j++) y[j] = y[j] + f * x[j];
}

/* Rows row .. row + n of the panel, one after the other. */
static bool move_group(const struct together *t, uint64_t row, uint64_t n, const float h[2][256])
{
    bool any = false;
    float change[WIDTH];
    for (uint64_t r = row; r < row + n; r++)
        for (uint64_t at = 0; at < t->width; at += NVFP4_BLOCK) {
            if (!move_block(t, r, at, h[at / NVFP4_BLOCK], change)) continue;
            any = true;
            add_times(t->moved + r * WIDTH, change, 1);
            for (uint64_t k = r; k < row + n; k++) add_times(t->pull + k * WIDTH, change, t->g[k * t->rows + r]);
        }
    return any;
}

static bool move_panel(struct together *t, uint64_t first, struct pool *pool)
{
    float h[2][NVFP4_BLOCK * NVFP4_BLOCK];
    uint64_t groups = u64_div_up(t->rows, GROUP);
    bool any = false;
    t->first = first;
    t->width = u64_min(WIDTH, t->cols - first);
    descent_panel(t->d, first, t->width, t->panel);
    for (uint64_t k = 0; k < t->width; k++)
        memcpy(h[k / NVFP4_BLOCK] + k % NVFP4_BLOCK * NVFP4_BLOCK,
               t->panel + (first + k) * WIDTH + k / NVFP4_BLOCK * NVFP4_BLOCK, NVFP4_BLOCK * sizeof **h);
    pool_for(pool, groups, own_item, t);
    pool_for(pool, groups, pull_item, t);
    memset(t->moved, 0, t->rows * WIDTH * sizeof *t->moved);
    for (uint64_t row = 0; row < t->rows; row += GROUP) {
        uint64_t n = u64_min(GROUP, t->rows - row);
        if (any)
            t->d->math->gemm_panel_more(t->g + row * t->rows, t->rows, n, t->moved, row, t->pull + row * WIDTH, WIDTH,
                                        WIDTH);
        any |= move_group(t, row, n, (const float(*)[NVFP4_BLOCK * NVFP4_BLOCK]) h);
    }
    return any;
}

bool together_rows(const struct descent *d, const float *g, struct pool *pool, const float *w, float *q,
                   const struct grid_scales *scales, uint64_t rows, struct error *err)
{
    uint64_t cols = d->moments->cols;
    CLEANUP(free) float *error = NULL;
    CLEANUP(free) float *panel = NULL;
    CLEANUP(free) float *own = NULL;
    CLEANUP(free) float *pull = NULL;
    CLEANUP(free) float *moved = NULL;
    if (!memory_alloc(&error, rows * cols, sizeof *error, err) ||
        !memory_alloc(&panel, cols * WIDTH, sizeof *panel, err) ||
        !memory_alloc(&own, rows * WIDTH, sizeof *own, err) || !memory_alloc(&pull, rows * WIDTH, sizeof *pull, err) ||
        !memory_alloc(&moved, rows * WIDTH, sizeof *moved, err))
        return false;
    for (uint64_t i = 0; i < rows * cols; i++) error[i] = w[i] - q[i];
    struct together t = {.d = d,
                         .g = g,
                         .w = w,
                         .q = q,
                         .scales = scales,
                         .rows = rows,
                         .cols = cols,
                         .error = error,
                         .panel = panel,
                         .own = own,
                         .pull = pull,
                         .moved = moved};
    for (uint32_t i = 0; i < d->passes; i++) {
        bool any = false;
        for (uint64_t first = 0; first < cols; first += WIDTH) any |= move_panel(&t, first, pool);
        if (!any) break;
    }
    return true;
}
