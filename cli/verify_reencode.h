/* `verify --all` and `--sample`: weights are encoded from the original again by the recipe in ingot.json, and the
 * digests of the bytes compared. Nothing is written. */
#ifndef CLI_VERIFY_REENCODE_H
#define CLI_VERIFY_REENCODE_H

#include "cli/commands.h"
#include "models/inventory.h"
#include "verify/report.h"

#define REENCODE_CHECK "encoded again" /* the name of the check */

struct reencode_request {
    bool all;
    uint64_t sample;   /* not all: how many weights are drawn (verify/draw.h) */
    const char *seed;  /* NULL: the image's digest, and behind it a space and the nonce where there is one */
    const char *nonce; /* or NULL */
    const char *stats; /* calibration statistics, which must be those that ingot.json names; NULL: what hangs on them is
                          undecided */
    const struct model *model; /* the packed one, whose scales serve where they were taken from elsewhere; or NULL */
    const char *image;         /* its digest as text */
};

static inline bool reencode_wanted(const struct reencode_request *q)
{
    return q->all || q->sample > 0;
}

/* `packed` holds ingot.json; that the package's own bytes are those it lists has been checked, or said to be unknown.
 * What cannot be made again (statistics or scales from elsewhere that are not here) is undecided; what was drawn and
 * found goes under "encoded_again" of the report. */
MUST_CHECK bool reencode_check(const struct command_env *env, const struct reencode_request *q,
                               const struct folder *packed, const struct model *original, struct report *r,
                               struct error *err);

#endif
