/* Merging adapters of low rank into a model's tensors, in fp32 (models/adapter.h says what an adapter is). Adapters
 * that changed the base model when they were made, or that act on some tokens only, cannot be merged and are refused.
 */
#ifndef CONVERT_LORA_H
#define CONVERT_LORA_H

#include "convert/convert.h"

struct lora;
/* Opens the adapter in folder `path` against a model, which is borrowed. Every tensor of the adapter must have its
 * place in the model: ERR_FORMAT names the one that has not. */
MUST_CHECK bool lora_open(struct lora **out, const char *path, const struct model *m, const struct convert_options *opt,
                          struct error *err);
void lora_close(struct lora *l); /* NULL is fine */
CLEANUP_DEFINE(lora, struct lora, lora_close)
/* Of the adapter's files: folder_stamp. */
MUST_CHECK bool lora_stamp(const struct lora *l, struct digest *out, struct error *err);
uint32_t lora_count(const struct lora *l); /* tensors of the model that it changes */

/* What lora_read wants for stored tensor i of the model; NULL: the adapter leaves it alone. */
void *lora_change(const struct lora *l, uint32_t i);
/* Rows of the changed tensor as fp32 (struct convert_item). */
bool lora_read(void *ctx, uint32_t worker, uint64_t first, uint64_t n, float *out, struct error *err);

#endif
