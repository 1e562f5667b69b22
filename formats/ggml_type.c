#include "formats/ggml_type.h"

#include <stddef.h>

#define NAMED(id, name, elems, bytes)                                                                                  \
    {                                                                                                                  \
        id, name, elems, bytes, DTYPE_COUNT, FILE_TYPE_NONE                                                            \
    }

static const struct ggml_type types[] = {
    {0, "F32", 1, 4, DTYPE_F32, 0},
    {1, "F16", 1, 2, DTYPE_F16, 1},
    NAMED(2, "Q4_0", 32, 18),
    NAMED(3, "Q4_1", 32, 20),
    NAMED(6, "Q5_0", 32, 22),
    NAMED(7, "Q5_1", 32, 24),
    {8, "Q8_0", 32, 34, DTYPE_Q8_0, 7},
    NAMED(9, "Q8_1", 32, 36),
    NAMED(10, "Q2_K", 256, 84),
    NAMED(11, "Q3_K", 256, 110),
    NAMED(12, "Q4_K", 256, 144),
    NAMED(13, "Q5_K", 256, 176),
    NAMED(14, "Q6_K", 256, 210),
    NAMED(15, "Q8_K", 256, 292),
    NAMED(16, "IQ2_XXS", 256, 66),
    NAMED(17, "IQ2_XS", 256, 74),
    NAMED(18, "IQ3_XXS", 256, 98),
    NAMED(19, "IQ1_S", 256, 50),
    NAMED(20, "IQ4_NL", 32, 18),
    NAMED(21, "IQ3_S", 256, 110),
    NAMED(22, "IQ2_S", 256, 82),
    NAMED(23, "IQ4_XS", 256, 136),
    {24, "I8", 1, 1, DTYPE_I8, FILE_TYPE_NONE},
    {25, "I16", 1, 2, DTYPE_I16, FILE_TYPE_NONE},
    {26, "I32", 1, 4, DTYPE_I32, FILE_TYPE_NONE},
    {27, "I64", 1, 8, DTYPE_I64, FILE_TYPE_NONE},
    {28, "F64", 1, 8, DTYPE_F64, FILE_TYPE_NONE},
    NAMED(29, "IQ1_M", 256, 56),
    {30, "BF16", 1, 2, DTYPE_BF16, 32},
    NAMED(34, "TQ1_0", 256, 54),
    NAMED(35, "TQ2_0", 256, 66),
    NAMED(39, "MXFP4", 32, 17),
    NAMED(40, "NVFP4", 64, 36),
};

const struct ggml_type *ggml_type_find(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

const struct ggml_type *ggml_type_of(enum dtype t)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].dtype == t && t != DTYPE_COUNT) return &types[i];
    return NULL;
}
