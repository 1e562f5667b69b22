/* The loop of `convert`: pieces of rows, each read, cast and written by one worker. */
#include "convert/cast.h"
#include "convert/convert.h"

#include "core/memory.h"

#define PIECES_AT_ONCE 256u /* between two looks at the progress: a cancelled run ends within a second or so */

struct run {
    const struct checkpoint *ck;
    const struct convert_item *items;
    uint32_t n_items;
    uint64_t *first; /* [n_items + 1] number of the first piece of each item */
    uint64_t base;   /* of this parallel-for */
    const struct convert_options *opt;
    convert_write_fn write;
    void *ctx;
};

static uint64_t rows_of_piece(const struct convert_item *t)
{
    uint64_t row = t->cols * sizeof(float), n = row ? CONVERT_PIECE_BYTES / row : 1;
    return n ? n : 1;
}

static uint32_t item_of(const struct run *r, uint64_t piece)
{
    uint32_t lo = 0, hi = r->n_items;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (r->first[mid] <= piece) lo = mid;
        else hi = mid;
    }
    return lo;
}

/* The row of the folder that row `row` of GGUF is. */
static uint64_t source_row(const struct convert_item *t, uint64_t row)
{
    if (!t->interleave) return row;
    uint64_t k = row % t->interleave;
    return row - k + k / 2 + (k % 2 ? t->interleave / 2 : 0);
}

/* Rows that lie together are read together. */
static bool read_rows(const struct run *r, const struct convert_item *t, uint32_t worker, uint64_t first, uint64_t n,
                      uint8_t *dst, struct error *err)
{
    uint64_t row_bytes = dtype_row_bytes(t->from, t->cols);
    if (t->read) return t->read(t->read_ctx, worker, first, n, (float *)(void *)dst, err);
    while (n) {
        uint64_t part = first / t->part_rows, row = first % t->part_rows, run = u64_min(n, t->part_rows - row);
        if (t->interleave) run = 1;
        if (!checkpoint_read(r->ck, t->parts[part], source_row(t, row) * row_bytes, dst, run * row_bytes, err))
            return false;
        first += run;
        n -= run;
        dst += run * row_bytes;
    }
    return true;
}

static bool piece(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    const struct run *r = ctx;
    uint32_t item = item_of(r, r->base + i);
    const struct convert_item *t = &r->items[item];
    uint64_t step = rows_of_piece(t), row = (r->base + i - r->first[item]) * step, n = u64_min(step, t->rows - row);
    struct cast c = cast_make(t->from, t->to, (enum cast_change)t->change, r->opt->isa);
    uint64_t bytes = n * dtype_row_bytes(t->to, t->cols), offset = row * dtype_row_bytes(t->to, t->cols);
    CLEANUP(free) void *src = NULL;
    CLEANUP(free) void *dst = NULL;
    CLEANUP(free) float *scratch = NULL;
    bool raw = t->from == t->to && t->change == CAST_SAME;
    if (!memory_alloc(&src, n * dtype_row_bytes(t->from, t->cols), 1, err) || !memory_alloc(&dst, bytes, 1, err) ||
        !memory_alloc(&scratch, raw ? 1 : n * t->cols, sizeof *scratch, err) ||
        !read_rows(r, t, worker, row, n, src, err))
        return false;
    return (cast_rows(&c, src, n, t->cols, scratch, dst, err) || error_wrap(err, "tensor '%.256s'", t->name)) &&
           r->write(r->ctx, item, offset, dst, bytes, err);
}

bool convert_items(const struct checkpoint *ck, const struct convert_item *items, uint32_t n,
                   const struct convert_options *opt, convert_write_fn write, void *ctx, const struct progress *pr,
                   struct error *err)
{
    CLEANUP(free) uint64_t *first = malloc((n + 1) * sizeof *first);
    if (!first) return error_memory(err, n * sizeof *first);
    first[0] = 0;
    for (uint32_t i = 0; i < n; i++)
        first[i + 1] = first[i] + (items[i].cols ? u64_div_up(items[i].rows, rows_of_piece(&items[i])) : 0);
    struct run r = {.ck = ck, .items = items, .n_items = n, .first = first, .opt = opt, .write = write, .ctx = ctx};
    for (r.base = 0; r.base < first[n]; r.base += PIECES_AT_ONCE) {
        progress_update(pr, "convert", items[item_of(&r, r.base)].name, r.base, first[n]);
        if (!progress_go_on(pr, err) ||
            !pool_try(opt->pool, u64_min(PIECES_AT_ONCE, first[n] - r.base), piece, &r, err))
            return false;
    }
    return true;
}
