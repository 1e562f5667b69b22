/* Reading parts of a stored tensor: rows of a stack that lie apart, or columns that serve as rows. */
#include "formats/checkpoint.h"

#include "core/memory.h"
#include "numeric/half.h"
#include "numeric/mxfp4.h"

#define SPAN_BYTES (1u << 18) /* read at once, what lies between wanted bytes included; a column may need more */
#define TILE_COLUMNS 64u      /* that become rows together */

struct reading {
    const struct folder *folder;
    const struct tensor_info *t;
    uint64_t cols, elem; /* elem: bytes of one */
    uint64_t first, end; /* elements that are wanted, in the view's order */
    uint8_t *dst, *span;
    uint64_t span_bytes;
    struct error *err;
};

/* The file's n bytes from element (row, col) of the view on, at byte `at` of the span. */
static bool read_span(struct reading *r, uint64_t row, uint64_t col, uint64_t at, uint64_t n)
{
    const struct tensor_view *v = r->t->view;
    return folder_read(r->folder, r->t->member, r->t->offset + row * v->row_step + col * v->col_step, r->span + at, n,
                       r->err);
}

static bool reserve_span(struct reading *r, uint64_t n)
{
    if (n <= r->span_bytes) return true;
    free(r->span);
    r->span_bytes = 0;
    if (!memory_alloc(&r->span, n, 1, r->err)) return false;
    r->span_bytes = n;
    return true;
}

/* A row's elements lie side by side: as many rows at once as fit. */
static bool read_rows(struct reading *r)
{
    const struct tensor_view *v = r->t->view;
    for (uint64_t at = r->first; at < r->end;) {
        uint64_t row = at / r->cols, col = at % r->cols;
        uint64_t n = 1, room = SPAN_BYTES / (v->row_step ? v->row_step : 1), left = r->end - at;
        uint64_t run = u64_min(left, r->cols - col); /* of the first row */
        if (col == 0 && left >= r->cols) n = u64_min(left / r->cols, room ? room : 1);
        uint64_t bytes = (n - 1) * v->row_step + run * r->elem;
        if (!reserve_span(r, bytes) || !read_span(r, row, col, 0, bytes)) return false;
        for (uint64_t i = 0; i < n; i++)
            memcpy(r->dst + (at - r->first + i * r->cols) * r->elem, r->span + i * v->row_step, run * r->elem);
        at += n * run;
    }
    return true;
}

/* A tile of columns [col, col + n) over all rows that are wanted, column after column `stride` bytes apart in the span:
 * what lies between them is read too where it is little. */
static bool read_tile(struct reading *r, uint64_t row, uint64_t col, uint64_t n, uint64_t run, uint64_t *stride)
{
    const struct tensor_view *v = r->t->view;
    if (v->col_step >= run && v->col_step <= 2 * run) {
        *stride = v->col_step;
        uint64_t bytes = (n - 1) * v->col_step + run;
        return reserve_span(r, bytes) && read_span(r, row, col, 0, bytes);
    }
    *stride = run;
    if (!reserve_span(r, n * run)) return false;
    for (uint64_t i = 0; i < n; i++)
        if (!read_span(r, row, col + i, i * run, run)) return false;
    return true;
}

/* From columns to rows. Both sides of a tile stay in the cache. */
static void turn_tile(const struct reading *r, uint64_t row, uint64_t rows, uint64_t col, uint64_t n, uint64_t stride)
{
    uint64_t step = r->t->view->row_step;
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t at = (row + i) * r->cols + col, from = at < r->first ? u64_min(r->first - at, n) : 0,
                 to = at + n > r->end ? (at < r->end ? r->end - at : 0) : n;
        if (from >= to) continue;
        const uint8_t *src = r->span + i * step + from * stride;
        uint8_t *dst = r->dst + (at + from - r->first) * r->elem;
        if (r->elem == sizeof(uint16_t))
            for (uint64_t k = from; k < to; k++, src += stride, dst += sizeof(uint16_t)) memcpy(dst, src, 2);
        else
            for (uint64_t k = from; k < to; k++, src += stride, dst += r->elem) memcpy(dst, src, r->elem);
    }
}

/* A column's elements lie near each other: tiles of columns over all rows that are wanted. */
static bool read_columns(struct reading *r)
{
    uint64_t row = r->first / r->cols, rows = (r->end - 1) / r->cols - row + 1;
    uint64_t run = (rows - 1) * r->t->view->row_step + r->elem, tile = SPAN_BYTES / run, stride;
    if (tile > TILE_COLUMNS) tile = TILE_COLUMNS;
    if (tile == 0) tile = 1;
    for (uint64_t c = 0; c < r->cols; c += tile) {
        uint64_t n = u64_min(tile, r->cols - c);
        if (!read_tile(r, row, c, n, run, &stride)) return false;
        turn_tile(r, row, rows, c, n, stride);
    }
    return true;
}

/* Elements [x, x + n) of a tensor of MXFP4, every `step`th of them, as BF16 at dst, `to` elements apart. */
static bool read_mxfp4(struct reading *r, uint64_t x, uint64_t n, uint64_t step, uint8_t *dst, uint64_t to)
{
    const struct tensor_view *v = r->t->view;
    uint64_t last = x + (n - 1) * step, code0 = x / 2, scale0 = x / 32;
    uint64_t n_codes = last / 2 - code0 + 1, n_scales = last / 32 - scale0 + 1;
    if (n_codes + n_scales > r->span_bytes) {
        free(r->span);
        r->span_bytes = 0;
        if (!memory_alloc(&r->span, n_codes + n_scales, 1, r->err)) return false;
        r->span_bytes = n_codes + n_scales;
    }
    uint8_t *scales = r->span + n_codes;
    if (!folder_read(r->folder, r->t->member, r->t->offset + code0, r->span, n_codes, r->err) ||
        !folder_read(r->folder, v->scales_member, v->scales_offset + scale0, scales, n_scales, r->err))
        return false;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = x + i * step;
        uint8_t code = (uint8_t)(r->span[at / 2 - code0] >> at % 2 * 4 & 15u), scale = scales[at / 32 - scale0];
        float value = scale == E8M0_NAN ? f32_from_bits(F32_NAN_BITS) : e2m1_decode(code) * e8m0_decode(scale);
        uint16_t half = bf16_encode(value);
        memcpy(dst + i * to * sizeof half, &half, sizeof half);
    }
    return true;
}

/* Column by column, over the rows that are wanted of each. */
static bool read_decoded(struct reading *r)
{
    const struct tensor_view *v = r->t->view;
    for (uint64_t c = 0; c < r->cols; c++) {
        uint64_t row = r->first / r->cols + (c < r->first % r->cols), end = (r->end + r->cols - 1 - c) / r->cols;
        if (row >= end) continue;
        uint64_t at = row * r->cols + c - r->first;
        if (!read_mxfp4(r, v->first + row * v->row_step + c * v->col_step, end - row, v->row_step,
                        r->dst + at * r->elem, r->cols))
            return false;
    }
    return true;
}

bool tensor_view_read(const struct folder *f, const struct tensor_info *t, uint64_t offset, void *dst, size_t n,
                      struct error *err)
{
    uint64_t elem = dtype_bytes(t->dtype);
    if (n == 0) return true;
    if (offset % elem || n % elem)
        return error_set(err, ERR_INTERNAL, "bytes %llu and %zu more are not whole elements",
                         (unsigned long long)offset, n);
    struct reading r = {.folder = f,
                        .t = t,
                        .cols = t->n_dims > 1 ? t->dims[1] : 1,
                        .elem = elem,
                        .first = offset / elem,
                        .end = (offset + n) / elem,
                        .dst = dst,
                        .err = err};
    bool ok = t->view->is_mxfp4                          ? read_decoded(&r)
              : t->view->col_step == elem || r.cols == 1 ? read_rows(&r)
                                                         : read_columns(&r);
    free(r.span);
    return ok;
}
