/* How compressed-tensors describes a quantization type: the arguments of one of its config_groups. One table writes
 * and reads them. Vocabulary: compressed-tensors 0.20, quantization/quant_args.py (docs/formats.md). */
#ifndef FORMATS_CT_SCHEME_H
#define FORMATS_CT_SCHEME_H

#include "core/json.h"
#include "formats/quant_format.h"

enum ct_type { CT_FLOAT, CT_INT };
enum ct_strategy { CT_TENSOR, CT_CHANNEL, CT_GROUP, CT_TENSOR_GROUP, CT_BLOCK, CT_TOKEN };
enum ct_dynamic { CT_STATIC, CT_DYNAMIC, CT_LOCAL };

/* Of weights or of activations; bits 0: not quantized. */
struct ct_args {
    uint32_t bits;
    enum ct_type type;
    enum ct_strategy strategy;
    uint32_t group; /* elements of a group; 0: no groups */
    bool asymmetric;
    enum ct_dynamic dynamic;
    const char *scale_dtype; /* NULL: the model's */
};

/* Its word for the tensors' layout: "nvfp4-pack-quantized". NULL when it has no way to say this format. */
const char *ct_format_word(const struct quant_format *f);
/* A config group; `targets` is stolen. *out: new reference. */
MUST_CHECK bool ct_group_json(const struct quant_format *f, json_t *targets, json_t **out, struct error *err);
/* The format of a config group; `name` and `what` name it in errors. */
MUST_CHECK bool ct_group_read(const json_t *group, const char *name, const char *what, const struct quant_format **out,
                              struct error *err);

#endif
