#include "core/dtype.h"

#include <string.h>

static const struct { const char *name; uint32_t bytes; } dtypes[] = {
    [DTYPE_BOOL] = {"BOOL", 1}, [DTYPE_U8] = {"U8", 1}, [DTYPE_I8] = {"I8", 1},
    [DTYPE_F8_E5M2] = {"F8_E5M2", 1}, [DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [DTYPE_F8_E8M0] = {"F8_E8M0", 1},
    [DTYPE_I16] = {"I16", 2}, [DTYPE_U16] = {"U16", 2}, [DTYPE_F16] = {"F16", 2}, [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_I32] = {"I32", 4}, [DTYPE_U32] = {"U32", 4}, [DTYPE_F32] = {"F32", 4},
    [DTYPE_F64] = {"F64", 8}, [DTYPE_I64] = {"I64", 8}, [DTYPE_U64] = {"U64", 8},
};
_Static_assert(sizeof dtypes / sizeof *dtypes == DTYPE_COUNT, "every dtype has a row");

const char *dtype_name(enum dtype t)
{
    return dtypes[t].name;
}

uint32_t dtype_bytes(enum dtype t)
{
    return dtypes[t].bytes;
}

bool dtype_parse(const char *name, size_t n, enum dtype *out)
{
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (strlen(dtypes[t].name) != n || memcmp(dtypes[t].name, name, n) != 0) continue;
        *out = (enum dtype)t;
        return true;
    }
    return false;
}

bool dtype_is_plain_float(enum dtype t)
{
    return t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F32;
}
