/* Sources that are quantized already. With `requantize: true` in the recipe (--allow-requantize) their weights are
 * decoded to BF16, as ModelOpt does, and quantized again; what the recipe leaves alone stays as it is where the
 * result's layout is that of the source, and is written as BF16 where it is not. */
#ifndef PLAN_REQUANTIZE_H
#define PLAN_REQUANTIZE_H

#include "plan/plan.h"

/* ERR_UNSUPPORTED when the source is quantized and the recipe does not say that this is wanted. */
MUST_CHECK bool plan_check_source(const struct plan *p, struct error *err);
/* Sets item->decoded of an item that has been decided, where its weight must be decoded. */
MUST_CHECK bool plan_decode(struct plan *p, struct plan_item *item, struct error *err);

#endif
