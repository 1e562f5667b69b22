/* Mistral's own files: the keys of params.json that its families share, and what their modules are called elsewhere. */
#ifndef MODELS_NATIVE_H
#define MODELS_NATIVE_H

#include "models/decoder.h"

/* Prefixes of the towers for pictures. */
extern const char *const native_carried[];

/* dim, vocab_size, hidden_dim, norm_eps, tied_embeddings, the longest position; n_layers layers of `first` and a gated
 * MLP. */
MUST_CHECK bool native_sizes(struct model_config *cfg, const json_t *json, enum block_kind first, struct arena *arena,
                             struct error *err);
/* rope_theta (`theta` when absent) and `yarn`. out->scaling is the caller's to release. */
MUST_CHECK bool native_rope(const json_t *json, double theta, struct rope_spec *out, struct error *err);
/* llama_4_scaling: queries that are raised with their distance from the start. */
MUST_CHECK bool native_query_scale(struct attention_config *a, const json_t *json, struct error *err);
char *native_config_name(const char *module, struct arena *arena);

#endif
