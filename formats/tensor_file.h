/* One safetensors file that is not a model: logits, statistics. Same rules as for checkpoints; tensors in the given
 * order. */
#ifndef FORMATS_TENSOR_FILE_H
#define FORMATS_TENSOR_FILE_H

#include "core/json.h"
#include "formats/checkpoint.h"

struct tensor_file;

/* `metadata`: an object of strings, or NULL. The file appears at commit. */
MUST_CHECK bool tensor_file_open(struct tensor_file **out, const char *path, const struct tensor_spec *specs,
                                 uint32_t n, const json_t *metadata, struct error *err);
MUST_CHECK bool tensor_file_write(struct tensor_file *f, uint32_t tensor, uint64_t offset, const void *data, size_t n,
                                  struct error *err);
MUST_CHECK bool tensor_file_commit(struct tensor_file *f, struct error *err); /* frees f */
void tensor_file_abort(struct tensor_file *f);                                /* NULL is fine; frees f */

/* Reading: a folder of one file, so that checkpoint_open and checkpoint_metadata serve. */
MUST_CHECK bool tensor_file_read(struct folder **folder, struct checkpoint **ck, const char *path, struct error *err);

#endif
