/* The specification of INT4: loops over numeric/int4.h and nothing else. Groups may be long, so elements are widened
 * twice and no block is held. */
#include "backends/cpu/element.h"
#include "backends/cpu/kernel_list.h"
#include "numeric/int4.h"

/* Element i of the packed row-major codes. A group has an even number of elements, so no byte is shared by two. */
static void nibble_store(uint8_t *dst, uint64_t i, uint8_t code)
{
    if (i % 2 == 0) dst[i / 2] = code;
    else dst[i / 2] = (uint8_t)(dst[i / 2] | code << 4);
}

static uint8_t nibble(const void *src, uint64_t i)
{
    uint8_t byte = ((const uint8_t *)src)[i / 2];
    return i % 2 == 0 ? byte & 15u : byte >> 4;
}

static uint64_t n_groups(const struct kernel_args *a)
{
    return a->n_rows * (a->n_cols / a->group);
}

void encode_int4_scalar(const struct kernel_args *a)
{
    for (uint64_t g = 0; g < n_groups(a); g++) {
        float amax = 0.0f;
        uint64_t first = g * a->group, end = first + a->group;
        for (uint64_t i = first; i < end; i++) amax = f32_amax(amax, element_widen(a->src, a->dtype, i));
        float scale = int4_scale(amax, a->int4_scale);
        element_store_f32(a->dst_f32, g, scale);
        for (uint64_t i = first; i < end; i++)
            nibble_store(a->dst, i, int4_code(element_widen(a->src, a->dtype, i), scale));
    }
}

void decode_int4_scalar(const struct kernel_args *a)
{
    for (uint64_t g = 0; g < n_groups(a); g++) {
        float scale = element_f32(a->src_scale_f32, g);
        for (uint64_t i = g * a->group; i < (g + 1) * a->group; i++)
            element_store_f32(a->dst_f32, i, int4_decode(nibble(a->src, i), scale));
    }
}

void encode_int4_zero_scalar(const struct kernel_args *a)
{
    for (uint64_t g = 0; g < n_groups(a); g++) {
        float lo = 0.0f, hi = 0.0f;
        uint64_t first = g * a->group, end = first + a->group;
        for (uint64_t i = first; i < end; i++) {
            float w = element_widen(a->src, a->dtype, i);
            lo = int4_low(lo, w);
            hi = int4_high(hi, w);
        }
        float scale = int4_zero_scale(lo, hi, a->int4_scale);
        uint8_t zero = int4_zero(lo, scale);
        element_store_f32(a->dst_f32, g, scale);
        a->dst_scale[g] = zero;
        for (uint64_t i = first; i < end; i++)
            nibble_store(a->dst, i, int4_zero_code(element_widen(a->src, a->dtype, i), scale, zero));
    }
}

void decode_int4_zero_scalar(const struct kernel_args *a)
{
    for (uint64_t g = 0; g < n_groups(a); g++) {
        float scale = element_f32(a->src_scale_f32, g);
        for (uint64_t i = g * a->group; i < (g + 1) * a->group; i++)
            element_store_f32(a->dst_f32, i, int4_zero_decode(nibble(a->src, i), scale, a->src_scale[g]));
    }
}
