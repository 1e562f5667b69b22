/* What choosing block scales was worth, for quantize: as JSON and in lines for people. */
#ifndef CLI_GAIN_REPORT_H
#define CLI_GAIN_REPORT_H

#include "core/json.h"
#include "quantize/quantize.h"

/* Puts member "scales" into a result when any were chosen: squared errors per method beside those of max, and a row per
 * linear that lost. */
MUST_CHECK bool gain_report_json(const struct plan *p, const struct quantize_result *r, json_t *result,
                                 struct error *err);
void gain_report_print(const struct plan *p, const struct quantize_result *r);

#endif
