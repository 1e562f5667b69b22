/* One of the two configurations of a quantized checkpoint, taken apart: what quant_rules.c compares and asks. */
#ifndef FORMATS_QUANT_FORM_H
#define FORMATS_QUANT_FORM_H

#include "core/json.h"
#include "formats/quant_format.h"

/* Names are borrowed from the JSON document. */
struct quant_layer {
    const char *name;
    const struct quant_format *format;
};

struct quant_form {
    const char *what; /* names the document in errors */
    bool mixed;
    bool experts_only; /* GPT-OSS's MXFP4: whatever is not an expert is as it is */
    const struct quant_format *uniform; /* NULL when mixed, or when only the cache is quantized */
    const char *kv_algo;                /* "FP8" or NULL */
    uint64_t group_size;                /* 0: not said */
    const char **excluded;              /* sorted, each once */
    uint32_t n_excluded;
    struct quant_layer *layers; /* sorted by name; only when mixed */
    uint32_t n_layers;
};

/* `doc` is the whole of hf_quant_config.json, or the value of config.json's quantization_config; both come nested
 * ({"quantization": {...}}) and flat. ERR_UNSUPPORTED for a method or an algorithm that is not known here. */
MUST_CHECK bool quant_form_read(struct quant_form *out, const json_t *doc, const char *what, struct error *err);
void quant_form_free(struct quant_form *f);
/* ERR_FORMAT naming the key in which two forms differ. */
MUST_CHECK bool quant_form_same(const struct quant_form *a, const struct quant_form *b, struct error *err);

#endif
