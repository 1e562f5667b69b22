/* Tensors whose values or rows a format stores in another way than the family's Hugging Face folder. */
#include "formats/checkpoint.h"

#include <math.h>

/* Llama's rotation in GGUF pairs rows 2i and 2i + 1 of a head; the folder pairs rows i and i + half. */
static uint64_t row_in_file(uint64_t row, uint64_t head_rows)
{
    uint64_t half = head_rows / 2, k = row % head_rows;
    return row - k + (k < half ? 2 * k : 2 * (k - half) + 1);
}

static bool read_rows(const struct folder *f, const struct tensor_info *t, uint64_t offset, uint8_t *dst, size_t n,
                      struct error *err)
{
    uint64_t cols = t->n_dims > 1 ? t->n_elems / t->dims[0] : 1, row_bytes = dtype_row_bytes(t->dtype, cols);
    while (n) {
        uint64_t row = offset / row_bytes, within = offset % row_bytes;
        size_t m = (size_t)u64_min(n, row_bytes - within);
        uint64_t at = row_in_file(row, t->head_rows) * row_bytes + within;
        if (!folder_read(f, t->member, t->offset + at, dst, m, err)) return false;
        offset += m;
        dst += m;
        n -= m;
    }
    return true;
}

static bool recode_values(const struct tensor_info *t, uint8_t *p, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i += sizeof(float)) {
        float x;
        memcpy(&x, p + i, sizeof x);
        if (t->recode == RECODE_LOG_NEG && !(x < 0))
            return error_set(err, ERR_FORMAT, "a value is %g; -exp(A_log) is negative", (double)x);
        x = t->recode == RECODE_MINUS_ONE ? x - 1 : (float)log(-(double)x);
        memcpy(p + i, &x, sizeof x);
    }
    return true;
}

bool tensor_recode_read(const struct folder *f, const struct tensor_info *t, uint64_t offset, void *dst, size_t n,
                        struct error *err)
{
    if (t->recode == RECODE_ROWS_APART) return read_rows(f, t, offset, dst, n, err);
    if (offset % sizeof(float) || n % sizeof(float))
        return error_set(err, ERR_INTERNAL, "bytes %llu and %zu more are not whole elements",
                         (unsigned long long)offset, n);
    return folder_read(f, t->member, t->offset + offset, dst, n, err) && recode_values(t, dst, n, err);
}
