#include "engine/weight_rows.h"

#include "engine/block.h"

bool weight_rows(const struct engine *e, const struct model_tensor *t, uint32_t worker, uint64_t first, uint64_t n,
                 float *out, struct error *err)
{
    struct linear l;
    if (!linear_open(&l, e, t, NULL, err)) return false;
    bool ok = linear_rows(&l, e, worker_scratch(e, worker), first, n, out, err);
    linear_close(&l);
    return ok;
}
