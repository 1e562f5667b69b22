/* The annotations of a package's manifest: what the checkpoint inside says of itself. */
#ifndef CLI_IMAGE_LABELS_H
#define CLI_IMAGE_LABELS_H

#include "core/json.h"

/* From the folder's ingot.json: plan digest, recipe, tool. A folder without one (an original) gets the tool's version
 * only. */
MUST_CHECK bool image_labels(const char *folder, json_t **out, struct error *err);

#endif
