#include "calibrate/readers.h"

#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"
#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

#include <math.h>

bool readers_apply(const struct plan *p, uint32_t item)
{
    const struct model_tensor *t = p->items[item].tensor;
    const struct model_config *cfg = &p->inventory->config;
    if (cfg->post_norm || t->place.mtp || t->place.block < 0 || t->dims[0] != cfg->dims[DIM_HIDDEN]) return false;
    switch (t->place.role) {
    case ROLE_EXPERT_DOWN: /* into the latent space, where there is one */
        return !inventory_find_block(p->inventory, ROLE_LATENT_OUT, &cfg->blocks[t->place.block], -1);
    case ROLE_ATTN_O:
    case ROLE_MLP_DOWN:
    case ROLE_SHARED_DOWN:
    case ROLE_LATENT_OUT:
    case ROLE_SSM_OUT:
    case ROLE_DELTA_OUT: return true;
    default: return false;
    }
}

/* A plain tensor as fp32; *out NULL: there is none, or it is not stored as plain numbers. */
static bool read_plain(const struct plan *p, const struct model_tensor *t, uint64_t isa, float **out, struct error *err)
{
    const struct checkpoint *ck = p->inventory->checkpoint;
    if (!t || t->format) return true;
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[PART_WEIGHT]);
    CLEANUP(free) void *raw = NULL;
    CLEANUP(free) float *x = NULL;
    if (!memory_alloc(&raw, t->n_elems, dtype_bytes(info->dtype), err) ||
        !memory_alloc(&x, t->n_elems, sizeof *x, err) ||
        !checkpoint_read(ck, t->parts[PART_WEIGHT], 0, raw, t->n_elems * dtype_bytes(info->dtype), err))
        return false;
    kernel_for(OP_WIDEN, isa)(
        &(struct kernel_args){.n_rows = 1, .n_cols = t->n_elems, .src = raw, .dtype = info->dtype, .dst_f32 = x});
    *out = take_ptr(&x);
    return true;
}

/* r: [n, hidden], a router's weights: times the gain, and divided by the root of m. */
static void scale_router(float *r, const float *gain, uint64_t n, uint64_t hidden, enum norm_kind norm)
{
    double sum = 0;
    for (uint64_t k = 0; k < n; k++) {
        float *row = r + k * hidden;
        double mean = 0;
        for (uint64_t j = 0; j < hidden; j++) {
            row[j] *= norm == NORM_RMS ? gain[j] : 1.0f + gain[j];
            mean += (double)row[j];
        }
        mean = norm == NORM_LAYER_ONE ? mean / (double)hidden : 0;
        for (uint64_t j = 0; j < hidden; j++) {
            row[j] = (float)((double)row[j] - mean);
            sum += (double)row[j] * (double)row[j];
        }
    }
    float by = sum > 0 ? (float)sqrt((double)hidden / sum) : 0;
    for (uint64_t i = 0; i < n * hidden; i++) r[i] *= by;
}

struct adding {
    const struct math_ops *math;
    const float *r, *columns; /* [n, hidden], [hidden, n] */
    float *g;
    uint64_t n, hidden;
};

/* g += r' r, 32 columns of it. */
static bool add_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct adding *a = ctx;
    uint64_t first = item * GEMM_PANEL, width = u64_min(GEMM_PANEL, a->hidden - first);
    CLEANUP(free) float *panel = NULL;
    if (!memory_zalloc(&panel, a->n * GEMM_PANEL, sizeof *panel, err)) return false;
    for (uint64_t k = 0; k < a->n; k++)
        memcpy(panel + k * GEMM_PANEL, a->r + k * a->hidden + first, width * sizeof *panel);
    a->math->gemm_panel_more(a->columns, a->n, a->hidden, panel, a->n, a->g + first, a->hidden, (uint32_t)width);
    return true;
}

static bool add_router(const struct plan *p, const struct block_config *block, uint64_t isa, struct pool *pool,
                       float *g, bool *added, struct error *err)
{
    const struct inventory *inv = p->inventory;
    const struct model_tensor *router = inventory_find_block(inv, ROLE_ROUTER, block, -1);
    const struct model_tensor *norm = inventory_find_block(inv, ROLE_BLOCK_NORM, block, -1);
    CLEANUP(free) float *r = NULL;
    CLEANUP(free) float *gain = NULL;
    CLEANUP(free) float *columns = NULL;
    *added = false;
    if (!read_plain(p, router, isa, &r, err) || !read_plain(p, norm, isa, &gain, err)) return false;
    if (!r || !gain) return true;
    uint64_t n = router->dims[0], hidden = router->dims[1];
    if (!memory_alloc(&columns, hidden * n, sizeof *columns, err)) return false;
    scale_router(r, gain, n, hidden, inv->config.norm);
    for (uint64_t j = 0; j < hidden; j++)
        for (uint64_t k = 0; k < n; k++) columns[j * n + k] = r[k * hidden + j];
    struct adding a = {math_for(isa), r, columns, g, n, hidden};
    *added = true;
    return pool_try(pool, u64_div_up(hidden, GEMM_PANEL), add_item, &a, err);
}

bool readers_of(const struct plan *p, uint32_t block, uint64_t isa, struct pool *pool, float **g, struct error *err)
{
    const struct model_config *cfg = &p->inventory->config;
    uint64_t hidden = cfg->dims[DIM_HIDDEN];
    uint32_t n = 0;
    CLEANUP(free) float *sum = NULL;
    *g = NULL;
    if (!memory_zalloc(&sum, hidden * hidden, sizeof *sum, err)) return false;
    for (uint32_t b = block + 1; b < cfg->n_blocks; b++) {
        bool added;
        if (cfg->blocks[b].kind != BLOCK_MOE) continue;
        if (!add_router(p, &cfg->blocks[b], isa, pool, sum, &added, err)) return false;
        n += added;
    }
    if (n == 0) return true;
    float by = (float)(READERS_WEIGHT / (double)n);
    for (uint64_t i = 0; i < hidden; i++)
        for (uint64_t j = 0; j < hidden; j++) sum[i * hidden + j] = (i == j ? 1.0f : 0.0f) + by * sum[i * hidden + j];
    *g = take_ptr(&sum);
    return true;
}
