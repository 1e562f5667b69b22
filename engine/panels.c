#include "engine/panels.h"
#include "engine/int4_rows.h"
#include "engine/scaled_rows.h"
#include "models/int4_parts.h"

#include "core/memory.h"
#include "numeric/e4m3.h"
#include "numeric/fp8_scaled.h"
#include "numeric/q8_0.h"

#include <math.h>

#define READ_BYTES (1u << 20)
#define READ_COLUMNS_BYTES                                                                                             \
    (8u << 20) /* where columns serve as rows: the more rows, the longer the runs in the file                          \
                */

static const struct tensor_info *weight_of(const struct linear *l, const struct engine *e)
{
    return checkpoint_tensor(e->inv->checkpoint, l->tensor->parts[PART_WEIGHT]);
}

/* Rows of codes and scales as kernel_args.h has them are what panels are made of, so a format needs one line here. A
 * format without one is decoded to fp32 and kept so (bf16 compute: rounded to bf16). */
static const struct {
    enum op decode_op;
    enum packed_code code;
    enum packed_scale scale; /* SCALE_NONE: of the type that the file has */
    uint64_t group;          /* 0: the tensor has one scale; 1: the format's block_cols */
    float largest;           /* value of a code and a scale, over weight_scale */
} packings[] = {
    {OP_DECODE_NVFP4, CODE_E2M1, SCALE_E4M3, 16, 6.0f * 448.0f},
    {OP_DECODE_FP8, CODE_E4M3, SCALE_F32, 0, 448.0f},
    {OP_DECODE_FP8_CHANNEL, CODE_E4M3, SCALE_F32, 0, 1},
    {OP_DECODE_FP8_BLOCK, CODE_E4M3, SCALE_F32, FP8_BLOCK, 1},
    {OP_DECODE_Q8_0, CODE_I8, SCALE_F16, Q8_0_BLOCK, 1},
    {OP_DECODE_MXFP4, CODE_E2M1, SCALE_E8M0, 32, 1},
    {OP_DECODE_MXFP8, CODE_E4M3, SCALE_E8M0, 32, 1},
    {OP_DECODE_INT4, CODE_I4, SCALE_NONE, 1, 1},
    {OP_DECODE_INT4_ZERO, CODE_I4, SCALE_NONE, 1, 1}, /* without stored zero points, which are 8 then */
};

static enum packed_scale scale_of(enum dtype t)
{
    return t == DTYPE_F32 ? SCALE_F32 : t == DTYPE_F16 ? SCALE_F16 : SCALE_BF16;
}

static bool on_side(const struct linear *l)
{
    return l->tensor->format && l->tensor->format->parts[0].on_side;
}

static bool packed_format(struct linear *l, const struct engine *e)
{
    const struct quant_format *f = l->tensor->format;
    if (f->zeros != ZEROS_NONE || on_side(l)) return false;
    for (size_t i = 0; i < sizeof packings / sizeof *packings; i++) {
        if (packings[i].decode_op != f->decode_op) continue;
        enum packed_scale scale = packings[i].scale;
        uint64_t group = packings[i].group == 1 ? f->block_cols : packings[i].group ? packings[i].group : l->cols;
        if (scale == SCALE_NONE)
            scale = scale_of(checkpoint_tensor(e->inv->checkpoint, l->tensor->parts[PART_WEIGHT_SCALE])->dtype);
        return isfinite(packings[i].largest * l->weight_scale) &&
               packed_shape(&l->packed, packings[i].code, scale, l->rows, l->cols, group, l->weight_scale);
    }
    return false;
}

bool panels_open(struct linear *l, const struct engine *e, struct error *err)
{
    enum dtype dtype = weight_of(l, e)->dtype;
    enum packed_code code = dtype == DTYPE_F32 ? CODE_F32 : dtype == DTYPE_F16 ? CODE_F16 : CODE_BF16;
    if (l->tensor->format && l->tensor->format->decode_op == OP_COUNT && !l->stand_in)
        return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s' is stored as %s, which is not decoded here",
                         l->tensor->name, l->tensor->format->algo);
    if (l->tensor->format && packed_format(l, e)) return true;
    l->decoded = l->tensor->format || l->stand_in || (l->bf16 && code != CODE_BF16);
    if (l->decoded) code = l->bf16 ? CODE_BF16 : CODE_F32;
    return packed_shape(&l->packed, code, SCALE_NONE, l->rows, l->cols, l->cols, 1.0f) ||
           error_set(err, ERR_INTERNAL, "tensor '%.256s' is empty", l->tensor->name);
}

/* ---- scratch ---- */

/* Of a row as it is stored. */
static uint64_t row_bytes(const struct linear *l, const struct engine *e, enum tensor_part part)
{
    const struct tensor_info *info = checkpoint_tensor(e->inv->checkpoint, l->tensor->parts[part]);
    return dtype_row_bytes(info->dtype, info->dims[0] ? info->n_elems / info->dims[0] : 0);
}

static bool has_row_pairs(const struct linear *l)
{
    return l->tensor->format && l->tensor->format->row_pairs;
}

/* Of one row of the matrix. */
static uint64_t code_row_bytes(const struct linear *l, const struct engine *e)
{
    if (on_side(l)) return l->cols / 2;
    return row_bytes(l, e, PART_WEIGHT) / (has_row_pairs(l) ? 2 : 1);
}

/* The part that holds scales of rows or of blocks of rows; PART_COUNT when there are none. */
static enum tensor_part scale_part(const struct linear *l, uint32_t *rows_per_scale)
{
    const struct quant_format *f = l->tensor->format;
    for (uint32_t i = 0; f && i < f->n_parts; i++) {
        const struct quant_part *part = &f->parts[i];
        bool scales = part->part == PART_WEIGHT_SCALE || part->part == PART_WEIGHT_SCALE_INV;
        *rows_per_scale = part->rows_per_elem ? part->rows_per_elem : 1;
        if (scales && part->cols_per_elem) return part->part;
    }
    return PART_COUNT;
}

static bool has_row_scales(const struct linear *l)
{
    uint32_t rows;
    return scale_part(l, &rows) == PART_WEIGHT_SCALE && rows == 1;
}

/* Q8_0 has each scale in front of its codes. */
static bool is_interleaved(const struct linear *l)
{
    return l->tensor->format && l->tensor->format->decode_op == OP_DECODE_Q8_0 && !l->decoded;
}

/* Bytes of one row's scales in the scratch. */
static uint64_t scale_row_bytes(const struct linear *l, const struct engine *e)
{
    if (is_interleaved(l)) return l->cols / Q8_0_BLOCK * sizeof(uint16_t);
    return has_row_scales(l) ? row_bytes(l, e, PART_WEIGHT_SCALE) : 0;
}

uint64_t panels_per_read(const struct linear *l, const struct engine *e)
{
    const struct tensor_info *info = weight_of(l, e);
    bool columns = info->view && info->view->col_step != dtype_bytes(info->dtype);
    uint64_t n = (columns ? READ_COLUMNS_BYTES : READ_BYTES) / l->packed.panel_bytes;
    return n ? n : 1;
}

/* Bytes of each part of the scratch. */
struct panel_room {
    uint64_t n_panels, raw, scales, rows, panels;
};

static struct panel_room room_for(const struct linear *l, const struct engine *e)
{
    uint64_t n = u64_min(panels_per_read(l, e), packed_panels(&l->packed)), rows = n * PANEL_ROWS;
    return (struct panel_room){.n_panels = n,
                               .raw = rows * code_row_bytes(l, e),
                               .scales = rows * scale_row_bytes(l, e),
                               .rows = l->decoded ? PANEL_ROWS * l->cols * sizeof(float) : 0,
                               .panels = n * l->packed.panel_bytes};
}

uint64_t panel_scratch_need(const struct linear *l, const struct engine *e)
{
    struct panel_room r = room_for(l, e);
    return scratch_bytes(r.raw, 1) + scratch_bytes(r.scales, 1) + scratch_bytes(r.rows, 1) + scratch_bytes(r.panels, 1);
}

bool panel_scratch_alloc(struct panel_scratch *s, const struct linear *l, const struct engine *e, struct scratch *from,
                         struct error *err)
{
    struct panel_room r = room_for(l, e);
    *s = (struct panel_scratch){.n_panels = r.n_panels};
    return scratch_alloc(from, &s->raw, r.raw, 1, err) && scratch_alloc(from, &s->scales, r.scales, 1, err) &&
           scratch_alloc(from, &s->panels, r.panels, 1, err) && scratch_alloc(from, &s->rows, r.rows, 1, err);
}

void panel_scratch_free(struct panel_scratch *s)
{
    free(s->blocks);
}

/* ---- reading ---- */

/* True when a number has its exponent (E4M3: all of its magnitude) all ones. The numbers of a word side by side: one
 * more in the lowest place of such an exponent, and in no other, carries into the sign. */
static bool any_not_finite(const uint8_t *bytes, uint64_t n, enum packed_code code)
{
    struct {
        uint64_t mask, one, sign;
    } b = {0x7F7F7F7F7F7F7F7Fu, 0x0101010101010101u, 0x8080808080808080u};
    if (code <= CODE_BF16) b.mask = 0x7F807F807F807F80u, b.one = 0x0080008000800080u, b.sign = 0x8000800080008000u;
    if (code == CODE_F16) b.mask = 0x7C007C007C007C00u, b.one = 0x0400040004000400u;
    if (code == CODE_F32) b.mask = 0x7F8000007F800000u, b.one = 0x0080000000800000u, b.sign = 0x8000000080000000u;
    uint64_t whole = n / sizeof b.mask, u = 0, bad = 0;
    for (uint64_t i = 0; i < whole; i++) {
        memcpy(&u, bytes + i * sizeof u, sizeof u);
        bad |= ((u & b.mask) + b.one) & b.sign;
    }
    u = 0;
    memcpy(&u, bytes + whole * sizeof u, n % sizeof u);
    return (bad | (((u & b.mask) + b.one) & b.sign)) != 0;
}

static bool not_finite(const struct linear *l, uint64_t first, uint64_t n, struct error *err)
{
    return error_set(err, ERR_FORMAT, "tensor '%.256s' holds a value that is not finite (rows %llu to %llu)",
                     l->tensor->name, (unsigned long long)first, (unsigned long long)(first + n - 1));
}

/* NVFP4's scales of blocks are magnitudes: GPUs do not look at their sign. NaN is found elsewhere. */
static bool check_signs(const struct linear *l, uint64_t first, uint64_t n, const uint8_t *scales, uint64_t bytes,
                        struct error *err)
{
    uint8_t any = 0;
    for (uint64_t i = 0; i < bytes; i++) any |= scales[i] == (0x80 | E4M3_NAN) ? 0 : scales[i];
    if (any < 0x80) return true;
    return error_set(err, ERR_FORMAT, "tensor '%.256s.%s' holds a negative scale (rows %llu to %llu)",
                     l->tensor->module, tensor_part_suffix(PART_WEIGHT_SCALE), (unsigned long long)first,
                     (unsigned long long)(first + n - 1));
}

static bool read_part(const struct linear *l, const struct engine *e, enum tensor_part part, uint64_t first, uint64_t n,
                      uint8_t *dst, struct error *err)
{
    uint64_t bytes = row_bytes(l, e, part);
    return checkpoint_read(e->inv->checkpoint, l->tensor->parts[part], first * bytes, dst, n * bytes, err);
}

/* Formats whose scales are numbers of a plain type in a tensor of their own. */
static bool has_plain_scales(const struct linear *l)
{
    const struct quant_format *f = l->tensor->format;
    uint32_t rows;
    enum tensor_part part = scale_part(l, &rows);
    if (on_side(l)) return true;
    for (uint32_t i = 0; f && i < f->n_parts; i++)
        if (f->parts[i].part == part) return dtype_is_plain_float(f->parts[i].dtype);
    return false;
}

/* Rows [first, first + n) where a byte holds one column of two rows. */
static bool read_pairs(const struct linear *l, const struct engine *e, uint64_t first, uint64_t n, uint8_t *dst,
                       struct error *err)
{
    uint64_t from = first / 2, to = u64_div_up(first + n, 2), half = l->cols / 2;
    CLEANUP(free) uint8_t *pairs = NULL;
    if (!memory_alloc(&pairs, to - from, l->cols, err) || !read_part(l, e, PART_WEIGHT, from, to - from, pairs, err))
        return false;
    for (uint64_t r = 0; r < n; r++) {
        const uint8_t *pair = pairs + ((first + r) / 2 - from) * l->cols;
        uint32_t shift = (first + r) % 2 ? 4 : 0;
        for (uint64_t i = 0; i < half; i++)
            dst[r * half + i] = (uint8_t)((pair[2 * i] >> shift & 15u) | (pair[2 * i + 1] >> shift & 15u) << 4);
    }
    return true;
}

/* Codes and row scales of rows [first, first + n) as they are. */
static bool read_codes(const struct linear *l, const struct engine *e, uint64_t first, uint64_t n,
                       struct panel_scratch *s, struct error *err)
{
    if (l->stand_in) return true;
    if (on_side(l)) return int4_side_codes(e->inv->checkpoint, l->tensor, first, n, s->raw, err);
    if (!(has_row_pairs(l) ? read_pairs(l, e, first, n, s->raw, err)
                           : read_part(l, e, PART_WEIGHT, first, n, s->raw, err)))
        return false;
    if (!has_row_scales(l)) return true;
    if (!read_part(l, e, PART_WEIGHT_SCALE, first, n, s->scales, err)) return false;
    return !l->tensor->format || l->tensor->format->decode_op != OP_DECODE_NVFP4 ||
           check_signs(l, first, n, s->scales, n * row_bytes(l, e, PART_WEIGHT_SCALE), err);
}

/* Codes and scales of n rows apart, as panels want them; the codes move towards the front. */
static void split_rows(const struct linear *l, uint64_t n, struct panel_scratch *s)
{
    uint64_t n_blocks = n * (l->cols / Q8_0_BLOCK);
    for (uint64_t i = 0; i < n_blocks; i++) {
        const uint8_t *block = s->raw + i * Q8_0_BLOCK_BYTES;
        memcpy(s->scales + i * sizeof(uint16_t), block, sizeof(uint16_t));
        memmove(s->raw + i * Q8_0_BLOCK, block + sizeof(uint16_t), Q8_0_BLOCK);
    }
}

/* fp32 values of rows [from, from + n) of those that were read, which began with row `first`. */
static bool decode_rows(const struct linear *l, const struct engine *e, uint64_t first, uint64_t from, uint64_t n,
                        const struct panel_scratch *s, float *out, struct error *err)
{
    if (l->stand_in) return e->weights->rows(e->weights->ctx, l->tensor, first + from, n, out, err);
    const struct quant_format *f = l->tensor->format;
    const uint8_t *raw = s->raw + from * code_row_bytes(l, e);
    struct kernel_args a = {.n_rows = n,
                            .n_cols = l->cols,
                            .src = raw,
                            .dtype = weight_of(l, e)->dtype,
                            .blocks = weight_of(l, e)->dtype,
                            .scale = l->weight_scale,
                            .dst_f32 = out};
    if (has_row_scales(l)) a.src_scale = s->scales + from * row_bytes(l, e, PART_WEIGHT_SCALE);
    if (has_plain_scales(l)) {
        if (!scaled_rows(e, l->tensor, first + from, n, raw, out, err)) return false;
    } else {
        (f ? kernel_for(f->decode_op, e->isa) : e->widen)(&a);
    }
    return isfinite(e->math->amax(out, n * l->cols)) || not_finite(l, first + from, n, err);
}

bool panels_rows(const struct linear *l, const struct engine *e, struct scratch *from, uint64_t first, uint64_t n,
                 float *out, struct error *err)
{
    SCRATCH_SCOPE(from);
    struct panel_scratch s = {0};
    bool ok = panel_scratch_alloc(&s, l, e, from, err);
    for (uint64_t i = 0; ok && i < n; i += PANEL_ROWS) {
        uint64_t m = u64_min(PANEL_ROWS, n - i);
        ok = read_codes(l, e, first + i, m, &s, err) && decode_rows(l, e, first + i, 0, m, &s, out + i * l->cols, err);
    }
    panel_scratch_free(&s);
    return ok;
}

/* Checks scales of other methods, which are numbers of a plain type, and gives those of blocks in s->blocks. */
static bool check_scales(const struct linear *l, const struct engine *e, uint64_t first, uint64_t n,
                         struct panel_scratch *s, struct error *err)
{
    uint32_t rows;
    enum tensor_part part = scale_part(l, &rows);
    if (!has_plain_scales(l) || part == PART_COUNT) return true;
    uint64_t from = first / rows, to = u64_div_up(first + n, rows);
    free(s->blocks);
    s->blocks = NULL;
    if (!scaled_rows_scales(e, l->tensor, part, from, to - from, &s->blocks, err)) return false;
    uint64_t n_scales = (to - from) * l->packed.n_groups;
    float largest = l->packed.code == CODE_E4M3 ? 448.0f : 8.0f;
    return isfinite(largest * e->math->amax(s->blocks, n_scales)) || not_finite(l, first, n, err);
}

static bool check_codes(const struct linear *l, uint64_t first, uint64_t n, uint64_t code_bytes, uint64_t scale_bytes,
                        const struct panel_scratch *s, struct error *err)
{
    const struct packed *p = &l->packed;
    bool bad = p->code < CODE_E2M1 && p->code != CODE_I8 && any_not_finite(s->raw, code_bytes, p->code);
    if (p->scale == SCALE_E4M3) bad |= any_not_finite(s->scales, scale_bytes, CODE_E4M3);
    if (is_interleaved(l)) bad |= any_not_finite(s->scales, scale_bytes, CODE_F16);
    /* From here on 6 or 448 times the scale is no fp32 number; 255 is none itself. */
    uint8_t too_large = p->code == CODE_E4M3 ? 247 : 253;
    for (uint64_t i = 0; p->scale == SCALE_E8M0 && i < scale_bytes; i++) bad |= s->scales[i] >= too_large;
    return !bad || not_finite(l, first, n, err);
}

/* From numbers plus 8 to two's complement. */
static void flip_nibbles(uint8_t *codes, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) codes[i] ^= 0x88u;
}

/* Where panels find their rows in what was read; `first` is the first of these rows. */
static struct packed_source source_at(const struct linear *l, const struct engine *e, const struct panel_scratch *s,
                                      uint64_t first, uint64_t i)
{
    struct packed_source src = {.code_stride = code_row_bytes(l, e), .scales = &l->weight_scale};
    uint32_t rows;
    enum tensor_part part = scale_part(l, &rows);
    src.codes = s->raw + i * src.code_stride;
    if (is_interleaved(l)) {
        src.code_stride = l->cols;
        src.codes = s->raw + i * l->cols;
        src.scale_stride = scale_row_bytes(l, e);
        src.scales = s->scales + i * src.scale_stride;
    } else if (part != PART_COUNT && rows == 1) {
        src.scale_stride = row_bytes(l, e, part);
        src.scales = s->scales + i * src.scale_stride;
    } else if (part != PART_COUNT) {
        src.scales = s->blocks + ((first + i) / rows - first / rows) * l->packed.n_groups;
    }
    return src;
}

bool panels_read(const struct linear *l, const struct engine *e, uint64_t first, uint64_t n, struct panel_scratch *s,
                 uint8_t *out, struct error *err)
{
    const struct packed *p = &l->packed;
    uint64_t row = first * PANEL_ROWS, n_rows = u64_min(n * PANEL_ROWS, l->rows - row);
    uint64_t code_bytes = n_rows * code_row_bytes(l, e);
    uint64_t scale_bytes = n_rows * scale_row_bytes(l, e);
    if (!read_codes(l, e, row, n_rows, s, err)) return false;
    if (is_interleaved(l)) split_rows(l, n_rows, s);
    if (!l->decoded &&
        (!check_scales(l, e, row, n_rows, s, err) || !check_codes(l, row, n_rows, code_bytes, scale_bytes, s, err)))
        return false;
    if (p->code == CODE_I4 && l->tensor->format->decode_op == OP_DECODE_INT4_ZERO) flip_nibbles(s->raw, code_bytes);
    for (uint64_t i = 0; i < n_rows; i += PANEL_ROWS, out += p->panel_bytes) {
        struct packed_source src = source_at(l, e, s, row, i);
        src.n_rows = (uint32_t)u64_min(PANEL_ROWS, n_rows - i);
        if (!l->decoded) {
            packed_fill(p, &src, out);
            continue;
        }
        if (!decode_rows(l, e, row, i, src.n_rows, s, s->rows, err)) return false;
        src.codes = s->rows;
        src.code_stride = l->cols * sizeof(float);
        if (l->bf16) packed_fill_bf16(p, s->rows, l->cols, src.n_rows, out);
        else packed_fill(p, &src, out);
    }
    return true;
}
