/* What walks along the tokens in a recurrent layer: the short convolution, and the weights inside of a chunk. */

#define CONV_CHANNELS 512u /* channels done together: their rows are whole cache lines in few pages */
#define CONV_TAPS 4u       /* taps done together; longer kernels keep their partial sums in y */

/* A few taps for a few channels: y = (first: bias, else y) + the sum over the taps, then silu when these are the last.
 */
struct conv_part {
    const float *in, *bias; /* at the first channel: the input that the first tap meets at token 0; [width] or NULL */
    float *y;               /* at the first channel of token 0 */
    uint64_t in_stride, y_stride, width, n_tokens; /* width: channels */
    uint32_t count;                                /* taps */
    bool first, last;
    float w[CONV_TAPS][CONV_CHANNELS]; /* transposed, so that channels are side by side */
};

static void conv_part_run(const struct conv_part *p)
{
    for (uint64_t t = 0; t < p->n_tokens; t++) {
        const float *in = p->in + t * p->in_stride;
        float *y = p->y + t * p->y_stride;
        for (uint64_t c = 0; c < p->width; c += LANES) {
            uint64_t left = p->width - c;
            vec v = {0};
            if (!p->first) v = vec_load_upto(y + c, left);
            else if (p->bias) v = vec_load_upto(p->bias + c, left);
            for (uint32_t j = 0; j < p->count; j++)
                v += vec_load(&p->w[j][c]) * vec_load_upto(in + j * p->in_stride + c, left);
            vec_store_upto(y + c, p->last ? vec_silu(v) : v, left);
        }
    }
}

static void conv_silu(float *y, uint64_t y_stride, const float *in, uint64_t in_stride, const float *w,
                      const float *bias, uint32_t taps, uint64_t n_channels, uint64_t n_tokens)
{
    struct conv_part p = {.in_stride = in_stride, .y_stride = y_stride, .n_tokens = n_tokens};
    for (uint64_t c0 = 0; c0 < n_channels; c0 += CONV_CHANNELS) {
        p.width = n_channels - c0 < CONV_CHANNELS ? n_channels - c0 : CONV_CHANNELS;
        p.bias = bias ? bias + c0 : NULL;
        p.y = y + c0;
        uint32_t from = 0;
        do { /* once even without taps: y = silu(bias) */
            p.count = taps - from < CONV_TAPS ? taps - from : CONV_TAPS;
            for (uint64_t c = 0; c < p.width; c++)
                for (uint32_t j = 0; j < p.count; j++) p.w[j][c] = w[(c0 + c) * taps + from + j];
            p.in = in + from * in_stride + c0;
            p.first = from == 0;
            from += p.count;
            p.last = from >= taps;
            conv_part_run(&p);
        } while (from < taps);
    }
}

/* ---- weights inside of a chunk ---------------------------------------------------------------------------------- */

INLINE vec vec_flushed(vec v)
{
    return vec_pick_less(v, vec_fill(MATH_DECAY_SMALLEST), (vec){0}, v);
}

static void decay_rows(const struct decay_rows *d)
{
    float total = *d->total;
    for (uint64_t i = d->from; i < d->to; i++) {
        uint64_t row = i - d->from, at = 0;
        const vec decay = vec_fill(d->decay[row]);
        for (; at <= i; at += LANES) {
            uint64_t live = d->to - at;
            vec w = vec_flushed(vec_load_upto(d->w + at, live) * decay);
            vec_store_upto(d->w + at, w, live);
            for (uint32_t u = 0; u < d->n_products; u++)
                vec_store_upto(d->m[u] + row * d->m_stride + at,
                               vec_load_upto(d->s[u] + row * d->s_stride + at, live) * w, live);
        }
        for (; at < d->to; at += LANES)
            for (uint32_t u = 0; u < d->n_products; u++)
                vec_store_upto(d->m[u] + row * d->m_stride + at, (vec){0}, d->to - at);
        d->w[i] = d->fresh[row];
        for (uint32_t u = 0; u < d->n_products; u++)
            d->m[u][row * d->m_stride + i] = d->s[u][row * d->s_stride + i] * d->fresh[row];
        total *= d->decay[row];
        d->through[row] = total = total < MATH_DECAY_SMALLEST ? 0.0f : total;
    }
    *d->total = total;
}
