/* Quantized sources: rows of codes and their scales from the checkpoint, decoded to BF16 by the kernels of their type,
 * as ModelOpt does before it quantizes again. Everything after sees plain numbers. */
#include "quantize/job.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "models/int4_parts.h"
#include "models/pre_scale.h"
#include "numeric/half.h"
#include "numeric/nvfp4.h"

#include <math.h>

#define ROWS 128u /* decoded at once: one row of FP8 blocks */

/* Scales of the rows of one step, in the form that kernel_args.h asks for. */
struct scales {
    uint8_t *bytes;
    float *f32;
    float scalar;
};

struct source {
    const struct job *j;
    const struct model_tensor *t;
    uint64_t cols;
    float *values; /* [ROWS, cols] */
    uint8_t *row_codes;
    float *pre; /* [cols]: pre_quant_scale, or NULL */
    struct error *err;
};

void piece_drop_raw(struct slot *s)
{
    free(take_ptr(&s->raw));
    free(take_ptr(&s->raw_scales));
}

static bool check_scales(const struct source *s, const char *name, const float *v, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (!(v[i] >= 0) || !isfinite(v[i]))
            return error_set(s->err, ERR_FORMAT, "tensor '%.256s' holds %g; a scale is finite and not negative", name,
                             (double)v[i]);
    return true;
}

/* A part's scales of rows [first, first + n) of the weight. */
static bool read_scales(const struct source *s, const struct quant_part *part, uint64_t first, uint64_t n,
                        struct scales *out)
{
    const struct checkpoint *ck = s->j->plan->inventory->checkpoint;
    uint32_t index = s->t->parts[part->part];
    const struct tensor_info *info = checkpoint_tensor(ck, index);
    uint64_t per = part->rows_per_elem ? part->rows_per_elem : 1, from = first / per, to = u64_div_up(first + n, per);
    uint64_t elems = info->n_elems, row = info->dims[0] ? elems / info->dims[0] : 0, elem = dtype_bytes(info->dtype);
    if (!part->cols_per_elem) from = 0, to = 1, row = 1;
    uint64_t count = (to - from) * row;
    CLEANUP(free) uint8_t *raw = NULL;
    if (!memory_alloc(&raw, count, elem, s->err) ||
        !checkpoint_read(ck, index, from * row * elem, raw, count * elem, s->err))
        return false;
    if (!dtype_is_plain_float(info->dtype)) {
        out->bytes = take_ptr(&raw);
        return true;
    }
    float *to_f32 = &out->scalar;
    if (part->cols_per_elem && !memory_alloc(&out->f32, count, sizeof(float), s->err)) return false;
    if (part->cols_per_elem) to_f32 = out->f32;
    kernel_for(OP_WIDEN, s->j->opt->isa)(
        &(struct kernel_args){.n_rows = 1, .n_cols = count, .src = raw, .dtype = info->dtype, .dst_f32 = to_f32});
    return check_scales(s, info->name, to_f32, count);
}

static bool all_scales(const struct source *s, uint64_t first, uint64_t n, struct scales *out)
{
    const struct quant_format *f = s->t->format;
    for (uint32_t k = 1; k < f->n_parts; k++) {
        const struct quant_part *part = &f->parts[k];
        bool input = part->part == PART_INPUT_SCALE || part->part == PART_INPUT_GLOBAL_SCALE;
        if (input || part->part == PART_WEIGHT_SHAPE) continue;
        if (!read_scales(s, part, first, n, out)) return false;
        if (part->part == PART_WEIGHT_GLOBAL_SCALE) out->scalar = nvfp4_scale_of_global(out->scalar);
    }
    return true;
}

/* INT4 of other layouts than ModelOpt's; on its side the codes are gathered into s->row_codes. *order: the caller frees
 * it; NULL: groups are of consecutive columns. */
static bool int4_scales(const struct source *s, uint64_t first, uint64_t n, struct scales *out, uint32_t **order)
{
    const struct checkpoint *ck = s->j->plan->inventory->checkpoint;
    const struct quant_format *f = s->t->format;
    uint64_t n_groups = s->cols / f->block_cols;
    if (!memory_alloc(&out->bytes, n, n_groups, s->err) || !int4_zeros(ck, s->t, first, n, out->bytes, s->err))
        return false;
    if (!f->parts[0].on_side) return read_scales(s, &f->parts[1], first, n, out);
    return memory_alloc(&out->f32, n * n_groups, sizeof(float), s->err) &&
           int4_side_codes(ck, s->t, first, n, s->row_codes, s->err) &&
           int4_side_scales(ck, s->t, first, n, out->f32, s->err) && int4_order(ck, s->t, order, s->err);
}

/* Rows of nibbles from bytes that hold a column of two rows each; `first` is even. */
static void split_pairs(const uint8_t *pairs, uint64_t n, uint64_t cols, uint8_t *rows)
{
    uint64_t half = cols / 2;
    for (uint64_t r = 0; r < n; r++) {
        const uint8_t *pair = pairs + r / 2 * cols;
        uint32_t shift = r % 2 ? 4 : 0;
        for (uint64_t i = 0; i < half; i++)
            rows[r * half + i] = (uint8_t)((pair[2 * i] >> shift & 15u) | (pair[2 * i + 1] >> shift & 15u) << 4);
    }
}

/* n <= ROWS rows, all in one row of blocks, to BF16. */
static bool decode_step(const struct source *s, const uint8_t *codes, uint64_t first, uint64_t n, uint8_t *out)
{
    const struct quant_format *f = s->t->format;
    struct scales scales = {0};
    CLEANUP(free) uint32_t *order = NULL;
    bool int4 = f->decode_op == OP_DECODE_INT4_ZERO;
    bool ok = int4 ? int4_scales(s, first, n, &scales, &order) : all_scales(s, first, n, &scales);
    if (ok && f->row_pairs) split_pairs(codes, n, s->cols, s->row_codes);
    struct kernel_args a = {.n_rows = n,
                            .n_cols = s->cols,
                            .src = f->row_pairs || f->parts[0].on_side ? s->row_codes : codes,
                            .src_scale = scales.bytes,
                            .src_scale_f32 = scales.f32,
                            .scale = scales.scalar,
                            .group = f->block_cols,
                            .dst_f32 = s->values};
    if (ok && order) {
        struct int4_ordered o = {order, a.src, scales.f32, scales.bytes};
        int4_decode_ordered(&o, n, s->cols, s->cols / f->block_cols, s->values);
    } else if (ok) {
        kernel_for(f->decode_op, s->j->opt->isa)(&a);
    }
    for (uint64_t i = 0; ok && i < n * s->cols; i++) {
        if (s->pre) s->values[i] *= s->pre[i % s->cols];
        uint16_t half = bf16_encode(s->values[i]);
        memcpy(out + 2 * i, &half, sizeof half);
    }
    free(scales.bytes);
    free(scales.f32);
    return ok;
}

static bool read_rows(struct source *s, struct slot *slot)
{
    const struct checkpoint *ck = s->j->plan->inventory->checkpoint;
    uint32_t index = s->t->parts[PART_WEIGHT];
    const struct tensor_info *w = checkpoint_tensor(ck, index);
    uint64_t per_row = s->t->dims[0] ? w->bytes / s->t->dims[0] : 0, first = slot->at.row, n = slot->at.n_rows;
    slot->raw_bytes = n * per_row; /* on its side: no rows, but as much of it to be hashed */
    if (!memory_alloc(&slot->raw, n, per_row, s->err) ||
        !checkpoint_read(ck, index, first * per_row, slot->raw, n * per_row, s->err))
        return false;
    if (piece_is_cast(s->j, slot)) {
        uint64_t blocks = s->cols / 32;
        if (!memory_alloc(&slot->raw_scales, n, blocks, s->err) ||
            !checkpoint_read(ck, s->t->parts[PART_WEIGHT_SCALE], first * blocks, slot->raw_scales, n * blocks, s->err))
            return false;
    }
    for (uint64_t at = 0; at < n;) {
        uint64_t m = u64_min(n - at, ROWS - (first + at) % ROWS);
        if (!decode_step(s, slot->raw + at * per_row, first + at, m, slot->lane->src + at * s->cols * 2)) return false;
        at += m;
    }
    return true;
}

/* One expert of GPT-OSS's blocks, [outputs, inputs]; what is not sideways wants [inputs, outputs]. */
static bool read_expert(struct source *s, struct slot *slot, const struct plan_stack *stack)
{
    const struct checkpoint *ck = s->j->plan->inventory->checkpoint;
    uint64_t outs = slot->at.n_cols, ins = slot->at.n_rows, expert = ins ? slot->at.row / ins : 0;
    slot->raw_bytes = outs * (ins / 2);
    if (!memory_alloc(&slot->raw, outs, ins / 2, s->err) || !memory_alloc(&slot->raw_scales, outs, ins / 32, s->err) ||
        !checkpoint_read(ck, stack->base, expert * slot->raw_bytes, slot->raw, slot->raw_bytes, s->err) ||
        !checkpoint_read(ck, stack->scales, expert * outs * (ins / 32), slot->raw_scales, outs * (ins / 32), s->err))
        return false;
    for (uint64_t r = 0; r < outs; r += ROWS) {
        uint64_t n = u64_min(ROWS, outs - r);
        kernel_for(OP_DECODE_MXFP4,
                   s->j->opt->isa)(&(struct kernel_args){.n_rows = n,
                                                         .n_cols = ins,
                                                         .src = slot->raw + r * (ins / 2),
                                                         .src_scale = slot->raw_scales + r * (ins / 32),
                                                         .dst_f32 = s->values});
        for (uint64_t i = 0; i < n * ins; i++) {
            uint16_t half = bf16_encode(s->values[i]);
            memcpy(slot->lane->src + 2 * (r * ins + i), &half, sizeof half);
        }
    }
    return stack->sideways || turn_in_place(slot->lane->src, outs, ins, 2, s->err);
}

static bool check_written(const struct source *s, const struct slot *slot)
{
    float amax;
    if (slot->pass->kind != PASS_DECODE || slot->bytes == 0) return true;
    kernel_for(OP_AMAX, s->j->opt->isa)(&(struct kernel_args){
        .n_rows = 1, .n_cols = slot->bytes / 2, .src = slot->lane->src, .dtype = DTYPE_BF16, .dst_f32 = &amax});
    return isfinite(amax)
               ? true
               : error_set(s->err, ERR_FORMAT, "tensor '%.256s' holds a value that is not finite", s->t->name);
}

bool piece_read_quantized(const struct job *j, struct slot *slot, struct error *err)
{
    const struct plan_item *item = &j->plan->items[slot->pass->item];
    struct source s = {.j = j, .t = item->tensor, .err = err};
    bool expert = item->stack && item->stack->scales != NAME_NONE;
    s.cols = expert ? slot->at.n_rows : slot->at.n_cols;
    CLEANUP(free) float *values = NULL;
    CLEANUP(free) uint8_t *row_codes = NULL;
    CLEANUP(free) float *pre = NULL;
    piece_drop_raw(slot);
    if (slot->bytes == 0) return true;
    if (!pre_scale_read(j->plan->inventory->checkpoint, s.t, &pre, err) ||
        !memory_alloc(&values, ROWS * s.cols, sizeof *values, err) || !memory_alloc(&row_codes, ROWS, s.cols, err))
        return false;
    s.values = values;
    s.pre = pre;
    s.row_codes = row_codes;
    return expert ? read_expert(&s, slot, item->stack) : read_rows(&s, slot) && check_written(&s, slot);
}
