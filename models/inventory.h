/* A checkpoint held against its family's rules: which tensor is what. Built once, read by everything after.
 *
 * Complete by construction: every tensor the configuration calls for is there once, with the right shape and a type
 * that makes sense; every tensor that is there is called for. Anything else is an error with the tensor's name, never a
 * silent copy or a silent loss. Quantized checkpoints (ModelOpt's layout) are understood too: the scales belong to
 * their linear. */
#ifndef MODELS_INVENTORY_H
#define MODELS_INVENTORY_H

#include "formats/checkpoint.h"
#include "formats/quant_config.h"
#include "models/arch.h"

struct tensor_place {
    enum tensor_role role;
    int32_t layer;
    int32_t expert;
    bool mtp;
    int32_t block; /* of the trunk or of the multi-token-prediction head: a layer may be several */
};                 /* layer, expert, block -1: none */

/* One tensor of the model: a linear's weight with what belongs to it, or a plain tensor alone. */
struct model_tensor {
    const char *name;      /* "backbone.layers.0.mixer.in_proj.weight" */
    const char *module;    /* the same without ".weight"; the name itself for other tensors */
    const char *container; /* "backbone.layers.1.mixer.experts", for experts; else NULL */
    struct tensor_place place;
    uint32_t parts[PART_COUNT]; /* checkpoint index of each part, NAME_NONE when absent; PART_WEIGHT is always there */
    const struct quant_format *format; /* how the weight is stored; NULL: as plain numbers */
    uint32_t n_dims;                   /* logical shape: what the rules say, not what packing makes of it */
    uint64_t dims[TENSOR_DIMS_MAX];
    uint64_t n_elems;
};

struct inventory {
    const struct checkpoint *checkpoint;
    struct model_config config;
    struct model_tensor *tensors; /* model order: embedding, layer 0 (norm, mixer, experts by number), ..., head, mtp */
    uint32_t n_tensors;
    uint32_t *by_place;          /* private: tensor numbers sorted by place */
    struct name_index names;     /* private */
    struct digest config_digest; /* SHA-256 of config.json as it stands */
    bool act_order;              /* the quantization config says that columns of a group may lie anywhere (GPTQ) */
    const char *kv_algo;         /* what the quantization config says of the KV cache, or NULL */
    bool is_quantized;           /* any tensor has a format, or a scale of the KV cache */
    struct arena *arena;
};

/* Borrows ck, and adds to it the experts that lie in stacks (models/stacks.h). `hf` is read now and not kept. `rules`
 * may be NULL (no quantization config): then no tensor may be quantized; with rules, what they say of every linear must
 * be what is stored. */
MUST_CHECK bool inventory_open(struct inventory **out, struct checkpoint *ck, const struct hf_config *hf,
                               const struct quant_rules *rules, struct error *err);
void inventory_close(struct inventory *inv); /* NULL is fine */
CLEANUP_DEFINE(inventory, struct inventory, inventory_close)

/* NULL when there is none, which is an answer only for optional tensors (an untied head). For a role that stands more
 * than once in a block (biases) the first in rule order; ask for those by name. */
const struct model_tensor *inventory_find(const struct inventory *inv, enum tensor_role role, int32_t layer,
                                          int32_t expert, bool mtp);
/* The same for one block of a layer; `block` is an element of the configuration's blocks or mtp_blocks. */
const struct model_tensor *inventory_find_block(const struct inventory *inv, enum tensor_role role,
                                                const struct block_config *block, int32_t expert);
const struct model_tensor *inventory_find_name(const struct inventory *inv, const char *name);
/* The cache scale that belongs to a linear: PART_K_SCALE of k_proj, PART_V_SCALE of v_proj; latent attention has
 * neither and keeps them with kv_a and kv_b, under the names that k_proj and v_proj would have. PART_COUNT: none. */
enum tensor_part tensor_cache_part(enum tensor_role role);
/* What that scale is called: "...self_attn.k_proj.k_scale"; NULL without memory. */
char *tensor_cache_name(const struct model_tensor *t, struct arena *arena);
/* True for tensors that a quantization config must speak of: linears, tables, routers, convolutions. */
bool model_tensor_is_module(const struct model_tensor *t);
/* True for linears as methods of linears mean them: not heads, tables and routers, nor the projection of the
 * multi-token-prediction head. */
bool model_tensor_is_converted(const struct model_tensor *t);

/* A folder opened all the way: the usual start of every command. */
struct model {
    struct folder *folder;
    struct checkpoint *checkpoint;
    struct hf_config hf;
    struct quant_rules *rules;
    struct inventory *inventory;
};
MUST_CHECK bool model_open(struct model *out, const char *path, struct error *err);
/* The same of a folder that is open; it is taken over. */
MUST_CHECK bool model_open_folder(struct model *out, struct folder *folder, struct error *err);
void model_close(struct model *m);
/* Entries of the quantization configuration that fit no tensor of the model: how many, and the first one (valid as long
 * as the model; NULL when there is none). */
MUST_CHECK bool model_idle_rules(const struct model *m, const char **first, uint32_t *n, struct error *err);

static inline void cleanup_model(struct model *m)
{
    model_close(m);
}

#endif
