/* What solving was worth, for calibrate and quantize: as JSON and in lines for people. */
#ifndef CLI_SOLVE_REPORT_H
#define CLI_SOLVE_REPORT_H

#include "plan/stats.h"

/* Puts member "solved" into a result when anything was: totals, and a row per linear. `s` may be NULL. */
MUST_CHECK bool solve_report_json(const struct stats *s, json_t *result, struct error *err);
/* Nothing when nothing was solved. */
void solve_report_print(const struct stats *s);

#endif
