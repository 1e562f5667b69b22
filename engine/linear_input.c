/* Inputs of linears: quantized as the format says, rounded to bf16, rows moved apart. */
#include "engine/linear_impl.h"

struct input_ctx {
    kernel_fn run;
    const float *x;
    uint64_t ldx, cols;
    float scale;
    float *out;
};

static void input_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct input_ctx *c = ctx;
    c->run(&(struct kernel_args){.n_rows = 1,
                                 .n_cols = c->cols,
                                 .src = c->x + row * c->ldx,
                                 .dtype = DTYPE_F32,
                                 .scale = c->scale,
                                 .dst_f32 = c->out + row * c->cols});
}

/* ---- inputs with scales of their own ---- */

struct dynamic_ctx {
    const struct quant_format *format;
    const struct engine *e;
    const float *x;
    uint64_t ldx, cols, n_scales; /* n_scales: of a row */
    uint8_t *codes, *scales;      /* of all rows */
    float *scales_f32, *out;
};

/* There and back: what the engine's product sees. */
static void round_dynamic(const struct dynamic_ctx *c, struct kernel_args a)
{
    bool mx = c->format->input_op == OP_ENCODE_MXFP8;
    float *out = a.dst_f32;
    a.dst_f32 = c->scales_f32 + (a.dst_scale - c->scales);
    kernel_for(c->format->input_op, c->e->isa)(&a);
    a.src = a.dst;
    a.src_scale = a.dst_scale;
    a.src_scale_f32 = a.dst_f32;
    a.dst_f32 = out;
    kernel_for(mx ? OP_DECODE_MXFP8 : OP_DECODE_FP8_CHANNEL, c->e->isa)(&a);
}

/* A row is a matrix of its groups, and what is left of them. */
static void dynamic_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct dynamic_ctx *c = ctx;
    uint64_t group = c->format->input_cols ? c->format->input_cols : c->cols, n = c->cols / group;
    struct kernel_args a = {.n_rows = n,
                            .n_cols = group,
                            .src = c->x + row * c->ldx,
                            .dtype = DTYPE_F32,
                            .dst = c->codes + row * c->cols,
                            .dst_scale = c->scales + row * c->n_scales,
                            .dst_f32 = c->out + row * c->cols};
    round_dynamic(c, a);
    if (n * group == c->cols) return;
    a.src = (const float *)a.src + n * group;
    a.n_rows = 1;
    a.n_cols = c->cols - n * group;
    a.dst += n * group;
    a.dst_scale += n;
    a.dst_f32 += n * group;
    round_dynamic(c, a);
}

/* Bytes of a row's copy, times pre_quant_scale or quantized. */
static uint64_t quantized_bytes(const struct linear *l)
{
    return l->input_scale > 0 || l->dynamic_input || l->scaled ? scratch_bytes(l->cols, sizeof(float)) : 0;
}

/* Scales of a row, where inputs have their own. */
static uint64_t dynamic_scales(const struct linear *l)
{
    const struct quant_format *f = linear_format(l);
    uint64_t group = f->input_op == OP_ENCODE_MXFP8 ? f->block_cols : f->input_cols ? f->input_cols : l->cols;
    return u64_div_up(l->cols, group);
}

/* Bytes of a row's codes and scales on the way there and back. */
static uint64_t dynamic_bytes(const struct linear *l)
{
    if (!l->dynamic_input) return 0;
    uint64_t n = dynamic_scales(l);
    return scratch_bytes(n, sizeof(float)) + scratch_bytes(n, 1) + scratch_bytes(l->cols, 1);
}

static void quantize_dynamic(const struct run_ctx *r, uint8_t *room, float *out)
{
    const struct linear *l = r->l;
    uint64_t n = dynamic_scales(l);
    struct dynamic_ctx c = {.format = linear_format(l),
                            .e = r->e,
                            .x = r->x,
                            .ldx = r->x_stride / sizeof(float),
                            .cols = l->cols,
                            .n_scales = n,
                            .scales_f32 = (float *)(void *)room,
                            .scales = room + r->m * scratch_bytes(n, sizeof(float)),
                            .out = out};
    c.codes = c.scales + r->m * scratch_bytes(n, 1);
    pool_for(r->pool, r->m, dynamic_item, &c);
}

static void scale_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct run_ctx *r = ctx;
    const struct linear *l = r->l;
    const float *x = (const float *)(const void *)((const uint8_t *)r->x + row * r->x_stride);
    float *out = (float *)(void *)r->room + row * l->cols;
    for (uint64_t c = 0; c < l->cols; c++) out[c] = x[c] * l->pre[c];
}

/* Kernels of inputs may work in place: they read a block before they write it. */
static void quantize_input(struct run_ctx *r)
{
    const struct linear *l = r->l;
    uint64_t bytes = quantized_bytes(l);
    if (bytes == 0 || r->m == 0) return;
    float *copy = (float *)(void *)r->room;
    if (l->pre) {
        pool_for(r->pool, r->m, scale_item, r);
        r->x = copy;
        r->x_stride = l->cols * sizeof(float);
        if (!(l->input_scale > 0) && !l->dynamic_input) return;
    }
    kernel_fn run = linear_format(l)->input_op == OP_INPUT_NVFP4 ? r->e->input_nvfp4 : r->e->input_fp8;
    struct input_ctx c = {run, r->x, r->x_stride / sizeof(float), l->cols, l->input_scale, copy};
    if (l->dynamic_input) quantize_dynamic(r, r->room + r->m * bytes, copy);
    else pool_for(r->pool, r->m, input_item, &c);
    r->x = copy;
    r->x_stride = l->cols * sizeof(float);
}

/* Rows a power of two apart share few places in the first-level cache and drive each other out: worth 7 % on Zen 4. */
static uint64_t row_stride(uint64_t bytes)
{
    bytes = u64_div_up(bytes, 64) * 64;
    return bytes % 512 == 0 ? bytes + 64 : bytes;
}

struct round_ctx {
    const struct run_ctx *r;
    uint8_t *out;
    uint64_t stride;
};

static void round_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct round_ctx *c = ctx;
    const uint8_t *x = (const uint8_t *)c->r->x + row * c->r->x_stride;
    uint64_t cols = c->r->l->cols;
    if (c->r->l->bf16) c->r->e->gemm->input((const float *)(const void *)x, cols, c->out + row * c->stride);
    else memcpy(c->out + row * c->stride, x, cols * sizeof(float));
}

/* The stride of the rows that place_input makes of m rows; 0: they stay where they are. */
static uint64_t placed_stride(const struct linear *l, const struct engine *e, uint64_t m, uint64_t x_stride)
{
    bool apart = m < 12 || x_stride % 512 != 0;
    if (!l->bf16 && apart) return 0;
    return row_stride(l->bf16 ? e->gemm->input_bytes(l->cols) : l->cols * sizeof(float));
}

/* Rounds to bf16, and places many rows well apart. */
static void place_input(struct run_ctx *r)
{
    uint64_t stride = placed_stride(r->l, r->e, r->m, r->x_stride);
    if (stride == 0) return;
    struct round_ctx c = {r, r->room + r->m * quantized_bytes(r->l), stride};
    pool_for(r->pool, r->m, round_item, &c);
    r->x = c.out;
    r->x_stride = stride;
}

uint64_t linear_room(const struct linear *l, const struct engine *e, uint64_t m, uint64_t ldx)
{
    uint64_t quantized = quantized_bytes(l), on_the_way = dynamic_bytes(l),
             placed = placed_stride(l, e, m, (quantized ? l->cols : ldx) * sizeof(float));
    return quantized + (on_the_way > placed ? on_the_way : placed); /* one after the other */
}

bool linear_round_input(const struct linear *l, const struct engine *e, float *x, uint64_t ldx, uint64_t m,
                        struct error *err)
{
    SCRATCH_SCOPE(e->scratch);
    struct run_ctx r = {.l = l, .e = e, .pool = e->pool, .x = x, .x_stride = ldx * sizeof *x, .m = m};
    if (!scratch_alloc(e->scratch, &r.room, m, quantized_bytes(l) + dynamic_bytes(l), err)) return false;
    quantize_input(&r);
    const float *rounded = r.x;
    for (uint64_t i = 0; rounded != x && i < m; i++)
        for (uint64_t c = 0; c < l->cols; c++) /* linear_rows has the scale in the weights, and wants x without it */
            x[i * ldx + c] = l->pre ? rounded[i * l->cols + c] / l->pre[c] : rounded[i * l->cols + c];
    return true;
}

void linear_input(struct run_ctx *r)
{
    quantize_input(r);
    place_input(r);
}
