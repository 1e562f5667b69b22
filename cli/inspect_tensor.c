#include "cli/inspect_tensor.h"

#include "backends/cpu/kernel.h"
#include "cli/commands.h"
#include "core/memory.h"
#include "core/text.h"
#include "engine/weight_rows.h"
#include "numeric/e4m3.h"

#include <math.h>

#define PIECE_BYTES ((uint64_t)4 << 20) /* of values held at a time */
#define BARS 40                         /* columns of the longest bar */
#define OCTAVES 64                      /* 2^-40 and less .. 2^23 and more */
#define OCTAVE_FIRST (-40)

/* Doubles, added in the order of the file: the same for everybody. */
struct spread {
    uint64_t n, n_nan, n_infinite, n_zero, n_negative;
    double sum, squares, least, most, largest;
    uint64_t octaves[OCTAVES]; /* of finite values that are not zero, by floor(log2 |x|) */
};

struct subject {
    const struct model *m;
    const struct model_tensor *tensor; /* NULL: a stored tensor alone */
    uint32_t stored;
    uint64_t rows, cols;
};

static void add_value(struct spread *s, double x)
{
    s->n++;
    if (isnan(x)) {
        s->n_nan++;
        return;
    }
    if (isinf(x)) {
        s->n_infinite++;
        return;
    }
    double magnitude = fabs(x);
    s->sum += x;
    s->squares += x * x;
    s->n_negative += x < 0;
    if (x < s->least) s->least = x;
    if (x > s->most) s->most = x;
    if (magnitude > s->largest) s->largest = magnitude;
    if (magnitude == 0) {
        s->n_zero++;
        return;
    }
    int octave = ilogb(magnitude) - OCTAVE_FIRST;
    s->octaves[octave < 0 ? 0 : octave >= OCTAVES ? OCTAVES - 1 : octave]++;
}

/* ---- values ---- */

/* Of the types that OP_WIDEN does not know. */
static bool has_numbers(enum dtype t)
{
    return t == DTYPE_U8 || t == DTYPE_I8 || t == DTYPE_BOOL || t == DTYPE_I16 || t == DTYPE_I32 || t == DTYPE_I64 ||
           t == DTYPE_F64 || t == DTYPE_F8_E4M3;
}

static double number_at(const uint8_t *p, enum dtype t)
{
    switch (t) {
    case DTYPE_F8_E4M3: return (double)e4m3_decode(*p);
    case DTYPE_F64: {
        double v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    case DTYPE_I8: return (int8_t)*p;
    case DTYPE_I16: return (double)(int16_t)(p[0] | p[1] << 8);
    case DTYPE_I32: {
        int32_t v;
        memcpy(&v, p, sizeof v);
        return v;
    }
    case DTYPE_I64: {
        int64_t v;
        memcpy(&v, p, sizeof v);
        return (double)v;
    }
    default: return *p;
    }
}

static bool read_plain(const struct subject *s, uint64_t isa, uint64_t first, uint64_t n, float *out, struct spread *to,
                       struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(s->m->checkpoint, s->stored);
    uint64_t elem = dtype_bytes(t->dtype), bytes = n * s->cols * elem;
    CLEANUP(free) uint8_t *raw = NULL;
    if (!memory_alloc(&raw, bytes, 1, err) ||
        !checkpoint_read(s->m->checkpoint, s->stored, first * s->cols * elem, raw, bytes, err))
        return false;
    if (dtype_is_plain_float(t->dtype)) {
        kernel_for(OP_WIDEN, isa)(
            &(struct kernel_args){.n_rows = n, .n_cols = s->cols, .src = raw, .dtype = t->dtype, .dst_f32 = out});
        for (uint64_t i = 0; i < n * s->cols; i++) add_value(to, (double)out[i]);
    } else {
        for (uint64_t i = 0; i < n * s->cols; i++) add_value(to, number_at(raw + i * elem, t->dtype));
    }
    return true;
}

static bool measure(const struct subject *s, uint64_t isa, struct spread *out, struct error *err)
{
    *out = (struct spread){.least = INFINITY, .most = -INFINITY};
    uint64_t step = s->cols ? PIECE_BYTES / (s->cols * sizeof(float)) : 0;
    if (step == 0) step = 1;
    CLEANUP(free) float *values = NULL;
    CLEANUP(engine) struct engine *e = NULL;
    bool decodes = s->tensor && s->tensor->format;
    struct engine_options eo = {.isa = isa};
    if (!memory_alloc(&values, u64_min(step, s->rows) * s->cols, sizeof *values, err) ||
        (decodes && !engine_open(&e, s->m->inventory, &eo, err)))
        return false;
    for (uint64_t first = 0; first < s->rows; first += step) {
        uint64_t n = u64_min(step, s->rows - first);
        if (!decodes) {
            if (!read_plain(s, isa, first, n, values, out, err)) return false;
            continue;
        }
        if (!weight_rows(e, s->tensor, 0, first, n, values, err)) return false;
        for (uint64_t i = 0; i < n * s->cols; i++) add_value(out, (double)values[i]);
    }
    return true;
}

/* ---- which ---- */

static bool find(struct subject *s, const char *name, struct error *err)
{
    const struct inventory *inv = s->m->inventory;
    s->tensor = inventory_find_name(inv, name);
    for (uint32_t i = 0; !s->tensor && i < inv->n_tensors; i++)
        if (strcmp(inv->tensors[i].module, name) == 0) s->tensor = &inv->tensors[i];
    s->stored = s->tensor ? s->tensor->parts[PART_WEIGHT] : checkpoint_find(s->m->checkpoint, name);
    if (s->stored == NAME_NONE) return error_set(err, ERR_USAGE, "there is no tensor '%.256s'", name);
    const struct tensor_info *t = checkpoint_tensor(s->m->checkpoint, s->stored);
    bool matrix = s->tensor && s->tensor->n_dims == 2;
    uint64_t n = s->tensor ? s->tensor->n_elems : t->n_elems;
    s->cols = matrix ? s->tensor->dims[1] : t->n_dims ? t->dims[t->n_dims - 1] : 1;
    s->rows = s->cols ? n / s->cols : 0;
    if ((s->tensor && s->tensor->format) || dtype_is_plain_float(t->dtype) || has_numbers(t->dtype)) return true;
    return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s' is stored as %s, whose values mean nothing alone", name,
                     dtype_name(t->dtype));
}

/* ---- saying it ---- */

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *octaves_json(const struct spread *s)
{
    json_t *list = json_array();
    int first = 0, last = OCTAVES - 1;
    while (first < OCTAVES && !s->octaves[first]) first++;
    while (last > first && !s->octaves[last]) last--;
    for (int i = first; list && i <= last; i++)
        json_array_append_new(list,
                              json_pack("{s:i,s:I}", "log2", i + OCTAVE_FIRST, "count", (json_int_t)s->octaves[i]));
    return list;
}

static json_t *shape_json(uint32_t n, const uint64_t *dims)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < n; i++) json_array_append_new(list, json_integer((json_int_t)dims[i]));
    return list;
}

bool inspect_tensor_json(const struct model *m, const char *name, uint64_t isa, json_t **out, struct error *err)
{
    struct subject s = {.m = m};
    struct spread v;
    if (!find(&s, name, err) || !measure(&s, isa, &v, err)) return false;
    const struct tensor_info *t = checkpoint_tensor(m->checkpoint, s.stored),
                             *base = checkpoint_tensor(m->checkpoint, checkpoint_stored(m->checkpoint, s.stored));
    double n = (double)(v.n - v.n_nan - v.n_infinite), mean = n > 0 ? v.sum / n : 0,
           variance = n > 0 ? v.squares / n - mean * mean : 0;
    *out = json_pack(
        "{s:s,s:s,s:s?,s:s,s:s,s:o,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o}", "schema",
        "ingot.inspect-tensor/1", "tensor", t->name, "role", s.tensor ? role_info(s.tensor->place.role)->name : NULL,
        "stored", s.tensor && s.tensor->format ? s.tensor->format->name : dtype_name(t->dtype), "dtype",
        dtype_name(t->dtype), "shape",
        s.tensor ? shape_json(s.tensor->n_dims, s.tensor->dims) : shape_json(t->n_dims, t->dims), "file",
        folder_name(m->folder, base->member), "offset", (json_int_t)base->offset, "bytes", (json_int_t)base->bytes,
        "elements", (json_int_t)v.n, "zeros", (json_int_t)v.n_zero, "negative", (json_int_t)v.n_negative, "nan",
        (json_int_t)v.n_nan, "infinite", (json_int_t)v.n_infinite, "min", number(v.least), "max", number(v.most),
        "mean", number(mean), "std", number(sqrt(variance > 0 ? variance : 0)), "amax", number(v.largest), "histogram",
        octaves_json(&v));
    return *out ? true : error_memory(err, 0);
}

static long long count(const json_t *j, const char *key)
{
    return (long long)json_integer_value(json_object_get(j, key));
}

static void print_histogram(const json_t *rows)
{
    size_t i;
    json_t *row;
    long long top = 1;
    json_array_foreach (rows, i, row)
        if (count(row, "count") > top) top = count(row, "count");
    json_array_foreach (rows, i, row) {
        int bar = (int)((double)count(row, "count") / (double)top * BARS + 0.5);
        print_text("  2^%-4lld %12lld %.*s\n", count(row, "log2"), count(row, "count"), bar,
                   "########################################");
    }
}

void inspect_tensor_print(const json_t *j)
{
    const char *role = json_string_value(json_object_get(j, "role"));
    char bytes[32];
    text_bytes(bytes, (unsigned long long)count(j, "bytes"));
    print_text("%s: %s, [", json_string_value(json_object_get(j, "tensor")), role ? role : "a part of a linear");
    size_t i;
    json_t *d;
    json_array_foreach (json_object_get(j, "shape"), i, d)
        print_text("%s%lld", i ? ", " : "", (long long)json_integer_value(d));
    print_text("] as %s, in %s at byte %lld (%s)\n", json_string_value(json_object_get(j, "stored")),
               json_string_value(json_object_get(j, "file")), count(j, "offset"), bytes);
    print_text(
        "%lld values: min %.6g, max %.6g, mean %.6g, std %.6g; %lld zero, %lld negative, %lld NaN, %lld infinite\n",
        count(j, "elements"), json_number_value(json_object_get(j, "min")),
        json_number_value(json_object_get(j, "max")), json_number_value(json_object_get(j, "mean")),
        json_number_value(json_object_get(j, "std")), count(j, "zeros"), count(j, "negative"), count(j, "nan"),
        count(j, "infinite"));
    print_text("magnitudes, by power of two\n");
    print_histogram(json_object_get(j, "histogram"));
}
