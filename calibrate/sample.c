#include "calibrate/sample.h"

#include "core/bytes.h"
#include "core/memory.h"
#include "numeric/half.h"

#include <math.h>
#include <stdlib.h>

#define STRIP 256u /* columns of a worker's item */

bool sample_open(struct sample *s, uint64_t cols, uint32_t capacity, struct error *err)
{
    *s = (struct sample){.cols = cols, .stride = 1, .capacity = capacity};
    return memory_zalloc(&s->amax, cols, sizeof *s->amax, err) && memory_zalloc(&s->sum, cols, sizeof *s->sum, err) &&
           memory_alloc(&s->kept, cols * capacity, sizeof *s->kept, err);
}

void sample_close(struct sample *s)
{
    free(s->amax);
    free(s->sum);
    free(s->kept);
    *s = (struct sample){0};
}

struct rows {
    struct sample *s;
    const float *x;
    uint64_t n, stride;
};

/* One row after the other, so that the sums do not show how rows came. */
static void strip_item(void *ctx, uint64_t i, uint32_t worker)
{
    (void)worker;
    const struct rows *r = ctx;
    uint64_t from = i * STRIP, to = u64_min(from + STRIP, r->s->cols);
    for (uint64_t k = 0; k < r->n; k++)
        for (uint64_t c = from; c < to; c++) {
            float a = fabsf(r->x[k * r->stride + c]);
            if (a > r->s->amax[c]) r->s->amax[c] = a;
            r->s->sum[c] += (double)a;
        }
}

static void halve(struct sample *s)
{
    for (uint32_t i = 1; i < s->capacity / 2; i++)
        memcpy(s->kept + i * s->cols, s->kept + 2 * i * s->cols, s->cols * sizeof *s->kept);
    s->n_kept = s->capacity / 2;
    s->stride *= 2;
}

static void keep(struct sample *s, const float *x)
{
    if (s->n_rows % s->stride) return;
    if (s->n_kept == s->capacity) halve(s);
    if (s->n_rows % s->stride) return;
    uint16_t *to = s->kept + s->n_kept++ * s->cols;
    for (uint64_t c = 0; c < s->cols; c++) to[c] = bf16_encode(x[c]);
}

void sample_add(struct sample *s, struct pool *pool, const float *x, uint64_t n, uint64_t stride)
{
    struct rows r = {s, x, n, stride};
    pool_for(pool, u64_div_up(s->cols, STRIP), strip_item, &r);
    for (uint64_t k = 0; k < n; k++) {
        keep(s, x + k * stride);
        s->n_rows++;
    }
}

void sample_row(const struct sample *s, uint32_t row, float *out)
{
    for (uint64_t c = 0; c < s->cols; c++) out[c] = bf16_decode(s->kept[row * s->cols + c]);
}
