#include "cli/input_report.h"

#include "cli/commands.h"

/* The next linear whose maximum was chosen, from statistic *at on; *gain 0 where it is not known. */
static const char *next(const struct stats *s, uint32_t *at, float *peak, float *amax, float *gain)
{
    while (*at < s->n_stats) {
        const struct statistic *x = &s->stats[(*at)++];
        if (x->kind != STAT_INPUT_PEAK || !stats_find(s, x->module, STAT_INPUT_AMAX, amax)) continue;
        *peak = x->amax;
        if (!stats_find(s, x->module, STAT_INPUT_GAIN, gain)) *gain = 0;
        return x->module;
    }
    return NULL;
}

bool input_report_json(const struct stats *s, json_t *result, struct error *err)
{
    json_t *rows = NULL;
    const char *module;
    float peak, amax, gain;
    for (uint32_t at = 0; s && (module = next(s, &at, &peak, &amax, &gain));) {
        json_t *row = json_pack("{s:s,s:f,s:f}", "module", module, "peak", (double)peak, "amax", (double)amax);
        if (row && gain > 0) {
            json_object_set_new(row, "error_of_max", json_real((double)gain));
            json_object_set_new(row, "lost", json_boolean(gain > 1));
        }
        if (!rows) rows = json_array();
        if (json_array_append_new(rows, row) == 0) continue;
        json_decref(rows);
        return error_memory(err, 0);
    }
    return !rows || json_put(result, "observed_inputs", rows, err);
}

void input_report_print(const struct stats *s)
{
    uint32_t n = 0, n_known = 0, n_lost = 0;
    double ratio = 0, gains = 0;
    const char *module;
    float peak, amax, gain;
    for (uint32_t at = 0; s && (module = next(s, &at, &peak, &amax, &gain));) {
        n++;
        ratio += (double)amax / (double)peak;
        n_known += gain > 0;
        n_lost += gain > 1;
        gains += (double)gain;
    }
    if (n == 0) return;
    print_text("inputs of %u linears: the maximum that was chosen is %.3f times the largest magnitude, on average\n", n,
               ratio / n);
    if (n_known)
        print_text("their squared error is %.3f times that of observer: max, on average; lost: %u of %u are worse\n",
                   gains / n_known, n_lost, n_known);
}
