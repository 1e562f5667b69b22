/* The CPU as a backend: a lane is host memory, submit runs the kernels before it returns. The pool shares a step's
 * rows, each a few at a time. */
#include "backends/backend.h"
#include "backends/cpu/kernel.h"
#include "core/bytes.h"
#include "core/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define TASK_BYTES ((uint64_t)256 << 10) /* source bytes of a parallel item: about a level-2 cache */

struct backend {
    struct pool *pool;
    uint64_t isa;
    kernel_fn kernel[OP_COUNT];
};

struct cpu_lane {
    struct lane lane;
    struct backend *backend;
    float *block_amax;
};

/* How many of something a matrix has. */
enum per { NONE, PER_ELEM, PER_16, PER_32, PER_GROUP, PER_ROW, PER_TILE /* of 128 x 128 */ };

/* What an operation reads and writes. */
static const struct layout {
    uint8_t src, dst;            /* bits of an element; src 0: that of the dtype */
    enum per src_scale, src_f32; /* bytes and floats behind the codes in src */
    enum per dst_scale, dst_f32; /* bytes and floats in the rooms of these names */
    enum per block_amax;         /* floats that stay in the lane */
    uint8_t src_32, dst_32;      /* bytes of 32 elements, where these are blocks; 0: as above */
    bool src_blocks, dst_blocks; /* blocks of the type that is asked for */
} layouts[OP_COUNT] = {
    [OP_WIDEN] = {.dst_f32 = PER_ELEM},
    [OP_AMAX] = {.dst_f32 = PER_ROW},
    [OP_ENCODE_NVFP4] = {.dst = 4, .dst_scale = PER_16},
    [OP_ENCODE_NVFP4_STATIC] = {.dst = 4, .dst_scale = PER_16, .block_amax = PER_16},
    [OP_SWEEP_NVFP4] = {.block_amax = PER_16},
    [OP_ENCODE_FP8] = {.dst = 8},
    [OP_DECODE_NVFP4] = {.src = 4, .src_scale = PER_16, .dst_f32 = PER_ELEM},
    [OP_DECODE_FP8] = {.src = 8, .dst_f32 = PER_ELEM},
    [OP_INPUT_NVFP4] = {.src = 32, .dst_f32 = PER_ELEM},
    [OP_INPUT_FP8] = {.src = 32, .dst_f32 = PER_ELEM},
    [OP_FOUR_SIX_NVFP4] = {.block_amax = PER_16},
    [OP_ENCODE_FP8_CHANNEL] = {.dst = 8, .dst_f32 = PER_ROW},
    [OP_DECODE_FP8_CHANNEL] = {.src = 8, .src_f32 = PER_ROW, .dst_f32 = PER_ELEM},
    [OP_ENCODE_FP8_BLOCK] = {.dst = 8, .dst_f32 = PER_TILE},
    [OP_DECODE_FP8_BLOCK] = {.src = 8, .src_f32 = PER_TILE, .dst_f32 = PER_ELEM},
    [OP_ENCODE_MXFP4] = {.dst = 4, .dst_scale = PER_32},
    [OP_DECODE_MXFP4] = {.src = 4, .src_scale = PER_32, .dst_f32 = PER_ELEM},
    [OP_ENCODE_MXFP8] = {.dst = 8, .dst_scale = PER_32},
    [OP_DECODE_MXFP8] = {.src = 8, .src_scale = PER_32, .dst_f32 = PER_ELEM},
    [OP_ENCODE_INT4] = {.dst = 4, .dst_f32 = PER_GROUP},
    [OP_DECODE_INT4] = {.src = 4, .src_f32 = PER_GROUP, .dst_f32 = PER_ELEM},
    [OP_ENCODE_INT4_ZERO] = {.dst = 4, .dst_scale = PER_GROUP, .dst_f32 = PER_GROUP},
    [OP_DECODE_INT4_ZERO] = {.src = 4, .src_scale = PER_GROUP, .src_f32 = PER_GROUP, .dst_f32 = PER_ELEM},
    [OP_ENCODE_Q8_0] = {.dst_32 = 34},
    [OP_DECODE_Q8_0] = {.src_32 = 34, .dst_f32 = PER_ELEM},
    [OP_RANGE_NVFP4] = {.block_amax = PER_16},
    [OP_ENCODE_GGML] = {.dst_blocks = true},
    [OP_DECODE_GGML] = {.src_blocks = true, .dst_f32 = PER_ELEM},
};
_Static_assert(OP_COUNT == 28, "every operation has a layout: add the new ones here");

#define TILE 128u

static uint64_t count(enum per per, const struct kernel_args *a, uint64_t n_rows)
{
    switch (per) {
    case NONE: return 0;
    case PER_ELEM: return n_rows * a->n_cols;
    case PER_16: return n_rows * (a->n_cols / 16);
    case PER_32: return n_rows * (a->n_cols / 32);
    case PER_GROUP: return a->group ? n_rows * (a->n_cols / a->group) : 0;
    case PER_ROW: return n_rows;
    case PER_TILE: return u64_div_up(n_rows, TILE) * u64_div_up(a->n_cols, TILE);
    }
    return 0;
}

/* Byte positions behind n_rows rows of a step, in every room; of all rows: its sizes. */
struct extent {
    struct lane_sizes in;
    uint64_t src_scale, src_f32; /* from where each begins */
};

static struct extent extent_of(const struct lane_step *s, uint64_t n_rows)
{
    const struct layout *l = &layouts[s->op];
    const struct kernel_args *a = &s->args;
    uint64_t src_bits = l->src ? l->src : 8 * dtype_bytes(a->dtype), n = n_rows * a->n_cols;
    uint64_t blocks = l->src_blocks || l->dst_blocks ? dtype_row_bytes(a->blocks, n) : 0;
    return (struct extent){.in = {.src = l->src_blocks ? blocks : l->src_32 ? n / 32 * l->src_32 : n * src_bits / 8,
                                  .dst = l->dst_blocks ? blocks : l->dst_32 ? n / 32 * l->dst_32 : n * l->dst / 8,
                                  .dst_scale = count(l->dst_scale, a, n_rows),
                                  .dst_f32 = count(l->dst_f32, a, n_rows) * sizeof(float),
                                  .block_amax = count(l->block_amax, a, n_rows) * sizeof(float)},
                           .src_scale = count(l->src_scale, a, n_rows),
                           .src_f32 = count(l->src_f32, a, n_rows) * sizeof(float)};
}

struct step_ctx {
    const struct cpu_lane *lane;
    const struct lane_step *step;
    uint64_t task_rows, src_f32_at, src_scale_at; /* of the whole step */
};

static bool measure(struct step_ctx *c, struct error *err)
{
    const struct kernel_args *a = &c->step->args;
    const struct lane_sizes *room = &c->lane->lane.sizes;
    uint64_t bytes; /* at most 4 of a room per element: when that does not overflow, nothing else does */
    struct extent all = extent_of(c->step, a->n_rows);
    c->src_f32_at = lane_align(all.in.src);
    c->src_scale_at = all.src_f32 ? lane_align(c->src_f32_at + all.src_f32) : c->src_f32_at;
    uint64_t src = all.src_scale ? c->src_scale_at + all.src_scale
                   : all.src_f32 ? c->src_f32_at + all.src_f32
                                 : all.in.src;
    if (a->n_rows <= UINT32_MAX && u64_mul(a->n_rows, a->n_cols, &bytes) && bytes <= UINT64_MAX / 64 &&
        src <= room->src && all.in.dst <= room->dst && all.in.dst_scale <= room->dst_scale &&
        all.in.dst_f32 <= room->dst_f32 && all.in.block_amax <= room->block_amax)
        return true;
    return error_set(err, ERR_INTERNAL, "%s of %llu x %llu elements is larger than its lane", op_name(c->step->op),
                     (unsigned long long)a->n_rows, (unsigned long long)a->n_cols);
}

static void step_task(void *ctx, uint64_t task, uint32_t worker)
{
    (void)worker;
    const struct step_ctx *c = ctx;
    const struct lane *l = &c->lane->lane;
    uint64_t first = task * c->task_rows;
    struct extent at = extent_of(c->step, first);
    struct kernel_args a = c->step->args;
    float *blocks = c->lane->block_amax + at.in.block_amax / sizeof(float);
    enum op op = c->step->op;
    bool chooses = op == OP_SWEEP_NVFP4 || op == OP_FOUR_SIX_NVFP4 || op == OP_RANGE_NVFP4;
    a.n_rows = u64_min(c->task_rows, a.n_rows - first);
    a.src = l->src + at.in.src;
    a.src_scale = l->src + c->src_scale_at + at.src_scale;
    a.src_scale_f32 = (const float *)(const void *)(l->src + c->src_f32_at + at.src_f32);
    a.dst = l->dst + at.in.dst;
    a.dst_scale = l->dst_scale + at.in.dst_scale;
    a.block_amax = blocks;
    a.dst_f32 = chooses ? blocks : l->dst_f32 + at.in.dst_f32 / sizeof(float);
    c->lane->backend->kernel[c->step->op](&a);
}

/* Tasks begin at rows that begin a tile, where there are tiles. */
static uint64_t rows_of_task(const struct lane_step *s)
{
    const struct layout *l = &layouts[s->op];
    uint64_t row = extent_of(s, 1).in.src, n = row ? TASK_BYTES / row : s->args.n_rows;
    if (l->dst_f32 == PER_TILE || l->src_f32 == PER_TILE) n = u64_div_up(n, TILE) * TILE;
    return n ? n : 1;
}

static bool lane_submit(struct lane *lane, const struct lane_step *steps, uint32_t n_steps, bool upload,
                        struct error *err)
{
    (void)upload;
    const struct cpu_lane *l = (const struct cpu_lane *)lane;
    for (uint32_t i = 0; i < n_steps; i++) {
        struct step_ctx c = {.lane = l, .step = &steps[i], .task_rows = rows_of_task(&steps[i])};
        if (!measure(&c, err)) return false;
        pool_for(l->backend->pool, u64_div_up(steps[i].args.n_rows, c.task_rows), step_task, &c);
    }
    return true;
}

static bool lane_wait(struct lane *l, struct error *err)
{
    (void)l;
    (void)err;
    return true;
}

static void lane_close(struct lane *lane)
{
    if (!lane) return;
    free(lane->src);
    free(lane->dst);
    free(lane->dst_scale);
    free(lane->dst_f32);
    free(((struct cpu_lane *)lane)->block_amax);
    free(lane);
}

static bool lane_open(struct lane **out, struct backend *be, const struct lane_sizes *z, struct error *err)
{
    *out = NULL;
    struct cpu_lane *l = calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l);
    *l = (struct cpu_lane){.lane = {.ops = &backend_cpu, .sizes = *z}, .backend = be};
    if (!memory_alloc(&l->lane.src, z->src, 1, err) || !memory_alloc(&l->lane.dst, z->dst, 1, err) ||
        !memory_alloc(&l->lane.dst_scale, z->dst_scale, 1, err) ||
        !memory_alloc(&l->lane.dst_f32, z->dst_f32, 1, err) || !memory_alloc(&l->block_amax, z->block_amax, 1, err)) {
        lane_close(&l->lane);
        return false;
    }
    *out = &l->lane;
    return true;
}

static uint32_t devices(char *why_not, size_t why_size)
{
    (void)why_not;
    (void)why_size;
    return 1;
}

static bool has_op(enum op op)
{
    return op < OP_COUNT;
}

static bool backend_open(struct backend **out, uint32_t device, const struct backend_config *config, struct error *err)
{
    *out = NULL;
    if (device) return error_set(err, ERR_DEVICE, "backend 'cpu': there is no device %u, only 0", device);
    struct backend *be = calloc(1, sizeof *be);
    if (!be) return error_memory(err, sizeof *be);
    be->pool = config->pool;
    be->isa = config->isa;
    for (int op = 0; op < OP_COUNT; op++) be->kernel[op] = kernel_for((enum op)op, config->isa);
    *out = be;
    return true;
}

static void backend_close(struct backend *be)
{
    free(be);
}

static bool describe(struct backend *be, struct backend_device *out, struct error *err)
{
    (void)err;
    *out = (struct backend_device){0};
    snprintf(out->name, sizeof out->name, "%s", isa_name(be->isa));
    return true;
}

const struct backend_ops backend_cpu = {
    .name = "cpu",
    .devices = devices,
    .has_op = has_op,
    .open = backend_open,
    .close = backend_close,
    .describe = describe,
    .lanes = 1,
    .lane_open = lane_open,
    .lane_close = lane_close,
    .submit = lane_submit,
    .wait = lane_wait,
};
