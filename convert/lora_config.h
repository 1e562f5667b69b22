/* adapter_config.json: what of it decides how an adapter is merged. */
#ifndef CONVERT_LORA_CONFIG_H
#define CONVERT_LORA_CONFIG_H

#include "core/json.h"
#include "formats/folder.h"

#define ADAPTER_CONFIG_FILE "adapter_config.json"
#define LORA_RANK_MAX 16384u

struct lora_config {
    json_t *doc;
    bool rslora, dora;
};

/* ERR_UNSUPPORTED for what cannot be merged into plain weights. */
MUST_CHECK bool lora_config_open(struct lora_config *out, const struct folder *f, struct error *err);
void lora_config_close(struct lora_config *c);
/* Of one module ("model.layers.0.mlp.up_proj"): its rank, and the s above. */
MUST_CHECK bool lora_config_module(const struct lora_config *c, const char *module, uint64_t *rank, double *scale,
                                   struct error *err);

#endif
