#include "engine/short_conv.h"

#include "core/memory.h"

struct conv_call {
    const struct short_conv *conv;
    const struct block_call *call;
    const float *in;
    uint64_t in_stride;
    float *window; /* [rows + segments * (taps - 1), channels]: what each segment's convolution sees */
    float *out;
};

static void conv_item(void *ctx, uint64_t item, uint32_t worker)
{
    (void)worker;
    struct conv_call *c = ctx;
    const struct segment *s = &c->call->segments[item];
    uint64_t channels = c->conv->channels, taps = c->conv->taps, before = taps - 1;
    float *in = c->window + (s->row + item * before) * channels, *state = s->state->conv;
    memcpy(in, state + channels, before * channels * sizeof *in);
    for (uint32_t t = 0; t < s->n; t++)
        memcpy(in + (before + t) * channels, c->in + (s->row + t) * c->in_stride, channels * sizeof *in);
    c->call->engine->math->conv_silu(c->out + s->row * channels, channels, in, channels, c->conv->weight, c->conv->bias,
                                     (uint32_t)taps, channels, s->n);
    /* The window holds taps - 1 + n rows; the state keeps the last taps of [oldest state row | window]. */
    if (s->n >= 1 && s->n < taps) memmove(state, state + s->n * channels, (taps - s->n) * channels * sizeof *in);
    uint64_t fresh = s->n < taps ? s->n : taps;
    memcpy(state + (taps - fresh) * channels, in + (before + s->n - fresh) * channels, fresh * channels * sizeof *in);
}

static uint64_t window_floats(const struct short_conv *c, uint64_t n_rows, uint64_t n_segments)
{
    return (n_rows + n_segments * (c->taps - 1)) * c->channels;
}

uint64_t short_conv_need(const struct short_conv *c, uint64_t n_rows, uint64_t n_segments)
{
    return scratch_bytes(window_floats(c, n_rows, n_segments), sizeof(float));
}

uint64_t short_conv_state_floats(const struct short_conv *c)
{
    return c->taps * c->channels;
}

bool short_conv_run(const struct short_conv *c, const struct block_call *call, const float *in, uint64_t in_stride,
                    float *out, struct error *err)
{
    SCRATCH_SCOPE(call->engine->scratch);
    float *window;
    if (!scratch_alloc(call->engine->scratch, &window, window_floats(c, call->n_rows, call->n_segments), sizeof *window,
                       err))
        return false;
    for (uint32_t i = 0; i < call->n_segments; i++) {
        struct block_state *s = call->segments[i].state;
        s->conv_floats = short_conv_state_floats(c);
        if (!s->conv && !memory_zalloc(&s->conv, s->conv_floats, sizeof *s->conv, err)) return false;
    }
    struct conv_call run = {c, call, in, in_stride, window, out};
    pool_for(call->engine->pool, call->n_segments, conv_item, &run);
    return true;
}
