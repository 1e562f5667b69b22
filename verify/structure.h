/* Is this checkpoint what its ingot.json says, and does that follow from the original by the recipe it names? */
#ifndef VERIFY_STRUCTURE_H
#define VERIFY_STRUCTURE_H

#include "core/pool.h"
#include "core/progress.h"
#include "models/inventory.h"
#include "verify/report.h"

/* Checks of the checkpoint alone: ingot.json is there and well-formed, names exactly the tensors and files that are
 * there, and every digest is that of the bytes; scales are positive and finite; the recurrent state is declared fp32.
 * Problems become checks in `r`; false only when checking itself failed. */
MUST_CHECK bool structure_check(const struct model *m, struct pool *pool, struct report *r, const struct progress *pr,
                                struct error *err);
/* The same of a package whose weights are not here: its files alone. */
MUST_CHECK bool structure_check_files(const struct folder *f, struct report *r, struct error *err);
/* Against the original: the plan is made again from the recipe in ingot.json and must have the same digest and outputs;
 * every tensor's source digest must be that of the original's bytes, and a copy's own the same; tokenizer, generation
 * settings and chat template are the original's (verify/carried.h). `ck` NULL: the weights are not here, and what only
 * they show is undecided. */
MUST_CHECK bool structure_check_against(const struct folder *f, const struct checkpoint *ck,
                                        const struct model *original, struct pool *pool, struct report *r,
                                        const struct progress *pr, struct error *err);

#endif
