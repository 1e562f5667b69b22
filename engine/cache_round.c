#include "engine/cache_round.h"

#include "numeric/nvfp4.h"

static bool is_nvfp4(const struct engine *e)
{
    return e->inv->kv_algo && strcmp(e->inv->kv_algo, "NVFP4") == 0;
}

static bool check_width(bool nvfp4, uint64_t width, struct error *err)
{
    if (!nvfp4 || width % NVFP4_BLOCK == 0) return true;
    return error_set(err, ERR_UNSUPPORTED,
                     "the checkpoint declares an NVFP4 cache, but its heads of %llu are no multiple of %u",
                     (unsigned long long)width, NVFP4_BLOCK);
}

bool cache_settle(const struct engine *e, const struct model_tensor *t, enum tensor_part part, uint64_t width,
                  struct cache_type *out, struct error *err)
{
    *out = (struct cache_type){.nvfp4 = is_nvfp4(e)};
    if (!check_width(out->nvfp4, width, err)) return false;
    if (!e->quantize_inputs || e->inv->config.bidirectional) return true; /* encoders cache nothing */
    if (e->weights && e->weights->cache && e->weights->cache(e->weights->ctx, t, out))
        return check_width(out->nvfp4, width, err);
    if (part != PART_COUNT && t->parts[part] != NAME_NONE) return weights_scalar(e, t, part, &out->scale, err);
    out->scale = e->inv->kv_algo ? 1.0f : 0; /* a cache without a scale: engines take 1 */
    return true;
}

void cache_round(const struct engine *e, const struct cache_type *c, float *x, uint64_t n)
{
    if (!(c->scale > 0)) return;
    kernel_for(c->nvfp4 ? OP_INPUT_NVFP4 : OP_INPUT_FP8, e->isa)(
        &(struct kernel_args){.n_rows = 1, .n_cols = n, .src = x, .dtype = DTYPE_F32, .scale = c->scale, .dst_f32 = x});
}
