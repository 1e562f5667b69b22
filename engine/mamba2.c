/* Mamba-2 mixer. [z | xBC | dt] = in_proj(x); xBC through a causal depthwise convolution and silu; per head the
 * recurrence over tokens (engine/scan.h); gate with silu(z), then a norm per group; out_proj. Convolution and recurrent
 * state are fp32. dt is clamped to time_step_limit after softplus, in prefill and decode alike (docs/numerics.md, dt
 * clamp). */
#include "engine/block.h"
#include "engine/recurrence.h"
#include "engine/short_conv.h"

#include <math.h>

struct mamba2 {
    struct linear in, out;
    float *conv, *conv_bias;       /* [channels, taps], [channels] or NULL */
    float *a, *d, *dt_bias, *norm; /* [heads] each (a = -exp(A_log)); [inner] */
};

/* Sizes of one layer's rows. */
struct shape {
    uint64_t inner, channels, proj, group_state, heads;
};

static struct shape shape_of(const struct engine *e)
{
    const struct model_config *c = &e->inv->config;
    return (struct shape){c->dims[DIM_SSM_INNER], c->dims[DIM_SSM_CONV], c->dims[DIM_SSM_PROJ],
                          (uint64_t)c->ssm.n_groups * c->ssm.state_size, c->ssm.n_heads};
}

/* Floats of each row that a call works in. */
static uint64_t row_floats(const struct shape *s)
{
    return s->proj + s->channels + s->inner + s->heads;
}

static void mamba2_close(void *kind)
{
    struct mamba2 *m = kind;
    linear_close(&m->in);
    linear_close(&m->out);
    free(m->conv);
    free(m->conv_bias);
    free(m->a);
    free(m->d);
    free(m->dt_bias);
    free(m->norm);
    free(m);
}

static bool mamba2_open(void **kind, const struct engine *e, const struct block_config *b, struct error *err)
{
    struct mamba2 *m = calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m);
    *kind = m;
    const struct model_config *cfg = &e->inv->config;
    if (!linear_open_role(&m->in, e, ROLE_SSM_IN, b, cfg->ssm_proj_bias, err) ||
        !linear_open_role(&m->out, e, ROLE_SSM_OUT, b, cfg->ssm_proj_bias, err) ||
        !weights_load_role(e, ROLE_SSM_CONV, b, &m->conv, err) ||
        (cfg->ssm_conv_bias && !weights_load_role(e, ROLE_SSM_CONV_BIAS, b, &m->conv_bias, err)) ||
        !weights_load_role(e, ROLE_SSM_A_LOG, b, &m->a, err) || !weights_load_role(e, ROLE_SSM_D, b, &m->d, err) ||
        !weights_load_role(e, ROLE_SSM_DT_BIAS, b, &m->dt_bias, err) ||
        !weights_load_role(e, ROLE_SSM_NORM, b, &m->norm, err))
        return false;
    e->math->exp(m->a, m->a, cfg->ssm.n_heads);
    e->math->scale(m->a, m->a, -1.0f, cfg->ssm.n_heads);
    return true;
}

static bool mamba2_keep(void *kind, const struct engine *e, struct error *err)
{
    struct mamba2 *m = kind;
    return linear_keep(&m->in, e, err) && linear_keep(&m->out, e, err);
}

struct mamba2_call {
    const struct block_call *call;
    const struct mamba2 *m;
    struct shape shape;
    float *proj;  /* [rows, proj]: z | xBC | dt */
    float *xbc;   /* [rows, channels], convolved */
    float *decay; /* [rows, heads]: exp(dt a) */
    float *y;     /* [rows, inner] */
};

static void dt_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    struct mamba2_call *c = ctx;
    const struct engine *e = c->call->engine;
    const struct ssm_config *cfg = &e->inv->config.ssm;
    float *dt = c->proj + row * c->shape.proj + c->shape.inner + c->shape.channels;
    float lo = (float)cfg->dt_min, hi = (float)cfg->dt_max;
    e->math->add(dt, dt, c->m->dt_bias, cfg->n_heads);
    e->math->softplus(dt, dt, cfg->n_heads);
    for (uint32_t h = 0; h < cfg->n_heads; h++) dt[h] = dt[h] < lo ? lo : dt[h] > hi ? hi : dt[h];
    float *decay = c->decay + row * cfg->n_heads;
    e->math->multiply(decay, dt, c->m->a, cfg->n_heads);
    e->math->exp(decay, decay, cfg->n_heads);
}

static bool scan(const struct mamba2_call *c, struct error *err)
{
    const struct shape *s = &c->shape;
    uint64_t heads = c->call->engine->inv->config.ssm.n_heads;
    struct scan scan = recurrence_shape(c->call->engine);
    scan.skip = c->m->d;
    return recurrence_run(c->call, &scan,
                          &(struct scan_piece){.k = c->xbc + s->inner,
                                               .q = c->xbc + s->inner + s->group_state,
                                               .v = c->xbc,
                                               .decay = c->decay,
                                               .weight = c->proj + s->inner + s->channels,
                                               .o = c->y,
                                               .k_stride = s->channels,
                                               .q_stride = s->channels,
                                               .v_stride = s->channels,
                                               .decay_stride = heads,
                                               .weight_stride = s->proj,
                                               .o_stride = s->inner},
                          err);
}

/* Gate first, then the norm of each group, then its weight. */
static void gate_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    struct mamba2_call *c = ctx;
    const struct engine *e = c->call->engine;
    uint64_t inner = c->shape.inner, n_groups = e->inv->config.ssm.n_groups, width = inner / n_groups;
    float *z = c->proj + row * c->shape.proj, *y = c->y + row * inner;
    e->math->silu(z, z, inner);
    e->math->multiply(y, y, z, inner);
    for (uint64_t g = 0; g < n_groups; g++) {
        float *u = y + g * width;
        float mean = e->math->sum_squares(u, width) / (float)width;
        e->math->scale(u, u, 1.0f / sqrtf(mean + (float)e->inv->config.norm_eps), width);
    }
    e->math->multiply(y, y, c->m->norm, inner);
}

static bool mamba2_run(const struct block_call *call, struct error *err)
{
    const struct engine *e = call->engine;
    const struct mamba2 *m = call->block->kind;
    const struct ssm_config *cfg = &e->inv->config.ssm;
    struct mamba2_call c = {.call = call, .m = m, .shape = shape_of(e)};
    const struct short_conv conv = {m->conv, m->conv_bias, c.shape.channels, cfg->conv_taps};
    SCRATCH_SCOPE(e->scratch);
    if (!scratch_alloc(e->scratch, &c.proj, call->n_rows * row_floats(&c.shape), sizeof *c.proj, err)) return false;
    c.xbc = c.proj + call->n_rows * c.shape.proj;
    c.y = c.xbc + call->n_rows * c.shape.channels;
    c.decay = c.y + call->n_rows * c.shape.inner;
    if (!linear_run(&m->in, e, call->x, m->in.cols, call->n_rows, c.proj, c.shape.proj, call->observer, err) ||
        !short_conv_run(&conv, call, c.proj + c.shape.inner, c.shape.proj, c.xbc, err))
        return false;
    pool_for(e->pool, call->n_rows, dt_item, &c);
    if (!scan(&c, err)) return false;
    pool_for(e->pool, call->n_rows, gate_item, &c);
    return linear_run(&m->out, e, c.y, c.shape.inner, call->n_rows, call->y, m->out.rows, call->observer, err);
}

static struct short_conv conv_of(const struct engine *e)
{
    return (struct short_conv){.channels = shape_of(e).channels, .taps = e->inv->config.ssm.conv_taps};
}

static bool mamba2_need(struct need *n, const struct engine *e, const struct block_config *b,
                        const struct call_shape *c, struct error *err)
{
    static const enum tensor_role small[] = {ROLE_SSM_CONV, ROLE_SSM_CONV_BIAS, ROLE_SSM_A_LOG,
                                             ROLE_SSM_D,    ROLE_SSM_DT_BIAS,   ROLE_SSM_NORM};
    const struct shape s = shape_of(e);
    const struct short_conv conv = conv_of(e);
    const struct scan scan = recurrence_shape(e);
    bool bias = e->inv->config.ssm_proj_bias;
    if (!linear_need_role(n, e, ROLE_SSM_IN, b, bias, c, err) || !linear_need_role(n, e, ROLE_SSM_OUT, b, bias, c, err))
        return false;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) weights_need(n, e, small[i], b);
    need_most(&n->calling, short_conv_need(&conv, c->n_rows, c->n_segments));
    need_most(&n->calling, recurrence_need(&scan, c));
    n->calling += scratch_bytes(c->n_rows * row_floats(&s), sizeof(float));
    return true;
}

static uint64_t mamba2_state(const struct engine *e, const struct block_config *b, uint64_t n_tokens, uint64_t n_texts,
                             uint64_t n_open)
{
    (void)b;
    (void)n_tokens;
    const struct short_conv conv = conv_of(e);
    return recurrence_state(e, &conv, n_texts, n_open);
}

const struct block_kind_ops block_mamba2 = {mamba2_open, mamba2_close, mamba2_keep,
                                            mamba2_run,  mamba2_need,  mamba2_state};
