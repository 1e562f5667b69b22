/* From a linear's bytes in the file to panels (backends/cpu/packed.h). */
#ifndef ENGINE_PANELS_H
#define ENGINE_PANELS_H

#include "engine/block.h"

/* Chooses how panels hold the weight: l->packed, l->decoded. */
MUST_CHECK bool panels_open(struct linear *l, const struct engine *e, struct error *err);

/* Room of one thread for making panels, out of its scratch; closed with panel_scratch_free, also after a failure. */
struct panel_scratch {
    uint64_t n_panels;     /* at most, in one read */
    uint8_t *raw, *scales; /* as the file has them */
    float *rows;           /* of one panel, decoded; NULL unless l->decoded */
    float *blocks;         /* owned: scales of the rows that were read last, where these are numbers; or NULL */
    uint8_t *panels;       /* [n_panels] */
};
MUST_CHECK bool panel_scratch_alloc(struct panel_scratch *s, const struct linear *l, const struct engine *e,
                                    struct scratch *from, struct error *err);
void panel_scratch_free(struct panel_scratch *s);
uint64_t panel_scratch_need(const struct linear *l, const struct engine *e);
/* Panels that panel_scratch_alloc has room for: about a megabyte of the file, since small reads are slow ones. */
uint64_t panels_per_read(const struct linear *l, const struct engine *e);

/* Panels [first, first + n), n <= s->n_panels, into `out`. Refuses values that are not finite. */
MUST_CHECK bool panels_read(const struct linear *l, const struct engine *e, uint64_t first, uint64_t n,
                            struct panel_scratch *s, uint8_t *out, struct error *err);

/* Weight rows [first, first + n) as fp32, [n, cols]; the same checks. */
MUST_CHECK bool panels_rows(const struct linear *l, const struct engine *e, struct scratch *from, uint64_t first,
                            uint64_t n, float *out, struct error *err);

#endif
