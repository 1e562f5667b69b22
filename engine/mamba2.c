/* Mamba-2 mixer. [z | xBC | dt] = in_proj(x); xBC through a causal depthwise convolution and silu; per head the
 * recurrence over tokens (engine/scan.h); gate with silu(z), then a norm per group; out_proj. Convolution and recurrent
 * state are fp32. dt is clamped to time_step_limit after softplus, in prefill and decode alike (docs/numerics.md, dt
 * clamp). */
#include "engine/block.h"

#include "core/memory.h"

#include <math.h>

struct mamba2 {
    struct linear in, out;
    float *conv, *conv_bias;       /* [channels, taps], [channels] or NULL */
    float *a, *d, *dt_bias, *norm; /* [heads] each (a = -exp(A_log)); [inner] */
};

/* Sizes of one layer's rows. */
struct shape {
    uint64_t inner, channels, proj, group_state;
};

static struct shape shape_of(const struct engine *e)
{
    const struct model_config *c = &e->inv->config;
    return (struct shape){c->dims[DIM_SSM_INNER], c->dims[DIM_SSM_CONV], c->dims[DIM_SSM_PROJ],
                          (uint64_t)c->ssm.n_groups * c->ssm.state_size};
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

static bool conv_ready(struct block_state *s, const struct engine *e, struct error *err)
{
    return s->conv || memory_zalloc(&s->conv, e->inv->config.ssm.conv_taps * shape_of(e).channels, sizeof(float), err);
}

struct mamba2_call {
    const struct block_call *call;
    const struct mamba2 *m;
    struct shape shape;
    float *proj;   /* [rows, proj]: z | xBC | dt */
    float *window; /* [rows + segments * (taps - 1), channels]: what each convolution sees */
    float *xbc;    /* [rows, channels], convolved */
    float *decay;  /* [rows, heads]: exp(dt a) */
    float *y;      /* [rows, inner] */
};

static uint64_t window_row(const struct mamba2_call *c, uint32_t segment)
{
    return c->call->segments[segment].row + (uint64_t)segment * (c->call->engine->inv->config.ssm.conv_taps - 1);
}

/* One segment's convolution; leaves the last `taps` inputs in the state. */
static void conv_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    struct mamba2_call *c = ctx;
    const struct engine *e = c->call->engine;
    const struct segment *s = &c->call->segments[item];
    uint64_t channels = c->shape.channels, taps = e->inv->config.ssm.conv_taps;
    float *in = c->window + window_row(c, (uint32_t)item) * channels;
    memcpy(in, s->state->conv + channels, (taps - 1) * channels * sizeof *in);
    for (uint32_t t = 0; t < s->n; t++)
        memcpy(in + (taps - 1 + t) * channels, c->proj + (s->row + t) * c->shape.proj + c->shape.inner,
               channels * sizeof *in);
    e->math->conv_silu(c->xbc + s->row * channels, channels, in, channels, c->m->conv, c->m->conv_bias, (uint32_t)taps,
                       channels, s->n);
    /* The window holds taps - 1 + n rows; the state keeps the last taps of [oldest state row | window]. */
    if (s->n >= 1 && s->n < taps)
        memmove(s->state->conv, s->state->conv + s->n * channels, (taps - s->n) * channels * sizeof *in);
    uint64_t fresh = s->n < taps ? s->n : taps;
    memcpy(s->state->conv + (taps - fresh) * channels, in + (taps - 1 + s->n - fresh) * channels,
           fresh * channels * sizeof *in);
}

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

static bool scan(const struct mamba2_call *c, const struct scan *shape, struct error *err)
{
    const struct block_call *call = c->call;
    uint64_t inner = c->shape.inner;
    CLEANUP(free) struct scan_piece *pieces = NULL;
    if (!memory_alloc(&pieces, call->n_segments, sizeof *pieces, err)) return false;
    for (uint32_t i = 0; i < call->n_segments; i++) {
        const struct segment *s = &call->segments[i];
        const float *xbc = c->xbc + s->row * c->shape.channels;
        pieces[i] = (struct scan_piece){
            .n = s->n,
            .first = s->first,
            .keep = !s->last || (call->observer && call->observer->state),
            .k = xbc + inner,
            .q = xbc + inner + c->shape.group_state,
            .v = xbc,
            .decay = c->decay + s->row * shape->n_heads,
            .weight = c->proj + s->row * c->shape.proj + inner + c->shape.channels,
            .o = c->y + s->row * inner,
            .k_stride = c->shape.channels,
            .q_stride = c->shape.channels,
            .v_stride = c->shape.channels,
            .decay_stride = shape->n_heads,
            .weight_stride = c->shape.proj,
            .o_stride = inner,
            .state = &s->state->scan,
        };
    }
    return scan_run(shape, pieces, call->n_segments, err);
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

static bool report_states(const struct block_call *call, const struct scan *shape, struct error *err)
{
    const struct observer *ob = call->observer;
    if (!ob || !ob->state) return true;
    CLEANUP(free) float *state = NULL;
    if (!memory_alloc(&state, (uint64_t)shape->n_heads * shape->value_dim * shape->key_dim, sizeof *state, err))
        return false;
    for (uint32_t i = 0; i < call->n_segments; i++) {
        const struct segment *s = &call->segments[i];
        if (!s->last) continue;
        if (!scan_export(shape, &s->state->scan, (uint64_t)s->first + s->n, state, err)) return false;
        ob->state(ob->ctx, call->block->config->layer, s->text, state, s->state->conv);
    }
    return true;
}

static bool mamba2_run(const struct block_call *call, struct error *err)
{
    const struct engine *e = call->engine;
    const struct mamba2 *m = call->block->kind;
    const struct ssm_config *cfg = &e->inv->config.ssm;
    struct mamba2_call c = {.call = call, .m = m, .shape = shape_of(e)};
    CLEANUP(free) float *proj = NULL;
    CLEANUP(free) float *window = NULL;
    CLEANUP(free) float *xbc = NULL;
    CLEANUP(free) float *decay = NULL;
    CLEANUP(free) float *y = NULL;
    const struct scan shape = {
        .math = e->math,
        .pool = e->pool,
        .n_heads = cfg->n_heads,
        .n_groups = cfg->n_groups,
        .key_dim = cfg->state_size,
        .value_dim = cfg->head_dim,
        .skip = m->d,
    };
    uint64_t window_rows = call->n_rows + (uint64_t)call->n_segments * (cfg->conv_taps - 1);
    if (!memory_alloc(&proj, call->n_rows * c.shape.proj, sizeof(float), err) ||
        !memory_alloc(&window, window_rows * c.shape.channels, sizeof(float), err) ||
        !memory_alloc(&xbc, call->n_rows * c.shape.channels, sizeof(float), err) ||
        !memory_alloc(&decay, call->n_rows * cfg->n_heads, sizeof(float), err) ||
        !memory_alloc(&y, call->n_rows * c.shape.inner, sizeof(float), err))
        return false;
    c.proj = proj;
    c.window = window;
    c.xbc = xbc;
    c.decay = decay;
    c.y = y;
    for (uint32_t i = 0; i < call->n_segments; i++)
        if (!conv_ready(call->segments[i].state, e, err)) return false;
    if (!linear_run(&m->in, e, call->x, m->in.cols, call->n_rows, proj, c.shape.proj, call->observer, err))
        return false;
    pool_for(e->pool, call->n_segments, conv_item, &c);
    pool_for(e->pool, call->n_rows, dt_item, &c);
    if (!scan(&c, &shape, err)) return false;
    pool_for(e->pool, call->n_rows, gate_item, &c);
    return report_states(call, &shape, err) &&
           linear_run(&m->out, e, y, c.shape.inner, call->n_rows, call->y, m->out.rows, call->observer, err);
}

const struct block_kind_ops block_mamba2 = {mamba2_open, mamba2_close, mamba2_keep, mamba2_run};
