/* One build: a release file's stages in order, each leaving its file under OUT, each skipped when what is there is
 * still right. This is the only place that knows all the verbs. */
#ifndef CLI_BUILD_JOB_H
#define CLI_BUILD_JOB_H

#include "cli/commands.h"
#include "cli/release.h"
#include "cli/verify_run.h"
#include "engine/corpus.h"
#include "models/inventory.h"
#include "plan/stats.h"

struct build_job {
    const struct command_env *env;
    struct release release;
    const char *out;
    char *stats_path, *quantized, *profiles, *package, *ref, *private_key, *public_key, *plan_path, *report_path;
    struct model source;
    json_t *source_signature; /* what was verified of the source; NULL: nothing was asked for */
    struct recipe *recipe;
    struct plan *plan;
    struct stats *stats;
    struct report *report;
    struct parity parity;
    struct digest image;
    uint64_t source_bytes, quantized_bytes, package_bytes;
};

/* One stage. *skipped: what is there was right already. */
struct build_stage {
    const char *name;
    bool (*run)(struct build_job *j, bool *skipped, struct error *err);
};
extern const struct build_stage build_stages[]; /* in order; ends with run == NULL */

MUST_CHECK bool build_open(struct build_job *j, const struct command_env *env, const char *release, const char *out,
                           struct error *err);
void build_close(struct build_job *j);

#endif
