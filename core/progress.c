#include "core/progress.h"

#include <stdarg.h>
#include <stdio.h>

void progress_update(const struct progress *pr, const char *stage, const char *item, uint64_t done, uint64_t total)
{
    if (pr && pr->update) pr->update(pr->ctx, stage, item, done, total);
}

void progress_note(const struct progress *pr, const char *stage, const char *fmt, ...)
{
    if (!pr || !pr->note) return;
    char text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pr->note(pr->ctx, stage, text);
}

bool progress_go_on(const struct progress *pr, struct error *err)
{
    if (pr && pr->cancelled && pr->cancelled(pr->ctx))
        return error_set(err, ERR_CANCELLED, "cancelled by a signal");
    return true;
}
