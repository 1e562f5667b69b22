/* `verify --all`: quantizes the original again by the recipe in ingot.json and compares every tensor's digest. */
#ifndef CLI_VERIFY_REENCODE_H
#define CLI_VERIFY_REENCODE_H

#include "cli/commands.h"
#include "models/inventory.h"
#include "verify/report.h"

/* `m` is the packed model, `ref` its package, whose own bytes have been held against its ingot.json already. Works in a
 * new folder below `work_dir` (NULL: $TMPDIR or /tmp), which needs room for the weights and is removed. A plan that
 * needs data is encoded with the scales that are in the package; what that cannot give back is undecided. */
MUST_CHECK bool reencode_check(const struct command_env *env, const char *ref, const struct model *m,
                               const struct model *original, const char *work_dir, struct report *r, struct error *err);

#endif
