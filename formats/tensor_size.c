#include "formats/checkpoint.h"

bool tensor_size(const char *name, enum dtype dtype, uint32_t n_dims, const uint64_t *dims, uint64_t *n_elems,
                 uint64_t *bytes, struct error *err)
{
    uint64_t n = 1, bits;
    if (n_dims > TENSOR_DIMS_MAX)
        return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s' has %u dimensions, at most %u are handled", name,
                         n_dims, TENSOR_DIMS_MAX);
    for (uint32_t i = 0; i < n_dims; i++)
        if (!u64_mul(n, dims[i], &n))
            return error_set(err, ERR_FORMAT, "tensor '%.256s': the product of its shape overflows", name);
    if (dtype_is_blocks(dtype)) {
        uint32_t block = dtype_block_elems(dtype);
        if (n_dims == 0 || dims[n_dims - 1] % block != 0)
            return error_set(err, ERR_FORMAT, "tensor '%.256s': a row of %llu elements is not whole blocks of %u (%s)",
                             name, (unsigned long long)(n_dims ? dims[n_dims - 1] : 1), block, dtype_name(dtype));
        if (!u64_mul(n / block, dtype_block_bytes(dtype), bytes))
            return error_set(err, ERR_FORMAT, "tensor '%.256s': its size in bytes overflows", name);
        *n_elems = n;
        return true;
    }
    if (!u64_mul(n, dtype_bits(dtype), &bits))
        return error_set(err, ERR_FORMAT, "tensor '%.256s': its size in bits overflows", name);
    if (bits % 8 != 0)
        return error_set(err, ERR_FORMAT, "tensor '%.256s': %llu elements of %s do not fill whole bytes", name,
                         (unsigned long long)n, dtype_name(dtype));
    *n_elems = n;
    *bytes = bits / 8;
    return true;
}
