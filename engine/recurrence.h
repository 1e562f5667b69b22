/* engine/scan.h for the segments of a call: what Mamba-2 and DeltaNet blocks share. */
#ifndef ENGINE_RECURRENCE_H
#define ENGINE_RECURRENCE_H

#include "engine/block.h"
#include "engine/short_conv.h"

/* Shapes of the model's recurrent layers; the pool and the arithmetic of the engine. */
struct scan recurrence_shape(const struct engine *e);
/* Runs every segment: `rows` has the arrays and strides of the call's first row; n, first, keep and state are filled
 * in. Then reports final states to the observer. */
MUST_CHECK bool recurrence_run(const struct block_call *call, const struct scan *scan, const struct scan_piece *rows,
                               struct error *err);
/* Scratch of the calling thread. */
uint64_t recurrence_need(const struct scan *scan, const struct call_shape *c);
/* What texts keep, n_open of them in the middle of a chunk. */
uint64_t recurrence_state(const struct engine *e, const struct short_conv *conv, uint64_t n_texts, uint64_t n_open);

#endif
