#include "core/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    uint32_t bits;
    uint32_t elems, bytes; /* of a block; 0: one element */
} dtypes[] = {
    [DTYPE_BOOL] = {"BOOL", 8},
    [DTYPE_U8] = {"U8", 8},
    [DTYPE_I8] = {"I8", 8},
    [DTYPE_F8_E5M2] = {"F8_E5M2", 8},
    [DTYPE_F8_E4M3] = {"F8_E4M3", 8},
    [DTYPE_F8_E8M0] = {"F8_E8M0", 8},
    [DTYPE_I16] = {"I16", 16},
    [DTYPE_U16] = {"U16", 16},
    [DTYPE_F16] = {"F16", 16},
    [DTYPE_BF16] = {"BF16", 16},
    [DTYPE_I32] = {"I32", 32},
    [DTYPE_U32] = {"U32", 32},
    [DTYPE_F32] = {"F32", 32},
    [DTYPE_F64] = {"F64", 64},
    [DTYPE_I64] = {"I64", 64},
    [DTYPE_U64] = {"U64", 64},
    [DTYPE_F4] = {"F4", 4, 2, 1},
    [DTYPE_F6_E2M3] = {"F6_E2M3", 6, 4, 3},
    [DTYPE_F6_E3M2] = {"F6_E3M2", 6, 4, 3},
    [DTYPE_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [DTYPE_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [DTYPE_C64] = {"C64", 64},
    /* Not by element. Sizes: ggml's block_* structures. */
    [DTYPE_Q8_0] = {"Q8_0", 0, 32, 34},
    [DTYPE_Q4_0] = {"Q4_0", 0, 32, 18},
    [DTYPE_Q4_1] = {"Q4_1", 0, 32, 20},
    [DTYPE_Q5_0] = {"Q5_0", 0, 32, 22},
    [DTYPE_Q5_1] = {"Q5_1", 0, 32, 24},
    [DTYPE_Q2_K] = {"Q2_K", 0, 256, 84},
    [DTYPE_Q3_K] = {"Q3_K", 0, 256, 110},
    [DTYPE_Q4_K] = {"Q4_K", 0, 256, 144},
    [DTYPE_Q5_K] = {"Q5_K", 0, 256, 176},
    [DTYPE_Q6_K] = {"Q6_K", 0, 256, 210},
    [DTYPE_IQ4_NL] = {"IQ4_NL", 0, 32, 18},
    [DTYPE_IQ4_XS] = {"IQ4_XS", 0, 256, 136},
    [DTYPE_GGML_MXFP4] = {"MXFP4", 0, 32, 17},
    [DTYPE_GGML_NVFP4] = {"NVFP4", 0, 64, 36},
    [DTYPE_Q8_1] = {"Q8_1", 0, 32, 36},
    [DTYPE_Q8_K] = {"Q8_K", 0, 256, 292},
    [DTYPE_IQ2_XXS] = {"IQ2_XXS", 0, 256, 66},
    [DTYPE_IQ2_XS] = {"IQ2_XS", 0, 256, 74},
    [DTYPE_IQ3_XXS] = {"IQ3_XXS", 0, 256, 98},
    [DTYPE_IQ1_S] = {"IQ1_S", 0, 256, 50},
    [DTYPE_IQ3_S] = {"IQ3_S", 0, 256, 110},
    [DTYPE_IQ2_S] = {"IQ2_S", 0, 256, 82},
    [DTYPE_IQ1_M] = {"IQ1_M", 0, 256, 56},
    [DTYPE_TQ1_0] = {"TQ1_0", 0, 256, 54},
    [DTYPE_TQ2_0] = {"TQ2_0", 0, 256, 66},
    [DTYPE_Q1_0] = {"Q1_0", 0, 128, 18},
    [DTYPE_Q2_0] = {"Q2_0", 0, 64, 18},
};
_Static_assert(sizeof dtypes / sizeof *dtypes == DTYPE_COUNT, "every dtype has a row");

const char *dtype_name(enum dtype t)
{
    return dtypes[t].name;
}

uint32_t dtype_bits(enum dtype t)
{
    return dtypes[t].bits;
}

uint32_t dtype_bytes(enum dtype t)
{
    return dtypes[t].bits / 8;
}

uint32_t dtype_block_elems(enum dtype t)
{
    return dtypes[t].elems ? dtypes[t].elems : 1;
}

uint32_t dtype_block_bytes(enum dtype t)
{
    return dtypes[t].bytes ? dtypes[t].bytes : dtype_bytes(t);
}

uint64_t dtype_row_bytes(enum dtype t, uint64_t n)
{
    return n / dtype_block_elems(t) * dtype_block_bytes(t);
}

bool dtype_parse(const char *name, size_t n, enum dtype *out)
{
    for (int t = 0; t < DTYPE_Q8_0; t++) {
        const char *known = dtypes[t].name;
        if (n == 0 || known[0] != name[0] || strlen(known) != n || memcmp(known, name, n) != 0) continue;
        *out = (enum dtype)t;
        return true;
    }
    return false;
}

bool dtype_is_plain_float(enum dtype t)
{
    return t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F32;
}

bool dtype_is_blocks(enum dtype t)
{
    return t >= DTYPE_Q8_0 && t < DTYPE_COUNT;
}

bool dtype_is_decoded(enum dtype t)
{
    return t >= DTYPE_Q8_0 && t <= DTYPE_GGML_NVFP4;
}
