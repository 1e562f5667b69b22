/* Linears and other weights as they are opened, kept in memory, and counted. Running: engine/linear_run.c. */
#include "engine/panels.h"
#include "engine/scaled_rows.h"

#include "core/memory.h"
#include "formats/not_finite.h"
#include "models/pre_scale.h"
#include "numeric/nvfp4.h"

#include <math.h>

bool weights_load(const struct engine *e, const struct model_tensor *t, float **out, struct error *err)
{
    *out = NULL;
    const struct checkpoint *ck = e->inv->checkpoint;
    const struct tensor_info *info = checkpoint_tensor(ck, t->parts[PART_WEIGHT]);
    CLEANUP(free) void *raw = NULL;
    float *values;
    if (!memory_alloc(&raw, info->bytes, 1, err) ||
        !checkpoint_read(ck, t->parts[PART_WEIGHT], 0, raw, info->bytes, err) ||
        !memory_alloc(&values, t->n_elems, sizeof *values, err))
        return false;
    e->widen(
        &(struct kernel_args){.n_rows = 1, .n_cols = t->n_elems, .src = raw, .dtype = info->dtype, .dst_f32 = values});
    const struct weight_source *w = e->weights;
    if (w && w->vector && t->n_dims == 1 && !w->vector(w->ctx, t, values, err)) {
        free(values);
        return false;
    }
    /* NaN and infinity spread through the whole pass: stop where they are. */
    if (!isfinite(e->math->amax(values, t->n_elems))) {
        free(values);
        return tensor_not_finite(ck, info, raw, 0, t->n_elems, err);
    }
    *out = values;
    return true;
}

static const struct model_tensor *tensor_of(const struct engine *e, enum tensor_role role, const struct block_config *b,
                                            struct error *err)
{
    const struct model_tensor *t =
        b ? inventory_find_block(e->inv, role, b, -1) : inventory_find(e->inv, role, -1, -1, false);
    if (!t)
        error_set(err, ERR_INTERNAL, "the inventory has no %s in layer %d", role_info(role)->name,
                  b ? (int)b->layer : -1);
    return t;
}

bool weights_load_role(const struct engine *e, enum tensor_role role, const struct block_config *b, float **out,
                       struct error *err)
{
    const struct model_tensor *t = tensor_of(e, role, b, err);
    return t && weights_load(e, t, out, err);
}

bool weights_scalar(const struct engine *e, const struct model_tensor *t, enum tensor_part part, float *out,
                    struct error *err)
{
    const struct tensor_info *info = checkpoint_tensor(e->inv->checkpoint, t->parts[part]);
    uint64_t raw = 0;
    if (!checkpoint_read(e->inv->checkpoint, t->parts[part], 0, &raw, dtype_bytes(info->dtype), err)) return false;
    e->widen(&(struct kernel_args){.n_rows = 1, .n_cols = 1, .src = &raw, .dtype = info->dtype, .dst_f32 = out});
    bool inverse = part == PART_WEIGHT_GLOBAL_SCALE || part == PART_INPUT_GLOBAL_SCALE;
    if (*out > 0 && isfinite(*out) && inverse) *out = nvfp4_scale_of_global(*out);
    if (*out > 0 && isfinite(*out)) return true;
    return error_set(err, ERR_FORMAT, "tensor '%.256s.%s' is %g; a scale is positive and finite", t->module,
                     tensor_part_suffix(part), (double)*out);
}

static struct linear describe(const struct engine *e, const struct model_tensor *t)
{
    return (struct linear){.tensor = t,
                           .rows = t->dims[0],
                           .cols = t->dims[1],
                           .bf16 = e->compute == COMPUTE_BF16 && role_info(t->place.role)->kind != KIND_ROUTER};
}

/* Whose weights, and how inputs are quantized. */
static void settle_format(struct linear *l, const struct engine *e)
{
    const struct weight_source *w = e->weights;
    if (w) l->stand_in = w->format(w->ctx, l->tensor, &l->input_scale);
    l->scaled = l->stand_in ? w->input_factors && w->input_factors(w->ctx, l->tensor, NULL) : has_pre_scale(l->tensor);
    const struct quant_format *f = linear_format(l);
    if (!e->quantize_inputs || (f && f->input_op == OP_COUNT)) l->input_scale = 0;
    l->dynamic_input = e->quantize_inputs && f && f->input_op != OP_COUNT && !quant_format_has_input_scale(f);
}

bool linear_shape(struct linear *l, const struct engine *e, const struct model_tensor *t, struct error *err)
{
    *l = describe(e, t);
    l->weight_scale = 1;
    for (uint32_t i = 0; t->format && i < t->format->n_parts; i++)
        if (t->format->parts[i].part == PART_INPUT_SCALE) l->input_scale = 1;
    settle_format(l, e);
    return panels_open(l, e, err);
}

static bool load_pre(struct linear *l, const struct engine *e, struct error *err)
{
    if (!l->stand_in) return pre_scale_read(e->inv->checkpoint, l->tensor, &l->pre, err);
    if (!l->scaled) return true;
    if (!memory_alloc(&l->pre, l->cols, sizeof *l->pre, err)) return false;
    e->weights->input_factors(e->weights->ctx, l->tensor, l->pre);
    return true;
}

bool linear_open(struct linear *l, const struct engine *e, const struct model_tensor *t, const char *bias_name,
                 struct error *err)
{
    *l = describe(e, t);
    const struct quant_format *f = t->format;
    for (uint32_t i = 0; f && i < f->n_parts; i++) {
        enum tensor_part part = f->parts[i].part;
        if (part == PART_WEIGHT_SHAPE && !check_packed_shape(e, t, err)) return false;
        bool input_scale = part == PART_INPUT_SCALE || part == PART_INPUT_GLOBAL_SCALE;
        bool weight_scale = f->parts[i].cols_per_elem == 0 && !input_scale && part != PART_WEIGHT_SHAPE;
        if (weight_scale && !weights_scalar(e, t, part, &l->weight_scale, err)) return false;
        if (input_scale && !weights_scalar(e, t, part, &l->input_scale, err)) return false;
    }
    settle_format(l, e);
    if (!load_pre(l, e, err)) return false;
    if (!panels_open(l, e, err)) return false;
    if (!bias_name) return true;
    const struct model_tensor *bias = inventory_find_name(e->inv, bias_name);
    if (!bias) return error_set(err, ERR_INTERNAL, "the inventory has no '%s'", bias_name);
    return weights_load(e, bias, &l->bias, err);
}

bool linear_open_role(struct linear *l, const struct engine *e, enum tensor_role role, const struct block_config *b,
                      bool has_bias, struct error *err)
{
    const struct model_tensor *t = tensor_of(e, role, b, err);
    if (!t) return false;
    char bias[1024];
    snprintf(bias, sizeof bias, "%s.bias", t->module);
    return linear_open(l, e, t, has_bias ? bias : NULL, err);
}

void linear_close(struct linear *l)
{
    free(l->bias);
    free(l->pre);
    if (!l->in_store) free(l->panels);
    *l = (struct linear){0};
}

bool linear_rows(const struct linear *l, const struct engine *e, struct scratch *scratch, uint64_t first, uint64_t n,
                 float *out, struct error *err)
{
    if (!panels_rows(l, e, scratch, first, n, out, err)) return false;
    for (uint64_t i = 0; l->pre && i < n; i++)
        for (uint64_t c = 0; c < l->cols; c++) out[i * l->cols + c] *= l->pre[c];
    return true;
}

uint64_t linear_rows_need(const struct linear *l, const struct engine *e)
{
    return panel_scratch_need(l, e);
}

/* ---- keeping ---- */

struct keep_ctx {
    struct linear *l;
    const struct engine *e;
};

static bool keep_item(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    struct keep_ctx *k = ctx;
    const struct packed *p = &k->l->packed;
    uint64_t n = panels_per_read(k->l, k->e), first = item * n;
    struct scratch *from = worker_scratch(k->e, worker);
    SCRATCH_SCOPE(from);
    struct panel_scratch s = {0};
    bool ok = panel_scratch_alloc(&s, k->l, k->e, from, err) &&
              panels_read(k->l, k->e, first, u64_min(n, packed_panels(p) - first), &s,
                          k->l->panels + first * p->panel_bytes, err);
    panel_scratch_free(&s);
    return ok;
}

static bool place_panels(struct linear *l, const struct engine *e, struct error *err)
{
    struct panel_store *s = e->store;
    uint64_t bytes = packed_bytes(&l->packed);
    l->in_store = s && bytes <= s->size - s->used;
    if (!l->in_store) return memory_alloc_stream(&l->panels, bytes, 1, err);
    l->panels = s->memory + s->used;
    s->used += bytes;
    return true;
}

bool linear_keep(struct linear *l, const struct engine *e, struct error *err)
{
    struct keep_ctx k = {l, e};
    return place_panels(l, e, err) &&
           pool_try(e->pool, u64_div_up(packed_panels(&l->packed), panels_per_read(l, e)), keep_item, &k, err);
}

bool linear_need(struct need *n, const struct engine *e, const struct model_tensor *t, bool has_bias, uint64_t m,
                 bool kept, struct error *err)
{
    struct linear l;
    if (!t) return true;
    if (!linear_shape(&l, e, t, err)) return false;
    need_most(&n->calling, scratch_bytes(m, linear_room(&l, e, m, l.cols)));
    need_most(&n->worker, panel_scratch_need(&l, e));
    if (kept) n->kept += packed_bytes(&l.packed);
    if (has_bias) n->loaded += l.rows * sizeof(float);
    if (l.scaled) n->loaded += l.cols * sizeof(float);
    return true;
}

bool linear_need_role(struct need *n, const struct engine *e, enum tensor_role role, const struct block_config *b,
                      bool has_bias, const struct call_shape *c, struct error *err)
{
    return linear_need(n, e, inventory_find_block(e->inv, role, b, -1), has_bias, c->n_rows, c->kept, err);
}
