/* Why one tensor becomes what it becomes: the lines that speak of it in their order, what it shares, what is written.
 */
#include "core/text.h"
#include "formats/name_match.h"
#include "plan/fold.h"

/* What a line says of one half ("weights", "inputs"), in the words of the recipe. */
static json_t *said(const struct recipe *r, uint32_t i, const char *half)
{
    static const char *const more[] = {"scales", "solve", "group", "zero", "constant", "amax", "refuse", "enable"};
    const json_t *rule = json_array_get(json_object_get(r->json, "rules"), i);
    if (!rule) return json_pack("{s:O}", "type", json_object_get(r->json, "kv_cache")); /* `kv_cache:` of the file */
    json_t *out = json_object();
    const json_t *type = json_object_get(rule, "type");
    if (!type) type = json_object_get(rule, half);
    if (type) json_object_set(out, "type", (json_t *)(uintptr_t)type);
    bool weights = strcmp(half, "weights") == 0;
    for (size_t k = 0; k < sizeof more / sizeof *more; k++) {
        json_t *v = json_object_get(rule, more[k]);
        if (v && (weights || k >= 4)) json_object_set(out, more[k], v);
    }
    return out;
}

static bool line_selects(const struct recipe_line *l, const struct recipe_target *t, const char *suffix,
                         const char *half)
{
    return strcmp(half, "cache") == 0 ? recipe_line_selects_cache(l, t, suffix) : recipe_line_selects(l, t, suffix);
}

/* It would select it, but for its `except` (llm-compressor's `ignore`). */
static bool leaves(const struct recipe_line *l, const struct recipe_target *t, const char *suffix, const char *half)
{
    struct recipe_line all = *l;
    all.except = NULL;
    all.except_regex = NULL;
    return (l->except || l->except_regex) && line_selects(&all, t, suffix, half);
}

/* The lines that select a quantizer; the last that says something decides. */
static json_t *half_json(const struct plan *p, const struct recipe_target *t, const char *suffix, const char *half)
{
    const struct recipe *r = p->recipe;
    json_t *lines = json_array(), *last = NULL;
    for (uint32_t i = 0; lines && i < r->n_lines; i++) {
        const struct recipe_line *l = &r->lines[i];
        const struct quant_type *says = strcmp(half, "weights") == 0  ? l->weights
                                        : strcmp(half, "inputs") == 0 ? l->inputs
                                                                      : l->kv;
        bool selects = line_selects(l, t, suffix, half), leaves_out = !selects && leaves(l, t, suffix, half);
        if ((!selects && !leaves_out) || !recipe_line_speaks(l, says)) continue;
        json_t *row = json_pack("{s:s,s:o}", "rule", l->text, "says", said(r, i, half));
        if (row && l->note) json_object_set_new(row, "note", json_string(l->note));
        else if (row && l->label != l->text) json_object_set_new(row, "line", json_integer(l->line));
        if (row && leaves_out) json_object_set_new(row, "leaves_out", json_true());
        if (json_array_append_new(lines, row) == 0 && selects) last = row;
    }
    if (last) json_object_set_new(last, "decides", json_true());
    return lines;
}

static json_t *sharing_json(const struct plan *p, const struct plan_item *item)
{
    json_t *names = json_array();
    for (uint32_t i = 0; i < p->n_items; i++)
        if (&p->items[i] != item && p->items[i].action == ACTION_QUANTIZE && p->items[i].group == item->group)
            json_array_append_new(names, json_string(p->items[i].tensor->name));
    return names;
}

static json_t *shape_json(uint32_t n_dims, const uint64_t *dims)
{
    json_t *shape = json_array();
    for (uint32_t d = 0; d < n_dims; d++) json_array_append_new(shape, json_integer((json_int_t)dims[d]));
    return shape;
}

static json_t *written_json(const struct plan *p, const struct plan_item *item)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < item->n_outputs; i++) {
        const struct tensor_spec *s = &p->specs[item->first_output + i];
        uint64_t n, bytes = 0;
        if (!tensor_size(s->name, s->dtype, s->n_dims, s->dims, &n, &bytes, NULL)) bytes = 0;
        json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:I}", "name", s->name, "dtype", dtype_name(s->dtype),
                                              "shape", shape_json(s->n_dims, s->dims), "bytes", (json_int_t)bytes));
    }
    return list;
}

/* By the tensor's name, its module's, or that of a tensor that is written of it. */
static const struct plan_item *find_item(const struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->n_items; i++)
        if (strcmp(p->items[i].tensor->name, name) == 0 || strcmp(p->items[i].tensor->module, name) == 0)
            return &p->items[i];
    for (uint32_t i = 0; i < p->n_outputs; i++)
        if (strcmp(p->specs[i].name, name) == 0) return &p->items[p->outputs[i].item];
    return NULL;
}

static json_t *item_explained(const struct plan *p, const struct plan_item *item)
{
    const struct model_tensor *t = item->tensor;
    const struct tensor_info *src = checkpoint_tensor(p->inventory->checkpoint, t->parts[PART_WEIGHT]);
    const struct role_info *role = role_info(t->place.role);
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:s,s:s}", "schema", "ingot.explain/1", "tensor", t->name,
                          "module", t->module, "role", role->name, "role_class", role->role_class, "dtype",
                          dtype_name(src->dtype), "shape", shape_json(t->n_dims, t->dims), "action",
                          item->action == ACTION_QUANTIZE ? "quantize"
                          : plan_item_folds(item)         ? "fold"
                                                          : "copy",
                          "reason", item->reason);
    if (!j) return NULL;
    if (t->place.layer >= 0) json_object_set_new(j, "layer", json_integer(t->place.layer));
    if (t->place.expert >= 0) json_object_set_new(j, "expert", json_integer(t->place.expert));
    if (t->place.mtp) json_object_set_new(j, "mtp", json_true());
    if (t->container) json_object_set_new(j, "experts", json_string(t->container));
    struct recipe_target target = plan_target(p, t);
    if (role->kind == KIND_LINEAR || role->kind == KIND_TABLE) {
        json_object_set_new(j, "weights", half_json(p, &target, "weight_quantizer", "weights"));
        json_object_set_new(j, "inputs", half_json(p, &target, "input_quantizer", "inputs"));
    }
    if ((t->place.role == ROLE_ATTN_K || t->place.role == ROLE_ATTN_V) && !t->place.mtp) {
        const char *dot = strrchr(t->module, '.');
        char attention[1024];
        snprintf(attention, sizeof attention, "%.*s", dot ? (int)(dot - t->module) : (int)strlen(t->module), t->module);
        target.module = attention;
        json_object_set_new(
            j, "cache",
            half_json(p, &target, t->place.role == ROLE_ATTN_K ? "k_bmm_quantizer" : "v_bmm_quantizer", "cache"));
    }
    if (item->action == ACTION_QUANTIZE) {
        json_object_set_new(j, "format", json_string(item->format->name));
        json_object_set_new(j, "observed", json_boolean(item->observe_input));
        if (item->input_amax > 0) json_object_set_new(j, "input_amax", json_real((double)item->input_amax));
        json_object_set_new(j, "shares_weight_scale_with", sharing_json(p, item));
    }
    if (item->fold_in != NAME_NONE) json_object_set_new(j, "columns_times", json_string(p->folds[item->fold_in].name));
    if (item->fold_out != NAME_NONE) json_object_set_new(j, "divided_by", json_string(p->folds[item->fold_out].name));
    json_object_set_new(j, "written", written_json(p, item));
    return j;
}

/* A name that is none: how many tensors it may have meant, as a pattern or as a module that others are inside of. */
static bool no_item(const struct plan *p, const char *name, struct error *err)
{
    const char *first = NULL;
    uint32_t n = 0;
    size_t length = strlen(name);
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct model_tensor *t = p->items[i].tensor;
        bool inside = length && strncmp(t->module, name, length) == 0 && t->module[length] == '.';
        if (!inside && !(glob_is_pattern(name) && (glob_match(name, t->module) || glob_match(name, t->name)))) continue;
        if (n++ == 0) first = t->name;
    }
    if (n)
        return error_set(err, ERR_USAGE, "'%.256s' stands for %u tensors, such as '%.256s': --explain takes one", name,
                         n, first);
    return error_set(err, ERR_USAGE, "the checkpoint has no tensor or module '%.256s' (`ingot inspect` lists them)",
                     name);
}

bool plan_explain(const struct plan *p, const char *tensor, json_t **out, struct error *err)
{
    const struct plan_item *item = find_item(p, tensor);
    *out = NULL;
    if (!item) return no_item(p, tensor, err);
    *out = item_explained(p, item);
    return *out ? true : error_memory(err, 0);
}

/* ---- for people ---- */

static const char *text_of(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static void add_value(struct text *t, const json_t *v)
{
    const char *key;
    json_t *m;
    size_t i;
    bool first = true;
    if (json_is_string(v)) text_add(t, "%s", json_string_value(v));
    else if (json_is_boolean(v)) text_add(t, "%s", json_is_true(v) ? "true" : "false");
    else if (json_is_integer(v)) text_add(t, "%lld", (long long)json_integer_value(v));
    else if (json_is_number(v)) text_add(t, "%g", json_number_value(v));
    else if (json_is_object(v))
        json_object_foreach ((json_t *)(uintptr_t)v, key, m) {
            text_add(t, "%s%s ", first ? "" : ", ", key);
            add_value(t, m);
            first = false;
        }
    else
        json_array_foreach ((json_t *)(uintptr_t)v, i, m) {
            text_add(t, "%s", i ? " x " : "");
            add_value(t, m);
        }
}

static void add_half(struct text *t, const json_t *j, const char *half, const char *nothing)
{
    size_t i;
    json_t *row;
    const json_t *lines = json_object_get(j, half);
    if (!lines) return;
    text_add(t, "\n%s:\n", half);
    if (json_array_size(lines) == 0) text_add(t, "  %s\n", nothing);
    json_array_foreach ((json_t *)(uintptr_t)lines, i, row) {
        text_add(t, "%s %s", json_object_get(row, "decides") ? "  >" : "   ", text_of(row, "rule"));
        if (json_object_get(row, "note")) text_add(t, " (%s)", text_of(row, "note"));
        else if (json_object_get(row, "line"))
            text_add(t, " (line %lld)", (long long)json_integer_value(json_object_get(row, "line")));
        text_add(t, ": ");
        if (json_object_get(row, "leaves_out")) text_add(t, "leaves it out");
        else add_value(t, json_object_get(row, "says"));
        text_add(t, "\n");
    }
}

bool plan_explain_text(const json_t *j, char **out, struct error *err)
{
    struct text t = TEXT_INIT;
    size_t i;
    json_t *row;
    text_add(&t, "%s\n  %s (%s)", text_of(j, "tensor"), text_of(j, "role"), text_of(j, "role_class"));
    if (json_object_get(j, "layer"))
        text_add(&t, ", layer %lld", (long long)json_integer_value(json_object_get(j, "layer")));
    if (json_object_get(j, "expert"))
        text_add(&t, ", expert %lld", (long long)json_integer_value(json_object_get(j, "expert")));
    if (json_object_get(j, "mtp")) text_add(&t, ", multi-token-prediction head");
    text_add(&t, ", %s ", text_of(j, "dtype"));
    add_value(&t, json_object_get(j, "shape"));
    text_add(&t, "\n  %s: %s\n",
             json_object_get(j, "format")                ? text_of(j, "format")
             : strcmp(text_of(j, "action"), "fold") == 0 ? "folded"
                                                         : "copied",
             text_of(j, "reason"));
    if (json_object_get(j, "columns_times"))
        text_add(&t, "  columns times %s of the statistics\n", text_of(j, "columns_times"));
    if (json_object_get(j, "divided_by")) text_add(&t, "  over %s of the statistics\n", text_of(j, "divided_by"));
    add_half(&t, j, "weights", "no rule selects them");
    add_half(&t, j, "inputs", "no rule selects them");
    add_half(&t, j, "cache", "no rule speaks of the KV cache");
    if (json_is_true(json_object_get(j, "observed"))) {
        const char *container = text_of(j, "experts");
        text_add(&t, "\ninput scale: from calibration%s%s\n", *container ? "; one for this projection of all of " : "",
                 container);
    }
    if (json_object_get(j, "input_amax"))
        text_add(&t, "\ninput scale: of the fixed maximum %g\n", json_number_value(json_object_get(j, "input_amax")));
    const json_t *shares = json_object_get(j, "shares_weight_scale_with");
    if (json_array_size(shares)) text_add(&t, "\nshares its scale with:\n");
    json_array_foreach ((json_t *)(uintptr_t)shares, i, row) text_add(&t, "    %s\n", json_string_value(row));
    text_add(&t, "\nwritten:\n");
    json_array_foreach (json_object_get(j, "written"), i, row) {
        char size[32];
        text_bytes(size, (unsigned long long)json_integer_value(json_object_get(row, "bytes")));
        text_add(&t, "    %s  %s ", text_of(row, "name"), text_of(row, "dtype"));
        add_value(&t, json_object_get(row, "shape"));
        text_add(&t, "  %s\n", size);
    }
    return text_take(&t, out, NULL, err);
}
