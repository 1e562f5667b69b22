#include "verify/findings.h"

#include <stdarg.h>
#include <stdio.h>

void find(struct findings *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (f->n++ == 0) vsnprintf(f->first, sizeof f->first, fmt, ap);
    va_end(ap);
}

void report_findings(struct report *r, const char *check_class, const char *name, const struct findings *f,
                     uint64_t n_checked, const char *unit)
{
    if (f->n == 0) report_add(r, check_class, VERDICT_PASS, name, "%llu %s", (unsigned long long)n_checked, unit);
    else if (f->n == 1) report_add(r, check_class, VERDICT_FAIL, name, "%s", f->first);
    else report_add(r, check_class, VERDICT_FAIL, name, "%s (and %u more)", f->first, f->n - 1);
}
