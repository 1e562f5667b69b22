#include "calibrate/readers.h"

#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"
#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

#include <math.h>

void readers_open(struct readers *r, const struct plan *p, struct pool *pool, uint64_t isa)
{
    *r = (struct readers){.plan = p, .pool = pool, .isa = isa};
}

void readers_close(struct readers *r)
{
    free(r->sum);
    *r = (struct readers){0};
}

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

/* ---- one reader ---- */

/* A tensor of plain numbers as fp32. */
static bool read_plain(const struct readers *r, const struct model_tensor *t, float **out, struct error *err)
{
    const struct checkpoint *ck = r->plan->inventory->checkpoint;
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[PART_WEIGHT]);
    CLEANUP(free) void *raw = NULL;
    CLEANUP(free) float *x = NULL;
    if (!memory_alloc(&raw, t->n_elems, dtype_bytes(info->dtype), err) ||
        !memory_alloc(&x, t->n_elems, sizeof *x, err) ||
        !checkpoint_read(ck, t->parts[PART_WEIGHT], 0, raw, t->n_elems * dtype_bytes(info->dtype), err))
        return false;
    kernel_for(OP_WIDEN, r->isa)(
        &(struct kernel_args){.n_rows = 1, .n_cols = t->n_elems, .src = raw, .dtype = info->dtype, .dst_f32 = x});
    *out = take_ptr(&x);
    return true;
}

/* w: [n, hidden]: times the gain, and divided by the root of m. */
static void scale_reader(float *w, const float *gain, uint64_t n, uint64_t hidden, enum norm_kind norm)
{
    double sum = 0;
    for (uint64_t k = 0; k < n; k++) {
        float *row = w + k * hidden;
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
    for (uint64_t i = 0; i < n * hidden; i++) w[i] *= by;
}

struct adding {
    const struct math_ops *math;
    const float *w, *columns; /* [n, hidden]; its transpose times the sign */
    float *sum;
    uint64_t n, hidden;
};

/* sum += columns w, 32 columns of it. */
static bool add_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct adding *a = ctx;
    uint64_t first = item * GEMM_PANEL, width = u64_min(GEMM_PANEL, a->hidden - first);
    CLEANUP(free) float *panel = NULL;
    if (!memory_zalloc(&panel, a->n * GEMM_PANEL, sizeof *panel, err)) return false;
    for (uint64_t k = 0; k < a->n; k++)
        memcpy(panel + k * GEMM_PANEL, a->w + k * a->hidden + first, width * sizeof *panel);
    a->math->gemm_panel_more(a->columns, a->n, a->hidden, panel, a->n, a->sum + first, a->hidden, (uint32_t)width);
    return true;
}

static bool add_reader(struct readers *r, const struct model_tensor *t, const float *gain, float sign,
                       struct error *err)
{
    uint64_t n = t->dims[0], hidden = t->dims[1];
    CLEANUP(free) float *w = NULL;
    CLEANUP(free) float *columns = NULL;
    if (!read_plain(r, t, &w, err) || !memory_alloc(&columns, hidden * n, sizeof *columns, err)) return false;
    scale_reader(w, gain, n, hidden, r->plan->inventory->config.norm);
    for (uint64_t j = 0; j < hidden; j++)
        for (uint64_t k = 0; k < n; k++) columns[j * n + k] = sign * w[k * hidden + j];
    struct adding a = {math_for(r->isa), w, columns, r->sum, n, hidden};
    return pool_try(r->pool, u64_div_up(hidden, GEMM_PANEL), add_item, &a, err);
}

/* ---- all of them ---- */

static const enum tensor_role reader_roles[] = {
    ROLE_ATTN_Q,     ROLE_ATTN_K,   ROLE_ATTN_V,    ROLE_MLA_Q_A,     ROLE_MLA_KV_A,  ROLE_MLP_GATE,
    ROLE_MLP_UP,     ROLE_ROUTER,   ROLE_SHARED_UP, ROLE_SHARED_GATE, ROLE_LATENT_IN, ROLE_SSM_IN,
    ROLE_DELTA_QKVZ, ROLE_DELTA_BA, ROLE_DELTA_QKV, ROLE_DELTA_Z,     ROLE_DELTA_B,   ROLE_DELTA_A};

/* The readers of one block into the sum, or out of it. */
static bool add_block(struct readers *r, uint32_t block, bool out, struct error *err)
{
    const struct inventory *inv = r->plan->inventory;
    const struct block_config *b = &inv->config.blocks[block];
    const struct model_tensor *norm = inventory_find_block(inv, ROLE_BLOCK_NORM, b, -1);
    CLEANUP(free) float *gain = NULL;
    if (!norm || norm->format) return true;
    for (size_t i = 0; i < sizeof reader_roles / sizeof *reader_roles; i++) {
        const struct model_tensor *t = inventory_find_block(inv, reader_roles[i], b, -1);
        if (!t || t->format || t->n_dims != 2 || t->dims[1] != inv->config.dims[DIM_HIDDEN]) continue;
        if ((!gain && !read_plain(r, norm, &gain, err)) || !add_reader(r, t, gain, out ? -1.0f : 1.0f, err))
            return false;
        r->n = out ? r->n - 1 : r->n + 1;
    }
    return true;
}

bool readers_behind(struct readers *r, uint32_t block, float **g, struct error *err)
{
    const struct model_config *cfg = &r->plan->inventory->config;
    uint64_t hidden = cfg->dims[DIM_HIDDEN];
    *g = NULL;
    if (!r->sum) {
        if (!memory_zalloc(&r->sum, hidden * hidden, sizeof *r->sum, err)) return false;
        for (uint32_t b = 0; b < cfg->n_blocks; b++)
            if (!add_block(r, b, false, err)) return false;
    }
    for (; r->next <= block && r->next < cfg->n_blocks; r->next++)
        if (!add_block(r, r->next, true, err)) return false;
    if (r->n == 0) return true;
    if (!memory_alloc(g, hidden * hidden, sizeof **g, err)) return false;
    float by = (float)(READERS_WEIGHT / (double)r->n);
    for (uint64_t i = 0; i < hidden; i++)
        for (uint64_t j = 0; j < hidden; j++)
            (*g)[i * hidden + j] = by * r->sum[i * hidden + j] + (i == j ? 1.0f : 0.0f);
    return true;
}
