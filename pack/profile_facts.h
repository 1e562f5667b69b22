/* Everything that was decided for one profile, before anything is written: the writer turns it into files, the lint
 * rules judge it, profile.json records it. Plain data; pointers belong to the rows, the model and the arena of whoever
 * decided. */
#ifndef PACK_PROFILE_FACTS_H
#define PACK_PROFILE_FACTS_H

#include "models/inventory.h"
#include "pack/fit.h"
#include "pack/profile_rows.h"

/* NVFP4 and FP8 weights under one config, as quantization configs call it. */
#define ALGO_MIXED "MIXED_PRECISION"

struct profile_facts {
    const struct engine_row *engine;
    const struct gpu_row *gpu;
    const char *image;    /* digest of the engine's container image, "sha256:..."; NULL: not pinned */
    uint32_t tp;          /* GPUs; every layer is shared by all of them */
    bool expert_parallel; /* routed experts are kept whole, each on one GPU */

    const struct inventory *inv;
    const char *model_type;   /* of config.json; "" when it does not say */
    uint64_t n_predict;       /* num_nextn_predict_layers */
    bool declares_quant;      /* config.json or hf_quant_config.json speaks of quantization */
    bool has_auto_map;        /* config.json names Python of its own */
    const char *missing_code; /* a file of it that is not in the folder, or NULL */

    const char *algo;           /* quant_algo of the configuration, upper case; NULL when it says none */
    const char *nvfp4_path;     /* how the profile says NVFP4 W4A4 weights run: "w4a4", "w4a16"; or NULL */
    const char *kv_dtype;       /* what the engine is told: "fp8", "bfloat16", "auto" */
    const char *ssm_dtype;      /* what the engine is told; NULL without Mamba layers */
    uint32_t ssm_philox_rounds; /* of stochastic rounding of the state; 0: none */
    const char *reasoning_parser, *tool_parser; /* or NULL */

    uint64_t context, sequences;
    uint32_t drafts;
    uint32_t utilisation_permille;
    bool long_context; /* the engine is told to go beyond max_position_embeddings */
    struct fit_model fit_model;
    struct fit_request fit_request;
    struct fit fit;
    uint32_t tp_that_fits; /* when it does not fit: how many of these GPUs would do; 0: none found */
};

bool facts_have_mamba(const struct profile_facts *f);
bool facts_have_attention(const struct profile_facts *f);
bool facts_have_experts(const struct profile_facts *f);
bool facts_kv_fp8(const struct profile_facts *f);
/* What an engine asks at least of the number of GPUs: Mamba heads and groups, query heads, KV heads divide. */
bool tp_divides(const struct model_config *cfg, uint32_t tp);
/* The attention layers whose key and value heads divide worst among tp ranks: those that do not, else the fewest. */
const struct attention_config *tp_hardest_attention(const struct model_config *cfg, uint32_t tp);

#endif
