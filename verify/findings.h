/* Keeps the first problem of a kind and how many there were, so that a report stays readable. */
#ifndef VERIFY_FINDINGS_H
#define VERIFY_FINDINGS_H

#include "verify/report.h"

struct findings {
    uint32_t n;
    char first[512];
};

void find(struct findings *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* One check: passed, "N unit", or the first problem and the number of others. */
void report_findings(struct report *r, const char *check_class, const char *name, const struct findings *f,
                     uint64_t n_checked, const char *unit);

#endif
