/* Quantization configurations of other methods than ModelOpt's, as their own programs write them into config.json:
 * DeepSeek's `fp8`, `compressed-tensors`, GPT-OSS's `mxfp4`, `awq` and `gptq`. They speak of linears (mxfp4: of
 * experts); embeddings, heads and routers are as they are, unless they are named. */
#ifndef FORMATS_QUANT_METHOD_H
#define FORMATS_QUANT_METHOD_H

#include "formats/quant_form.h"

/* True when quant_method is one of these. */
bool quant_method_known(const json_t *doc);
/* Fills the form; ERR_UNSUPPORTED names what is not read here: other block sizes, activations with stored scales, other
 * widths and strategies. */
MUST_CHECK bool quant_method_read(struct quant_form *f, const json_t *doc, const char *what, struct error *err);
void quant_method_free(struct quant_form *f);
/* What compressed-tensors' lists make of a module; `named`: only when a target is its very name, because "Linear" does
 * not mean it (heads, tables). */
const struct quant_format *quant_method_resolve(const struct quant_form *f, const char *module, bool named);

/* Patterns of these lists: "re:" and a regular expression that must fit from a name's first letter on. */
struct regex_list;
/* `texts` without "re:". ERR_UNSUPPORTED for what is no expression or not read here (formats/regex.h), naming it. */
MUST_CHECK bool regex_list_make(struct regex_list **out, const char *const *texts, uint32_t n, const char *what,
                                struct error *err);
void regex_list_free(struct regex_list *l); /* NULL is fine */
bool regex_list_fits(const struct regex_list *l, const char *name);
/* Pattern i of the list, and whether it fits; NULL past the end. */
const char *regex_list_text(const struct regex_list *l, uint32_t i);
bool regex_list_one_fits(const struct regex_list *l, uint32_t i, const char *name);

#endif
