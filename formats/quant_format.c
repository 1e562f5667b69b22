#include "formats/quant_format.h"

#include "core/bytes.h"

#include <string.h>
#include <strings.h>

static const char *const part_suffixes[PART_COUNT] = {
    [PART_WEIGHT] = "weight",
    [PART_WEIGHT_SCALE] = "weight_scale",
    [PART_WEIGHT_SCALE_2] = "weight_scale_2",
    [PART_WEIGHT_SCALE_INV] = "weight_scale_inv",
    [PART_WEIGHT_SHAPE] = "weight_shape",
    [PART_WEIGHT_GLOBAL_SCALE] = "weight_global_scale",
    [PART_WEIGHT_ZERO_POINT] = "weight_zero_point",
    [PART_SCALES] = "scales",
    [PART_QZEROS] = "qzeros",
    [PART_G_IDX] = "g_idx",
    [PART_INPUT_GLOBAL_SCALE] = "input_global_scale",
    [PART_INPUT_SCALE] = "input_scale",
    [PART_PRE_QUANT_SCALE] = "pre_quant_scale",
    [PART_K_SCALE] = "k_scale",
    [PART_V_SCALE] = "v_scale",
};

const char *tensor_part_suffix(enum tensor_part part)
{
    return part_suffixes[part];
}

const struct quant_format *quant_format_find(const char *name)
{
    for (const struct quant_format *const *f = quant_formats; *f; f++)
        if (strcmp((*f)->name, name) == 0) return *f;
    return NULL;
}

const struct quant_format *quant_format_by_algo(const char *algo, uint64_t group_size)
{
    const struct quant_format *first = NULL;
    for (const struct quant_format *const *f = quant_formats; *f; f++) {
        if ((*f)->method || strcasecmp((*f)->algo, algo) != 0) continue;
        if ((*f)->block_cols == group_size) return *f;
        if (!first) first = *f;
    }
    return first;
}

static const char *layout_of(const struct quant_format *f)
{
    return f->method ? f->method : "modelopt";
}

const char *quant_format_stem(const struct quant_format *f)
{
    return f->stem ? f->stem : "weight";
}

static bool takes_inputs(const struct quant_format *f, const char *inputs)
{
    return strcmp(f->inputs, inputs) == 0 || (f->or_inputs && strcmp(f->or_inputs, inputs) == 0);
}

static bool takes_zeros(const struct quant_format *f, bool zero)
{
    return f->zeros == ZEROS_EITHER || zero == (f->zeros == ZEROS_STORED);
}

const struct quant_format *quant_format_for(const char *layout, const char *weights, const char *inputs, uint32_t group,
                                            bool zero)
{
    for (const struct quant_format *const *f = quant_formats; *f; f++)
        if ((*f)->weights && strcmp((*f)->weights, weights) == 0 && takes_inputs(*f, inputs) && takes_zeros(*f, zero) &&
            strcmp(layout_of(*f), layout) == 0 && (group == 0 || group == (*f)->block_cols))
            return *f;
    return NULL;
}

bool quant_layout_known(const char *layout)
{
    for (const struct quant_format *const *f = quant_formats; *f; f++)
        if ((*f)->weights && strcmp(layout_of(*f), layout) == 0) return true;
    return false;
}

const struct quant_format *quant_format_of(const char *method, const char *name)
{
    const struct quant_format *f = quant_format_find(name);
    return f && f->method && strcmp(f->method, method) == 0 ? f : NULL;
}

bool quant_part_fits(const struct quant_part *p, enum dtype dtype)
{
    if (dtype == p->dtype) return true;
    if (p->part == PART_WEIGHT_SHAPE) return p->any_type && dtype == DTYPE_I32;
    return p->any_type && dtype_is_plain_float(dtype);
}

void quant_part_shape(const struct quant_part *p, uint64_t rows, uint64_t cols, uint32_t *n_dims,
                      uint64_t dims[QUANT_DIMS_MAX])
{
    bool shape = p->part == PART_WEIGHT_SHAPE;
    uint64_t r = u64_div_up(rows, p->rows_per_elem ? p->rows_per_elem : 1);
    uint64_t c = p->cols_per_elem ? u64_div_up(cols, p->cols_per_elem) : 0;
    *n_dims = p->cols_per_elem && !p->n_dims ? 2 : p->n_dims;
    if (!p->cols_per_elem) r = shape ? 2 : 1;
    const uint64_t all[QUANT_DIMS_MAX] = {p->on_side ? c : r, p->on_side ? r : *n_dims == 4 ? 1 : c, c, 1};
    memcpy(dims, all, sizeof all);
}

uint64_t quant_part_elems(const struct quant_part *p, uint64_t rows, uint64_t cols)
{
    if (!p->cols_per_elem) return 0;
    return u64_div_up(rows, p->rows_per_elem ? p->rows_per_elem : 1) * u64_div_up(cols, p->cols_per_elem);
}

uint32_t quant_format_rows(const struct quant_format *f)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < f->n_parts; i++) {
        uint32_t n = f->parts[i].rows_per_elem;
        if (f->parts[i].cols_per_elem == QUANT_ALL_COLS && rows == 0) rows = 1;
        if (f->parts[i].on_side && rows == 0) rows = 1;
        if (n > 1 && n != QUANT_ALL_ROWS && n > rows) rows = n;
    }
    return rows;
}

enum op quant_format_encoder(const struct quant_format *f, bool zero)
{
    return f->zeros == ZEROS_EITHER && !zero ? OP_ENCODE_INT4 : f->encode_op;
}

enum op quant_format_decoder(const struct quant_format *f, bool zero)
{
    return quant_format_encoder(f, zero) == OP_ENCODE_INT4 ? OP_DECODE_INT4 : f->decode_op;
}

void quant_raise_zeros(const struct quant_format *f, uint8_t *zeros, uint8_t *codes, uint64_t n_rows, uint64_t n_cols)
{
    if (f->zeros != ZEROS_STORED || f->parts[f->n_parts - 1].part != PART_G_IDX) return;
    uint64_t bytes = f->block_cols / 2;
    for (uint64_t g = 0; g < n_rows * (n_cols / f->block_cols); g++) {
        if (zeros[g] != 0) continue;
        zeros[g] = 1;
        for (uint8_t *c = codes + g * bytes; c < codes + (g + 1) * bytes; c++) {
            uint32_t low = *c & 15u, high = *c >> 4;
            *c = (uint8_t)((low < 15 ? low + 1 : 15) | (high < 15 ? high + 1 : 15) << 4);
        }
    }
}

enum int4_scale_type quant_format_int4_scale(const struct quant_format *f)
{
    enum dtype d = f->n_parts > 1 ? f->parts[1].dtype : DTYPE_F32;
    return d == DTYPE_F16 ? INT4_SCALE_F16 : d == DTYPE_BF16 ? INT4_SCALE_BF16 : INT4_SCALE_F32;
}

bool quant_format_has_tensor_scale(const struct quant_format *f)
{
    return f->amax_per_scale > 0;
}

bool quant_format_has_input_scale(const struct quant_format *f)
{
    for (uint32_t i = 0; i < f->n_parts; i++)
        if (f->parts[i].part == PART_INPUT_SCALE || f->parts[i].part == PART_INPUT_GLOBAL_SCALE) return true;
    return false;
}
