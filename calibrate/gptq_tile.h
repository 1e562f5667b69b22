/* Private to GPTQ's files: a tile of a linear's rows while its codes are found, column by column (calibrate/gptq.h). */
#ifndef CALIBRATE_GPTQ_TILE_H
#define CALIBRATE_GPTQ_TILE_H

#include "calibrate/gptq.h"

#define TILE 128u /* rows that are solved together */

struct tile {
    float *w;                  /* [rows, cols] as they stand */
    float *error;              /* [rows, stride]: w - q in the factor's order */
    float *plain;              /* the same of plain rounding */
    float *base;               /* [rows, cols]: rounded as scales: max does it */
    struct grid_scales scales; /* of these rows: `steps` is the tile's own, the rest lies in the result or in room */
    uint8_t *room_bytes;       /* [rows, blocks] */
    float *room_floats;        /* the same */
    uint8_t *column;           /* [rows, cols]: codes */
    uint8_t *baseline;         /* [rows, cols/2] */
    double left;               /* e H e^T so far: what is left of each column is what it cannot hand on */
    float *now, *side;         /* [rows, 32] and its transpose */
    float *taken;              /* [32, rows]: errors of this panel */
};

/* All rows, where they are solved together: */
struct whole {
    float *w, *q;   /* [rows, cols]: what is solved for; as it is read */
    float *steps;   /* [rows, blocks] */
    uint8_t *bytes; /* [rows, blocks], where the result keeps none */
};

struct solver {
    const struct gptq_weights *w;
    const struct gptq_factor *f;
    const struct gptq_env *env;
    const struct gptq_result *result;
    enum grid_kind kind;
    struct solve_gain *gains; /* one per tile */
    uint64_t stride;          /* of error and plain */
    uint64_t blocks;          /* of a row */
    struct whole whole;       /* w NULL: rows do not know of each other */
    bool finish;              /* they were solved; tiles only write them */
};

void tile_free(struct tile *t);
MUST_CHECK bool tile_alloc(struct tile *t, const struct solver *s, struct error *err);
/* Into `plain`: the tile's weights less `base` (NULL: 0), in the factor's order. */
void tile_take_errors(const struct solver *s, struct tile *t, const float *base, uint64_t n);
/* e H e^T over n rows, errors e in the factor's order and H without what was added. `now` is written. */
double tile_weighted(const struct solver *s, const float *e, uint64_t stride, uint64_t n, float *now);
/* GPTQ of the panel whose first column is `first`; the panels in front of it are done. */
void tile_solve_panel(const struct solver *s, struct tile *t, uint64_t first, uint64_t n);
/* Plain rounding with the chosen scales. */
void tile_round_plain(const struct solver *s, struct tile *t, uint64_t n);

#endif
