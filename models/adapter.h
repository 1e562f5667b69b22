/* Adapters of low rank, as PEFT saves them (adapter_config.json and adapter_model.safetensors): LoRA, rank-stabilised
 * LoRA, DoRA, and whole tensors that were trained beside them (modules_to_save, biases).
 *
 *     LoRA   W' = W + s B A              s = alpha / rank, or alpha / sqrt(rank) (use_rslora)
 *     DoRA   W' = m (W + s B A) / |W + s B A|, with the Euclidean norm of every row
 *
 * Source: peft/tuners/lora/layer.py and dora.py (get_delta_weight, merge). Here: which tensor belongs to which of the
 * model, and that its shape is right; convert/lora.h merges, pack/pack.h carries. */
#ifndef MODELS_ADAPTER_H
#define MODELS_ADAPTER_H

#include "core/arena.h"
#include "models/adapter_config.h"
#include "models/inventory.h"

#define ADAPTER_WEIGHTS_FILE "adapter_model.safetensors"

enum adapter_part {
    ADAPTER_A,
    ADAPTER_B,
    ADAPTER_MAGNITUDE,
    ADAPTER_BASE,  /* W itself, which PEFT saves along with embeddings */
    ADAPTER_WHOLE, /* what stands in its place */
    ADAPTER_PARTS
};

/* What happens to one stored tensor of the model. */
struct adapter_change {
    const struct model_tensor *tensor;
    uint32_t parts[ADAPTER_PARTS]; /* of the adapter, or NAME_NONE */
    bool table;                    /* an embedding: A [rank, rows], B [columns, rank] */
    uint64_t rank;                 /* 0 of a whole tensor */
    float scale;                   /* s */
};

struct adapter {
    const struct inventory *inventory;
    struct folder *folder;
    struct checkpoint *checkpoint;
    struct adapter_config config;
    struct adapter_change **of_stored; /* [n_stored]: by the model's stored tensor of the weight, or NULL */
    uint32_t n_stored, n_changes;
    struct arena *arena;
};

/* The adapter in folder `path` against a model, which is borrowed. Every tensor of the adapter must have its place in
 * the model and its shape: ERR_FORMAT names the one that has not. */
MUST_CHECK bool adapter_open(struct adapter **out, const char *path, const struct inventory *inv, struct error *err);
void adapter_close(struct adapter *a); /* NULL is fine */
CLEANUP_DEFINE(adapter, struct adapter, adapter_close)
/* A list of target_modules names modules of the model, and each of them has tensors. */
MUST_CHECK bool adapter_check_targets(const struct adapter *a, struct error *err);
/* Reads every number: none may be NaN or infinite. */
MUST_CHECK bool adapter_check_values(const struct adapter *a, struct error *err);
/* The largest rank that the configuration speaks of, which is what engines reserve room for. */
uint64_t adapter_rank_max(const struct adapter *a);

#endif
