/* Rotary position embeddings as configurations spell them: `rope_theta` and `rope_scaling` (older), `rope_parameters`
 * (newer), and the scaling rules default, linear, llama3, yarn. Formulae: docs/formats.md, Rotary embeddings; they are
 * those of the reference implementation, fp32 roundings included, since a position of 10^5 magnifies them. */
#ifndef MODELS_ROPE_H
#define MODELS_ROPE_H

#include "models/arch.h"

/* What a configuration says of one kind of layer. */
struct rope_spec {
    const json_t *scaling; /* rope_scaling or rope_parameters, or NULL */
    double theta;
};

/* Finds theta and the scaling object; `fallback` is the class's theta. `layer_type` ("full_attention") chooses inside
 * rope_parameters that have one object per kind of layer; NULL: there is only one. */
MUST_CHECK bool rope_find(const json_t *json, const char *layer_type, double fallback, struct rope_spec *out,
                          struct error *err);

/* Fills style, dim, inv_freq (in the arena) and factor. `dim` is even and at most the head's. max_position: of the
 * configuration, for rules that fall back to it; 0: not said. ERR_UNSUPPORTED for a rule that is not known. */
MUST_CHECK bool rope_make(const struct rope_spec *spec, enum rope_style style, uint64_t dim, uint64_t max_position,
                          struct arena *arena, struct rope_config *out, struct error *err);

/* `partial_rotary_factor` of either place times head_dim, as an even number of elements. */
MUST_CHECK bool rope_partial(const json_t *json, const struct rope_spec *spec, uint64_t head_dim, double fallback,
                             uint64_t *dim, struct error *err);

/* g(mscale_all_dim) of yarn, which MLA's softmax scale takes squared: 0.1 m ln(factor) + 1; 1 without yarn. */
MUST_CHECK bool rope_mscale_all(const struct rope_spec *spec, uint64_t max_position, double *out, struct error *err);

#endif
