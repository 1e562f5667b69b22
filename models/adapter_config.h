/* adapter_config.json of an adapter of low rank, as PEFT saves it. */
#ifndef MODELS_ADAPTER_CONFIG_H
#define MODELS_ADAPTER_CONFIG_H

#include "core/json.h"
#include "formats/folder.h"

#define ADAPTER_CONFIG_FILE "adapter_config.json"
#define ADAPTER_RANK_MAX 16384u

struct adapter_config {
    json_t *doc;
    bool rslora, dora;
};

/* ERR_UNSUPPORTED for other kinds than LoRA and DoRA, and for those that fit another base model than the published one.
 */
MUST_CHECK bool adapter_config_open(struct adapter_config *out, const struct folder *f, struct error *err);
void adapter_config_close(struct adapter_config *c);
/* Of one module ("model.layers.0.mlp.up_proj"): its rank, and the scale of B A (models/adapter.h). */
MUST_CHECK bool adapter_config_module(const struct adapter_config *c, const char *module, uint64_t *rank, double *scale,
                                      struct error *err);
/* ERR_UNSUPPORTED, with the setting, when the result is not W + s B A on every token. */
MUST_CHECK bool adapter_config_mergeable(const struct adapter_config *c, struct error *err);
/* Why an engine would not load it, or scale it otherwise than PEFT does; NULL: it serves (vllm/lora/peft_helper.py,
 * _validate_features). */
const char *adapter_config_not_served(const struct adapter_config *c);

#endif
