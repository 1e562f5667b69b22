/* What choosing scales was worth: the squared error of the weights as they are written, beside that of the same weights
 * with each block's own maximum. Looked at when a piece retires, from its source and its result. */
#include "quantize/job.h"

#include "backends/cpu/kernel.h"
#include "core/bytes.h"
#include "core/memory.h"
#include "numeric/nvfp4.h"
#include "plan/scale_method.h"

#define CHUNK 256u /* columns that are looked at together; whole blocks */

struct piece_errors {
    kernel_fn widen, encode, decode;
    const struct slot *slot;
    enum dtype dtype;
    float own_scale, scale; /* weight_scale_2 of scales: max, and as it is written */
    uint64_t cols;          /* as they were encoded: a piece of a stack has been turned */
    double *own, *chosen;   /* [n_rows] */
};

static double difference(const struct piece_errors *p, const float *w, const uint8_t *codes, const uint8_t *scales,
                         uint64_t n, float s2)
{
    float back[CHUNK];
    double sum = 0;
    p->decode(&(struct kernel_args){
        .n_rows = 1, .n_cols = n, .src = codes, .src_scale = scales, .scale = s2, .dst_f32 = back});
    for (uint64_t i = 0; i < n; i++) {
        double d = (double)w[i] - (double)back[i];
        sum += d * d;
    }
    return sum;
}

static void row_item(void *ctx, uint64_t row, uint32_t worker)
{
    (void)worker;
    const struct piece_errors *p = ctx;
    const struct lane *l = p->slot->lane;
    uint64_t cols = p->cols;
    p->own[row] = p->chosen[row] = 0;
    for (uint64_t c = 0; c < cols; c += CHUNK) {
        uint64_t n = u64_min(CHUNK, cols - c), at = row * cols + c;
        float w[CHUNK];
        uint8_t codes[CHUNK / 2], scales[CHUNK / NVFP4_BLOCK];
        struct kernel_args a = {.n_rows = 1,
                                .n_cols = n,
                                .src = l->src + at * dtype_bytes(p->dtype),
                                .dtype = p->dtype,
                                .scale = p->own_scale,
                                .dst = codes,
                                .dst_scale = scales,
                                .dst_f32 = w};
        p->widen(&a);
        p->encode(&a);
        p->own[row] += difference(p, w, codes, scales, n, p->own_scale);
        p->chosen[row] += difference(p, w, l->dst + at / 2, l->dst_scale + at / NVFP4_BLOCK, n, p->scale);
    }
}

bool piece_gain(struct job *j, const struct slot *s, struct error *err)
{
    uint32_t i = s->pass->item;
    const struct plan_item *item = &j->plan->items[i];
    if (plan_item_scale_op(item) == OP_COUNT || job_is_solved(j, i) || j->given || s->bytes == 0)
        return true; /* scales that were taken over are none of ours */
    bool turned = is_sideways(j, s);
    uint64_t rows = turned ? s->at.n_cols : s->at.n_rows;
    CLEANUP(free) double *errors = NULL;
    float g;
    struct piece_errors p = {.widen = kernel_for(OP_WIDEN, j->opt->isa),
                             .encode = kernel_for(OP_ENCODE_NVFP4, j->opt->isa),
                             .decode = kernel_for(OP_DECODE_NVFP4, j->opt->isa),
                             .slot = s,
                             .cols = turned ? s->at.n_rows : s->at.n_cols,
                             .dtype = pass_source(j, s->pass)->dtype};
    if (!memory_alloc(&errors, 2 * rows, sizeof *errors, err) || !job_weight_scale(j, i, &g, &p.scale, err))
        return false;
    p.own_scale = nvfp4_tensor_scale(g);
    p.own = errors;
    p.chosen = errors + rows;
    pool_for(j->opt->pool, rows, row_item, &p);
    struct quantize_gain *gain = &j->result->gains[i];
    for (uint64_t r = 0; r < rows; r++) {
        gain->error_max += p.own[r];
        gain->error += p.chosen[r];
    }
    gain->measured = true;
    return true;
}
