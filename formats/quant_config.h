/* What engines read to know how each linear is stored: hf_quant_config.json and config.json's quantization_config.
 * One structure writes both, and reads both back: TensorRT-LLM believes the file, vLLM the inline form, so they must
 * not differ. Other layouts than ModelOpt's have only the inline form. Layout and traps: docs/formats.md. */
#ifndef FORMATS_QUANT_CONFIG_H
#define FORMATS_QUANT_CONFIG_H

#include "core/json.h"
#include "formats/hf_config.h"
#include "formats/quant_format.h"

/* One module of the checkpoint that has a `.weight` an engine could mistake for quantized: linears, embeddings,
 * routers, convolutions. Norms and scalars are left out. */
struct quant_module {
    const char *name;                  /* "backbone.layers.1.mixer.experts.0.up_proj" */
    const char *container;             /* the module engines ask about for all its experts, or NULL */
    const struct quant_format *format; /* NULL: not quantized */
    bool table;                        /* a head, a table or a projection that methods of linears must name */
    bool pre_scaled;                   /* it has a pre_quant_scale: NVFP4 or INT4 of the layout modelopt */
};

struct quant_config {
    const struct quant_module *modules; /* in any order */
    uint32_t n_modules;
    const char *kv_algo; /* "FP8", "NVFP4", or NULL */
    /* Names that are excluded whole besides what follows from the modules: "mtp" gives the pattern "mtp*". */
    const char *const *excluded;
    uint32_t n_excluded;
    const char *layout; /* the quant_method whose configuration is written; NULL: modelopt */
    bool act_order;     /* layout gptq: the g_idx of some modules is not c / group */
};

/* Uniform when all quantized modules share one format, otherwise MIXED_PRECISION. Fails when nothing is quantized, and
 * when the experts of one container differ. *out: new reference; of the file NULL where the layout has none. */
MUST_CHECK bool quant_config_file(const struct quant_config *q, json_t **out,
                                  struct error *err); /* hf_quant_config.json */
MUST_CHECK bool quant_config_inline(const struct quant_config *q, json_t **out,
                                    struct error *err); /* quantization_config */

/* The reading side. */
struct quant_rules;
/* *out NULL when the folder says nothing about quantization. When both forms are there and disagree: ERR_FORMAT naming
 * the key. An algorithm we do not know is ERR_UNSUPPORTED naming it. */
MUST_CHECK bool quant_rules_open(struct quant_rules **out, const struct hf_config *c, struct error *err);
void quant_rules_close(struct quant_rules *r); /* NULL is fine */
CLEANUP_DEFINE(quant_rules, struct quant_rules, quant_rules_close)
const char *quant_rules_kv_algo(const struct quant_rules *r); /* "FP8", "NVFP4" or NULL */
bool quant_rules_act_order(const struct quant_rules *r);      /* gptq's desc_act */
/* Every module that is quantized is named with its type, and what is not named is not (MIXED_PRECISION). */
bool quant_rules_lists_layers(const struct quant_rules *r);
/* True when linears may have a pre_quant_scale; false: engines would not look for one. */
bool quant_rules_pre_scaled(const struct quant_rules *r);
/* True when the configuration is of a method that speaks of linears, and of embeddings, heads and routers only where it
 * names one: then quant_rules_named says what of them is stored how. */
bool quant_rules_linears_only(const struct quant_rules *r);
/* How many entries of the configuration fit none of these names (sorted), and the first of them. Patterns of `re:`
 * count too. */
uint32_t quant_rules_idle(const struct quant_rules *r, const char *const *names, uint32_t n, const char **first);
const struct quant_format *quant_rules_named(const struct quant_rules *r, const char *module);
/* How an engine would take `module` to be stored: exact name, container prefix, or pattern. NULL: not quantized. */
const struct quant_format *quant_rules_resolve(const struct quant_rules *r, const char *module);

#endif
