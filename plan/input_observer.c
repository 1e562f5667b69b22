#include "plan/input_observer.h"

#include "core/text.h"

static const char *const names[OBSERVER_COUNT] = {[OBSERVER_MAX] = "max",
                                                  [OBSERVER_PERCENTILE] = "percentile",
                                                  [OBSERVER_ENTROPY] = "entropy",
                                                  [OBSERVER_MSE] = "mse",
                                                  [OBSERVER_HEADROOM] = "headroom"};

const char *observer_name(enum observer_method m)
{
    return names[m];
}

static bool find(const char *word, const char *what, enum observer_method *out, struct error *err)
{
    __attribute__((cleanup(cleanup_text))) struct text list = TEXT_INIT;
    for (int m = 0; m < OBSERVER_COUNT; m++) {
        *out = (enum observer_method)m;
        if (strcmp(names[m], word) == 0) return true;
        text_add(&list, "%s%s", m ? ", " : "", names[m]);
    }
    return error_set(err, ERR_FORMAT, "%s: inputs.observer: expected one of %s, found '%.64s'", what, list.data, word);
}

bool observer_read(const json_t *inputs, const char *what, struct input_observer *out, struct error *err)
{
    const char *word = NULL;
    if (json_has(inputs, "observer") &&
        (!json_get_string(inputs, "observer", what, &word, err) || !find(word, what, &out->method, err)))
        return false;
    if (out->method == OBSERVER_PERCENTILE) out->percentile = OBSERVER_PERCENTILE_DEFAULT;
    if (!json_has(inputs, "percentile")) return true;
    if (out->method != OBSERVER_PERCENTILE)
        return error_set(err, ERR_FORMAT, "%s: inputs.percentile needs observer: percentile", what);
    if (!json_opt_number(inputs, "percentile", what, &out->percentile, err)) return false;
    if (out->percentile > 0 && out->percentile <= 100) return true;
    return error_set(err, ERR_FORMAT, "%s: inputs.percentile: expected a number above 0 and up to 100, found %g", what,
                     out->percentile);
}

json_t *observer_json(const struct input_observer *o)
{
    if (o->method != OBSERVER_PERCENTILE) return json_string(names[o->method]);
    return json_pack("{s:s,s:f}", "method", names[o->method], "percentile", o->percentile);
}
