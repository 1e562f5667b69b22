#include "engine/cache_round.h"

#include "numeric/nvfp4.h"

static bool is_nvfp4(const struct engine *e)
{
    return e->inv->kv_algo && strcmp(e->inv->kv_algo, "NVFP4") == 0;
}

void cache_round(const struct engine *e, float *x, uint64_t n, float scale)
{
    if (!(scale > 0)) return;
    kernel_for(is_nvfp4(e) ? OP_INPUT_NVFP4 : OP_INPUT_FP8, e->isa)(
        &(struct kernel_args){.n_rows = 1, .n_cols = n, .src = x, .dtype = DTYPE_F32, .scale = scale, .dst_f32 = x});
}

bool cache_check_width(const struct engine *e, uint64_t width, struct error *err)
{
    if (!is_nvfp4(e) || width % NVFP4_BLOCK == 0) return true;
    return error_set(err, ERR_UNSUPPORTED,
                     "the checkpoint declares an NVFP4 cache, but its heads of %llu are no multiple of %u",
                     (unsigned long long)width, NVFP4_BLOCK);
}
