#include "models/adapter.h"

#include "core/memory.h"

#include <stdlib.h>

#define PREFIX "base_model.model."
#define CHUNK_BYTES ((size_t)1 << 20)

/* ---- names ---- */

static const struct {
    const char *end;
    enum adapter_part part;
    bool table;
} ends[] = {
    {".lora_A.weight", ADAPTER_A, false},
    {".lora_B.weight", ADAPTER_B, false},
    {".lora_embedding_A", ADAPTER_A, true},
    {".lora_embedding_B", ADAPTER_B, true},
    {".lora_magnitude_vector", ADAPTER_MAGNITUDE, false},
    {".lora_magnitude_vector.weight", ADAPTER_MAGNITUDE, false},
    {".base_layer.weight", ADAPTER_BASE, false},
};
enum { N_ENDS = sizeof ends / sizeof *ends };

/* The model's tensor that adapter tensor `name` belongs to; its part and whether it is a table's. */
static const struct model_tensor *place_of(const struct adapter *a, const char *name, enum adapter_part *part,
                                           bool *table)
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
        *part = ADAPTER_WHOLE;
        *table = false;
        return inventory_find_name(a->inventory, name);
    }
    static const char *const stems[] = {"weight", "weight_packed", "qweight"};
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        char *full = arena_printf(a->arena, "%.*s.%s", (int)(n - k), name, stems[i]);
        const struct model_tensor *t = full ? inventory_find_name(a->inventory, full) : NULL;
        if (t && t->n_dims == 2) return t;
    }
    return NULL;
}

static bool add_tensor(struct adapter *a, uint32_t i, struct error *err)
{
    const char *name = checkpoint_tensor(a->checkpoint, i)->name;
    enum adapter_part part;
    bool table;
    const struct model_tensor *t = place_of(a, name, &part, &table);
    if (!t)
        return error_set(err, ERR_FORMAT,
                         "adapter: tensor '%.256s' has no place in the model (of the name after '" PREFIX "')", name);
    struct adapter_change **slot = &a->of_stored[t->parts[PART_WEIGHT]];
    if (!*slot) {
        *slot = arena_alloc(a->arena, 1, sizeof **slot);
        if (!*slot) return error_memory(err, sizeof **slot);
        **slot = (struct adapter_change){.tensor = t, .parts = {NAME_NONE, NAME_NONE, NAME_NONE, NAME_NONE, NAME_NONE}};
        a->n_changes++;
    }
    (*slot)->table |= table;
    if ((*slot)->parts[part] != NAME_NONE) return error_set(err, ERR_FORMAT, "adapter: '%.256s' is there twice", name);
    (*slot)->parts[part] = i;
    return true;
}

/* ---- shapes ---- */

static bool check_shape(const struct adapter *a, uint32_t i, uint64_t rows, uint64_t cols, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(a->checkpoint, i);
    if (!dtype_is_plain_float(t->dtype))
        return error_set(err, ERR_FORMAT, "adapter: tensor '%.256s': expected F32, BF16 or F16, found %s", t->name,
                         dtype_name(t->dtype));
    if (cols ? t->n_dims == 2 && t->dims[0] == rows && t->dims[1] == cols : t->n_elems == rows) return true;
    return error_set(err, ERR_FORMAT, "adapter: tensor '%.256s': expected shape [%llu, %llu], found [%llu, %llu]",
                     t->name, (unsigned long long)rows, (unsigned long long)cols,
                     (unsigned long long)(t->n_dims ? t->dims[0] : 1),
                     (unsigned long long)(t->n_dims > 1 ? t->dims[1] : 1));
}

static bool check_whole(const struct adapter *a, const struct adapter_change *c, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(a->checkpoint, c->parts[ADAPTER_WHOLE]);
    if (c->parts[ADAPTER_A] != NAME_NONE || c->parts[ADAPTER_B] != NAME_NONE || c->parts[ADAPTER_BASE] != NAME_NONE)
        return error_set(err, ERR_FORMAT, "adapter: '%.256s' is replaced and changed at once", t->name);
    if (!dtype_is_plain_float(t->dtype) || t->n_dims != c->tensor->n_dims ||
        memcmp(t->dims, c->tensor->dims, t->n_dims * sizeof *t->dims) != 0)
        return error_set(err, ERR_FORMAT, "adapter: tensor '%.256s' has not the shape of the model's", t->name);
    return true;
}

static bool check_change(const struct adapter *a, struct adapter_change *c, struct error *err)
{
    const struct model_tensor *t = c->tensor;
    if (c->parts[ADAPTER_WHOLE] != NAME_NONE) return check_whole(a, c, err);
    if (c->parts[ADAPTER_A] == NAME_NONE || c->parts[ADAPTER_B] == NAME_NONE)
        return error_set(err, ERR_FORMAT, "adapter: module '%.256s' has %s", t->module,
                         c->parts[ADAPTER_A] != NAME_NONE   ? "lora_A without lora_B"
                         : c->parts[ADAPTER_B] != NAME_NONE ? "lora_B without lora_A"
                                                            : "neither lora_A nor lora_B");
    if (a->config.dora != (c->parts[ADAPTER_MAGNITUDE] != NAME_NONE) || (c->table && a->config.dora))
        return error_set(
            err, c->table ? ERR_UNSUPPORTED : ERR_FORMAT,
            "adapter: module '%.256s': " ADAPTER_CONFIG_FILE " says use_dora: %s, and %s magnitude is there", t->module,
            a->config.dora ? "true" : "false", c->parts[ADAPTER_MAGNITUDE] != NAME_NONE ? "a" : "no");
    double scale;
    if (!adapter_config_module(&a->config, t->module, &c->rank, &scale, err)) return false;
    c->scale = (float)scale;
    uint64_t rows = t->dims[0], cols = t->dims[1];
    return check_shape(a, c->parts[ADAPTER_A], c->rank, c->table ? rows : cols, err) &&
           check_shape(a, c->parts[ADAPTER_B], c->table ? cols : rows, c->rank, err) &&
           (!a->config.dora || check_shape(a, c->parts[ADAPTER_MAGNITUDE], rows, 0, err)) &&
           (c->parts[ADAPTER_BASE] == NAME_NONE || check_shape(a, c->parts[ADAPTER_BASE], rows, cols, err));
}

static bool open_all(struct adapter *a, const char *path, struct error *err)
{
    a->n_stored = checkpoint_count_all(a->inventory->checkpoint);
    if (!a->arena) return error_memory(err, 0);
    if (!folder_open(&a->folder, path, err) || !adapter_config_open(&a->config, a->folder, err)) return false;
    if (folder_find(a->folder, ADAPTER_WEIGHTS_FILE) == NAME_NONE)
        return error_set(err, ERR_FORMAT, "the folder has no " ADAPTER_WEIGHTS_FILE);
    if (!checkpoint_open(&a->checkpoint, a->folder, err) ||
        !memory_zalloc(&a->of_stored, a->n_stored, sizeof *a->of_stored, err))
        return false;
    for (uint32_t i = 0; i < checkpoint_count(a->checkpoint); i++)
        if (!add_tensor(a, i, err)) return false;
    for (uint32_t i = 0; i < a->n_stored; i++)
        if (a->of_stored[i] && !check_change(a, a->of_stored[i], err)) return false;
    return a->n_changes > 0 || error_set(err, ERR_FORMAT, "the adapter holds no tensors");
}

bool adapter_open(struct adapter **out, const char *path, const struct inventory *inv, struct error *err)
{
    *out = NULL;
    struct adapter *a = calloc(1, sizeof *a);
    if (!a) return error_memory(err, sizeof *a);
    *a = (struct adapter){.inventory = inv, .arena = arena_new()};
    bool ok = open_all(a, path, err);
    if (ok) *out = a;
    else adapter_close(a);
    return ok;
}

void adapter_close(struct adapter *a)
{
    if (!a) return;
    checkpoint_close(a->checkpoint);
    folder_close(a->folder);
    adapter_config_close(&a->config);
    arena_free(a->arena);
    free(a->of_stored);
    free(a);
}

/* ---- more, of adapters that are carried ---- */

/* PEFT: the module itself or the end of its name behind a dot. */
static bool is_target(const char *module, const char *target)
{
    size_t n = strlen(module), k = strlen(target);
    return k > 0 && n >= k && strcmp(module + n - k, target) == 0 && (n == k || module[n - k - 1] == '.');
}

static bool check_target(const struct adapter *a, const char *target, bool some_left_out, struct error *err)
{
    const struct inventory *inv = a->inventory;
    bool there = false, used = some_left_out;
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i];
        if (!is_target(t->module, target)) continue;
        there = true;
        used = used || a->of_stored[t->parts[PART_WEIGHT]];
    }
    if (!there)
        return error_set(err, ERR_FORMAT, ADAPTER_CONFIG_FILE ": target_modules: the model has no module '%.256s'",
                         target);
    return used || error_set(err, ERR_FORMAT,
                             ADAPTER_CONFIG_FILE ": target_modules: of '%.256s' the adapter holds no tensor", target);
}

bool adapter_check_targets(const struct adapter *a, struct error *err)
{
    const json_t *targets = json_object_get(a->config.doc, "target_modules");
    bool some_left_out = json_array_size(json_object_get(a->config.doc, "exclude_modules")) > 0 ||
                         json_is_string(json_object_get(a->config.doc, "exclude_modules"));
    size_t i;
    json_t *t;
    if (!json_is_array(targets) && !json_is_string(targets))
        return error_set(err, ERR_FORMAT,
                         ADAPTER_CONFIG_FILE ": key 'target_modules': expected a list of names or an expression, found "
                                             "%s",
                         json_brief(targets));
    json_array_foreach ((json_t *)(uintptr_t)targets, i, t) {
        if (!json_is_string(t))
            return error_set(err, ERR_FORMAT, ADAPTER_CONFIG_FILE ": target_modules: expected a name, found %s",
                             json_brief(t));
        if (!check_target(a, json_string_value(t), some_left_out, err)) return false;
    }
    return true;
}

/* The first number of all ones in its exponent; n: there is none. */
static size_t first_not_finite(enum dtype dtype, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        uint32_t word;
        if (dtype == DTYPE_F32) {
            memcpy(&word, p + 4 * i, 4);
            if ((word & 0x7f800000u) == 0x7f800000u) return i;
            continue;
        }
        uint16_t ones = dtype == DTYPE_BF16 ? 0x7f80u : 0x7c00u;
        memcpy(&half, p + 2 * i, 2);
        if ((half & ones) == ones) return i;
    }
    return n;
}

bool adapter_check_values(const struct adapter *a, struct error *err)
{
    CLEANUP(free) uint8_t *chunk = malloc(CHUNK_BYTES);
    if (!chunk) return error_memory(err, CHUNK_BYTES);
    for (uint32_t i = 0; i < checkpoint_count(a->checkpoint); i++) {
        const struct tensor_info *t = checkpoint_tensor(a->checkpoint, i);
        for (uint64_t at = 0; at < t->bytes;) {
            size_t n = (size_t)u64_min(CHUNK_BYTES, t->bytes - at), elem = (size_t)dtype_bytes(t->dtype);
            if (!checkpoint_read(a->checkpoint, i, at, chunk, n, err)) return false;
            if (first_not_finite(t->dtype, chunk, n / elem) < n / elem)
                return error_set(err, ERR_FORMAT, "adapter: tensor '%.256s' holds a number that is not finite",
                                 t->name);
            at += n;
        }
    }
    return true;
}

uint64_t adapter_rank_max(const struct adapter *a)
{
    const char *key;
    json_t *v;
    json_int_t most = json_integer_value(json_object_get(a->config.doc, "r"));
    json_object_foreach (json_object_get(a->config.doc, "rank_pattern"), key, v)
        if (json_integer_value(v) > most) most = json_integer_value(v);
    return most > 0 ? (uint64_t)most : 0;
}
