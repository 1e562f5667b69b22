/* The files of a model's folder that are no weights, in a folder with other weights. */
#ifndef CONVERT_OTHER_FILES_H
#define CONVERT_OTHER_FILES_H

#include "models/inventory.h"

/* Copies them into folder `output`, but for the configuration, which keeps every byte but the type of the matrices
 * (DTYPE_COUNT: that too) and, with `undo`, what it says of quantization; `config`, when it is not NULL, is
 * the config.json in place of that. */
MUST_CHECK bool carry_files(const struct model *m, const char *output, enum dtype type, bool undo, const json_t *config,
                            struct error *err);
/* "bfloat16" */
const char *torch_dtype_name(enum dtype t);

#endif
