/* Inside of quant_config: the configurations of other layouts than ModelOpt's. Each fills an empty object. */
#ifndef FORMATS_QUANT_CONFIG_IMPL_H
#define FORMATS_QUANT_CONFIG_IMPL_H

#include "formats/quant_config.h"

MUST_CHECK bool quant_config_ct(const struct quant_config *q, json_t *doc, struct error *err);
MUST_CHECK bool quant_config_awq(const struct quant_config *q, json_t *doc, struct error *err);
MUST_CHECK bool quant_config_fp8(const struct quant_config *q, json_t *doc, struct error *err);
MUST_CHECK bool quant_config_mxfp4(const struct quant_config *q, json_t *doc, struct error *err);
MUST_CHECK bool quant_config_gptq(const struct quant_config *q, json_t *doc, struct error *err);

#endif
