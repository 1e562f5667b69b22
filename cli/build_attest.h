/* The last stage of a build: statements about the package (docs/signing.md, attestations). Private to cli/build_*.c. */
#ifndef CLI_BUILD_ATTEST_H
#define CLI_BUILD_ATTEST_H

#include "cli/build_job.h"

/* Provenance, bill of materials, licences, parity from the report of the stage before. By the builder's key where the
 * release file names one, else by the release's. */
MUST_CHECK bool build_attest(struct build_job *j, bool *skipped, struct error *err);

#endif
