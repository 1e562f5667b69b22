/* convert --verify: the file that was written, opened as any other and held against the source. */
#include "convert/cast.h"
#include "convert/convert.h"
#include "core/memory.h"
#include "formats/gguf_write.h"

#include <math.h>

/* Where the codes of a type may end up: the largest |read back - source| over the largest magnitude that shares a scale
 * with it. Q8_0, Q4_0, Q5_0, Q5_1: half a step, a whole one where the far end is cut, and the rounding of the scale.
 * The K types search for the least weighted error over 256 numbers, which nobody bounds: twice what a plain rounding
 * would leave, enough to tell rows, tensors and scales apart. MXFP4 cuts just below 8 steps to 6. NVFP4:
 * formats/quant_format_impl.h. */
static double bound_of(enum dtype t, uint32_t *group)
{
    *group = dtype_block_elems(t);
    switch (t) {
    case DTYPE_Q8_0: return 1.0 / 254 + 1.0 / 1024;
    case DTYPE_Q4_0: return 1.0 / 8 + 1.0 / 512;
    case DTYPE_Q5_0: return 1.0 / 16 + 1.0 / 512;
    case DTYPE_Q5_1: return 1.0 / 31 + 1.0 / 512;
    case DTYPE_Q4_K: return 2.0 / 15;
    case DTYPE_Q5_K: return 2.0 / 31;
    case DTYPE_Q6_K: return 2.0 / 32;
    case DTYPE_GGML_MXFP4: return 1.0 / 4 + 1.0 / 512;
    case DTYPE_GGML_NVFP4: *group = 16; return 1.0 / 6 * 18 / 17 + 1.0 / 512;
    default: return 0;
    }
}

struct check {
    const struct checkpoint *ck;
    const struct folder *folder;
    const struct gguf *g;
    const struct convert_item *t;
    const struct gguf_tensor *stored;
    const struct convert_options *opt;
    uint64_t step;
    double *worst; /* [pieces] over the bound */
};

/* Nothing is lost on the way, or rounded once: the bytes follow. */
static bool is_exact(const struct convert_item *t)
{
    return !dtype_is_blocks(t->to) || t->from == t->to || (t->tensors && !t->scales && !dtype_is_blocks(t->from));
}

static bool differs(const struct check *c, uint64_t row, struct error *err)
{
    return error_set(err, ERR_MISMATCH, "tensor '%.256s': row %llu does not hold what the source says", c->t->name,
                     (unsigned long long)row);
}

static bool same_bytes(const struct check *c, uint32_t worker, uint64_t first, uint64_t n, const uint8_t *read,
                       struct error *err)
{
    uint64_t row_bytes = dtype_row_bytes(c->t->to, c->t->cols);
    CLEANUP(free) uint8_t *want = NULL;
    if (!memory_alloc(&want, n * row_bytes, 1, err) ||
        !convert_rows(c->ck, c->t, c->opt->isa, worker, first, n, want, err))
        return false;
    for (uint64_t r = 0; r < n; r++)
        if (memcmp(read + r * row_bytes, want + r * row_bytes, row_bytes) != 0) return differs(c, first + r, err);
    return true;
}

/* Denormal scales round by up to 2^-25 of a step each: added where blocks are that small. */
static double group_error(const float *got, const float *want, uint32_t n, double bound, double steps)
{
    double amax = 0, error = 0;
    for (uint32_t i = 0; i < n; i++) {
        amax = fmax(amax, fabs((double)want[i]));
        double off = fabs((double)got[i] - (double)want[i]);
        if (!(off <= error)) error = isnan(off) ? HUGE_VAL : off;
    }
    double allowed = bound * amax + steps * 0x1p-24;
    return allowed > 0 ? error / allowed : error > 0 ? HUGE_VAL : 0;
}

static bool near_enough(const struct check *c, uint64_t piece, uint64_t first, uint64_t n, const uint8_t *read,
                        struct error *err)
{
    uint32_t group;
    double bound = bound_of(c->t->to, &group), tiny = c->t->to == DTYPE_Q8_0 ? 127 : 64;
    struct cast cast = cast_make(c->t->to, DTYPE_F32, CAST_SAME, c->opt->isa);
    CLEANUP(free) float *got = NULL;
    CLEANUP(free) float *want = NULL;
    if (!memory_alloc(&got, n * c->t->cols, sizeof *got, err) ||
        !memory_alloc(&want, n * c->t->cols, sizeof *want, err) ||
        !convert_values(c->ck, c->t, c->opt->isa, first, n, want, err))
        return false;
    for (uint64_t r = 0; r < n; r++) {
        const float *w = want + r * c->t->cols, *g = got + r * c->t->cols;
        uint64_t part = (first + r) / c->t->part_rows;
        cast.from_scale = c->t->scales ? c->t->scales[part] : 1;
        /* The smallest scale of NVFP4 is 2^-9 of the tensor's. */
        if (c->t->scales) tiny = 6 * (double)c->t->scales[part] * 0x1p14;
        cast_decode(&cast, read + r * dtype_row_bytes(c->t->to, c->t->cols), 1, c->t->cols, got + r * c->t->cols);
        for (uint64_t i = 0; i < c->t->cols; i += group)
            c->worst[piece] = fmax(c->worst[piece], group_error(g + i, w + i, group, bound, tiny));
        if (c->worst[piece] > 1) return differs(c, first + r, err);
    }
    return true;
}

static bool check_piece(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    const struct check *c = ctx;
    uint64_t first = i * c->step, n = u64_min(c->step, c->t->rows - first), row = dtype_row_bytes(c->t->to, c->t->cols);
    CLEANUP(free) uint8_t *read = NULL;
    return memory_alloc(&read, n * row, 1, err) &&
           folder_read(c->folder, c->stored->member, c->stored->offset + first * row, read, n * row, err) &&
           (is_exact(c->t) ? same_bytes(c, worker, first, n, read, err) : near_enough(c, i, first, n, read, err));
}

static bool check_item(struct check *c, double *worst, struct error *err)
{
    c->stored = gguf_find_tensor(c->g, c->t->name);
    if (!c->stored || c->stored->type->dtype != c->t->to || c->stored->n_elems != c->t->rows * c->t->cols)
        return error_set(err, ERR_MISMATCH, "tensor '%.256s' is not in the output as it should be", c->t->name);
    uint64_t row = c->t->cols * sizeof(float);
    c->step = row && row < CONVERT_PIECE_BYTES ? CONVERT_PIECE_BYTES / row : 1;
    uint64_t n = c->t->rows ? u64_div_up(c->t->rows, c->step) : 0;
    CLEANUP(free) double *found = NULL;
    if (!memory_zalloc(&found, n, sizeof *found, err)) return false;
    c->worst = found;
    if (!pool_try(c->opt->pool, n, check_piece, c, err)) return false;
    for (uint64_t i = 0; i < n; i++) *worst = fmax(*worst, found[i]);
    return true;
}

/* Tensors that follow from the configuration or are scales of others. */
static bool check_made(const struct folder *f, const struct gguf *g, const struct gguf_writer *w, uint32_t i,
                       struct error *err)
{
    const char *name;
    uint64_t n;
    const float *want = gguf_made(w, i, &name, &n);
    const struct gguf_tensor *t = gguf_find_tensor(g, name);
    CLEANUP(free) float *read = NULL;
    if (!t || t->type->dtype != DTYPE_F32 || t->n_elems != n)
        return error_set(err, ERR_MISMATCH, "tensor '%.256s' is not in the output as it should be", name);
    if (!memory_alloc(&read, n, sizeof *read, err) ||
        !folder_read(f, t->member, t->offset, read, (size_t)n * sizeof *read, err))
        return false;
    return memcmp(read, want, (size_t)n * sizeof *read) == 0 ||
           error_set(err, ERR_MISMATCH, "tensor '%.256s' does not hold what was worked out for it", name);
}

bool convert_read_back(const char *output, const struct gguf_writer *w, const struct checkpoint *ck,
                       const struct convert_item *items, uint32_t n, const struct convert_options *opt,
                       struct convert_result *out, const struct progress *pr, struct error *err)
{
    CLEANUP(folder) struct folder *folder = NULL;
    CLEANUP(gguf) struct gguf *g = NULL;
    if (!folder_open(&folder, output, err) || !gguf_open(&g, folder, err)) return false;
    for (uint32_t i = 0; i < gguf_made_count(w); i++, out->n_verified++)
        if (!check_made(folder, g, w, i, err)) return error_wrap(err, "output '%.512s'", output);
    for (uint32_t i = 0; i < n; i++) {
        struct check c = {.ck = ck, .folder = folder, .g = g, .t = &items[i], .opt = opt};
        progress_update(pr, "verify", items[i].name, i, n);
        if (!progress_go_on(pr, err) || !check_item(&c, &out->worst_error, err))
            return error_wrap(err, "output '%.512s'", output);
        out->n_verified++;
    }
    return true;
}
