/* Two models or packages, tensor by tensor, key by key, file by file. */
#ifndef VERIFY_DIFF_H
#define VERIFY_DIFF_H

#include "core/json.h"
#include "core/pool.h"
#include "core/progress.h"

#define DIFF_ROWS_MAX 100000u /* differences that are listed; more are counted */

/* a, b: paths as every command takes them. *out: {"schema", "a", "b", "same", "tensors", "tensors_same", "files",
 * "files_same", "differences": [...], "left_off"}. A difference has "what" ("tensor", "key", "file"), "name", "how"
 * ("only in a", "only in b", "type", "shape", "values") and what is known of both sides; of values, how many of them
 * differ and by how much at most, as plain numbers or (other types) as bytes. Everything is read; memory does not grow
 * with it. */
MUST_CHECK bool diff_run(const char *a, const char *b, struct pool *pool, uint64_t isa, const struct progress *pr,
                         json_t **out, struct error *err);

#endif
