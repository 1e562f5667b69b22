/* Which weights an auditor encodes again when he does not encode all: drawn by a seed, so that who has the seed draws
 * the same, and who packed could not know it. docs/package.md says how to do it with sha256sum. */
#ifndef VERIFY_DRAW_H
#define VERIFY_DRAW_H

#include "plan/plan.h"

/* Whether quantize makes an item's weight, rather than copying it: what can be drawn. */
bool draw_can(const struct plan *p, uint32_t item);
/* The `n` items with the lowest SHA-256 of "SEED\nNAME", NAME the first tensor that is written of the item; all when
 * there are no more. drawn[plan->n_items] out; *n_of: how many could be drawn. */
MUST_CHECK bool draw_items(const struct plan *p, const char *seed, uint64_t n, bool *drawn, uint32_t *n_of,
                           struct error *err);

#endif
