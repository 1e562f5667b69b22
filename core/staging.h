/* A folder that is being made: `.NAME.ingot-partial` beside the final name, holding the parts that are done and a
 * journal of them. A run that was killed is taken up by the next run with the same key; a different key means that the
 * inputs changed, and the partial folder is emptied first. The final name appears by one rename.
 *
 * Lock: a second process that wants the same output fails at once. */
#ifndef CORE_STAGING_H
#define CORE_STAGING_H

#include "core/error.h"

#include <stdint.h>

struct staging;

/* `key`: one line of text that says everything the output depends on (digests). With `replace`, an existing final
 * folder is swapped out at commit; without it, it is ERR_USAGE now. */
MUST_CHECK bool staging_open(struct staging **out, const char *final_path, const char *key, bool replace,
                             struct error *err);
const char *staging_path(const struct staging *s); /* of the partial folder; files in it are ordinary files */
bool staging_resumed(const struct staging *s);

/* The journal: `value` is one line; recorded only after the file it speaks of is durable. NULL when not recorded. */
const char *staging_recorded(const struct staging *s, const char *name);
MUST_CHECK bool staging_record(struct staging *s, const char *name, const char *value, struct error *err);

/* Removes the journal, makes the folder durable, gives it its final name, and frees s (also on failure). */
MUST_CHECK bool staging_commit(struct staging *s, struct error *err);
/* Lets go: keep leaves the parts for a later run, otherwise everything is removed. Frees s; NULL is fine. */
void staging_close(struct staging *s, bool keep);

#endif
