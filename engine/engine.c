#include "engine/block.h"

#include "core/memory.h"
#include "formats/not_finite.h"

#include <math.h>

bool engine_open(struct engine **out, const struct inventory *inv, const struct engine_options *opt, struct error *err)
{
    *out = NULL;
    struct engine *e = calloc(1, sizeof *e);
    if (!e) return error_memory(err, sizeof *e);
    uint32_t n_threads = pool_threads(opt->pool);
    *e = (struct engine){
        .inv = inv,
        .scratch = calloc(1 + (size_t)n_threads, sizeof *e->scratch),
        .pool = opt->pool,
        .math = math_for(opt->isa),
        .gemm = gemm_for(opt->isa),
        .isa = opt->isa,
        .compute = opt->compute,
        .weights = opt->weights,
        .quantize_inputs = opt->quantize_inputs,
        .residual_bytes = opt->residual_bytes ? opt->residual_bytes : memory_available() / 4,
        .keep_bytes = opt->keep_bytes ? opt->keep_bytes : memory_available() / 4,
        .widen = kernel_for(OP_WIDEN, opt->isa),
        .input_nvfp4 = kernel_for(OP_INPUT_NVFP4, opt->isa),
        .input_fp8 = kernel_for(OP_INPUT_FP8, opt->isa),
    };
    if (!e->scratch) error_memory(err, (1 + (size_t)n_threads) * sizeof *e->scratch);
    if (!e->scratch || !norm_open(&e->final_norm, e, ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, NULL, err)) {
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
    for (uint32_t i = 0; e->scratch && i <= pool_threads(e->pool); i++) scratch_close(&e->scratch[i]);
    free(e->scratch);
    free(e);
}

const struct model_config *engine_config(const struct engine *e)
{
    return &e->inv->config;
}

const struct model_tensor *engine_head(const struct engine *e)
{
    if (e->inv->config.encoder.output != OUTPUT_LOGITS) return NULL;
    const struct model_tensor *t = inventory_find(e->inv, ROLE_LM_HEAD, -1, -1, false);
    return t ? t : inventory_find(e->inv, ROLE_EMBED, -1, -1, false); /* tied */
}

bool engine_head_open(const struct engine *e, struct linear *head, struct error *err)
{
    const struct model_tensor *t = engine_head(e);
    if (!model_gives_logits(&e->inv->config, "the output head", err)) return false;
    return t ? linear_open(head, e, t, NULL, err) : error_set(err, ERR_INTERNAL, "the inventory has no head");
}

static bool plain_row(const struct engine *e, const struct model_tensor *t, uint64_t row, float *out, struct error *err)
{
    const struct checkpoint *ck = e->inv->checkpoint;
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[PART_WEIGHT]);
    uint64_t cols = t->dims[1], bytes = cols * dtype_bytes(info->dtype);
    SCRATCH_SCOPE(e->scratch);
    void *raw;
    if (!scratch_alloc(e->scratch, &raw, bytes, 1, err) ||
        !checkpoint_read(ck, t->parts[PART_WEIGHT], row * bytes, raw, bytes, err))
        return false;
    e->widen(&(struct kernel_args){.n_rows = 1, .n_cols = cols, .src = raw, .dtype = info->dtype, .dst_f32 = out});
    return isfinite(e->math->amax(out, cols)) || tensor_not_finite(ck, info, raw, row * cols, cols, err);
}

/* One row at a time: a batch touches few of a large table's rows. */
bool engine_embed_from(const struct engine *e, const struct model_tensor *t, const uint32_t *ids, uint64_t n,
                       float *out, struct error *err)
{
    struct linear table;
    bool ok = linear_open(&table, e, t, NULL, err);
    float scale = (float)e->inv->config.embed_scale;
    for (uint64_t i = 0; ok && i < n; i++, out += t->dims[1]) {
        ok = t->format ? linear_rows(&table, e, e->scratch, ids[i], 1, out, err) : plain_row(e, t, ids[i], out, err);
        if (ok && scale != 1.0f) e->math->scale(out, out, scale, t->dims[1]);
    }
    linear_close(&table);
    return ok;
}

bool engine_embed_need(struct need *n, const struct engine *e, const struct model_tensor *t, struct error *err)
{
    struct linear table;
    if (!linear_shape(&table, e, t, err)) return false;
    const struct tensor_info *info = checkpoint_tensor(e->inv->checkpoint, t->parts[PART_WEIGHT]);
    need_most(&n->calling,
              t->format ? linear_rows_need(&table, e) : scratch_bytes(t->dims[1], dtype_bytes(info->dtype)));
    return true;
}

bool engine_embed(const struct engine *e, const uint32_t *ids, uint64_t n, float *out, struct error *err)
{
    const struct model_tensor *t = inventory_find(e->inv, ROLE_EMBED, -1, -1, false);
    return t ? engine_embed_from(e, t, ids, n, out, err)
             : error_set(err, ERR_INTERNAL, "the inventory has no embedding");
}
