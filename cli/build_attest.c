#include "cli/build_attest.h"

#include "cli/build_stamp.h"
#include "cli/key_args.h"
#include "cli/source_files.h"
#include "pack/attest.h"

bool build_attest(struct build_job *j, bool *skipped, struct error *err)
{
    const struct release *rel = &j->release;
    const char *path = rel->builder_key ? rel->builder_key : rel->private_key ? rel->private_key : j->private_key;
    const char *backend = j->env->common->backend;
    struct key_args args = {.key = path};
    struct key *key = NULL;
    struct attest_result r;
    CLEANUP(json) json_t *files = NULL;
    struct attest_options o = {.ref = j->ref,
                               .report = j->report_path,
                               .builder_id = rel->builder_id,
                               .backend = backend ? backend : "cpu",
                               .kinds = {true, true, true, j->parity.n_tokens > 0}};
    /* A verified signature names every file already. */
    if (!j->source_signature && !source_files(j->env, rel->source, &files, err)) return false;
    o.source_files = files;
    bool ok = key_args_open(&args, &key, err);
    o.key = key;
    ok = ok && attest_package(&o, &r, err) && build_stamp_save(j->out, "package", j->package, NULL, err);
    key_close(key);
    if (!ok) return false;
    *skipped = true;
    for (uint32_t i = 0; i < r.n_done; i++) *skipped = *skipped && r.done[i].was_there;
    progress_note(j->env->progress, "attest", "%u statements about %u manifest%s", r.n_done, r.n_subjects,
                  r.n_subjects == 1 ? "" : "s");
    return true;
}
