/* The two parts of a Mamba-2 layer that walk along the tokens: the short convolution and the state. */

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

/* ---- the state ------------------------------------------------------------------------------------------------- */

#define SCAN_TOKENS 64u                   /* tokens whose decays are computed together */
#define SCAN_ROWS 16u                     /* rows of the state that stay in the first-level cache for these tokens */
#define SCAN_TILE (LANES == 16 ? 4u : 2u) /* rows that share a load of b and c; as many as the registers hold */

/* What is the same for all rows of a head at one token. */
struct scan {
    const float *b, *c; /* [n] */
    uint64_t n;
    float dt, decay;
};

struct scan_tile {
    vec dx[SCAN_TILE], sum[SCAN_TILE][PARTS];
};

/* One register of columns at `state`, of which `live` count; they go to part u of the lane sums. */
INLINE void scan_columns(const uint32_t rows, const uint32_t u, struct scan_tile *tile, float *state, uint64_t n, vec b,
                         vec c, vec decay, uint64_t live)
{
#pragma GCC unroll 4
    for (uint32_t r = 0; r < rows; r++) {
        vec v = decay * vec_load_upto(state + r * n, live) + tile->dx[r] * b;
        vec_store_upto(state + r * n, v, live);
        v *= c;
        tile->sum[r][u] += live < LANES ? vec_keep(v, live) : v; /* beyond, 0 * inf may have made a NaN */
    }
}

/* Moves `rows` rows of the state one token on; sum[r]: the lane sums of state * c, folded to four lanes. */
INLINE void scan_rows(const uint32_t rows, const struct scan *s, const float *x, float *state, quad *sum)
{
    struct scan_tile tile = {0};
    const vec decay = vec_fill(s->decay);
    const uint64_t n = s->n;
    uint64_t i = 0;
#pragma GCC unroll 4
    for (uint32_t r = 0; r < rows; r++) tile.dx[r] = vec_fill(s->dt) * vec_fill(x[r]);
    for (; i + GROUP <= n; i += GROUP)
#pragma GCC unroll 4
        for (uint32_t u = 0; u < PARTS; u++) {
            uint64_t at = i + u * LANES;
            scan_columns(rows, u, &tile, state + at, n, vec_load(s->b + at), vec_load(s->c + at), decay, LANES);
        }
#pragma GCC unroll 4
    for (uint32_t u = 0; u < PARTS; u++, i += LANES)
        if (i < n)
            scan_columns(rows, u, &tile, state + i, n, vec_load_upto(s->b + i, n - i), vec_load_upto(s->c + i, n - i),
                         decay, n - i);
#pragma GCC unroll 4
    for (uint32_t r = 0; r < rows; r++) sum[r] = group_fold(tile.sum[r]);
}

/* One token, `rows` <= SCAN_ROWS rows; y = their sums + d * x. */
static void scan_token(const struct scan *s, const float *x, float d, uint64_t rows, float *state, float *y)
{
    quad sum[SCAN_ROWS + 3] = {0};
    uint64_t r = 0;
    for (; r + SCAN_TILE <= rows; r += SCAN_TILE) scan_rows(SCAN_TILE, s, x + r, state + r * s->n, sum + r);
    for (; r < rows; r++) scan_rows(1, s, x + r, state + r * s->n, sum + r);
    for (r = 0; r < rows; r += 4) {
        quad total = quad_totals(sum + r);
        if (r + 4 <= rows) *(quad_memory *)(y + r) = total + *(const quad_memory *)(x + r) * d;
        else
            for (uint64_t j = 0; r + j < rows; j++) y[r + j] = total[j] + x[r + j] * d;
    }
}

static void ssm_scan(const struct ssm_step *s)
{
    float decay[SCAN_TOKENS];
    for (uint64_t from = 0; from < s->n_tokens; from += SCAN_TOKENS) {
        uint64_t n = s->n_tokens - from < SCAN_TOKENS ? s->n_tokens - from : SCAN_TOKENS;
        for (uint64_t t = 0; t < n; t++) decay[t] = s->dt[(from + t) * s->dt_stride] * s->a;
        exp_each(decay, decay, n);
        for (uint64_t p = 0; p < s->head_dim; p += SCAN_ROWS)
            for (uint64_t t = from; t < from + n; t++) {
                struct scan at = {.b = s->b + t * s->bc_stride,
                                  .c = s->c + t * s->bc_stride,
                                  .n = s->state_size,
                                  .dt = s->dt[t * s->dt_stride],
                                  .decay = decay[t - from]};
                uint64_t rows = s->head_dim - p < SCAN_ROWS ? s->head_dim - p : SCAN_ROWS;
                scan_token(&at, s->x + t * s->x_stride + p, s->d, rows, s->state + p * s->state_size,
                           s->y + t * s->y_stride + p);
            }
    }
}
