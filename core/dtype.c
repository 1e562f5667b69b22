#include "core/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    uint32_t bits;
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
    [DTYPE_F4] = {"F4", 4},
    [DTYPE_F6_E2M3] = {"F6_E2M3", 6},
    [DTYPE_F6_E3M2] = {"F6_E3M2", 6},
    [DTYPE_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [DTYPE_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [DTYPE_C64] = {"C64", 64},
    [DTYPE_Q8_0] = {"Q8_0", 0}, /* not by element: 34 bytes for 32 */
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
    switch (t) {
    case DTYPE_F4: return 2;
    case DTYPE_F6_E2M3:
    case DTYPE_F6_E3M2: return 4;
    case DTYPE_Q8_0: return 32;
    default: return 1;
    }
}

uint32_t dtype_block_bytes(enum dtype t)
{
    return t == DTYPE_Q8_0 ? 34 : dtypes[t].bits * dtype_block_elems(t) / 8;
}

uint64_t dtype_row_bytes(enum dtype t, uint64_t n)
{
    return n / dtype_block_elems(t) * dtype_block_bytes(t);
}

bool dtype_parse(const char *name, size_t n, enum dtype *out)
{
    for (int t = 0; t < DTYPE_COUNT; t++) {
        const char *known = dtypes[t].name;
        if (t == DTYPE_Q8_0) continue;
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
