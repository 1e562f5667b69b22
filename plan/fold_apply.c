/* The arithmetic of folding on weights in their own type: numeric/fold_scale.h, element by element. */
#include "core/memory.h"
#include "numeric/fold_scale.h"
#include "plan/fold.h"

#include <math.h>

void fold_factors_free(struct fold_factors *f)
{
    free(f->by);
    free(f->over);
    *f = (struct fold_factors){0};
}

bool fold_factors_make(const struct plan *p, uint32_t i, const float *in, const float *out, struct fold_factors *f,
                       struct error *err)
{
    const struct plan_item *item = &p->items[i];
    *f = (struct fold_factors){0};
    if (in) {
        const struct plan_fold *g = &p->folds[item->fold_in];
        uint64_t cols = item->tensor->dims[1];
        if (!memory_alloc(&f->by, cols, sizeof *f->by, err)) return false;
        for (uint64_t c = 0; c < cols; c++) f->by[c] = in[g->columns ? g->columns[c] : c];
    }
    if (out) {
        const struct plan_fold *g = &p->folds[item->fold_out];
        if (!memory_alloc(&f->over, g->n, sizeof *f->over, err)) {
            fold_factors_free(f);
            return false;
        }
        for (uint32_t c = 0; c < g->n; c++) f->over[c] = g->kind == FOLD_ROOT ? sqrtf(out[c]) : out[c];
    }
    return true;
}

static float get(enum dtype dtype, const void *src, uint64_t i)
{
    float f;
    uint16_t h;
    if (dtype == DTYPE_F32) {
        memcpy(&f, (const uint8_t *)src + 4 * i, sizeof f);
        return f;
    }
    memcpy(&h, (const uint8_t *)src + 2 * i, sizeof h);
    return dtype == DTYPE_BF16 ? bf16_decode(h) : f16_decode(h);
}

static void put(enum dtype dtype, void *dst, uint64_t i, float f)
{
    if (dtype == DTYPE_F32) {
        memcpy((uint8_t *)dst + 4 * i, &f, sizeof f);
        return;
    }
    uint16_t h = dtype == DTYPE_BF16 ? bf16_encode(f) : f16_encode(f);
    memcpy((uint8_t *)dst + 2 * i, &h, sizeof h);
}

static void apply_norm(bool one, const struct fold_factors *f, enum dtype dtype, uint64_t first, uint64_t n,
                       const void *src, void *dst)
{
    for (uint64_t i = 0; i < n; i++) {
        float w = get(dtype, src, i), over = f->over[first + i];
        put(dtype, dst, i, one ? fold_norm_one(w, over) : fold_norm(w, over));
    }
}

void fold_apply(const struct plan *p, uint32_t i, const struct fold_factors *f, enum dtype dtype, uint64_t first,
                uint64_t n, const void *src, void *dst)
{
    const struct model_tensor *t = p->items[i].tensor;
    if (t->n_dims != 2) {
        bool bias = t->place.role == ROLE_BLOCK_NORM_BIAS; /* behind the weight: nothing is added to it */
        apply_norm(p->folds[p->items[i].fold_out].kind == FOLD_NORM_ONE && !bias, f, dtype, first, n, src, dst);
        return;
    }
    uint64_t cols = t->dims[1], row = first / cols, col = first % cols;
    for (uint64_t k = 0; k < n; k++) {
        put(dtype, dst, k, fold_weight(get(dtype, src, k), f->by ? f->by[col] : 1.0f, f->over ? f->over[row] : 1.0f));
        if (++col < cols) continue;
        col = 0;
        row++;
    }
}
