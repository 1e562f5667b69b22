#include "models/pre_scale.h"

#include "core/memory.h"
#include "formats/not_finite.h"

#include <math.h>

bool pre_scale_read(const struct checkpoint *ck, const struct model_tensor *t, float **out, struct error *err)
{
    *out = NULL;
    if (!has_pre_scale(t)) return true;
    uint32_t part = t->parts[PART_PRE_QUANT_SCALE];
    const struct tensor_info *info = checkpoint_tensor(ck, part);
    CLEANUP(free) uint8_t *raw = NULL;
    CLEANUP(free) float *v = NULL;
    if (!memory_alloc(&raw, info->bytes, 1, err) || !memory_alloc(&v, info->n_elems, sizeof *v, err) ||
        !checkpoint_read(ck, part, 0, raw, info->bytes, err))
        return false;
    for (uint64_t c = 0; c < info->n_elems; c++) {
        v[c] = tensor_number_at(raw, info->dtype, c);
        if (!(v[c] > 0) || !isfinite(v[c]))
            return error_set(err, ERR_FORMAT, "tensor '%.256s' is %g in column %llu; a scale is positive and finite",
                             info->name, (double)v[c], (unsigned long long)c);
    }
    *out = take_ptr(&v);
    return true;
}
