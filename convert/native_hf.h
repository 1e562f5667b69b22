/* Mistral's own files (params.json) as a Hugging Face folder: config.json, and which tensors of the source make each
 * tensor of the result. Names, shapes and stacks come from the rules of the family that config.json says, read by the
 * same reader as any other folder; each tensor is found by its role. What has no place there is an error that names it.
 */
#ifndef CONVERT_NATIVE_HF_H
#define CONVERT_NATIVE_HF_H

#include "convert/convert.h"

struct native;

/* `type` of the matrices; DTYPE_COUNT: as they are. ERR_UNSUPPORTED for what transformers' class cannot say, and for
 * quantized sources. */
MUST_CHECK bool native_open(struct native **out, const struct model *m, enum dtype type, struct error *err);
void native_close(struct native *n); /* NULL is fine */
uint32_t native_count(const struct native *n);
/* Both point into n. */
void native_output(const struct native *n, uint32_t i, struct tensor_spec *spec, struct convert_item *item);
const json_t *native_hf_config(const struct native *n);

/* config.json of params.json; the caller's to release. */
MUST_CHECK bool native_make_config(const struct model *m, enum dtype type, json_t **out, struct error *err);
/* True when params.json says no longest position, so that config.json has the default of transformers' converter. */
bool native_assumes_length(const struct model *m);

#endif
