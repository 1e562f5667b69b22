#include "formats/tensor_pieces.h"

#include "core/memory.h"

#define SPAN_BYTES ((uint64_t)1 << 18) /* read at once, what lies between wanted bytes included */

static int by_place(const void *a, const void *b)
{
    const struct tensor_piece *x = a, *y = b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return (x->col > y->col) - (x->col < y->col);
}

static bool bad_cover(const char *name, const char *why, struct error *err)
{
    return error_set(err, ERR_FORMAT, "tensor '%.256s': the stored parts %s", name, why);
}

/* Bands: groups with the same rows, one below the other, whose columns stand side by side. So every element has one
 * place, and reading finds it by a search. */
bool tensor_pieces_settle(const char *name, struct tensor_pieces *p, struct error *err)
{
    uint64_t row = 0;
    qsort(p->piece, p->n, sizeof *p->piece, by_place);
    for (uint32_t i = 0; i < p->n;) {
        uint64_t col = 0, rows = p->piece[i].rows;
        if (p->piece[i].row != row || rows == 0 || rows > p->rows - row)
            return bad_cover(name, "leave gaps or overlap", err);
        for (; i < p->n && p->piece[i].row == row; i++) {
            const struct tensor_piece *q = &p->piece[i];
            if (q->rows != rows)
                return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s': the stored parts are not bands of whole rows",
                                 name);
            if (q->col != col || q->cols == 0 || q->cols > p->cols - col)
                return bad_cover(name, "leave gaps or overlap", err);
            col += q->cols;
        }
        if (col != p->cols) return bad_cover(name, "leave gaps or overlap", err);
        row += rows;
    }
    return row == p->rows ? true : bad_cover(name, "do not cover it", err);
}

struct reading {
    const struct folder *folder;
    uint64_t elem; /* bytes of one */
    uint8_t *span; /* [SPAN_BYTES] */
    struct error *err;
};

/* Rows whose elements lie side by side: in one read where the rows do too or nearly, else row by row. */
static bool read_runs(struct reading *r, const struct tensor_piece *p, uint64_t offset, uint64_t rows, uint64_t cols,
                      uint8_t *dst, uint64_t pitch)
{
    uint64_t run = cols * r->elem;
    if ((p->row_step == run && pitch == run) || rows == 1)
        return folder_read(r->folder, p->member, offset, dst, (size_t)(rows * run), r->err);
    for (uint64_t i = 0; i < rows;) {
        uint64_t n = 1;
        if (p->row_step <= 2 * run && run < SPAN_BYTES / 2)
            n = u64_min(rows - i, 1 + (SPAN_BYTES - run) / (p->row_step ? p->row_step : run));
        bool direct = n == 1;
        uint8_t *to = direct ? dst + i * pitch : r->span;
        if (!folder_read(r->folder, p->member, offset + i * p->row_step, to, (size_t)((n - 1) * p->row_step + run),
                         r->err))
            return false;
        for (uint64_t k = 0; !direct && k < n; k++) memcpy(dst + (i + k) * pitch, r->span + k * p->row_step, run);
        i += n;
    }
    return true;
}

/* Steps between the elements of a row: what is gathered runs along whichever of rows and columns has the smaller steps,
 * in spans of SPAN_BYTES. */
static bool gather(struct reading *r, const struct tensor_piece *p, uint64_t offset, uint64_t n, uint64_t step,
                   uint8_t *dst, uint64_t to)
{
    uint64_t most = step ? 1 + (SPAN_BYTES - r->elem) / step : n;
    for (uint64_t i = 0; i < n;) {
        uint64_t m = u64_min(n - i, most);
        if (!folder_read(r->folder, p->member, offset + i * step, r->span, (size_t)((m - 1) * step + r->elem), r->err))
            return false;
        for (uint64_t k = 0; k < m; k++) memcpy(dst + (i + k) * to, r->span + k * step, r->elem);
        i += m;
    }
    return true;
}

static bool read_stepped(struct reading *r, const struct tensor_piece *p, uint64_t offset, uint64_t rows, uint64_t cols,
                         uint8_t *dst, uint64_t pitch)
{
    if (p->col_step <= p->row_step || rows == 1) {
        for (uint64_t i = 0; i < rows; i++)
            if (!gather(r, p, offset + i * p->row_step, cols, p->col_step, dst + i * pitch, r->elem)) return false;
        return true;
    }
    /* Columns of few rows lie near each other: as many of them in a span as fit, or they would take a read each. */
    uint64_t run = (rows - 1) * p->row_step + r->elem;
    uint64_t fit = run <= SPAN_BYTES / 2 && p->col_step <= 4 * run ? 1 + (SPAN_BYTES - run) / p->col_step : 1;
    for (uint64_t c = 0; c < cols;) {
        uint64_t n = u64_min(fit, cols - c);
        if (n == 1) {
            if (!gather(r, p, offset + c * p->col_step, rows, p->row_step, dst + c * r->elem, pitch)) return false;
        } else {
            if (!folder_read(r->folder, p->member, offset + c * p->col_step, r->span,
                             (size_t)((n - 1) * p->col_step + run), r->err))
                return false;
            for (uint64_t i = 0; i < rows; i++)
                for (uint64_t k = 0; k < n; k++)
                    memcpy(dst + i * pitch + (c + k) * r->elem, r->span + k * p->col_step + i * p->row_step, r->elem);
        }
        c += n;
    }
    return true;
}

/* Rows [row, row + rows) of the tensor, columns [col, col + cols), as far as they are in this piece. */
static bool read_box(struct reading *r, const struct tensor_piece *p, uint64_t row, uint64_t rows, uint64_t col,
                     uint64_t cols, uint8_t *dst)
{
    uint64_t from = col > p->col ? col : p->col, to = u64_min(col + cols, p->col + p->cols);
    if (from >= to) return true;
    uint64_t offset = p->offset + (row - p->row) * p->row_step + (from - p->col) * p->col_step;
    uint8_t *at = dst + (from - col) * r->elem;
    if (p->col_step == r->elem) return read_runs(r, p, offset, rows, to - from, at, cols * r->elem);
    return read_stepped(r, p, offset, rows, to - from, at, cols * r->elem);
}

static uint32_t first_of_band(const struct tensor_pieces *p, uint64_t row)
{
    uint32_t lo = 0, hi = p->n; /* the first piece whose rows end behind `row` */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (p->piece[mid].row + p->piece[mid].rows <= row) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* Whole rows, or a part of one row. */
static bool read_rows(struct reading *r, const struct tensor_pieces *p, uint64_t row, uint64_t rows, uint64_t col,
                      uint64_t cols, uint8_t *dst)
{
    while (rows) {
        uint32_t i = first_of_band(p, row);
        const struct tensor_piece *band = &p->piece[i];
        uint64_t n = u64_min(rows, band->row + band->rows - row);
        for (uint64_t top = band->row; i < p->n && p->piece[i].row == top; i++)
            if (!read_box(r, &p->piece[i], row, n, col, cols, dst)) return false;
        row += n;
        rows -= n;
        dst += n * cols * r->elem;
    }
    return true;
}

bool tensor_pieces_read(const struct folder *f, const struct tensor_info *t, uint64_t offset, void *dst, size_t n,
                        struct error *err)
{
    const struct tensor_pieces *p = t->pieces;
    struct reading r = {.folder = f, .elem = dtype_block_bytes(t->dtype), .err = err};
    if (n == 0) return true;
    if (offset % r.elem || n % r.elem)
        return error_set(err, ERR_INTERNAL, "bytes %llu and %zu more are not whole elements",
                         (unsigned long long)offset, n);
    CLEANUP(free) uint8_t *span = NULL;
    if (!memory_alloc(&span, SPAN_BYTES, 1, err)) return false;
    r.span = span;
    uint8_t *at = dst;
    for (uint64_t e = offset / r.elem, left = n / r.elem; left;) {
        uint64_t row = e / p->cols, col = e % p->cols, rows = 1, cols = u64_min(left, p->cols - col);
        if (col == 0 && left >= p->cols) rows = left / p->cols;
        if (!read_rows(&r, p, row, rows, col, cols, at)) return false;
        e += rows * cols;
        left -= rows * cols;
        at += rows * cols * r.elem;
    }
    return true;
}
