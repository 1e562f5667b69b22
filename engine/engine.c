#include "engine/block.h"

#include "core/memory.h"

bool engine_open(struct engine **out, const struct inventory *inv, const struct engine_options *opt, struct error *err)
{
    *out = NULL;
    struct engine *e = calloc(1, sizeof *e);
    if (!e) return error_memory(err, sizeof *e);
    *e = (struct engine){
        .inv = inv,
        .pool = opt->pool,
        .math = math_for(opt->isa),
        .gemm = gemm_for(opt->isa),
        .isa = opt->isa,
        .compute = opt->compute,
        .quantize_inputs = opt->quantize_inputs,
        .residual_bytes = opt->residual_bytes ? opt->residual_bytes : memory_available() / 4,
        .widen = kernel_for(OP_WIDEN, opt->isa),
        .input_nvfp4 = kernel_for(OP_INPUT_NVFP4, opt->isa),
        .input_fp8 = kernel_for(OP_INPUT_FP8, opt->isa),
    };
    if (!norm_open(&e->final_norm, e, ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, NULL, err)) {
        engine_close(e);
        return false;
    }
    *out = e;
    return true;
}

void engine_close(struct engine *e)
{
    if (!e) return;
    norm_close(&e->final_norm);
    free(e);
}

const struct model_config *engine_config(const struct engine *e)
{
    return &e->inv->config;
}

bool engine_head_open(const struct engine *e, struct linear *head, struct error *err)
{
    const struct model_tensor *t = inventory_find(e->inv, ROLE_LM_HEAD, -1, -1, false);
    if (!t) t = inventory_find(e->inv, ROLE_EMBED, -1, -1, false); /* tied */
    return t ? linear_open(head, e, t, NULL, err) : error_set(err, ERR_INTERNAL, "the inventory has no head");
}

/* One row at a time: a batch touches few of a large table's rows. */
bool engine_embed(const struct engine *e, const uint32_t *ids, uint64_t n, float *out, struct error *err)
{
    const struct model_tensor *t = inventory_find(e->inv, ROLE_EMBED, -1, -1, false);
    if (!t) return error_set(err, ERR_INTERNAL, "the inventory has no embedding");
    const struct checkpoint *ck = e->inv->checkpoint;
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[PART_WEIGHT]);
    uint64_t hidden = t->dims[1], row_bytes = dtype_row_bytes(info->dtype, hidden);
    kernel_fn widen = info->dtype == DTYPE_Q8_0 ? kernel_for(OP_DECODE_Q8_0, e->isa) : e->widen;
    if (t->format && widen == e->widen)
        return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s': quantized embeddings are not supported yet", t->name);
    float scale = (float)e->inv->config.embed_scale;
    CLEANUP(free) void *row = NULL;
    if (!memory_alloc(&row, row_bytes, 1, err)) return false;
    for (uint64_t i = 0; i < n; i++) {
        if (!checkpoint_read(ck, t->parts[PART_WEIGHT], ids[i] * row_bytes, row, row_bytes, err)) return false;
        widen(&(struct kernel_args){
            .n_rows = 1, .n_cols = hidden, .src = row, .dtype = info->dtype, .dst_f32 = out + i * hidden});
        if (scale != 1.0f) e->math->scale(out + i * hidden, out + i * hidden, scale, hidden);
    }
    return true;
}
