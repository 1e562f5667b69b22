/* The loop of `convert`: pieces of rows, each read, cast and written by one worker. */
#include "convert/cast.h"
#include "convert/coded.h"
#include "convert/convert.h"

#include "core/memory.h"
#include "numeric/numeric.h"

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

static bool is_coded(const struct convert_item *t)
{
    return t->tensors && t->tensors[0]->format && (!dtype_is_blocks(t->from) || t->tensors[0]->format->n_parts > 1);
}

/* Of what lies row by row as it is: small areas, which the C library hands out again, in place of ones that the system
 * maps and clears for each piece. Half of such a conversion's time was that. */
#define PLAIN_PIECE_BYTES ((uint64_t)256 << 10)

static uint64_t rows_of_piece(const struct convert_item *t)
{
    uint64_t piece = t->read || is_coded(t) ? CONVERT_PIECE_BYTES : PLAIN_PIECE_BYTES;
    uint64_t row = t->cols * sizeof(float), n = row ? piece / row : 1;
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

/* The row of the source that row `row` of the output is. */
static uint64_t source_row(const struct convert_item *t, uint64_t row)
{
    if (t->separate) {
        uint64_t k = row % t->separate, half = t->separate / 2;
        return row - k + (k < half ? 2 * k : 2 * (k - half) + 1);
    }
    if (!t->interleave) return row;
    uint64_t k = row % t->interleave;
    return row - k + k / 2 + (k % 2 ? t->interleave / 2 : 0);
}

/* Rows of one part that lie in `run` rows of it, one behind the other. */
struct rows {
    const struct checkpoint *ck;
    const struct convert_item *t;
    uint64_t isa;
    uint64_t part, row, n; /* n rows from row `row` of the part on, in the output's order */
};

static struct coded coded_of(const struct rows *r)
{
    return (struct coded){r->ck, r->t->tensors[r->part], r->isa};
}

/* Rows in another order come one by one. */
static bool each_row(const struct rows *r, uint8_t *dst, uint64_t row_bytes,
                     bool (*read)(const struct rows *r, uint64_t row, uint64_t n, uint8_t *dst, struct error *err),
                     struct error *err)
{
    if (!r->t->interleave && !r->t->separate) return read(r, r->row, r->n, dst, err);
    for (uint64_t i = 0; i < r->n; i++)
        if (!read(r, source_row(r->t, r->row + i), 1, dst + i * row_bytes, err)) return false;
    return true;
}

static bool read_raw(const struct rows *r, uint64_t row, uint64_t n, uint8_t *dst, struct error *err)
{
    uint64_t row_bytes = dtype_row_bytes(r->t->from, r->t->cols);
    return checkpoint_read(r->ck, r->t->parts[r->part], row * row_bytes, dst, n * row_bytes, err);
}

static bool read_repacked(const struct rows *r, uint64_t row, uint64_t n, uint8_t *dst, struct error *err)
{
    struct coded c = coded_of(r);
    return coded_repack(&c, row, n, dst, err);
}

static bool read_decoded(const struct rows *r, uint64_t row, uint64_t n, uint8_t *dst, struct error *err)
{
    struct coded c = coded_of(r);
    return coded_rows(&c, row, n, (float *)(void *)dst, err);
}

/* Codes and scales go over as they are. */
static bool is_repacked(const struct convert_item *t)
{
    return is_coded(t) && !t->scales && dtype_is_blocks(t->to) && !dtype_is_blocks(t->from) &&
           coded_twin(t->tensors[0]->format, t->cols) == t->to;
}

static struct cast cast_of(const struct rows *r)
{
    struct cast c = cast_make(r->t->from, r->t->to, (enum cast_change)r->t->change, r->isa);
    if (r->t->scales) c.to_scale = r->t->scales[r->part];
    return c;
}

/* fp32, without the change that the item makes of them. */
static bool plain_values(const struct rows *r, float *dst, struct error *err)
{
    const struct convert_item *t = r->t;
    CLEANUP(free) uint8_t *src = NULL;
    struct cast c = cast_of(r);
    uint64_t row_bytes = dtype_row_bytes(t->from, t->cols);
    if (is_coded(t)) return each_row(r, (uint8_t *)dst, t->cols * sizeof *dst, read_decoded, err);
    if (!memory_alloc(&src, r->n * row_bytes, 1, err) || !each_row(r, src, row_bytes, read_raw, err)) return false;
    cast_decode(&c, src, r->n, t->cols, dst);
    return true;
}

static bool part_rows(const struct rows *r, uint8_t *dst, struct error *err)
{
    const struct convert_item *t = r->t;
    CLEANUP(free) uint8_t *src = NULL;
    CLEANUP(free) float *scratch = NULL;
    struct cast c = cast_of(r);
    uint64_t row_bytes = dtype_row_bytes(t->from, t->cols);
    bool raw = t->from == t->to && t->change == CAST_SAME, coded = is_coded(t);
    if (is_repacked(t)) return each_row(r, dst, dtype_row_bytes(t->to, t->cols), read_repacked, err);
    if (raw) return each_row(r, dst, row_bytes, read_raw, err) && cast_rows(&c, dst, r->n, t->cols, NULL, dst, err);
    if (!memory_alloc(&scratch, r->n * t->cols, sizeof *scratch, err)) return false;
    if (coded) return plain_values(r, scratch, err) && cast_f32_rows(&c, scratch, r->n, t->cols, dst, err);
    return memory_alloc(&src, r->n * row_bytes, 1, err) && each_row(r, src, row_bytes, read_raw, err) &&
           cast_rows(&c, src, r->n, t->cols, scratch, dst, err);
}

/* Calls fn for what lies in one part, and then in the next. */
static bool by_parts(struct rows r, uint64_t first, uint64_t n, uint8_t *dst, uint64_t row_bytes,
                     bool (*fn)(const struct rows *r, uint8_t *dst, struct error *err), struct error *err)
{
    while (n) {
        r.part = first / r.t->part_rows;
        r.row = first % r.t->part_rows;
        r.n = u64_min(n, r.t->part_rows - r.row);
        if (!fn(&r, dst, err)) return error_wrap(err, "tensor '%.256s'", r.t->name);
        first += r.n;
        n -= r.n;
        dst += r.n * row_bytes;
    }
    return true;
}

static bool part_values(const struct rows *r, uint8_t *dst, struct error *err)
{
    return plain_values(r, (float *)(void *)dst, err);
}

/* Rows that somebody makes. */
static bool made_rows(const struct convert_item *t, uint64_t isa, uint32_t worker, uint64_t first, uint64_t n,
                      void *dst, struct error *err)
{
    struct cast c = cast_make(DTYPE_F32, t->to, (enum cast_change)t->change, isa);
    CLEANUP(free) float *values = NULL;
    if (t->scales) c.to_scale = t->scales[0];
    return memory_alloc(&values, n * t->cols, sizeof *values, err) &&
           t->read(t->read_ctx, worker, first, n, values, err) &&
           (cast_f32_rows(&c, values, n, t->cols, dst, err) || error_wrap(err, "tensor '%.256s'", t->name));
}

bool convert_rows(const struct checkpoint *ck, const struct convert_item *item, uint64_t isa, uint32_t worker,
                  uint64_t first, uint64_t n, void *dst, struct error *err)
{
    if (item->read) return made_rows(item, isa, worker, first, n, dst, err);
    return by_parts((struct rows){.ck = ck, .t = item, .isa = isa}, first, n, dst,
                    dtype_row_bytes(item->to, item->cols), part_rows, err);
}

bool convert_values(const struct checkpoint *ck, const struct convert_item *item, uint64_t isa, uint64_t first,
                    uint64_t n, float *dst, struct error *err)
{
    if (item->read) return item->read(item->read_ctx, 0, first, n, dst, err);
    return by_parts((struct rows){.ck = ck, .t = item, .isa = isa}, first, n, (uint8_t *)dst, item->cols * sizeof *dst,
                    part_values, err);
}

static bool piece(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    const struct run *r = ctx;
    uint32_t item = item_of(r, r->base + i);
    const struct convert_item *t = &r->items[item];
    uint64_t step = rows_of_piece(t), row = (r->base + i - r->first[item]) * step, n = u64_min(step, t->rows - row);
    uint64_t row_bytes = dtype_row_bytes(t->to, t->cols);
    CLEANUP(free) void *dst = NULL;
    return memory_alloc(&dst, n * row_bytes, 1, err) && convert_rows(r->ck, t, r->opt->isa, worker, row, n, dst, err) &&
           r->write(r->ctx, item, row * row_bytes, dst, n * row_bytes, err);
}

/* ---- largest magnitudes ---- */

struct amax_run {
    const struct checkpoint *ck;
    const struct convert_item *t;
    uint64_t isa, step, per_part;
    float *found; /* [pieces] */
};

static bool amax_piece(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct amax_run *r = ctx;
    uint64_t row = i % r->per_part * r->step, n = u64_min(r->step, r->t->part_rows - row);
    CLEANUP(free) float *v = NULL;
    if (!memory_alloc(&v, n * r->t->cols, sizeof *v, err) ||
        !convert_values(r->ck, r->t, r->isa, i / r->per_part * r->t->part_rows + row, n, v, err))
        return false;
    kernel_for(OP_AMAX, r->isa)(&(struct kernel_args){
        .n_rows = 1, .n_cols = n * r->t->cols, .src = v, .dtype = DTYPE_F32, .dst_f32 = &r->found[i]});
    return true;
}

bool convert_amax(const struct checkpoint *ck, const struct convert_item *item, const struct convert_options *opt,
                  float *out, struct error *err)
{
    struct amax_run r = {.ck = ck, .t = item, .isa = opt->isa, .step = rows_of_piece(item)};
    r.per_part = u64_div_up(item->part_rows, r.step);
    CLEANUP(free) float *found = NULL;
    if (!memory_zalloc(&found, item->n_parts * r.per_part, sizeof *found, err)) return false;
    r.found = found;
    if (!pool_try(opt->pool, item->n_parts * r.per_part, amax_piece, &r, err)) return false;
    for (uint32_t p = 0; p < item->n_parts; p++) {
        out[p] = 0;
        for (uint64_t i = 0; i < r.per_part; i++) out[p] = f32_amax(out[p], found[p * r.per_part + i]);
    }
    return true;
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
