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

/* Bits of one element, and the columns that share a scale or a maximum; 0: the operation has no such thing. */
static const struct layout {
    uint8_t src; /* 0: that of the dtype */
    uint8_t dst, scale_cols;
    uint8_t f32_cols; /* columns that share a float of dst_f32 */
} layouts[OP_COUNT] = {
    [OP_WIDEN] = {.f32_cols = 1},
    [OP_AMAX] = {0}, /* a float per row: below */
    [OP_ENCODE_NVFP4] = {.dst = 4, .scale_cols = 16},
    [OP_ENCODE_NVFP4_STATIC] = {.dst = 4, .scale_cols = 16},
    [OP_SWEEP_NVFP4] = {0}, /* writes block_amax */
    [OP_ENCODE_FP8] = {.dst = 8},
    [OP_DECODE_NVFP4] = {.src = 4, .f32_cols = 1},
    [OP_DECODE_FP8] = {.src = 8, .f32_cols = 1},
    [OP_INPUT_NVFP4] = {.src = 32, .f32_cols = 1},
    [OP_INPUT_FP8] = {.src = 32, .f32_cols = 1},
    [OP_FOUR_SIX_NVFP4] = {0}, /* writes block_amax */
};
#define OPS_WITH_LAYOUT OP_ENCODE_FP8_CHANNEL /* the operations from this one on have no lanes of the CPU yet */
_Static_assert(OP_COUNT == 23, "every operation before it has a layout");

static bool chooses_maxima(enum op op)
{
    return op == OP_SWEEP_NVFP4 || op == OP_FOUR_SIX_NVFP4;
}

/* Bytes that one row has in each room of the lane. */
static struct lane_sizes row_sizes(const struct lane_step *s)
{
    const struct layout *l = &layouts[s->op];
    uint64_t cols = s->args.n_cols, blocks = cols / 16 * sizeof(float);
    bool amax = s->op == OP_AMAX, uses_blocks = chooses_maxima(s->op) || s->op == OP_ENCODE_NVFP4_STATIC;
    return (struct lane_sizes){.src = l->src ? cols * l->src / 8 : cols * dtype_bytes(s->args.dtype),
                               .dst = cols * l->dst / 8,
                               .dst_scale = l->scale_cols ? cols / l->scale_cols : 0,
                               .dst_f32 = amax          ? sizeof(float)
                                          : l->f32_cols ? cols * sizeof(float)
                                                        : 0,
                               .block_amax = uses_blocks ? blocks : 0};
}

static bool fits(uint64_t n_rows, uint64_t row_bytes, uint64_t room)
{
    uint64_t bytes;
    return u64_mul(n_rows, row_bytes, &bytes) && bytes <= room;
}

static bool check_room(const struct lane *l, const struct lane_step *s, struct error *err)
{
    struct lane_sizes row = row_sizes(s);
    uint64_t n = s->args.n_rows, src = l->sizes.src, scales = n * (s->args.n_cols / 16), at = 0;
    if (s->op == OP_DECODE_NVFP4) at = lane_src_scale_at(&s->args);
    if (fits(n, row.src, src) && (!at || (at <= src && scales <= src - at)) && fits(n, row.dst, l->sizes.dst) &&
        fits(n, row.dst_scale, l->sizes.dst_scale) && fits(n, row.dst_f32, l->sizes.dst_f32) &&
        fits(n, row.block_amax, l->sizes.block_amax))
        return true;
    return error_set(err, ERR_INTERNAL, "%s of %llu x %llu elements is larger than its lane", op_name(s->op),
                     (unsigned long long)n, (unsigned long long)s->args.n_cols);
}

struct step_ctx {
    const struct cpu_lane *lane;
    const struct lane_step *step;
    struct lane_sizes row;
    uint64_t task_rows;
};

static void step_task(void *ctx, uint64_t task, uint32_t worker)
{
    (void)worker;
    const struct step_ctx *c = ctx;
    const struct lane *l = &c->lane->lane;
    uint64_t first = task * c->task_rows;
    struct kernel_args a = c->step->args;
    a.src = l->src + first * c->row.src;
    a.src_scale = c->step->op == OP_DECODE_NVFP4 ? l->src + lane_src_scale_at(&a) + first * (a.n_cols / 16) : NULL;
    a.n_rows = u64_min(c->task_rows, a.n_rows - first);
    a.dst = l->dst + first * c->row.dst;
    a.dst_scale = l->dst_scale + first * c->row.dst_scale;
    float *blocks = c->lane->block_amax + first * c->row.block_amax / sizeof(float);
    a.block_amax = blocks;
    a.dst_f32 = chooses_maxima(c->step->op) ? blocks : l->dst_f32 + first * c->row.dst_f32 / sizeof(float);
    c->lane->backend->kernel[c->step->op](&a);
}

static bool lane_submit(struct lane *lane, const struct lane_step *steps, uint32_t n_steps, bool upload,
                        struct error *err)
{
    (void)upload;
    const struct cpu_lane *l = (const struct cpu_lane *)lane;
    for (uint32_t i = 0; i < n_steps; i++) {
        struct step_ctx c = {.lane = l, .step = &steps[i], .row = row_sizes(&steps[i]), .task_rows = 1};
        if (!check_room(lane, &steps[i], err)) return false;
        if (c.row.src) c.task_rows = u64_min(TASK_BYTES / c.row.src, steps[i].args.n_rows);
        else c.task_rows = steps[i].args.n_rows;
        if (c.task_rows == 0) c.task_rows = 1;
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
    return op < OPS_WITH_LAYOUT;
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
