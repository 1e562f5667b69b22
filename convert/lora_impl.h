/* Between convert/lora.c (which tensor changes which) and convert/lora_rows.c (into what). */
#ifndef CONVERT_LORA_IMPL_H
#define CONVERT_LORA_IMPL_H

#include "convert/lora.h"
#include "convert/lora_config.h"
#include "core/arena.h"
#include "engine/engine.h"

enum lora_part {
    LORA_A,
    LORA_B,
    LORA_MAGNITUDE,
    LORA_BASE,  /* W itself, which PEFT saves along with embeddings */
    LORA_WHOLE, /* what stands in its place */
    LORA_PARTS
};

/* What happens to one stored tensor of the model. */
struct change {
    const struct lora *lora;
    const struct model_tensor *tensor;
    uint32_t parts[LORA_PARTS]; /* of the adapter, or NAME_NONE */
    bool table;                 /* an embedding: A [rank, rows], B [columns, rank] */
    uint64_t rank;
    float scale;
};

struct lora {
    const struct model *m;
    struct folder *folder;
    struct checkpoint *ck;
    struct lora_config config;
    struct arena *arena;
    struct engine *engine;
    uint64_t isa;
    struct change **of_stored; /* [stored tensors] */
    uint32_t n_stored, n_changes;
};

#endif
