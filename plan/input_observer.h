/* How the maximum of a linear's inputs is found from what calibration sees: the word `observer:` of a recipe's
 * `inputs`. All but max look at a histogram of magnitudes and may leave the largest ones out. */
#ifndef PLAN_INPUT_OBSERVER_H
#define PLAN_INPUT_OBSERVER_H

#include "core/json.h"

enum observer_method {
    OBSERVER_MAX,        /* the largest magnitude */
    OBSERVER_PERCENTILE, /* so large that a share of all magnitudes lies below it */
    OBSERVER_ENTROPY,    /* FP8: least divergence of the clipped distribution from its 128 levels */
    OBSERVER_MSE,        /* FP8: least squared error of the magnitudes themselves */
    OBSERVER_HEADROOM,   /* NVFP4: from the small block maxima upwards, with room above the largest seen */
    OBSERVER_COUNT
};

struct input_observer {
    enum observer_method method;
    double percentile; /* PERCENTILE, per cent */
};

#define OBSERVER_PERCENTILE_DEFAULT 99.99 /* ModelOpt's and TensorRT's */

/* Keys `observer` and `percentile` of a mapping; absent ones leave *out as it is. */
MUST_CHECK bool observer_read(const json_t *inputs, const char *what, struct input_observer *out, struct error *err);
const char *observer_name(enum observer_method m);
json_t *observer_json(const struct input_observer *o); /* new reference; NULL when memory is gone */

#endif
