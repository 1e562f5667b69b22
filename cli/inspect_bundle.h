/* `inspect --bundle-only`: folders of families that have no graph here (diffusion, speech, ...), which are packed and
 * signed as they are. Nothing is known of their tensors but what the files say. */
#ifndef CLI_INSPECT_BUNDLE_H
#define CLI_INSPECT_BUNDLE_H

#include "core/json.h"
#include "core/pool.h"
#include "core/progress.h"

/* Every file with its SHA-256; of safetensors, wherever they lie in the folder, also tensors, elements and bytes by
 * type. isa not 0: values are read too, and one that is not finite is ERR_FORMAT. A folder without any file of weights
 * is ERR_FORMAT. */
MUST_CHECK bool inspect_bundle_json(const char *path, struct pool *pool, uint64_t isa, const struct progress *pr,
                                    json_t **out, struct error *err);
void inspect_bundle_print(const json_t *doc);

#endif
