/* A plan as JSON, as a table, as digests, and as the quantization config of its result. */
#include "core/text.h"
#include "core/version.h"
#include "plan/fold.h"
#include "plan/recipe_words.h"
#include "plan/scale_method.h"

static const char *const kv_names[] = {[KV_NONE] = "none",
                                       [KV_FP8] = "fp8",
                                       [KV_FP8_CAST] = "fp8_cast",
                                       [KV_NVFP4] = "nvfp4",
                                       [KV_NVFP4_CAST] = "nvfp4_cast"};

static json_t *digest_json(const struct digest *d)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    return json_string(hex);
}

/* Headers, not tensor bytes, so that a plan can be made again in seconds. */
bool plan_source_json(const struct plan *p, json_t **out, struct error *err)
{
    const struct checkpoint *ck = p->inventory->checkpoint;
    const struct folder *f = checkpoint_folder(ck);
    CLEANUP(json) json_t *files = json_array();
    uint32_t n;
    const struct checkpoint_file *list = checkpoint_files(ck, &n);
    for (uint32_t i = 0; files && i < n; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&list[i].header, hex);
        json_t *row = json_pack("{s:s,s:I,s:s}", "name", folder_name(f, list[i].member), "bytes",
                                (json_int_t)folder_size(f, list[i].member), "header_sha256", hex);
        if (json_array_append_new(files, row) != 0) return error_memory(err, 0);
    }
    *out = json_pack("{s:s,s:o,s:O}", "architecture", p->inventory->config.arch->name, "config_sha256",
                     digest_json(&p->inventory->config_digest), "files", files);
    return *out ? true : error_memory(err, 0);
}

/* What calibration solves, with all that the result depends on besides source and data; absent when there is none. */
static bool put_solved(const struct plan *p, json_t *observe, struct error *err)
{
    CLEANUP(json) json_t *solved = json_array();
    if (!solved) return error_memory(err, 0);
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (item->solve.method == SOLVE_NONE) continue;
        json_t *row =
            json_pack("{s:s,s:s,s:o,s:i,s:o}", "module", item->tensor->module, "format", item->format->name, "scales",
                      scales_json(item), "group", (int)item->group, "solve", solve_json(&item->solve));
        if (json_array_append_new(solved, row) != 0) return error_memory(err, 0);
    }
    if (p->n_folds && !json_put(observe, "folds", plan_folds_json(p), err)) return false;
    return json_array_size(solved) == 0 || json_put(observe, "solved", json_incref(solved), err);
}

/* Which formats take part decides what a fold finds; without folds nobody asks. */
static bool put_folded(const struct plan *p, json_t *observe, struct error *err)
{
    CLEANUP(json) json_t *list = json_array();
    for (uint32_t i = 0; list && i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (!plan_item_folds(item)) continue;
        json_t *row = json_pack("{s:s,s:s}", "tensor", item->tensor->name, "format",
                                item->action == ACTION_QUANTIZE ? item->format->name : "none");
        if (row && item->action == ACTION_QUANTIZE) json_object_set_new(row, "scales", scales_json(item));
        if (json_array_append_new(list, row) != 0) return error_memory(err, 0);
    }
    if (!list) return error_memory(err, 0);
    return json_array_size(list) == 0 || json_put(observe, "folded", json_incref(list), err);
}

/* As ever for the largest magnitude; others say how they choose. */
static json_t *input_point(const struct plan_item *item)
{
    const struct input_observer *o = &item->observer;
    const char *module = item->tensor->module, *name = observer_name(o->method);
    if (o->method == OBSERVER_MAX) return json_sprintf("%s.input", module);
    if (o->method == OBSERVER_PERCENTILE) return json_sprintf("%s.input %s %.9g", module, name, o->percentile);
    return json_sprintf("%s.input %s", module, name);
}

static bool observe_json(const struct plan *p, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *points = json_array();
    CLEANUP(json) json_t *source = NULL;
    if (!points || !plan_source_json(p, &source, err)) return error_memory(err, 0);
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        const char *module = item->tensor->module;
        if (item->observe_input && json_array_append_new(points, input_point(item)) != 0) return error_memory(err, 0);
        if (item->kv_observed && json_array_append_new(points, json_sprintf("%s.output", module)) != 0)
            return error_memory(err, 0);
    }
    *out = json_pack("{s:s,s:s,s:O,s:O}", "schema", "ingot.observe/1", "tool", INGOT_VERSION, "source", source,
                     "points", points);
    if (!*out) return error_memory(err, 0);
    if (p->recipe->unseen == UNSEEN_ALL_TOKENS &&
        !json_put(*out, "unseen_experts", json_string(unseen_name(p->recipe->unseen)), err))
        return false;
    return put_solved(p, *out, err) && put_folded(p, *out, err);
}

/* "quantize", "fold", "decode", "copy" */
static const char *action_name(const struct plan_item *item)
{
    if (item->action == ACTION_QUANTIZE) return "quantize";
    return plan_item_folds(item) ? "fold" : item->decoded ? "decode" : "copy";
}

static int put_fold(const struct plan *p, const struct plan_item *item, json_t *j)
{
    int bad = 0;
    if (item->fold_in != NAME_NONE)
        bad |= json_object_set_new(j, "columns_times", json_string(p->folds[item->fold_in].name));
    if (item->fold_out != NAME_NONE)
        bad |= json_object_set_new(j, "divided_by", json_string(p->folds[item->fold_out].name));
    if (item->fold_in != NAME_NONE && item->solve.fold.method != FOLD_NONE)
        bad |= json_object_set_new(j, "fold", fold_json(&item->solve.fold));
    return bad;
}

static json_t *item_json(const struct plan *p, const struct plan_item *item)
{
    const struct model_tensor *t = item->tensor;
    json_t *j = json_pack("{s:s,s:s,s:s,s:s}", "tensor", t->name, "role", role_info(t->place.role)->name, "action",
                          action_name(item), "reason", item->reason);
    if (!j) return NULL;
    int bad = put_fold(p, item, j);
    if (t->place.layer >= 0) bad |= json_object_set_new(j, "layer", json_integer(t->place.layer));
    if (t->place.expert >= 0) bad |= json_object_set_new(j, "expert", json_integer(t->place.expert));
    if (t->place.mtp) bad |= json_object_set_new(j, "mtp", json_true());
    if (item->action == ACTION_QUANTIZE) {
        bad |= json_object_set_new(j, "format", json_string(item->format->name));
        if (strcmp(item->type->word, item->type->stored) != 0)
            bad |= json_object_set_new(j, "type", json_string(item->type->word));
        bad |= json_object_set_new(j, "group", json_integer(item->group));
        bad |= json_object_set_new(j, "scales", scales_json(item));
        if (item->solve.method != SOLVE_NONE) bad |= json_object_set_new(j, "solve", solve_json(&item->solve));
        if (item->format->encode_op == OP_ENCODE_FP8)
            bad |= json_object_set_new(j, "rounding", json_string(rounding_name(p->recipe->rounding)));
        if (item->observe_input && item->observer.method != OBSERVER_MAX)
            bad |= json_object_set_new(j, "observer", observer_json(&item->observer));
        if (item->input_amax > 0) bad |= json_object_set_new(j, "input_amax", json_real((double)item->input_amax));
    }
    json_t *outputs = json_array();
    for (uint32_t i = 0; outputs && i < item->n_outputs; i++) {
        const struct tensor_spec *s = &p->specs[item->first_output + i];
        json_t *shape = json_array();
        for (uint32_t d = 0; d < s->n_dims; d++)
            bad |= json_array_append_new(shape, json_integer((json_int_t)s->dims[d]));
        bad |= json_array_append_new(
            outputs, json_pack("{s:s,s:s,s:o}", "name", s->name, "dtype", dtype_name(s->dtype), "shape", shape));
    }
    bad |= json_object_set_new(j, "outputs", outputs);
    if (!bad) return j;
    json_decref(j);
    return NULL;
}

static json_t *unmatched_json(const struct plan *p)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < p->n_unmatched; i++) json_array_append_new(list, json_string(p->unmatched[i]));
    return list;
}

static json_t *notes_json(const struct plan *p)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < p->n_notes; i++) json_array_append_new(list, json_string(p->notes[i]));
    return list;
}

/* Everything but the plan's own digest. */
static bool body_json(const struct plan *p, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *source = NULL, *items = json_array();
    if (!items || !plan_source_json(p, &source, err)) return error_memory(err, 0);
    for (uint32_t i = 0; i < p->n_items; i++)
        if (json_array_append_new(items, item_json(p, &p->items[i])) != 0) return error_memory(err, 0);
    CLEANUP(json)
    json_t *recipe = json_pack("{s:s,s:o,s:s}", "name", p->recipe->name, "sha256", digest_json(&p->recipe->digest),
                               "unseen_experts", unseen_name(p->recipe->unseen));
    *out = json_pack("{s:s,s:s,s:O,s:O,s:s,s:o,s:O}", "schema", "ingot.plan/1", "tool", INGOT_VERSION, "source", source,
                     "recipe", recipe, "kv_cache", kv_names[p->kv], "observe_sha256", digest_json(&p->observe_digest),
                     "items", items);
    return *out ? true : error_memory(err, 0);
}

static bool canonical_digest(const json_t *j, struct digest *out, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n;
    return json_canonical(j, &text, &n, err) && sha256_of(bytes_of(text, n), out, err);
}

bool plan_digests(struct plan *p, struct error *err)
{
    CLEANUP(json) json_t *observe = NULL;
    CLEANUP(json) json_t *body = NULL;
    return observe_json(p, &observe, err) && canonical_digest(observe, &p->observe_digest, err) &&
           body_json(p, &body, err) && canonical_digest(body, &p->digest, err);
}

bool plan_json(const struct plan *p, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *j = NULL;
    if (!body_json(p, &j, err)) return false;
    CLEANUP(json)
    json_t *sizes = json_pack("{s:I,s:I,s:f,s:I,s:I,s:I}", "read_bytes", (json_int_t)p->read_bytes, "write_bytes",
                              (json_int_t)p->write_bytes, "effective_bits", plan_effective_bits(p), "tensors",
                              (json_int_t)p->n_outputs, "workspace_bytes", (json_int_t)p->workspace_bytes,
                              "solve_bytes", (json_int_t)p->solve_bytes);
    if (!sizes || !json_put(j, "sha256", digest_json(&p->digest), err) ||
        !json_put(j, "sizes", json_incref(sizes), err) || !json_put(j, "unmatched_lines", unmatched_json(p), err) ||
        (p->n_notes && !json_put(j, "notes", notes_json(p), err)))
        return error_memory(err, 0);
    *out = take_ptr(&j);
    return true;
}

/* ---- the table ---- */

static uint64_t item_bytes(const struct plan *p, const struct plan_item *item)
{
    uint64_t sum = 0, n, bytes;
    for (uint32_t i = 0; i < item->n_outputs; i++) {
        const struct tensor_spec *s = &p->specs[item->first_output + i];
        if (tensor_size(s->name, s->dtype, s->n_dims, s->dims, &n, &bytes, NULL)) sum += bytes;
    }
    return sum;
}

static const char *item_format(const struct plan_item *item, char out[64])
{
    const struct solve_choice *s = &item->solve;
    bool plain = s->fold.method != FOLD_NONE && item->fold_in == NAME_NONE;
    const char *method = solve_label(plain ? &(struct solve_choice){.method = s->method} : s);
    if (!method && plan_item_folds(item) && item->action != ACTION_QUANTIZE) method = "folded";
    snprintf(out, 64, "%s%s%s",
             item->action == ACTION_QUANTIZE ? item->format->name
             : item->decoded                 ? "bf16"
                                             : "-",
             method ? " " : "", method ? method : "");
    return out;
}

static void every_row(const struct plan *p, struct text *t)
{
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        char size[32], format[64];
        text_bytes(size, item_bytes(p, item));
        text_add(t, "%-64s %-15s %-12s %12s  %s\n", item->tensor->name, role_info(item->tensor->place.role)->name,
                 item_format(item, format), size, item->reason);
    }
}

/* One line per (role, format, reason), in model order of first appearance. */
static void summary_rows(const struct plan *p, struct text *t)
{
    CLEANUP(free) bool *done = calloc(p->n_items + 1, 1);
    if (!done) {
        t->failed = true;
        return;
    }
    text_add(t, "%-16s %8s  %-12s %12s %12s  %s\n", "role", "tensors", "format", "before", "after", "why");
    for (uint32_t i = 0; i < p->n_items; i++) {
        if (done[i]) continue;
        const struct plan_item *a = &p->items[i];
        uint64_t before = 0, after = 0, n = 0;
        for (uint32_t k = i; k < p->n_items; k++) {
            const struct plan_item *b = &p->items[k];
            if (done[k] || a->tensor->place.role != b->tensor->place.role || a->format != b->format ||
                a->action != b->action || strcmp(a->reason, b->reason) != 0 || plan_item_folds(a) != plan_item_folds(b))
                continue;
            done[k] = true;
            n++;
            before += checkpoint_tensor(p->inventory->checkpoint, b->tensor->parts[PART_WEIGHT])->bytes;
            after += item_bytes(p, b);
        }
        char was[32], is[32], format[64];
        text_bytes(was, before);
        text_bytes(is, after);
        text_add(t, "%-16s %8llu  %-12s %12s %12s  %s\n", role_info(a->tensor->place.role)->name, (unsigned long long)n,
                 item_format(a, format), was, is, a->reason);
    }
}

bool plan_text(const struct plan *p, bool every, char **out, struct error *err)
{
    struct text t = TEXT_INIT;
    char was[32], is[32], work[32], hex[DIGEST_HEX_SIZE];
    if (every) every_row(p, &t);
    else summary_rows(p, &t);
    text_bytes(was, p->read_bytes);
    text_bytes(is, p->write_bytes);
    text_bytes(work, p->workspace_bytes);
    digest_hex(&p->digest, hex);
    text_add(&t, "\n%u tensors, %s -> %u tensors, %s (%.3f bits per weight)\n", p->n_items, was, p->n_outputs, is,
             plan_effective_bits(p));
    if (p->quantized_elems)
        text_add(&t, "quantized: %llu weights at %.3f bits, scales included\n", (unsigned long long)p->quantized_elems,
                 8.0 * (double)p->quantized_bytes / (double)p->quantized_elems);
    const char *kept = p->kv == KV_NONE ? p->inventory->kv_algo : NULL;
    text_add(&t, "KV cache: %s%s; SSM state: fp32\n", kept ? kept : kv_names[p->kv],
             kept                                   ? " (the source's)"
             : p->kv == KV_FP8 || p->kv == KV_NVFP4 ? " (calibrated)"
                                                    : "");
    text_add(&t, "quantize works in %s of memory; %s\n", work,
             p->needs_data ? "calibration data are needed" : "no calibration data are needed");
    if (p->solve_bytes) {
        text_bytes(work, p->solve_bytes);
        text_add(
            &t, "calibrate solves in %s of memory beside the forward pass, which it runs %u time%s per layer at most\n",
            work, p->solve_passes, p->solve_passes > 1 ? "s" : "");
    }
    for (uint32_t i = 0; i < p->n_unmatched; i++) text_add(&t, "matches nothing here: %s\n", p->unmatched[i]);
    for (uint32_t i = 0; i < p->n_notes; i++) text_add(&t, "note: %s\n", p->notes[i]);
    text_add(&t, "plan sha256 %s\n", hex);
    return text_take(&t, out, NULL, err);
}

/* Branches that are excluded whole: the multi-token-prediction head, towers. */
static bool excluded_branches(struct plan *p, bool mtp_plain, const char *const **out, uint32_t *n_out,
                              struct error *err)
{
    const struct model_arch *arch = p->inventory->config.arch;
    uint32_t n = 0;
    for (const char *const *c = arch->carried; c && *c; c++) n++;
    const char **list = arena_alloc(p->arena, n + 1, sizeof *list);
    if (!list) return error_memory(err, n * sizeof *list);
    n = 0;
    if (mtp_plain && arch->mtp_root) list[n++] = arch->mtp_root;
    for (const char *const *c = arch->carried; c && *c; c++) {
        bool there = false;
        for (uint32_t i = 0; i < p->n_items && !there; i++) {
            const struct model_tensor *t = p->items[i].tensor;
            there = t->place.role == ROLE_CARRIED && strncmp(t->name, *c, strlen(*c)) == 0;
        }
        if (there) list[n++] = *c;
    }
    *out = list;
    *n_out = n;
    return true;
}

bool plan_quant_config(struct plan *p, struct quant_config *out, struct error *err)
{
    struct quant_module *modules = arena_alloc(p->arena, p->n_items + 1, sizeof *modules);
    if (!modules) return error_memory(err, p->n_items * sizeof *modules);
    bool mtp_plain = p->inventory->config.n_mtp_blocks > 0;
    uint32_t n = 0;
    bool carried = false; /* of the source's quantized linears */
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (!model_tensor_is_module(item->tensor)) continue;
        const struct quant_format *format = item->action == ACTION_QUANTIZE ? item->format
                                            : item->decoded                 ? NULL
                                                                            : item->tensor->format;
        modules[n++] = (struct quant_module){item->tensor->module, item->tensor->container, format,
                                             !model_tensor_is_converted(item->tensor), plan_item_pre_scaled(p, item)};
        carried |= format && item->action == ACTION_COPY;
        mtp_plain = mtp_plain && !(item->tensor->place.mtp && format);
    }
    const char *const *excluded = NULL;
    uint32_t n_excluded = 0;
    if (!excluded_branches(p, mtp_plain, &excluded, &n_excluded, err)) return false;
    const char *kv = p->inventory->kv_algo;
    if (p->kv != KV_NONE) kv = p->kv == KV_FP8 || p->kv == KV_FP8_CAST ? "FP8" : "NVFP4";
    *out = (struct quant_config){.modules = modules,
                                 .n_modules = n,
                                 .kv_algo = kv,
                                 .excluded = excluded,
                                 .n_excluded = n_excluded,
                                 .act_order = carried && p->inventory->act_order,
                                 .layout = p->recipe->layout};
    return true;
}
