#include "convert/cast.h"

#include "numeric/half.h"

#include <math.h>

struct cast cast_make(enum dtype from, enum dtype to, enum cast_change change, uint64_t isa)
{
    return (struct cast){.from = from,
                         .to = to,
                         .change = change,
                         .widen = kernel_for(OP_WIDEN, isa),
                         .amax = kernel_for(OP_AMAX, isa),
                         .decode_q8_0 = kernel_for(OP_DECODE_Q8_0, isa),
                         .encode_q8_0 = kernel_for(OP_ENCODE_Q8_0, isa)};
}

bool cast_possible(enum dtype from, enum dtype to)
{
    bool numbers = (dtype_is_plain_float(from) || from == DTYPE_Q8_0) && (dtype_is_plain_float(to) || to == DTYPE_Q8_0);
    return from == to || numbers;
}

static float top_of(const struct cast *c, const void *src, enum dtype dtype, uint64_t n)
{
    float top = 0;
    c->amax(&(struct kernel_args){.n_rows = 1, .n_cols = n, .src = src, .dtype = dtype, .dst_f32 = &top});
    return top;
}

/* The largest magnitude that still becomes a number: half a step below what would round to infinity. */
static float limit_of(enum dtype to)
{
    switch (to) {
    case DTYPE_F16: return 65519.996f;
    case DTYPE_BF16: return 3.3961775e38f; /* 0x7F7F7FFF */
    case DTYPE_Q8_0: return 127.0f * 65504.0f;
    default: return 3.4028235e38f;
    }
}

static bool check_top(float top, enum dtype to, struct error *err)
{
    if (!isfinite(top)) return error_set(err, ERR_FORMAT, "a value is not finite");
    if (top <= limit_of(to)) return true;
    return error_set(err, ERR_FORMAT, "a value of magnitude %g is beyond what %s can hold", (double)top,
                     dtype_name(to));
}

static void apply(enum cast_change change, float *x, uint64_t n)
{
    if (change == CAST_PLUS_ONE)
        for (uint64_t i = 0; i < n; i++) x[i] += 1;
    if (change == CAST_NEG_EXP)
        for (uint64_t i = 0; i < n; i++) x[i] = -(float)exp((double)x[i]);
}

static void narrow(const float *x, uint64_t n, enum dtype to, void *dst)
{
    uint16_t *h = dst;
    if (to == DTYPE_F32) memcpy(dst, x, n * sizeof *x);
    else if (to == DTYPE_BF16)
        for (uint64_t i = 0; i < n; i++) h[i] = bf16_encode(x[i]);
    else
        for (uint64_t i = 0; i < n; i++) h[i] = f16_encode(x[i]);
}

/* As it is: no rounding, no fp32. */
static bool copy(const struct cast *c, const void *src, uint64_t n_rows, uint64_t n_cols, void *dst, struct error *err)
{
    memcpy(dst, src, n_rows * dtype_row_bytes(c->from, n_cols));
    return !dtype_is_plain_float(c->from) || check_top(top_of(c, src, c->from, n_rows * n_cols), c->from, err);
}

bool cast_rows(const struct cast *c, const void *src, uint64_t n_rows, uint64_t n_cols, float *scratch, void *dst,
               struct error *err)
{
    uint64_t n = n_rows * n_cols;
    struct kernel_args a = {.n_rows = n_rows, .n_cols = n_cols, .src = src, .dtype = c->from, .dst_f32 = scratch};
    if (c->from == c->to && c->change == CAST_SAME) return copy(c, src, n_rows, n_cols, dst, err);
    if (c->from == DTYPE_Q8_0) c->decode_q8_0(&a);
    else if (c->to == DTYPE_Q8_0 && c->change == CAST_SAME) {
        a.dst = dst; /* straight from the source */
        if (!check_top(top_of(c, src, c->from, n), c->to, err)) return false;
        c->encode_q8_0(&a);
        return true;
    } else c->widen(&a);
    apply(c->change, scratch, n);
    if (!check_top(top_of(c, scratch, DTYPE_F32, n), c->to, err)) return false;
    if (c->to == DTYPE_Q8_0) {
        a.src = scratch;
        a.dtype = DTYPE_F32;
        a.dst = dst;
        c->encode_q8_0(&a);
        return true;
    }
    narrow(scratch, n, c->to, dst);
    return true;
}

bool cast_is_exact(const float *values, uint64_t n, enum dtype to)
{
    for (uint64_t i = 0; i < n; i++) {
        float back = to == DTYPE_BF16 ? bf16_decode(bf16_encode(values[i])) : f16_decode(f16_encode(values[i]));
        if (memcmp(&back, &values[i], sizeof back) != 0) return false;
    }
    return true;
}
