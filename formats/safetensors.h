/* What the reader and the writer of safetensors agree on, and what the files of the reader share. The format: 8 bytes
 * of length, little-endian; a JSON object of that many bytes, name -> {dtype, shape, data_offsets}; then the data,
 * without gaps. The rules a file must keep are listed at header_parse in formats/safetensors_read.c. */
#ifndef FORMATS_SAFETENSORS_H
#define FORMATS_SAFETENSORS_H

#include "core/json.h"
#include "formats/checkpoint.h"

#define SAFETENSORS_HEADER_MAX 100000000u /* of the reference reader: bytes after the length */
#define SAFETENSORS_METADATA_MAX 100000u  /* entries of __metadata__; published files have fewer than ten */
#define SAFETENSORS_INDEX_NAME "model.safetensors.index.json"
#define SAFETENSORS_INDEX_MAX ((size_t)100000000)

/* Reads one member's header, adds its tensors and the file. */
MUST_CHECK bool safetensors_read_header(struct checkpoint *ck, uint32_t member, struct error *err);

/* formats/safetensors_files.c: which members hold the tensors. True when one may. */
/* True for a folder in Mistral's own layout: consolidated*.safetensors and params.json, and no other weights. */
bool safetensors_native(const struct folder *f);
bool safetensors_probe(const struct folder *f);
/* Marks them in wanted[folder_count]. */
MUST_CHECK bool safetensors_choose(struct checkpoint *ck, bool *wanted, struct error *err);

/* formats/safetensors_index.c: the index file of a sharded checkpoint. */
bool safetensors_has_index(const struct folder *f);
/* Marks the members that the index names. */
MUST_CHECK bool safetensors_index_shards(const struct folder *f, bool *wanted, struct error *err);
/* Compares the index with what the headers say; checkpoint_index must have been called. */
MUST_CHECK bool safetensors_index_check(struct checkpoint *ck, struct error *err);

/* formats/safetensors_layout.c. Tensor numbers of a shard in the order of their bytes: order[first[s + 1] - first[s]].
 */
void safetensors_order(const struct shard_layout *l, uint32_t shard, uint32_t *order);
/* The length bytes, the header and the spaces that bring the data onto a page. `metadata`: an object of strings; NULL:
 * that of a model, {"format":"pt"}. */
struct text;
MUST_CHECK bool safetensors_make_header(struct text *t, const struct tensor_spec *specs, const struct shard_layout *l,
                                        const uint32_t *order, uint32_t n, const json_t *metadata, struct error *err);
/* A JSON string with its quotes; ERR_FORMAT when it is not UTF-8. */
MUST_CHECK bool safetensors_put_string(struct text *t, const char *s, struct error *err);

#endif
