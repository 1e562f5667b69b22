/* One linear's solved codes on their way into the statistics: parts of its format that are no scalars, as kernels leave
 * them, and what they were worth. */
#ifndef CALIBRATE_SLOT_H
#define CALIBRATE_SLOT_H

#include "calibrate/gptq.h"
#include "calibrate/work.h"
#include "plan/solved_parts.h"

struct slot {
    uint32_t item, n_parts;
    struct solved_tensor parts[SOLVED_PARTS_MAX];
    struct solved_part kinds[SOLVED_PARTS_MAX];
    struct solve_gain gain;
};

/* Of slot->item: reserves the places. In item order, by one thread. */
void slot_lay_out(struct slot *slot, const struct plan *p, struct work *w);
/* Writes the parts, with their digests and, of what lies alone, the source's. From any thread. */
MUST_CHECK bool slot_store(struct slot *slot, const struct plan *p, const struct work *w, const struct gptq_result *r,
                           struct error *err);
/* Into the statistics: parts, with the digest of the whole stack where the weight is written in one, and gain. In item
 * order, by one thread. */
MUST_CHECK bool slot_add(struct slot *slot, const struct plan *p, struct work *w, struct error *err);

#endif
