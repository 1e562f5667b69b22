#include "cli/commands.h"
#include "cli/inspect_bundle.h"
#include "cli/inspect_files.h"
#include "cli/inspect_tensor.h"
#include "cli/inspect_values.h"
#include "models/inventory.h"

struct inspect_args {
    struct common_args common;
    bool strict, bundle;
    const char *tensor;
};

static const struct option options[] = {
    {"strict", 0, OPTION_FLAG, offsetof(struct inspect_args, strict), NULL, "read every value and the tokenizer too", 0,
     0},
    {"tensor", 0, OPTION_TEXT, offsetof(struct inspect_args, tensor), "NAME",
     "only this tensor: where it lies, how its values spread", 0, 0},
    {"bundle-only", 0, OPTION_FLAG, offsetof(struct inspect_args, bundle), NULL,
     "a family that is not computed here: files, tensors, digests", 0, 0},
    COMMON_OPTIONS(struct inspect_args),
};

static uint64_t tensor_bytes(const struct model *m, const struct model_tensor *t)
{
    uint64_t sum = 0;
    for (int part = 0; part < PART_COUNT; part++)
        if (t->parts[part] != NAME_NONE) sum += checkpoint_tensor(m->checkpoint, t->parts[part])->bytes;
    return sum;
}

/* Parameters that one token uses: routed experts count top_k of n. */
static uint64_t active_elems(const struct model *m, const struct model_tensor *t)
{
    const struct moe_config *moe = &m->inventory->config.moe;
    if (t->place.mtp) return 0;
    return t->place.expert >= 0 ? t->n_elems / moe->n_experts * moe->top_k : t->n_elems;
}

static const char *stored_as(const struct model *m, const struct model_tensor *t)
{
    return t->format ? t->format->name : dtype_name(checkpoint_tensor(m->checkpoint, t->parts[PART_WEIGHT])->dtype);
}

/* The types that anything is stored in, in the order of the program's list. */
static json_t *formats_json(const struct model *m)
{
    json_t *list = json_array();
    for (const struct quant_format *const *f = quant_formats; list && *f; f++)
        for (uint32_t i = 0; i < m->inventory->n_tensors; i++) {
            if (m->inventory->tensors[i].format != *f) continue;
            json_array_append_new(list, json_string((*f)->name));
            break;
        }
    return list;
}

static json_t *layers_json(const struct model_config *cfg)
{
    json_t *o = json_object();
    for (int k = 0; k < BLOCK_KIND_COUNT; k++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < cfg->n_blocks; i++) n += cfg->blocks[i].kind == (enum block_kind)k;
        if (n) json_object_set_new(o, block_kind_name((enum block_kind)k), json_integer(n));
    }
    return o;
}

/* One row per (role, storage). */
static json_t *roles_json(const struct model *m)
{
    json_t *rows = json_array();
    const struct inventory *inv = m->inventory;
    CLEANUP(free) bool *done = calloc(inv->n_tensors + 1, 1);
    for (uint32_t i = 0; done && i < inv->n_tensors; i++) {
        if (done[i]) continue;
        const struct model_tensor *a = &inv->tensors[i];
        uint64_t n = 0, elems = 0, bytes = 0;
        for (uint32_t k = i; k < inv->n_tensors; k++) {
            const struct model_tensor *b = &inv->tensors[k];
            if (done[k] || b->place.role != a->place.role || b->place.mtp != a->place.mtp ||
                strcmp(stored_as(m, a), stored_as(m, b)) != 0)
                continue;
            done[k] = true;
            n++;
            elems += b->n_elems;
            bytes += tensor_bytes(m, b);
        }
        json_array_append_new(rows, json_pack("{s:s,s:b,s:s,s:I,s:I,s:I}", "role", role_info(a->place.role)->name,
                                              "mtp", a->place.mtp, "stored", stored_as(m, a), "tensors", (json_int_t)n,
                                              "parameters", (json_int_t)elems, "bytes", (json_int_t)bytes));
    }
    return rows;
}

/* What is odd about the files without being wrong. */
static json_t *remarks_json(const struct model *m)
{
    json_t *list = json_array();
    const char *remark;
    for (uint32_t i = 0; (remark = checkpoint_remark(m->checkpoint, i)); i++)
        json_array_append_new(list, json_string(remark));
    const char *first;
    uint32_t n_files, n_idle;
    if (model_idle_rules(m, &first, &n_idle, NULL) && n_idle)
        json_array_append_new(list, json_sprintf("the quantization configuration speaks of '%s', which is not there "
                                                 "(%u such entries)",
                                                 first, n_idle));
    const struct checkpoint_file *files = checkpoint_files(m->checkpoint, &n_files);
    for (uint32_t k = 0; k < folder_count(m->folder); k++) {
        bool read = !checkpoint_is_weights(folder_name(m->folder, k));
        for (uint32_t i = 0; i < n_files; i++) read |= files[i].member == k;
        if (!read)
            json_array_append_new(list, json_sprintf("%s: weights that belong to no tensor list here; no stage reads "
                                                     "or carries them",
                                                     folder_name(m->folder, k)));
    }
    return list;
}

static bool inspect_json(const struct model *m, json_t **out, struct error *err)
{
    const struct inventory *inv = m->inventory;
    const struct model_config *cfg = &inv->config;
    uint64_t total = 0, active = 0;
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        total += inv->tensors[i].n_elems;
        active += active_elems(m, &inv->tensors[i]);
    }
    uint32_t n_files;
    checkpoint_files(m->checkpoint, &n_files);
    bool template =
        folder_find(m->folder, "chat_template.jinja") != NAME_NONE || json_has(m->hf.tokenizer_config, "chat_template");
    *out = json_pack(
        "{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:I,s:I,s:b,s:o,s:s?,s:s?,s:b,s:b,s:o,s:o}", "schema",
        "ingot.inspect/1", "architecture", cfg->arch->name, "class", cfg->hf_name, "format",
        checkpoint_format_name(m->checkpoint), "parameters", (json_int_t)total, "active_parameters", (json_int_t)active,
        "bytes", (json_int_t)checkpoint_bytes(m->checkpoint), "tensors", (json_int_t)checkpoint_count(m->checkpoint),
        "files", (json_int_t)n_files, "layers", (json_int_t)cfg->n_layers, "layer_kinds", layers_json(cfg), "context",
        (json_int_t)cfg->max_position, "vocabulary", (json_int_t)cfg->dims[DIM_VOCAB], "quantized", inv->is_quantized,
        "quantization", formats_json(m), "kv_cache", inv->kv_algo, "ssm_cache_dtype", cfg->ssm_cache_dtype, "mtp",
        cfg->n_mtp_blocks > 0, "chat_template", template, "remarks", remarks_json(m), "roles", roles_json(m));
    return *out ? inspect_files(m->folder, *out, err) : error_memory(err, 0);
}

/* Names of files, or of types, one after the other. */
static void print_names(const char *what, const json_t *list, const char *key)
{
    size_t i;
    json_t *row;
    print_text("%s:", what);
    json_array_foreach (list, i, row)
        print_text("%s %s", i ? "," : "", json_string_value(key ? json_object_get(row, key) : row));
    print_text("%s", i ? "" : " none");
}

static void print_license(const json_t *license)
{
    if (json_is_array(license)) print_names("licence", license, NULL);
    else print_text("licence: %s", json_is_string(license) ? json_string_value(license) : "not declared");
}

static void print_table(const json_t *j)
{
    char bytes[32];
    text_bytes(bytes, (unsigned long long)json_integer_value(json_object_get(j, "bytes")));
    print_text("%s (%s), %s: %lld parameters, %lld active, %s in %lld tensors, %lld files\n",
               json_string_value(json_object_get(j, "architecture")), json_string_value(json_object_get(j, "class")),
               json_string_value(json_object_get(j, "format")),
               (long long)json_integer_value(json_object_get(j, "parameters")),
               (long long)json_integer_value(json_object_get(j, "active_parameters")), bytes,
               (long long)json_integer_value(json_object_get(j, "tensors")),
               (long long)json_integer_value(json_object_get(j, "files")));
    const char *kind;
    json_t *n;
    print_text("%lld layers:", (long long)json_integer_value(json_object_get(j, "layers")));
    json_object_foreach (json_object_get(j, "layer_kinds"), kind, n)
        print_text(" %lld %s", (long long)json_integer_value(n), kind);
    const char *kv = json_string_value(json_object_get(j, "kv_cache")),
               *ssm = json_string_value(json_object_get(j, "ssm_cache_dtype")),
               *tokenizer = json_string_value(json_object_get(j, "tokenizer"));
    print_text("; context %lld; vocabulary %lld; MTP head: %s\n",
               (long long)json_integer_value(json_object_get(j, "context")),
               (long long)json_integer_value(json_object_get(j, "vocabulary")),
               json_is_true(json_object_get(j, "mtp")) ? "yes" : "no");
    print_names("quantized", json_object_get(j, "quantization"), NULL);
    print_text("; KV cache: %s; SSM state declared: %s; tokenizer: %s; chat template: %s\n", kv ? kv : "as the model",
               ssm ? ssm : "not at all", tokenizer ? tokenizer : "none",
               json_is_true(json_object_get(j, "chat_template")) ? "yes" : "no");
    print_license(json_object_get(j, "license"));
    print_names("; licence files", json_object_get(j, "license_files"), "file");
    print_names("; code files", json_object_get(j, "code_files"), "file");
    print_text("\n\n");
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(j, "remarks"), i, row) print_text("remark: %s\n", json_string_value(row));
    if (i > 0) print_text("\n");
    print_text("%-16s %-12s %8s %14s %12s\n", "role", "stored as", "tensors", "parameters", "bytes");
    json_array_foreach (json_object_get(j, "roles"), i, row) {
        char name[32];
        snprintf(name, sizeof name, "%s%s", json_is_true(json_object_get(row, "mtp")) ? "mtp " : "",
                 json_string_value(json_object_get(row, "role")));
        text_bytes(bytes, (unsigned long long)json_integer_value(json_object_get(row, "bytes")));
        print_text("%-16s %-12s %8lld %14lld %12s\n", name, json_string_value(json_object_get(row, "stored")),
                   (long long)json_integer_value(json_object_get(row, "tensors")),
                   (long long)json_integer_value(json_object_get(row, "parameters")), bytes);
    }
}

static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)n_operands;
    const struct inspect_args *a = args;
    __attribute__((cleanup(cleanup_model))) struct model m = {0};
    CLEANUP(json) json_t *j = NULL;
    if (a->bundle && a->tensor) return error_set(err, ERR_USAGE, "--tensor and --bundle-only exclude each other");
    if (a->bundle) {
        if (!inspect_bundle_json(operands[0], env->pool, a->strict ? env->isa : 0, env->progress, &j, err))
            return false;
        if (env->common->json) return print_json(take_ptr(&j), err);
        inspect_bundle_print(j);
        return true;
    }
    if (!model_open(&m, operands[0], err)) return false;
    if (a->tensor) {
        if (!inspect_tensor_json(&m, a->tensor, env->isa, &j, err)) return false;
        if (env->common->json) return print_json(take_ptr(&j), err);
        inspect_tensor_print(j);
        return true;
    }
    if (!inspect_json(&m, &j, err)) return false;
    if (a->strict && !inspect_values(&m, env->pool, env->isa, env->progress, err))
        return error_wrap(err, "'%.256s'", operands[0]);
    if (env->common->json) return print_json(take_ptr(&j), err);
    print_table(j);
    if (a->strict) print_text("\nevery value is finite, every scale positive, the tokenizer opens\n");
    return true;
}

const struct command command_inspect = {
    .name = "inspect",
    .operands = "DIR",
    .summary = "what is in a checkpoint: tensors, roles, bytes, problems",
    .details = "Reads headers and configuration and holds every tensor against what the architecture calls for. DIR "
               "may also be a package:\n"
               "oci:DIR:TAG.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct inspect_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
