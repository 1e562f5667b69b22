#include "calibrate/moments.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"
#include "plan/solve_parts.h"

#define TILE GEMM_ROWS_MAX /* rows and columns of the sum that one item makes */
#define TILE_PANELS (TILE / PANEL_ROWS)

bool moments_open(struct moments *m, uint64_t cols, bool rounded, struct error *err)
{
    *m = (struct moments){.cols = cols, .chunk = solve_chunk_rows(cols)};
    if (memory_alloc(&m->waiting, cols * m->chunk, sizeof(float), err) &&
        memory_zalloc(&m->sum, cols * cols, sizeof(float), err) &&
        (!rounded || (memory_alloc(&m->waiting_off, cols * m->chunk, sizeof(float), err) &&
                      memory_zalloc(&m->off, cols * cols, sizeof(float), err))))
        return true;
    moments_close(m);
    return false;
}

void moments_close(struct moments *m)
{
    free(m->waiting);
    free(m->sum);
    free(m->waiting_off);
    free(m->off);
    *m = (struct moments){0};
}

/* ---- a chunk into the sum ---- */

struct flush {
    struct moments *m;
    const struct moments_env *env;
    const float *left; /* [cols, chunk]: what the rows are made of */
    float *into;       /* [cols, cols] */
    bool all;          /* not only on and below the diagonal */
    struct packed packed;
    uint8_t *rows, *panels; /* the chunk transposed, as both operands of the product */
    uint64_t row_bytes;
};

static void prepare_item(void *ctx, uint64_t panel, uint32_t worker)
{
    (void)worker;
    struct flush *f = ctx;
    const struct moments *m = f->m;
    uint64_t first = panel * PANEL_ROWS, n = u64_min(PANEL_ROWS, m->cols - first);
    const float *x = m->waiting + first * m->chunk;
    packed_fill_bf16(&f->packed, x, m->chunk, (uint32_t)n, f->panels + panel * f->packed.panel_bytes);
    x = f->left + first * m->chunk;
    for (uint64_t i = 0; i < n; i++)
        f->env->gemm->input(x + i * m->chunk, m->chunk, f->rows + (first + i) * f->row_bytes);
}

/* Item number of a triangle to its row and column. */
static void triangle(uint64_t item, uint64_t *row, uint64_t *col)
{
    uint64_t r = 0;
    while ((r + 1) * (r + 2) / 2 <= item) r++;
    *row = r;
    *col = item - r * (r + 1) / 2;
}

static bool tile_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    struct flush *f = ctx;
    struct moments *m = f->m;
    uint64_t row, col;
    uint64_t tiles = u64_div_up(m->cols, TILE);
    if (f->all) row = item / tiles, col = item % tiles;
    else triangle(item, &row, &col);
    row *= TILE;
    col *= TILE;
    uint64_t n_rows = u64_min(TILE, m->cols - row), n_cols = u64_min(TILE, m->cols - col);
    CLEANUP(free) float *y = NULL;
    if (!memory_alloc(&y, n_rows * n_cols, sizeof *y, err)) return false;
    struct gemm_call c = {.w = &f->packed,
                          .panels = f->panels + col / PANEL_ROWS * f->packed.panel_bytes,
                          .n = (uint32_t)n_cols,
                          .m = n_rows,
                          .x = f->rows + row * f->row_bytes,
                          .x_stride = f->row_bytes,
                          .y = y,
                          .ldy = n_cols};
    f->env->gemm->bf16(&c);
    for (uint64_t i = 0; i < n_rows; i++) {
        float *sum = f->into + (row + i) * m->cols + col;
        f->env->math->add(sum, sum, y + i * n_cols, n_cols);
    }
    return true;
}

/* Rows apart in the first-level cache (engine/linear.c, row_stride). */
static uint64_t row_stride(uint64_t bytes)
{
    bytes = u64_div_up(bytes, 64) * 64;
    return bytes % 512 == 0 ? bytes + 64 : bytes;
}

/* into += left waiting^T */
static bool add_product(struct moments *m, const struct moments_env *env, const float *left, float *into, bool all,
                        struct error *err)
{
    struct flush f = {.m = m,
                      .env = env,
                      .left = left,
                      .into = into,
                      .all = all,
                      .row_bytes = row_stride(env->gemm->input_bytes(m->chunk))};
    CLEANUP(free) uint8_t *rows = NULL;
    CLEANUP(free) uint8_t *panels = NULL;
    if (!packed_shape(&f.packed, CODE_BF16, SCALE_NONE, m->cols, m->chunk, m->chunk, 1.0f))
        return error_set(err, ERR_INTERNAL, "second moments of %llu columns", (unsigned long long)m->cols);
    if (!memory_alloc(&rows, m->cols, f.row_bytes, err) || !memory_alloc(&panels, packed_bytes(&f.packed), 1, err))
        return false;
    f.rows = rows;
    f.panels = panels;
    uint64_t tiles = u64_div_up(m->cols, TILE);
    pool_for(env->pool, packed_panels(&f.packed), prepare_item, &f);
    return pool_try(env->pool, all ? tiles * tiles : tiles * (tiles + 1) / 2, tile_item, &f, err);
}

static bool flush(struct moments *m, const struct moments_env *env, struct error *err)
{
    m->fill = 0;
    return add_product(m, env, m->waiting, m->sum, false, err) &&
           (!m->off || add_product(m, env, m->waiting_off, m->off, true, err));
}

/* ---- gathering ---- */

struct gather {
    struct moments *m;
    const float *x, *z;
    uint64_t n_rows, stride;
};

#define STRIP 64u /* columns of an item */

static void gather_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    const struct gather *g = ctx;
    struct moments *m = g->m;
    uint64_t first = item * STRIP, end = u64_min(first + STRIP, m->cols);
    const float *z = g->z ? g->z : g->x;
    uint64_t stride = g->z ? m->cols : g->stride;
    for (uint64_t r = 0; r < g->n_rows; r += 16) {
        uint64_t n = u64_min(16, g->n_rows - r);
        for (uint64_t c = first; c < end; c++)
            for (uint64_t i = 0; i < n; i++) m->waiting[c * m->chunk + m->fill + r + i] = z[(r + i) * stride + c];
        for (uint64_t c = first; g->z && c < end; c++)
            for (uint64_t i = 0; i < n; i++)
                m->waiting_off[c * m->chunk + m->fill + r + i] =
                    g->x[(r + i) * g->stride + c] - z[(r + i) * stride + c];
    }
}

bool moments_add(struct moments *m, const struct moments_env *env, const float *x, const float *z, uint64_t n_rows,
                 uint64_t stride, struct error *err)
{
    m->n_rows += n_rows;
    while (n_rows) {
        uint64_t n = u64_min(n_rows, m->chunk - m->fill);
        struct gather g = {m, x, z, n, stride};
        pool_for(env->pool, u64_div_up(m->cols, STRIP), gather_item, &g);
        m->fill += (uint32_t)n;
        x += n * stride;
        if (z) z += n * m->cols;
        n_rows -= n;
        if (m->fill == m->chunk && !flush(m, env, err)) return false;
    }
    return true;
}

bool moments_finish(struct moments *m, const struct moments_env *env, struct error *err)
{
    if (m->fill == 0) return true;
    /* Zeros behind the last row: they change no sum. */
    for (uint64_t c = 0; c < m->cols; c++) {
        memset(m->waiting + c * m->chunk + m->fill, 0, (m->chunk - m->fill) * sizeof(float));
        if (m->off) memset(m->waiting_off + c * m->chunk + m->fill, 0, (m->chunk - m->fill) * sizeof(float));
    }
    return flush(m, env, err);
}
