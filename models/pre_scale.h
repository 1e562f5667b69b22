/* pre_quant_scale: a number for each column of a linear of ModelOpt's types, which inputs are multiplied by before they
 * are quantized. What the linear does to plain inputs is its decoded weight with the columns times these numbers. */
#ifndef MODELS_PRE_SCALE_H
#define MODELS_PRE_SCALE_H

#include "models/inventory.h"

static inline bool has_pre_scale(const struct model_tensor *t)
{
    return t->parts[PART_PRE_QUANT_SCALE] != NAME_NONE;
}
/* *out [columns], caller frees; NULL when the linear has none. ERR_FORMAT unless all are positive and finite. */
MUST_CHECK bool pre_scale_read(const struct checkpoint *ck, const struct model_tensor *t, float **out,
                               struct error *err);

#endif
