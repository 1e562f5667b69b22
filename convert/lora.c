#include "convert/lora_impl.h"
#include "core/memory.h"

#define PREFIX "base_model.model."

/* ---- names ---- */

static const struct {
    const char *end;
    enum lora_part part;
    bool table;
} ends[] = {
    {".lora_A.weight", LORA_A, false},
    {".lora_B.weight", LORA_B, false},
    {".lora_embedding_A", LORA_A, true},
    {".lora_embedding_B", LORA_B, true},
    {".lora_magnitude_vector", LORA_MAGNITUDE, false},
    {".lora_magnitude_vector.weight", LORA_MAGNITUDE, false},
    {".base_layer.weight", LORA_BASE, false},
};
enum { N_ENDS = sizeof ends / sizeof *ends };

/* The model's tensor that adapter tensor `name` belongs to; its part and whether it is a table's. */
static const struct model_tensor *place_of(const struct lora *l, const char *name, enum lora_part *part, bool *table)
{
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0) return NULL;
    name += strlen(PREFIX);
    size_t n = strlen(name), k = 0;
    for (size_t i = 0; i < N_ENDS; i++) {
        size_t length = strlen(ends[i].end);
        if (n <= length || strcmp(name + n - length, ends[i].end) != 0) continue;
        *part = ends[i].part;
        *table = ends[i].table;
        k = length;
    }
    if (!k) {
        *part = LORA_WHOLE;
        *table = false;
        return inventory_find_name(l->m->inventory, name);
    }
    static const char *const stems[] = {"weight", "weight_packed", "qweight"};
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        char *full = arena_printf(l->arena, "%.*s.%s", (int)(n - k), name, stems[i]);
        const struct model_tensor *t = full ? inventory_find_name(l->m->inventory, full) : NULL;
        if (t && t->n_dims == 2) return t;
    }
    return NULL;
}

static bool add_tensor(struct lora *l, uint32_t i, struct error *err)
{
    const char *name = checkpoint_tensor(l->ck, i)->name;
    enum lora_part part;
    bool table;
    const struct model_tensor *t = place_of(l, name, &part, &table);
    if (!t)
        return error_set(err, ERR_FORMAT,
                         "adapter: tensor '%.256s' has no place in the model (of the name after '" PREFIX "')", name);
    if (checkpoint_tensor(l->m->checkpoint, t->parts[PART_WEIGHT])->view)
        return error_set(err, ERR_UNSUPPORTED, "adapter: tensor '%.256s': experts in a stack are not merged here",
                         name);
    struct change **slot = &l->of_stored[t->parts[PART_WEIGHT]];
    if (!*slot) {
        *slot = arena_alloc(l->arena, 1, sizeof **slot);
        if (!*slot) return error_memory(err, sizeof **slot);
        **slot =
            (struct change){.lora = l, .tensor = t, .parts = {NAME_NONE, NAME_NONE, NAME_NONE, NAME_NONE, NAME_NONE}};
        l->n_changes++;
    }
    (*slot)->table |= table;
    if ((*slot)->parts[part] != NAME_NONE) return error_set(err, ERR_FORMAT, "adapter: '%.256s' is there twice", name);
    (*slot)->parts[part] = i;
    return true;
}

/* ---- shapes ---- */

static bool check_shape(const struct lora *l, uint32_t i, uint64_t rows, uint64_t cols, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(l->ck, i);
    if (!dtype_is_plain_float(t->dtype))
        return error_set(err, ERR_FORMAT, "adapter: tensor '%.256s': expected F32, BF16 or F16, found %s", t->name,
                         dtype_name(t->dtype));
    if (cols ? t->n_dims == 2 && t->dims[0] == rows && t->dims[1] == cols : t->n_elems == rows) return true;
    return error_set(err, ERR_FORMAT, "adapter: tensor '%.256s': expected shape [%llu, %llu], found [%llu, %llu]",
                     t->name, (unsigned long long)rows, (unsigned long long)cols,
                     (unsigned long long)(t->n_dims ? t->dims[0] : 1),
                     (unsigned long long)(t->n_dims > 1 ? t->dims[1] : 1));
}

static bool check_whole(const struct change *c, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(c->lora->ck, c->parts[LORA_WHOLE]);
    if (c->parts[LORA_A] != NAME_NONE || c->parts[LORA_B] != NAME_NONE || c->parts[LORA_BASE] != NAME_NONE)
        return error_set(err, ERR_FORMAT, "adapter: '%.256s' is replaced and changed at once", t->name);
    if (!dtype_is_plain_float(t->dtype) || t->n_dims != c->tensor->n_dims ||
        memcmp(t->dims, c->tensor->dims, t->n_dims * sizeof *t->dims) != 0)
        return error_set(err, ERR_FORMAT, "adapter: tensor '%.256s' has not the shape of the model's", t->name);
    return true;
}

static bool check_change(struct change *c, struct error *err)
{
    const struct lora *l = c->lora;
    const struct model_tensor *t = c->tensor;
    if (c->parts[LORA_WHOLE] != NAME_NONE) return check_whole(c, err);
    if (c->parts[LORA_A] == NAME_NONE || c->parts[LORA_B] == NAME_NONE)
        return error_set(err, ERR_FORMAT, "adapter: module '%.256s' has %s", t->module,
                         c->parts[LORA_A] != NAME_NONE   ? "lora_A without lora_B"
                         : c->parts[LORA_B] != NAME_NONE ? "lora_B without lora_A"
                                                         : "neither lora_A nor lora_B");
    if (l->config.dora != (c->parts[LORA_MAGNITUDE] != NAME_NONE) || (c->table && l->config.dora))
        return error_set(
            err, c->table ? ERR_UNSUPPORTED : ERR_FORMAT,
            "adapter: module '%.256s': " ADAPTER_CONFIG_FILE " says use_dora: %s, and %s magnitude is there", t->module,
            l->config.dora ? "true" : "false", c->parts[LORA_MAGNITUDE] != NAME_NONE ? "a" : "no");
    double scale;
    if (!lora_config_module(&l->config, t->module, &c->rank, &scale, err)) return false;
    c->scale = (float)scale;
    uint64_t rows = t->dims[0], cols = t->dims[1];
    return check_shape(l, c->parts[LORA_A], c->rank, c->table ? rows : cols, err) &&
           check_shape(l, c->parts[LORA_B], c->table ? cols : rows, c->rank, err) &&
           (!l->config.dora || check_shape(l, c->parts[LORA_MAGNITUDE], rows, 0, err)) &&
           (c->parts[LORA_BASE] == NAME_NONE || check_shape(l, c->parts[LORA_BASE], rows, cols, err));
}

static bool open_all(struct lora *l, const char *path, const struct convert_options *opt, struct error *err)
{
    struct engine_options eo = {.pool = opt->pool, .isa = opt->isa};
    l->n_stored = checkpoint_count_all(l->m->checkpoint);
    if (!l->arena) return error_memory(err, 0);
    if (!folder_open(&l->folder, path, err) || !lora_config_open(&l->config, l->folder, err) ||
        !checkpoint_open(&l->ck, l->folder, err) ||
        !memory_zalloc(&l->of_stored, l->n_stored, sizeof *l->of_stored, err))
        return false;
    for (uint32_t i = 0; i < checkpoint_count(l->ck); i++)
        if (!add_tensor(l, i, err)) return false;
    for (uint32_t i = 0; i < l->n_stored; i++)
        if (l->of_stored[i] && !check_change(l->of_stored[i], err)) return false;
    if (l->n_changes == 0) return error_set(err, ERR_FORMAT, "the adapter holds no tensors");
    return engine_open(&l->engine, l->m->inventory, &eo, err);
}

bool lora_open(struct lora **out, const char *path, const struct model *m, const struct convert_options *opt,
               struct error *err)
{
    *out = NULL;
    struct lora *l = calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l);
    *l = (struct lora){.m = m, .arena = arena_new(), .isa = opt->isa};
    bool ok = open_all(l, path, opt, err);
    if (ok) *out = l;
    else lora_close(l);
    return ok || error_wrap(err, "'%.256s'", path);
}

void lora_close(struct lora *l)
{
    if (!l) return;
    engine_close(l->engine);
    checkpoint_close(l->ck);
    folder_close(l->folder);
    lora_config_close(&l->config);
    arena_free(l->arena);
    free(l->of_stored);
    free(l);
}

bool lora_stamp(const struct lora *l, struct digest *out, struct error *err)
{
    return folder_stamp(l->folder, out, err);
}

uint32_t lora_count(const struct lora *l)
{
    return l->n_changes;
}

void *lora_change(const struct lora *l, uint32_t i)
{
    return l->of_stored[i];
}
