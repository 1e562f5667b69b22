/* `ingot verify DIR --oms`: a folder against its OpenSSF model signature, as lines of a report. */
#ifndef CLI_VERIFY_OMS_H
#define CLI_VERIFY_OMS_H

#include "cli/source_check.h"
#include "verify/report.h"

/* False only when checking itself failed; what was found is in the report. */
MUST_CHECK bool verify_oms(const struct command_env *env, const struct source_args *args, const char *folder,
                           struct report *r, struct error *err);

#endif
