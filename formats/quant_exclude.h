/* The shortest list of names and patterns that excludes some modules and none of others: what exclude_modules holds. */
#ifndef FORMATS_QUANT_EXCLUDE_H
#define FORMATS_QUANT_EXCLUDE_H

#include "core/arena.h"

#include <stdint.h>

/* `plain` are excluded, `quantized` must not be; both are sorted in place. out: room for n_plain; the texts live as
 * long as the arena. For each plain module the shortest prefix that ends before a dot: `P*` when no quantized module
 * begins with P, `P.*` when none is P or lies below it, else the whole name. Names without a dot come first, the rest
 * sorted: the order ModelOpt writes. */
MUST_CHECK bool quant_exclude(struct arena *texts, const char **plain, uint32_t n_plain, const char **quantized,
                              uint32_t n_quantized, const char **out, uint32_t *n_out, struct error *err);

#endif
