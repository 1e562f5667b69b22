/* What a linear loses on the sample of its inputs (calibrate/sample.h) when its columns are multiplied by a scale each,
 * its weights rounded as they would be written, and its inputs divided by the scales and rounded, where the format
 * rounds inputs: the sum of squared differences of its outputs. The rows that all this is done to are changed in the
 * source's own type first (plan/fold.h), as quantize does. */
#ifndef CALIBRATE_FOLD_ERROR_H
#define CALIBRATE_FOLD_ERROR_H

#include "calibrate/sample.h"
#include "plan/fold.h"

struct fold_env {
    const struct plan *plan;
    struct pool *pool;
    uint64_t isa;
};

/* One linear that reads the channels, quantized. */
struct fold_reader {
    uint32_t item;
    const struct sample *sample; /* of its input, or of another linear's that reads the same */
    double error, energy;        /* results, per row of the sample; energy: of the outputs themselves */
};

/* All readers of a group at once, since they share scales of weights. by: [columns], NULL: 1. plain: with scales: max,
 * whatever their lines say. energy_too: else energies stay as they are. */
MUST_CHECK bool fold_errors(const struct fold_env *e, struct fold_reader *readers, uint32_t n, const float *by,
                            bool plain, bool energy_too, struct error *err);

/* A tile: w [n, cols] as it was, q the same as it is read back, with its scales in it. input_scale 0: inputs are taken
 * as they are. Sums, not divided by anything; energy may be NULL. */
MUST_CHECK bool fold_tile_error(const struct fold_env *e, const struct sample *s, enum op input_op, float input_scale,
                                const float *by, const float *w, const float *q, uint64_t n, double *error,
                                double *energy, struct error *err);
/* Rows [first, first + n) of an item's weight: as fp32 into w, and with factors in their own type into `changed`;
 * either may be NULL. */
MUST_CHECK bool fold_rows(const struct fold_env *e, uint32_t item, const struct fold_factors *f, uint64_t first,
                          uint64_t n, float *w, void *changed, struct error *err);
/* The input's scale under `by`; 0: the format rounds none. */
float fold_input_scale(const struct fold_env *e, uint32_t item, const struct sample *s, const float *by);

#endif
