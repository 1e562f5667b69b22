/* `inspect`: what lies beside the weights and concerns people. */
#ifndef CLI_INSPECT_FILES_H
#define CLI_INSPECT_FILES_H

#include "models/inventory.h"

/* "code_files" and "license_files": [{"file", "bytes", "sha256"}], read whole; "tokenizer": the file that `ingot
 * tokenize` reads, or null; "license": what the model card declares (`license`, or `license_name` when that says
 * "other"), or null. */
MUST_CHECK bool inspect_files(const struct folder *f, json_t *doc, struct error *err);

#endif
