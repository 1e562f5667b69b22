/* `inspect --strict`: the values, not only the headers. */
#ifndef CLI_INSPECT_VALUES_H
#define CLI_INSPECT_VALUES_H

#include "core/pool.h"
#include "core/progress.h"
#include "models/inventory.h"

/* Every plain number and every decoded block scale is finite, every scale positive; the tokenizer opens. */
MUST_CHECK bool inspect_values(const struct model *m, struct pool *pool, uint64_t isa, const struct progress *pr,
                               struct error *err);

/* The same of the plain numbers and FP8 bytes of a checkpoint about which nothing else is known. */
MUST_CHECK bool inspect_stored_values(const struct checkpoint *ck, struct pool *pool, uint64_t isa, struct error *err);

#endif
