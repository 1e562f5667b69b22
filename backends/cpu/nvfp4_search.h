/* The searches of numeric/nvfp4_local.h for many rows that share one block of columns, and so one H: a row per lane.
 * All tables give the bits of the functions there. */
#ifndef BACKENDS_CPU_NVFP4_SEARCH_H
#define BACKENDS_CPU_NVFP4_SEARCH_H

#include <stdint.h>

struct nvfp4_search_ops {
    const char *name;
    uint64_t isa;
    /* nvfp4_local_scale of n rows: w[row * stride .. + 16] gives codes[row * code_stride]. */
    void (*sweep)(const float *w, uint64_t stride, uint64_t n, const float h[256], float s2, uint8_t *codes,
                  uint64_t code_stride);
    /* nvfp4_descend_block: q[row * stride .. + 16] and codes as above in and out, hd[row * hd_stride .. + 16]. */
    void (*descend)(float *q, uint64_t stride, const float *hd, uint64_t hd_stride, uint64_t n, const float h[256],
                    float s2, uint8_t *codes, uint64_t code_stride);
};

extern const struct nvfp4_search_ops nvfp4_search_scalar, nvfp4_search_avx2, nvfp4_search_avx512;
extern const struct nvfp4_search_ops *const nvfp4_search_tables[]; /* plain C first; NULL-terminated */
const struct nvfp4_search_ops *nvfp4_search_for(uint64_t isa);     /* the widest table that `isa` allows */

#endif
