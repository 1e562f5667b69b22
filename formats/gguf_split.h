/* Two tensors of a GGUF file that are one projection in the folder (formats/gguf_split.c). */
#ifndef FORMATS_GGUF_SPLIT_H
#define FORMATS_GGUF_SPLIT_H

#include "formats/checkpoint.h"
#include "formats/gguf_arch.h"

/* Adds the whole, under `name`, when `t` is its first half (GGUF_QKV, GGUF_K_B), and nothing for the second; the other
 * half, named by `pair`, must be there. ERR_FORMAT for shapes that the file's keys do not give, ERR_UNSUPPORTED for
 * halves of different types and for blocks that run across the rows of the whole. */
MUST_CHECK bool gguf_add_split(struct checkpoint *ck, const struct gguf *g, const struct gguf_tensor *t,
                               enum gguf_change change, const char *pair, const char *name, struct error *err);

#endif
