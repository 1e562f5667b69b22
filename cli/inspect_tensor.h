/* `inspect --tensor`: one tensor's place and the spread of its values. */
#ifndef CLI_INSPECT_TENSOR_H
#define CLI_INSPECT_TENSOR_H

#include "models/inventory.h"

/* `name`: of a tensor of the model ("...q_proj.weight", or the module "...q_proj"), whose values are decoded when it is
 * quantized; or of any other stored tensor, as it is stored. ERR_USAGE when there is no such tensor. */
MUST_CHECK bool inspect_tensor_json(const struct model *m, const char *name, uint64_t isa, json_t **out,
                                    struct error *err);
void inspect_tensor_print(const json_t *doc);

#endif
