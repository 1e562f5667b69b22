/* The last look at a checkpoint before it gets its name: its files are opened again like any engine would open them,
 * and held against the plan and the source. Headers and configurations only; the bytes' digests were taken while they
 * were written. */
#include "quantize/job.h"

#include "core/memory.h"

static bool same_shape(const struct tensor_info *t, const struct tensor_spec *s)
{
    return t->dtype == s->dtype && t->n_dims == s->n_dims && memcmp(t->dims, s->dims, s->n_dims * sizeof *s->dims) == 0;
}

/* Every tensor of the plan is there as it was planned, and no other. */
static bool tensors_are_planned(const struct plan *p, const struct checkpoint *ck, struct error *err)
{
    for (uint32_t o = 0; o < p->n_outputs; o++) {
        const struct tensor_spec *s = &p->specs[o];
        uint32_t i = checkpoint_find(ck, s->name);
        if (i == NAME_NONE)
            return error_set(err, ERR_INTERNAL, "audit: tensor '%.256s' is planned and was not written", s->name);
        if (!same_shape(checkpoint_tensor(ck, i), s))
            return error_set(err, ERR_INTERNAL,
                             "audit: tensor '%.256s' was not written as it is planned: type or shape", s->name);
    }
    if (checkpoint_count(ck) == p->n_outputs) return true;
    for (uint32_t i = 0; i < checkpoint_count(ck); i++) {
        uint32_t o = 0;
        while (o < p->n_outputs && strcmp(p->specs[o].name, checkpoint_tensor(ck, i)->name) != 0) o++;
        if (o == p->n_outputs)
            return error_set(err, ERR_INTERNAL, "audit: tensor '%.256s' was written and is not planned",
                             checkpoint_tensor(ck, i)->name);
    }
    return error_set(err, ERR_INTERNAL, "audit: %u tensors were written, %u are planned", checkpoint_count(ck),
                     p->n_outputs);
}

/* Every tensor of the source became something. */
static bool source_is_used(const struct job *j, struct error *err)
{
    const struct checkpoint *ck = j->model->checkpoint;
    const struct plan *p = j->plan;
    CLEANUP(free) bool *used = NULL;
    if (!memory_zalloc(&used, (size_t)checkpoint_count(ck) + 1, sizeof *used, err)) return false;
    for (uint32_t o = 0; o < p->n_outputs; o++)
        if (p->outputs[o].source != NAME_NONE) used[checkpoint_stored(ck, p->outputs[o].source)] = true;
    for (uint32_t i = 0; i < p->n_items; i++) { /* scales that a weight was decoded with */
        const struct plan_item *item = &p->items[i];
        if (item->stack && item->stack->scales != NAME_NONE) used[item->stack->scales] = true;
        for (int part = 0; item->decoded && part < PART_COUNT; part++)
            if (item->tensor->parts[part] != NAME_NONE) used[checkpoint_stored(ck, item->tensor->parts[part])] = true;
    }
    for (uint32_t i = 0; i < checkpoint_count(ck); i++)
        if (!used[i])
            return error_set(err, ERR_INTERNAL, "audit: tensor '%.256s' of the source came to nothing",
                             checkpoint_tensor(ck, i)->name);
    return true;
}

/* What engines make of every linear is what was planned. */
static bool formats_are_planned(const struct plan *p, const struct inventory *inv, struct error *err)
{
    if (inv->n_tensors != p->n_items)
        return error_set(err, ERR_INTERNAL, "audit: %u tensors of the model were written, %u are planned",
                         inv->n_tensors, p->n_items);
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        const struct model_tensor *t = &inv->tensors[i];
        if (item->tensor->place.role == ROLE_CARRIED && t->place.role == ROLE_CARRIED) continue; /* in any order */
        const struct quant_format *want = item->action == ACTION_QUANTIZE ? item->format
                                          : item->decoded                 ? NULL
                                                                          : item->tensor->format;
        const struct tensor_view *view = checkpoint_tensor(inv->checkpoint, t->parts[PART_WEIGHT])->view;
        bool decoded = view && view->is_mxfp4 && want && want->decode_op == OP_DECODE_MXFP4; /* as it is read */
        if (strcmp(t->module, item->tensor->module) == 0 && (t->format == want || decoded)) continue;
        return error_set(err, ERR_INTERNAL, "audit: '%.256s' is planned as %s and '%.256s' reads as %s",
                         item->tensor->module, want ? want->name : "plain numbers", t->module,
                         t->format ? t->format->name : "plain numbers");
    }
    return true;
}

static bool cache_is_planned(const struct job *j, const struct inventory *inv, struct error *err)
{
    struct quant_config want;
    if (!j->plan->quantized_elems) return true; /* the source's own configuration, carried */
    if (!plan_quant_config(j->plan, &want, err)) return false;
    const char *is = inv->kv_algo ? inv->kv_algo : "none", *planned = want.kv_algo ? want.kv_algo : "none";
    if (strcmp(is, planned) == 0) return true;
    return error_set(err, ERR_INTERNAL, "audit: the K/V cache is planned as %s and reads as %s", planned, is);
}

/* Every entry of the quantization configuration speaks of something. */
static bool entries_fit(const struct job *j, const struct model *m, struct error *err)
{
    const char *first;
    uint32_t n;
    if (!m->rules || !j->plan->quantized_elems) return true;
    if (!model_idle_rules(m, &first, &n, err)) return false;
    if (n == 0) return true;
    return error_set(err, ERR_INTERNAL,
                     "audit: '%.256s' of the quantization configuration fits no module (%u such entries)", first, n);
}

bool job_audit(struct job *j, struct error *err)
{
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    if (!source_is_used(j, err)) return false;
    if (!model_open(&m, staging_path(j->staging), err)) return error_wrap(err, "audit of what was written");
    return tensors_are_planned(j->plan, m.checkpoint, err) && formats_are_planned(j->plan, m.inventory, err) &&
           cache_is_planned(j, m.inventory, err) && entries_fit(j, &m, err);
}
