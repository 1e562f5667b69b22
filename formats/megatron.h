/* Checkpoints of Megatron-core and NeMo: GPT models whose tensors are fused, stacked over layers and cut over ranks,
 * and their way to the names of the Hugging Face folder. Three containers give arrays of chunks (struct mega_set), and
 * one map makes tensors of them. */
#ifndef FORMATS_MEGATRON_H
#define FORMATS_MEGATRON_H

#include "formats/torch_file.h"

#define MEGA_ARRAYS_MAX 20000u /* a model of 200 layers that are not stacked has 2,400 */
#define MEGA_CHUNKS_MAX 1000000u

struct mega_chunk {
    struct torch_tensor part;     /* its sizes are the chunk's */
    uint64_t at[TENSOR_DIMS_MAX]; /* where it lies in the array */
};
struct mega_array {
    const char *name; /* as mega_name makes it */
    enum dtype dtype;
    uint32_t n_dims, n_chunks, capacity;
    uint64_t dims[TENSOR_DIMS_MAX];
    struct mega_chunk *chunks;
};
struct mega_set {
    struct mega_array *arrays;
    uint32_t n, capacity, n_chunks;
    struct arena *arena;
};
void mega_set_free(struct mega_set *s);
/* The array of that name, made when it is not there (then dtype and sizes are a's); NULL: error is set. */
struct mega_array *mega_set_array(struct mega_set *s, const struct mega_array *a, struct error *err);
MUST_CHECK bool mega_add_chunk(struct mega_set *s, struct mega_array *a, const struct mega_chunk *c, struct error *err);

/* A name without what wrappers put in front ("module.", "model."), in Megatron-core's words; NULL for what is no weight
 * of the model (optimizers, extra states, rotary tables). *layer: the number in it, which is taken out, or -1. */
const char *mega_name(struct arena *a, const char *name, int64_t *layer);
char *mega_layer_name(struct arena *a, const char *name, int64_t layer); /* and back */
/* Along which dimension ranks cut a tensor of that name: 0, 1, or -1: each has all of it. -2: not known. */
int mega_cut(const char *name, bool *is_fc1);

/* What the folder's config.json says and the map needs. */
struct mega_config {
    uint64_t layers, heads, groups, head_dim;
    bool gated;
};
MUST_CHECK bool mega_config_read(const struct folder *f, struct mega_config *out, struct error *err);
MUST_CHECK bool mega_add_all(struct checkpoint *ck, struct mega_set *s, const struct mega_config *c, struct error *err);

/* Containers. */
bool mega_shards_probe(const struct folder *f); /* model_weights.ckpt, alone or one per rank */
bool mega_dist_probe(const struct folder *f);   /* .metadata of torch.distributed.checkpoint */
bool mega_zarr_probe(const struct folder *f);   /* NAME/.zarray */
/* ck NULL: names and sizes are enough. c NULL: not known yet. */
MUST_CHECK bool mega_shards_read(struct mega_set *s, const struct folder *f, struct checkpoint *ck,
                                 const struct mega_config *c, struct error *err);
MUST_CHECK bool mega_dist_read(struct mega_set *s, const struct folder *f, struct checkpoint *ck, struct error *err);
MUST_CHECK bool mega_zarr_read(struct mega_set *s, const struct folder *f, struct checkpoint *ck, struct error *err);
/* Rows of the embedding, padding included: what config.json calls vocab_size. 0 when there is no such array. */
MUST_CHECK bool mega_embedding_rows(const struct folder *f, uint64_t *out, struct error *err);
/* Names that belong to one of them: no other program wants them in its folder. */
bool mega_is_weights(const char *name);

#endif
