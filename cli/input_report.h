/* What observers made of the inputs (plan/input_observer.h), for calibrate and quantize: as JSON and in lines for
 * people. */
#ifndef CLI_INPUT_REPORT_H
#define CLI_INPUT_REPORT_H

#include "plan/stats.h"

/* Puts member "observed_inputs" into a result when an observer chose anything: a row per linear with the largest
 * magnitude, the maximum that was chosen and what that does to the inputs' squared error (NVFP4: of 16 rows). `s` may
 * be NULL. */
MUST_CHECK bool input_report_json(const struct stats *s, json_t *result, struct error *err);
void input_report_print(const struct stats *s);

#endif
