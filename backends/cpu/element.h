/* One element of a kernel's source, for scalar kernels and for the tails of the others. Sources may begin at any
 * address, so elements are copied out, never read through a typed pointer. */
#ifndef BACKENDS_CPU_ELEMENT_H
#define BACKENDS_CPU_ELEMENT_H

#include "core/dtype.h"
#include "numeric/half.h"

static inline float element_f32(const void *src, uint64_t i)
{
    float x;
    memcpy(&x, (const uint8_t *)src + 4u * i, sizeof x);
    return x;
}

static inline uint16_t element_u16(const void *src, uint64_t i)
{
    uint16_t h;
    memcpy(&h, (const uint8_t *)src + 2u * i, sizeof h);
    return h;
}

/* Element i of a source of F32, BF16 or F16, widened. */
static inline float element_widen(const void *src, enum dtype dtype, uint64_t i)
{
    if (dtype == DTYPE_F32) return element_f32(src, i);
    return dtype == DTYPE_BF16 ? bf16_decode(element_u16(src, i)) : f16_decode(element_u16(src, i));
}

/* Elements i..i+15, widened: one NVFP4 block. */
static inline void element_widen_block(const void *src, enum dtype dtype, uint64_t i, float out[16])
{
    for (uint64_t k = 0; k < 16; k++) out[k] = element_widen(src, dtype, i + k);
}

/* Elements i..i+31, widened: one block of the MX types. */
static inline void element_widen_block32(const void *src, enum dtype dtype, uint64_t i, float out[32])
{
    for (uint64_t k = 0; k < 32; k++) out[k] = element_widen(src, dtype, i + k);
}

static inline void element_store_f32(float *dst, uint64_t i, float x)
{
    memcpy((uint8_t *)dst + 4u * i, &x, sizeof x);
}

#endif
