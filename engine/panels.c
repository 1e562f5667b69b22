#include "engine/panels.h"

#include "core/memory.h"

#include <math.h>

#define READ_BYTES (1u << 20)

static const struct tensor_info *weight_of(const struct linear *l, const struct engine *e)
{
    return checkpoint_tensor(e->inv->checkpoint, l->tensor->parts[PART_WEIGHT]);
}

/* Rows of codes and scales as kernel_args.h has them are what panels are made of, so a format needs one line here. A
 * format without one is decoded to fp32 and kept so (bf16 compute: rounded to bf16). */
static const struct {
    enum op decode_op;
    enum packed_code code;
    enum packed_scale scale;
    uint64_t group; /* 0: the tensor has one scale */
    float largest;  /* value of a code and a scale, over weight_scale */
} packings[] = {
    {OP_DECODE_NVFP4, CODE_E2M1, SCALE_E4M3, 16, 6.0f * 448.0f},
    {OP_DECODE_FP8, CODE_E4M3, SCALE_F32, 0, 448.0f},
};

static bool packed_format(struct linear *l)
{
    for (size_t i = 0; i < sizeof packings / sizeof *packings; i++)
        if (packings[i].decode_op == l->tensor->format->decode_op)
            return isfinite(packings[i].largest * l->weight_scale) &&
                   packed_shape(&l->packed, packings[i].code, packings[i].scale, l->rows, l->cols,
                                packings[i].group ? packings[i].group : l->cols, l->weight_scale);
    return false;
}

bool panels_open(struct linear *l, const struct engine *e, struct error *err)
{
    enum dtype dtype = weight_of(l, e)->dtype;
    enum packed_code code = dtype == DTYPE_F32 ? CODE_F32 : dtype == DTYPE_F16 ? CODE_F16 : CODE_BF16;
    if (l->tensor->format && packed_format(l)) return true;
    l->decoded = l->tensor->format || (l->bf16 && code != CODE_BF16);
    if (l->decoded) code = l->bf16 ? CODE_BF16 : CODE_F32;
    return packed_shape(&l->packed, code, SCALE_NONE, l->rows, l->cols, l->cols, 1.0f) ||
           error_set(err, ERR_INTERNAL, "tensor '%.256s' is empty", l->tensor->name);
}

/* ---- scratch ---- */

static uint64_t row_bytes(const struct linear *l, const struct engine *e, enum tensor_part part)
{
    const struct tensor_info *info = checkpoint_tensor(e->inv->checkpoint, l->tensor->parts[part]);
    return info->dims[1] * dtype_bytes(info->dtype);
}

static bool has_scales(const struct linear *l)
{
    const struct quant_format *f = l->tensor->format;
    for (uint32_t i = 0; f && i < f->n_parts; i++)
        if (f->parts[i].part == PART_WEIGHT_SCALE && f->parts[i].cols_per_elem) return true;
    return false;
}

uint64_t panels_per_read(const struct linear *l)
{
    uint64_t n = READ_BYTES / l->packed.panel_bytes;
    return n ? n : 1;
}

bool panel_scratch_alloc(struct panel_scratch *s, const struct linear *l, const struct engine *e, struct error *err)
{
    *s = (struct panel_scratch){.n_panels = u64_min(panels_per_read(l), packed_panels(&l->packed))};
    uint64_t rows = s->n_panels * PANEL_ROWS, scales = has_scales(l) ? row_bytes(l, e, PART_WEIGHT_SCALE) : 0;
    return memory_alloc(&s->raw, rows, row_bytes(l, e, PART_WEIGHT), err) &&
           memory_alloc(&s->scales, rows, scales, err) &&
           memory_alloc(&s->panels, s->n_panels, l->packed.panel_bytes, err) &&
           (!l->decoded || memory_alloc(&s->rows, PANEL_ROWS * l->cols, sizeof(float), err));
}

void panel_scratch_free(struct panel_scratch *s)
{
    free(s->raw);
    free(s->scales);
    free(s->rows);
    free(s->panels);
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

static bool read_part(const struct linear *l, const struct engine *e, enum tensor_part part, uint64_t first, uint64_t n,
                      uint8_t *dst, struct error *err)
{
    uint64_t bytes = row_bytes(l, e, part);
    return checkpoint_read(e->inv->checkpoint, l->tensor->parts[part], first * bytes, dst, n * bytes, err);
}

/* One panel by way of fp32: rows [from, from + n) of what was read. */
static bool decode_panel(const struct linear *l, const struct engine *e, uint64_t first, uint64_t from, uint32_t n,
                         const struct panel_scratch *s, uint8_t *panel, struct error *err)
{
    const struct quant_format *f = l->tensor->format;
    struct kernel_args a = {.n_rows = n,
                            .n_cols = l->cols,
                            .src = s->raw + from * row_bytes(l, e, PART_WEIGHT),
                            .dtype = weight_of(l, e)->dtype,
                            .scale = l->weight_scale,
                            .dst_f32 = s->rows};
    if (has_scales(l)) a.src_scale = s->scales + from * row_bytes(l, e, PART_WEIGHT_SCALE);
    (f ? kernel_for(f->decode_op, e->isa) : e->widen)(&a);
    if (!isfinite(e->math->amax(s->rows, n * l->cols))) return not_finite(l, first + from, n, err);
    struct packed_source src = {.codes = s->rows, .code_stride = l->cols * sizeof(float), .n_rows = n};
    if (l->bf16) packed_fill_bf16(&l->packed, s->rows, l->cols, n, panel);
    else packed_fill(&l->packed, &src, panel);
    return true;
}

bool panels_read(const struct linear *l, const struct engine *e, uint64_t first, uint64_t n, struct panel_scratch *s,
                 uint8_t *out, struct error *err)
{
    const struct packed *p = &l->packed;
    uint64_t row = first * PANEL_ROWS, n_rows = u64_min(n * PANEL_ROWS, l->rows - row);
    uint64_t code_stride = row_bytes(l, e, PART_WEIGHT), scale_stride = 0;
    const uint8_t *scales = (const uint8_t *)&l->weight_scale;
    if (!read_part(l, e, PART_WEIGHT, row, n_rows, s->raw, err)) return false;
    if (has_scales(l)) {
        if (!read_part(l, e, PART_WEIGHT_SCALE, row, n_rows, s->scales, err)) return false;
        scale_stride = row_bytes(l, e, PART_WEIGHT_SCALE);
        scales = s->scales;
    }
    if (!l->decoded) {
        bool bad = p->code < CODE_E2M1 && any_not_finite(s->raw, n_rows * code_stride, p->code);
        if (p->scale == SCALE_E4M3) bad |= any_not_finite(s->scales, n_rows * scale_stride, CODE_E4M3);
        if (bad) return not_finite(l, row, n_rows, err);
    }
    for (uint64_t i = 0; i < n_rows; i += PANEL_ROWS, out += p->panel_bytes) {
        uint32_t panel_rows = (uint32_t)u64_min(PANEL_ROWS, n_rows - i);
        struct packed_source src = {.codes = s->raw + i * code_stride,
                                    .scales = scales + i * scale_stride,
                                    .code_stride = code_stride,
                                    .scale_stride = scale_stride,
                                    .n_rows = panel_rows};
        if (!l->decoded) packed_fill(p, &src, out);
        else if (!decode_panel(l, e, row, i, panel_rows, s, out, err)) return false;
    }
    return true;
}
