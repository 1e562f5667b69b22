/* One of the two configurations of a quantized checkpoint, taken apart: what quant_rules.c compares and asks. */
#ifndef FORMATS_QUANT_FORM_H
#define FORMATS_QUANT_FORM_H

#include "core/json.h"
#include "formats/quant_format.h"

struct regex_list;

/* Names are borrowed from the JSON document. */
struct quant_layer {
    const char *name;
    const struct quant_format *format;
};

struct quant_form {
    const char *what; /* names the document in errors */
    bool mixed;
    bool pre_scaled;                    /* some linears may have a pre_quant_scale */
    bool experts_only;                  /* mxfp4: whatever is no expert is as it is */
    const struct quant_format *uniform; /* NULL when mixed, or when only the cache is quantized */
    const char *kv_algo;                /* "FP8", "NVFP4" or NULL */
    uint64_t group_size;                /* 0: not said */
    const char **excluded;              /* sorted, each once */
    uint32_t n_excluded;
    struct quant_layer *layers; /* sorted by name; only when mixed */
    uint32_t n_layers;
    bool linears_only;            /* of other methods than ModelOpt's: tables and routers are as they are */
    bool experts_whole;           /* experts are asked about by their container alone */
    bool exact_names;             /* excluded names are whole ones */
    bool act_order;               /* gptq: groups may be of any columns, and g_idx counts */
    struct quant_target *targets; /* compressed-tensors: what is quantized how, in order; NULL: all alike */
    uint32_t n_targets;
    struct regex_list *ignored; /* patterns beside the excluded names, or NULL */
};

/* What one group of compressed-tensors selects. */
struct quant_target {
    const struct quant_format *format;
    const char *name;            /* a module, or NULL */
    struct regex_list *patterns; /* or NULL; without both: every linear */
};

/* `doc` is the whole of hf_quant_config.json, or the value of config.json's quantization_config; both come nested
 * ({"quantization": {...}}) and flat. ERR_UNSUPPORTED for a method or an algorithm that is not known here. */
MUST_CHECK bool quant_form_read(struct quant_form *out, const json_t *doc, const char *what, struct error *err);
void quant_form_free(struct quant_form *f);
/* formats/quant_idle.c: quant_rules_idle of one form. */
uint32_t quant_form_idle(const struct quant_form *f, const char *const *names, uint32_t n_names, const char **first);
/* ERR_FORMAT naming the key in which two forms differ. */
MUST_CHECK bool quant_form_same(const struct quant_form *a, const struct quant_form *b, struct error *err);

#endif
