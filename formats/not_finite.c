#include "formats/not_finite.h"

#include "numeric/half.h"

#include <math.h>

float tensor_number_at(const void *numbers, enum dtype dtype, uint64_t i)
{
    const uint8_t *p = numbers;
    uint16_t half;
    float v;
    if (dtype == DTYPE_F32) {
        memcpy(&v, p + i * sizeof v, sizeof v);
        return v;
    }
    memcpy(&half, p + i * sizeof half, sizeof half);
    return dtype == DTYPE_F16 ? f16_decode(half) : bf16_decode(half);
}

void tensor_place_text(char out[96], const struct tensor_info *t, uint64_t i)
{
    uint64_t at[TENSOR_DIMS_MAX];
    for (uint32_t d = t->n_dims; d-- > 0;) {
        at[d] = t->dims[d] ? i % t->dims[d] : 0;
        i = t->dims[d] ? i / t->dims[d] : 0;
    }
    size_t n = 0;
    out[n++] = '[';
    for (uint32_t d = 0; d < t->n_dims && n < 72; d++)
        n += (size_t)snprintf(out + n, 96 - n, "%s%llu", d ? ", " : "", (unsigned long long)at[d]);
    snprintf(out + n, 96 - n, "]");
}

bool tensor_not_finite(const struct checkpoint *ck, const struct tensor_info *t, const void *numbers, uint64_t first,
                       uint64_t n, struct error *err)
{
    char place[96];
    float v = 0;
    uint64_t i = 0;
    while (i < n && isfinite(v = tensor_number_at(numbers, t->dtype, i))) i++;
    if (i == n)
        return error_set(err, ERR_INTERNAL, "tensor '%.256s': the maximum is not finite, but every element is",
                         t->name);
    tensor_place_text(place, t, first + i);
    error_set(err, ERR_FORMAT, "tensor '%.256s' holds a value that is not finite: element %s is %s", t->name, place,
              isnan(v) ? "NaN" : "infinite");
    return ck ? error_wrap(err, "file '%.128s'", folder_name(checkpoint_folder(ck), t->member)) : false;
}
