#include "plan/requantize.h"

#include "core/bytes.h"

static const char *layout_of(const struct quant_format *f)
{
    return f->method ? f->method : "modelopt";
}

bool plan_check_source(const struct plan *p, struct error *err)
{
    const struct inventory *inv = p->inventory;
    if (inv->is_quantized && !p->recipe->copies && !p->recipe->requantize)
        return error_set(err, ERR_UNSUPPORTED,
                         "the checkpoint is quantized already; quantizing it again would lose precision twice "
                         "(--allow-requantize does it all the same)");
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i];
        const struct tensor_view *view = checkpoint_tensor(inv->checkpoint, t->parts[PART_WEIGHT])->view;
        if (t->format && t->format->self_described)
            return error_set(err, ERR_UNSUPPORTED,
                             "tensor '%.256s' is stored as %s, which safetensors cannot hold: `ingot convert --to "
                             "safetensors` makes plain numbers of it",
                             t->name, t->format->algo);
        if (view && view->is_mxfp4 && !p->recipe->copies)
            return error_set(err, ERR_UNSUPPORTED,
                             "tensor '%.256s' lies in a stack of MXFP4 whose blocks run along the outputs; that is not "
                             "quantized again",
                             t->name);
    }
    return true;
}

static bool can_decode(const struct quant_format *f)
{
    switch (f->decode_op) {
    case OP_DECODE_NVFP4:
    case OP_DECODE_FP8:
    case OP_DECODE_FP8_CHANNEL:
    case OP_DECODE_FP8_BLOCK:
    case OP_DECODE_MXFP4:
    case OP_DECODE_MXFP8:
    case OP_DECODE_INT4:
    case OP_DECODE_INT4_ZERO: return true;
    default: return false;
    }
}

bool plan_decode(struct plan *p, struct plan_item *item, struct error *err)
{
    const struct model_tensor *t = item->tensor;
    bool quantizes = item->action == ACTION_QUANTIZE;
    bool is_mxfp4 = t->format && t->format->decode_op == OP_DECODE_MXFP4;
    if (quantizes && item->scales == SCALES_MXFP4_CAST && !is_mxfp4)
        return error_set(err, ERR_UNSUPPORTED,
                         "recipe '%s': %s: tensor '%.256s': scales: mxfp4_cast needs a source in MXFP4, this one is %s",
                         p->recipe->name, item->reason, t->name, t->format ? t->format->name : "plain numbers");
    if (!t->format || p->recipe->copies) return true;
    if (!quantizes && strcmp(layout_of(t->format), p->recipe->layout) == 0) return true;
    const struct tensor_info *w = checkpoint_tensor(p->inventory->checkpoint, t->parts[PART_WEIGHT]);
    if (!can_decode(t->format))
        return error_set(err, ERR_UNSUPPORTED, "recipe '%s': tensor '%.256s': %s is not decoded here", p->recipe->name,
                         t->name, t->format->name);
    if (!quantizes && w->view)
        return error_set(err, ERR_UNSUPPORTED,
                         "recipe '%s': no line selects '%.256s', which lies in a stack of %s: that cannot stay in a "
                         "checkpoint of the layout %s",
                         p->recipe->name, t->name, t->format->name, p->recipe->layout);
    if (item->solve.method != SOLVE_NONE)
        return error_set(err, ERR_UNSUPPORTED,
                         "recipe '%s': tensor '%.256s' is %s already: what is quantized again is not solved; say "
                         "solve: none",
                         p->recipe->name, t->name, t->format->name);
    struct tensor_info *d = arena_alloc(p->arena, 1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d);
    *d = (struct tensor_info){.name = w->name,
                              .dtype = DTYPE_BF16,
                              .n_dims = 2,
                              .dims = {t->dims[0], t->dims[1]},
                              .n_elems = t->n_elems,
                              .bytes = 2 * t->n_elems,
                              .member = w->member};
    item->decoded = d;
    if (!quantizes) item->reason = "decoded: its type is not of the result's layout";
    return true;
}
