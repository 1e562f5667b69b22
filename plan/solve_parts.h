/* What solving needs in memory, decided before the first token: which linears' second moments are kept at the same
 * time. The plan states it, calibrate does it. */
#ifndef PLAN_SOLVE_PARTS_H
#define PLAN_SOLVE_PARTS_H

#include "plan/plan.h"

/* Second moments at the same time; `--solve-memory` says another figure. */
#define PLAN_SOLVE_BYTES ((uint64_t)4 << 30)

/* Rows that wait to be added to the moments of that many columns. */
uint32_t solve_chunk_rows(uint64_t cols);

/* The linear whose inputs are those of item i too (gate's for up, q's for k and v), and whose moments serve both. */
uint32_t solve_owner(const struct plan *p, uint32_t i);

/* Cuts the linears of one block that are solved into parts whose moments fit into `budget` (a part has one linear at
 * least): part[owner], NAME_NONE for all other items. The head is block n_blocks. Returns the number of parts. */
uint32_t solve_parts(const struct plan *p, uint32_t block, uint64_t budget, uint32_t *part);

struct solve_needs {
    uint32_t n_linears;
    uint64_t bytes;      /* of moments and their factor at most */
    uint32_t most_parts; /* times a block is run forward at most */
};
MUST_CHECK bool solve_needs(const struct plan *p, uint64_t budget, struct solve_needs *out, struct error *err);

#endif
