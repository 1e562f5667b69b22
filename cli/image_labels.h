/* The annotations of a package's manifest: what the checkpoint inside says of itself, and digests that tell whether a
 * package was made from these folders. */
#ifndef CLI_IMAGE_LABELS_H
#define CLI_IMAGE_LABELS_H

#include "core/crypto.h"
#include "core/json.h"

/* From the folder's ingot.json: its own digest, plan digest, recipe. A folder without one (an original) gets the tool's
 * version only. `profiles`: the folder of serving profiles, or NULL. ERR_FORMAT when a licence of the original is
 * missing: such a folder is not packed. */
MUST_CHECK bool image_labels(const char *folder, const char *profiles, json_t **out, struct error *err);
/* True when the image that `ref` names carries exactly these; *image is its digest then. */
MUST_CHECK bool image_labels_of(const char *ref, const json_t *labels, struct digest *image, struct error *err);

#endif
