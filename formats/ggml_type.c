#include "formats/ggml_type.h"

#include <stddef.h>

static const struct ggml_type types[] = {
    {0, DTYPE_F32},     {1, DTYPE_F16},         {2, DTYPE_Q4_0},        {3, DTYPE_Q4_1},    {6, DTYPE_Q5_0},
    {7, DTYPE_Q5_1},    {8, DTYPE_Q8_0},        {9, DTYPE_Q8_1},        {10, DTYPE_Q2_K},   {11, DTYPE_Q3_K},
    {12, DTYPE_Q4_K},   {13, DTYPE_Q5_K},       {14, DTYPE_Q6_K},       {15, DTYPE_Q8_K},   {16, DTYPE_IQ2_XXS},
    {17, DTYPE_IQ2_XS}, {18, DTYPE_IQ3_XXS},    {19, DTYPE_IQ1_S},      {20, DTYPE_IQ4_NL}, {21, DTYPE_IQ3_S},
    {22, DTYPE_IQ2_S},  {23, DTYPE_IQ4_XS},     {24, DTYPE_I8},         {25, DTYPE_I16},    {26, DTYPE_I32},
    {27, DTYPE_I64},    {28, DTYPE_F64},        {29, DTYPE_IQ1_M},      {30, DTYPE_BF16},   {34, DTYPE_TQ1_0},
    {35, DTYPE_TQ2_0},  {39, DTYPE_GGML_MXFP4}, {40, DTYPE_GGML_NVFP4}, {41, DTYPE_Q1_0},   {42, DTYPE_Q2_0},
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
        if (types[i].dtype == t) return &types[i];
    return NULL;
}
