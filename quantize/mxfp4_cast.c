/* scales: mxfp4_cast (numeric/nvfp4_cast.h). Codes and scales of the source are kept beside the decoded numbers until
 * the piece is written; no device has a part in it. */
#include "quantize/job.h"

#include "numeric/nvfp4_cast.h"

#include <math.h>

bool piece_is_cast(const struct job *j, const struct slot *s)
{
    const struct plan_item *item = &j->plan->items[s->pass->item];
    return item->action == ACTION_QUANTIZE && item->scales == SCALES_MXFP4_CAST;
}

bool piece_cast_amax(const struct job *j, const struct slot *s, float *amax, struct error *err)
{
    uint64_t n = s->raw_bytes / MXFP4_BLOCK_BYTES;
    *amax = 0;
    for (uint64_t i = 0; i < n; i++)
        *amax = f32_amax(*amax, nvfp4_cast_g(s->raw + i * MXFP4_BLOCK_BYTES, s->raw_scales[i]));
    if (isfinite(*amax)) return true;
    return error_set(err, ERR_FORMAT, "tensor '%.256s' has a block scale that is too large or not a number",
                     pass_source(j, s->pass)->name);
}

void piece_cast(const struct slot *s, float g)
{
    uint64_t n = s->raw_bytes / MXFP4_BLOCK_BYTES;
    for (uint64_t i = 0; i < n; i++)
        nvfp4_cast_block(s->raw + i * MXFP4_BLOCK_BYTES, s->raw_scales[i], g, s->lane->dst_scale + 2 * i,
                         s->lane->dst + i * MXFP4_BLOCK_BYTES);
}
