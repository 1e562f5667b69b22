/* Inside of quant_method: one function per method, each fills a form that is empty but for `what` and linears_only. */
#ifndef FORMATS_QUANT_METHOD_IMPL_H
#define FORMATS_QUANT_METHOD_IMPL_H

#include "formats/quant_method.h"

#define QUANT_NAMES_MAX 65536u
#define QUANT_PATTERNS_MAX 256u

MUST_CHECK bool quant_method_awq(struct quant_form *f, const json_t *doc, const char *what, struct error *err);
MUST_CHECK bool quant_method_gptq(struct quant_form *f, const json_t *doc, const char *what, struct error *err);

#endif
