#include "models/int4_parts.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"
#include "numeric/int4.h"

#include <math.h>

#define SYMMETRIC 8u /* where no zero point is stored, codes are the number plus 8 */

static const struct quant_part *find_part(const struct quant_format *f, enum tensor_part part)
{
    for (uint32_t i = 0; i < f->n_parts; i++)
        if (f->parts[i].part == part) return &f->parts[i];
    return NULL;
}

static bool is_awq(const struct model_tensor *t)
{
    return t->format->parts[0].rows_per_elem == 8;
}

/* Which of a word's eight nibbles holds the row. */
static uint32_t shift_of(bool awq, uint64_t row)
{
    static const uint8_t places[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    return (awq ? places[row % 8] : (uint32_t)(row % 8)) * 4;
}

/* Words [first, first + n) of line `line` of a matrix of words on its side. */
static bool read_words(const struct checkpoint *ck, const struct model_tensor *t, enum tensor_part part, uint64_t line,
                       uint64_t first, uint64_t n, uint32_t *out, struct error *err)
{
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[part]);
    return checkpoint_read(ck, t->parts[part], (line * info->dims[1] + first) * sizeof *out, out, n * sizeof *out, err);
}

/* AWQ: a word is a column of eight rows. */
static bool awq_codes(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n,
                      uint8_t *out, struct error *err)
{
    uint64_t cols = t->dims[1], from = first / 8, n_words = u64_div_up(first + n, 8) - from;
    CLEANUP(free) uint32_t *words = NULL;
    if (!memory_alloc(&words, n_words, sizeof *words, err)) return false;
    memset(out, 0, n * cols / 2);
    for (uint64_t c = 0; c < cols; c++) {
        if (!read_words(ck, t, PART_WEIGHT, c, from, n_words, words, err)) return false;
        for (uint64_t r = 0; r < n; r++) {
            uint32_t code = words[(first + r) / 8 - from] >> shift_of(true, first + r) & 15u;
            out[r * cols / 2 + c / 2] |= (uint8_t)(code << c % 2 * 4);
        }
    }
    return true;
}

/* GPTQ: a word is eight columns of a row. */
static bool gptq_codes(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n,
                       uint8_t *out, struct error *err)
{
    uint64_t cols = t->dims[1];
    CLEANUP(free) uint32_t *words = NULL;
    if (!memory_alloc(&words, n, sizeof *words, err)) return false;
    for (uint64_t k = 0; k < cols / 8; k++) {
        if (!read_words(ck, t, PART_WEIGHT, k, first, n, words, err)) return false;
        for (uint64_t r = 0; r < n; r++) memcpy(out + r * cols / 2 + k * 4, &words[r], sizeof words[r]);
    }
    return true;
}

bool int4_side_codes(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n,
                     uint8_t *out, struct error *err)
{
    return is_awq(t) ? awq_codes(ck, t, first, n, out, err) : gptq_codes(ck, t, first, n, out, err);
}

/* ---- scales and zero points: [n, groups] ---- */

static float plain_float(const uint8_t *at, enum dtype dtype)
{
    uint16_t half;
    float v;
    if (dtype == DTYPE_F32) memcpy(&v, at, sizeof v);
    else memcpy(&half, at, sizeof half), v = dtype == DTYPE_F16 ? f16_decode(half) : bf16_decode(half);
    return v;
}

bool int4_side_scales(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n, float *out,
                      struct error *err)
{
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[PART_SCALES]);
    uint64_t n_groups = info->dims[0], elem = dtype_bytes(info->dtype);
    CLEANUP(free) uint8_t *raw = NULL;
    if (!memory_alloc(&raw, n, elem, err)) return false;
    for (uint64_t g = 0; g < n_groups; g++) {
        if (!checkpoint_read(ck, t->parts[PART_SCALES], (g * info->dims[1] + first) * elem, raw, n * elem, err))
            return false;
        for (uint64_t r = 0; r < n; r++) {
            float scale = plain_float(raw + r * elem, info->dtype);
            if (!(scale >= 0) || !isfinite(scale))
                return error_set(err, ERR_FORMAT,
                                 "tensor '%.256s' holds %g in row %llu; a scale is finite and not negative", info->name,
                                 (double)scale, (unsigned long long)g);
            out[r * n_groups + g] = scale;
        }
    }
    return true;
}

/* GPTQ stores zero - 1, of which four bits are kept. */
static bool side_zeros(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n,
                       uint64_t n_groups, uint8_t *out, struct error *err)
{
    bool awq = is_awq(t);
    uint64_t from = first / 8, n_words = u64_div_up(first + n, 8) - from;
    CLEANUP(free) uint32_t *words = NULL;
    if (!memory_alloc(&words, n_words, sizeof *words, err)) return false;
    for (uint64_t g = 0; g < n_groups; g++) {
        if (!read_words(ck, t, PART_QZEROS, g, from, n_words, words, err)) return false;
        for (uint64_t r = 0; r < n; r++) {
            uint32_t zero = words[(first + r) / 8 - from] >> shift_of(awq, first + r) & 15u;
            out[r * n_groups + g] = (uint8_t)(awq ? zero : (zero + 1) & 15u);
            if (awq || t->format->zeros == ZEROS_STORED || out[r * n_groups + g] == SYMMETRIC) continue;
            return error_set(
                err, ERR_FORMAT,
                "tensor '%.256s.qzeros' holds the zero point %u in row %llu, but config.json says sym: true", t->module,
                out[r * n_groups + g], (unsigned long long)g);
        }
    }
    return true;
}

/* compressed-tensors: a word is a group of eight rows. */
static bool packed_zeros(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n,
                         uint64_t n_groups, uint8_t *out, struct error *err)
{
    uint64_t from = first / 8, n_lines = u64_div_up(first + n, 8) - from;
    CLEANUP(free) uint32_t *words = NULL;
    if (!memory_alloc(&words, n_lines * n_groups, sizeof *words, err) ||
        !checkpoint_read(ck, t->parts[PART_WEIGHT_ZERO_POINT], from * n_groups * sizeof *words, words,
                         n_lines * n_groups * sizeof *words, err))
        return false;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t g = 0; g < n_groups; g++)
            out[r * n_groups + g] =
                (uint8_t)(words[((first + r) / 8 - from) * n_groups + g] >> shift_of(false, first + r) & 15u);
    return true;
}

bool int4_zeros(const struct checkpoint *ck, const struct model_tensor *t, uint64_t first, uint64_t n, uint8_t *out,
                struct error *err)
{
    uint64_t n_groups = t->dims[1] / t->format->block_cols;
    if (t->format->parts[0].on_side) return side_zeros(ck, t, first, n, n_groups, out, err);
    if (t->format->zeros == ZEROS_STORED) return packed_zeros(ck, t, first, n, n_groups, out, err);
    memset(out, SYMMETRIC, n * n_groups);
    return true;
}

/* ---- the order of groups ---- */

/* *out: the group of each column, NULL when column c is in group c / size. Symmetric GPTQ readers that keep no order
 * take the file's word for it as we do. */
bool int4_order(const struct checkpoint *ck, const struct model_tensor *t, uint32_t **out, struct error *err)
{
    uint64_t cols = t->dims[1], n_groups = cols / t->format->block_cols;
    CLEANUP(free) uint32_t *order = NULL;
    bool plain = true;
    *out = NULL;
    if (!find_part(t->format, PART_G_IDX)) return true;
    if (!memory_alloc(&order, cols, sizeof *order, err) ||
        !checkpoint_read(ck, t->parts[PART_G_IDX], 0, order, cols * sizeof *order, err))
        return false;
    for (uint64_t c = 0; c < cols; c++) {
        if (order[c] >= n_groups)
            return error_set(err, ERR_FORMAT, "tensor '%.256s.g_idx' holds %d for column %llu; there are %llu groups",
                             t->module, (int)order[c], (unsigned long long)c, (unsigned long long)n_groups);
        plain = plain && order[c] == c / t->format->block_cols;
    }
    if (!plain) *out = take_ptr(&order);
    return true;
}

void int4_decode_ordered(const struct int4_ordered *s, uint64_t n, uint64_t cols, uint64_t n_groups, float *out)
{
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < cols; c++) {
            uint64_t g = r * n_groups + s->order[c];
            uint8_t code = s->codes[r * (cols / 2) + c / 2] >> c % 2 * 4 & 15u;
            out[r * cols + c] = int4_zero_decode(code, s->scales[g], s->zeros[g]);
        }
}
