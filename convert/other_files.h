/* The files of a model's folder that are no weights, in a folder with other weights. */
#ifndef CONVERT_OTHER_FILES_H
#define CONVERT_OTHER_FILES_H

#include "models/inventory.h"

/* Copies them into folder `output`, but for the configuration, which keeps every byte but the type of the matrices
 * (DTYPE_COUNT: that too) and, with `undo`, what it says of quantization. */
MUST_CHECK bool carry_files(const struct model *m, const char *output, enum dtype type, bool undo, struct error *err);

#endif
