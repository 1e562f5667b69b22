/* The work file of a calibration that solves: results go to disk as they come, and a journal beside them says which
 * blocks are done, so that a killed run goes on there and ends in the same bytes. stats_free removes it, unless
 * s->keep_work. */
#ifndef CALIBRATE_WORK_H
#define CALIBRATE_WORK_H

#include "plan/stats.h"

#define WORK_STACKS 4u /* of one block, at least */

struct work {
    struct stats *stats; /* holds the folder and the file */
    struct {
        uint32_t base; /* of the checkpoint, + 1; 0: none */
        struct digest is;
    } stacks[WORK_STACKS];      /* stacks of experts that were read lately (calibrate/slot.c) */
    uint32_t n_stacks;          /* that ever were */
    uint64_t size;              /* of the file that counts */
    uint32_t n_solved, n_gains; /* of stats, when the block under way began */
};

/* `path`: the output that this is for; the folder is made beside it. `key`: all that the results depend on. */
MUST_CHECK bool work_open(struct work *w, struct stats *s, const char *path, const char *key, struct error *err);
/* True when an earlier run finished the block: its results are in the stats now. */
MUST_CHECK bool work_recall(struct work *w, uint32_t block, bool *done, struct error *err);
/* Room for n bytes; written with work_write, from any thread. */
uint64_t work_reserve(struct work *w, uint64_t n);
MUST_CHECK bool work_write(const struct work *w, uint64_t at, const void *data, size_t n, struct error *err);
void work_begin_block(struct work *w);
/* All that was added to the stats since then is made durable and journaled. */
MUST_CHECK bool work_end_block(struct work *w, uint32_t block, struct error *err);

#endif
