/* Gated DeltaNet. q, k, v through a causal depthwise convolution and silu; q and k of length 1; per value head the
 * delta rule over tokens (engine/scan.h) with decay exp(g), g = -exp(A_log) softplus(a + dt_bias), and beta =
 * sigmoid(b); norm of each head, then gate with silu(z); out_proj. Convolution and recurrent state are fp32. */
#include "engine/block.h"
#include "engine/recurrence.h"
#include "engine/short_conv.h"

#include <math.h>

#define LENGTH_EPS 1e-6f /* under the root of a key's or query's length; the reference's own constant */

struct deltanet {
    struct linear qkvz, ba;     /* rows per key head: q, k, its v, its z; its b, its a (delta_by_key_head) */
    struct linear qkv, z, b, a; /* or each apart */
    struct linear out;
    float *conv;              /* [channels, taps] */
    float *minus_a, *dt_bias; /* [value heads]: -exp(A_log) */
    struct norm norm;         /* [value size] */
};

static void deltanet_close(void *kind)
{
    struct deltanet *d = kind;
    struct linear *all[] = {&d->qkvz, &d->ba, &d->qkv, &d->z, &d->b, &d->a, &d->out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) linear_close(all[i]);
    free(d->conv);
    free(d->minus_a);
    free(d->dt_bias);
    norm_close(&d->norm);
    free(d);
}

static bool open_projections(struct deltanet *d, const struct engine *e, const struct block_config *b,
                             struct error *err)
{
    if (e->inv->config.ssm.delta_by_key_head)
        return linear_open_role(&d->qkvz, e, ROLE_DELTA_QKVZ, b, false, err) &&
               linear_open_role(&d->ba, e, ROLE_DELTA_BA, b, false, err);
    return linear_open_role(&d->qkv, e, ROLE_DELTA_QKV, b, false, err) &&
           linear_open_role(&d->z, e, ROLE_DELTA_Z, b, false, err) &&
           linear_open_role(&d->b, e, ROLE_DELTA_B, b, false, err) &&
           linear_open_role(&d->a, e, ROLE_DELTA_A, b, false, err);
}

static bool deltanet_open(void **kind, const struct engine *e, const struct block_config *b, struct error *err)
{
    struct deltanet *d = calloc(1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d);
    *kind = d;
    uint64_t heads = e->inv->config.ssm.n_heads;
    d->norm = (struct norm){.kind = NORM_RMS, .eps = (float)e->inv->config.norm_eps};
    if (!open_projections(d, e, b, err) || !linear_open_role(&d->out, e, ROLE_DELTA_OUT, b, false, err) ||
        !weights_load_role(e, ROLE_SSM_CONV, b, &d->conv, err) ||
        !weights_load_role(e, ROLE_SSM_A_LOG, b, &d->minus_a, err) ||
        !weights_load_role(e, ROLE_SSM_DT_BIAS, b, &d->dt_bias, err) ||
        !weights_load_role(e, ROLE_DELTA_NORM, b, &d->norm.weight, err))
        return false;
    e->math->exp(d->minus_a, d->minus_a, heads);
    e->math->scale(d->minus_a, d->minus_a, -1.0f, heads);
    return true;
}

static bool deltanet_keep(void *kind, const struct engine *e, struct error *err)
{
    struct deltanet *d = kind;
    struct linear *all[] = {&d->qkvz, &d->ba, &d->qkv, &d->z, &d->b, &d->a, &d->out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->tensor && !linear_keep(all[i], e, err)) return false;
    return true;
}

struct deltanet_call {
    const struct block_call *call;
    const struct deltanet *d;
    uint64_t keys, values, channels, heads; /* widths of a row: all k (or q), all v (or z), q | k | v, b (or a) */
    const float *qkvz, *ba;                 /* as projected, where the layout is per key head */
    float *qkv, *z, *b, *a, *o;             /* [rows, channels], [rows, values], [rows, heads] twice, [rows, values] */
};

/* From rows per key head to q | k | v, z, b, a. */
static void split_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    struct deltanet_call *c = ctx;
    const struct ssm_config *cfg = &c->call->engine->inv->config.ssm;
    uint64_t groups = cfg->n_groups, key = cfg->state_size, per = c->heads / groups, value = per * cfg->head_dim;
    const float *in = c->qkvz + row * 2 * (c->keys + c->values), *ba = c->ba + row * 2 * c->heads;
    float *qkv = c->qkv + row * c->channels;
    for (uint64_t g = 0; g < groups; g++, in += 2 * (key + value), ba += 2 * per) {
        memcpy(qkv + g * key, in, key * sizeof *in);
        memcpy(qkv + c->keys + g * key, in + key, key * sizeof *in);
        memcpy(qkv + 2 * c->keys + g * value, in + 2 * key, value * sizeof *in);
        memcpy(c->z + row * c->values + g * value, in + 2 * key + value, value * sizeof *in);
        memcpy(c->b + row * c->heads + g * per, ba, per * sizeof *in);
        memcpy(c->a + row * c->heads + g * per, ba + per, per * sizeof *in);
    }
}

static bool project(struct deltanet_call *c, struct error *err)
{
    const struct block_call *call = c->call;
    const struct engine *e = call->engine;
    const struct deltanet *d = c->d;
    const struct observer *ob = call->observer;
    const float *x = call->x;
    uint64_t n = call->n_rows, hidden = d->out.rows;
    if (!d->qkvz.tensor)
        return linear_run(&d->qkv, e, x, hidden, n, c->qkv, c->channels, ob, err) &&
               linear_run(&d->z, e, x, hidden, n, c->z, c->values, ob, err) &&
               linear_run(&d->b, e, x, hidden, n, c->b, c->heads, ob, err) &&
               linear_run(&d->a, e, x, hidden, n, c->a, c->heads, ob, err);
    SCRATCH_SCOPE(e->scratch);
    float *qkvz, *ba;
    if (!scratch_alloc(e->scratch, &qkvz, n * d->qkvz.rows, sizeof *qkvz, err) ||
        !scratch_alloc(e->scratch, &ba, n * d->ba.rows, sizeof *ba, err) ||
        !linear_run(&d->qkvz, e, x, hidden, n, qkvz, d->qkvz.rows, ob, err) ||
        !linear_run(&d->ba, e, x, hidden, n, ba, d->ba.rows, ob, err))
        return false;
    c->qkvz = qkvz;
    c->ba = ba;
    pool_for(e->pool, n, split_item, c);
    return true;
}

/* Each run of `dim` elements over its length, then times `scale`. */
static void to_length(const struct math_ops *math, float *x, uint64_t n, uint64_t dim, float scale)
{
    for (float *end = x + n; x < end; x += dim)
        math->scale(x, x, scale / sqrtf(math->sum_squares(x, dim) + LENGTH_EPS), dim);
}

/* What the recurrence wants of one row: q and k of length 1 (q also over the root of its size), beta in b, the decay in
 * a. */
static void gates_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    struct deltanet_call *c = ctx;
    const struct math_ops *math = c->call->engine->math;
    uint64_t key = c->call->engine->inv->config.ssm.state_size;
    float *q = c->qkv + row * c->channels, *a = c->a + row * c->heads, *b = c->b + row * c->heads;
    to_length(math, q, c->keys, key, 1.0f / sqrtf((float)key));
    to_length(math, q + c->keys, c->keys, key, 1.0f);
    math->sigmoid(b, b, c->heads);
    math->add(a, a, c->d->dt_bias, c->heads);
    math->softplus(a, a, c->heads);
    math->multiply(a, a, c->d->minus_a, c->heads);
    math->exp(a, a, c->heads);
}

static bool scan(const struct deltanet_call *c, struct error *err)
{
    struct scan scan = recurrence_shape(c->call->engine);
    scan.delta = true;
    return recurrence_run(c->call, &scan,
                          &(struct scan_piece){.k = c->qkv + c->keys,
                                               .q = c->qkv,
                                               .v = c->qkv + 2 * c->keys,
                                               .decay = c->a,
                                               .weight = c->b,
                                               .o = c->o,
                                               .k_stride = c->channels,
                                               .q_stride = c->channels,
                                               .v_stride = c->channels,
                                               .decay_stride = c->heads,
                                               .weight_stride = c->heads,
                                               .o_stride = c->values},
                          err);
}

static bool deltanet_steps(struct deltanet_call *c, struct error *err)
{
    const struct block_call *call = c->call;
    const struct engine *e = call->engine;
    const struct ssm_config *cfg = &e->inv->config.ssm;
    const struct short_conv conv = {c->d->conv, NULL, c->channels, cfg->conv_taps};
    uint64_t n = call->n_rows;
    if (!project(c, err) || !short_conv_run(&conv, call, c->qkv, c->channels, c->qkv, err)) return false;
    pool_for(e->pool, n, gates_item, c);
    if (!scan(c, err)) return false;
    heads_norm(e, &c->d->norm, c->o, n, c->values, c->heads, cfg->head_dim);
    return rows_activate(e, &(struct mlp_config){.activation = ACT_SILU}, c->z, c->o, n, c->values, err) &&
           linear_run(&c->d->out, e, c->z, c->values, n, call->y, c->d->out.rows, call->observer, err);
}

static struct deltanet_call widths_of(const struct engine *e)
{
    const struct ssm_config *cfg = &e->inv->config.ssm;
    uint64_t keys = (uint64_t)cfg->n_groups * cfg->state_size, values = (uint64_t)cfg->n_heads * cfg->head_dim;
    return (struct deltanet_call){.keys = keys, .values = values, .channels = 2 * keys + values, .heads = cfg->n_heads};
}

/* Floats of each row that a call works in. */
static uint64_t row_floats(const struct deltanet_call *c)
{
    return c->channels + 2 * c->values + 2 * c->heads;
}

static bool deltanet_run(const struct block_call *call, struct error *err)
{
    struct scratch *from = call->engine->scratch;
    struct deltanet_call c = widths_of(call->engine);
    uint64_t n = call->n_rows;
    c.call = call;
    c.d = call->block->kind;
    SCRATCH_SCOPE(from);
    if (!scratch_alloc(from, &c.qkv, n * row_floats(&c), sizeof *c.qkv, err)) return false;
    c.z = c.qkv + n * c.channels;
    c.o = c.z + n * c.values;
    c.b = c.o + n * c.values;
    c.a = c.b + n * c.heads;
    return deltanet_steps(&c, err);
}

static struct short_conv conv_of(const struct engine *e)
{
    return (struct short_conv){.channels = widths_of(e).channels, .taps = e->inv->config.ssm.conv_taps};
}

static bool deltanet_need(struct need *n, const struct engine *e, const struct block_config *b,
                          const struct call_shape *c, struct error *err)
{
    static const enum tensor_role by_head[] = {ROLE_DELTA_QKVZ, ROLE_DELTA_BA, ROLE_DELTA_OUT},
                                  apart[] = {ROLE_DELTA_QKV, ROLE_DELTA_Z, ROLE_DELTA_B, ROLE_DELTA_A},
                                  small[] = {ROLE_SSM_CONV, ROLE_SSM_A_LOG, ROLE_SSM_DT_BIAS, ROLE_DELTA_NORM};
    const struct deltanet_call w = widths_of(e);
    const struct short_conv conv = conv_of(e);
    struct scan scan = recurrence_shape(e);
    scan.delta = true;
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
        if (!linear_need_role(n, e, apart[i], b, false, c, err)) return false;
    for (size_t i = 0; i < sizeof by_head / sizeof *by_head; i++)
        if (!linear_need_role(n, e, by_head[i], b, false, c, err)) return false;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) weights_need(n, e, small[i], b);
    if (e->inv->config.ssm.delta_by_key_head)
        n->calling += scratch_bytes(c->n_rows * 2 * (w.keys + w.values), sizeof(float)) +
                      scratch_bytes(c->n_rows * 2 * w.heads, sizeof(float));
    need_most(&n->calling, short_conv_need(&conv, c->n_rows, c->n_segments));
    need_most(&n->calling, recurrence_need(&scan, c));
    n->calling += scratch_bytes(c->n_rows * row_floats(&w), sizeof(float));
    return true;
}

static uint64_t deltanet_state(const struct engine *e, const struct block_config *b, uint64_t n_tokens,
                               uint64_t n_texts, uint64_t n_open)
{
    (void)b;
    (void)n_tokens;
    const struct short_conv conv = conv_of(e);
    return recurrence_state(e, &conv, n_texts, n_open);
}

const struct block_kind_ops block_delta = {deltanet_open, deltanet_close, deltanet_keep,
                                           deltanet_run,  deltanet_need,  deltanet_state};
