#include "backends/backend.h"
#include "backends/cpu/kernel.h"
#include "backends/cpu/math.h"
#include "cli/commands.h"
#include "formats/checkpoint.h"
#include "pack/profile.h"
#include "plan/recipe.h"

struct list_args {
    struct common_args common;
};

static const struct option options[] = {COMMON_OPTIONS(struct list_args)};

/* Every listing is an array of objects of strings; people see the same as columns. */
struct listing {
    const char *word, *summary;
    bool (*fill)(json_t *rows, struct error *err);
};

static bool row(json_t *rows, struct error *err, const char *name, const char *what)
{
    return json_array_append_new(rows, json_pack("{s:s,s:s}", "name", name, "what", what)) == 0 ? true
                                                                                                : error_memory(err, 0);
}

static bool fill_formats(json_t *rows, struct error *err)
{
    for (const struct checkpoint_format *const *f = checkpoint_formats; *f; f++)
        if (!row(rows, err, (*f)->name, "reads and writes")) return false;
    return true;
}

static bool fill_architectures(json_t *rows, struct error *err)
{
    for (const struct model_arch *const *a = model_archs; *a; a++) {
        struct text names = TEXT_INIT;
        for (const char *const *n = (*a)->hf_names; *n; n++)
            text_add(&names, "%s%s", n == (*a)->hf_names ? "" : ", ", *n);
        bool ok = !names.failed && row(rows, err, (*a)->name, names.data);
        if (names.failed) error_memory(err, 0);
        text_free(&names);
        if (!ok) return false;
    }
    return true;
}

static bool fill_types(json_t *rows, struct error *err)
{
    for (const struct quant_format *const *f = quant_formats; *f; f++) {
        char what[128], blocks[32] = "";
        if ((*f)->block_cols > 1) snprintf(blocks, sizeof blocks, ", blocks of %u", (*f)->block_cols);
        const char *note = (*f)->self_described ? "; in GGUF files"
                           : !(*f)->method      ? ""
                           : (*f)->weights      ? "; layout "
                                                : "; read only, quant_method ";
        snprintf(what, sizeof what, "%s: %u-bit weights, %u-bit activations%s%s%s", (*f)->algo, (*f)->weight_bits,
                 (*f)->input_bits, blocks, note, (*f)->method && !(*f)->self_described ? (*f)->method : "");
        if (!row(rows, err, (*f)->name, what)) return false;
    }
    return true;
}

static bool fill_recipes(json_t *rows, struct error *err)
{
    struct arena *arena = arena_new();
    struct recipe_listing *list;
    uint32_t n;
    bool ok = arena ? recipe_list(&list, &n, arena, err) : error_memory(err, 0);
    for (uint32_t i = 0; ok && i < n; i++) {
        CLEANUP(free) char *what = NULL;
        if (asprintf(&what, "%s%s%s%s", list[i].summary, *list[i].aliases ? " (also: " : "", list[i].aliases,
                     *list[i].aliases ? ")" : "") < 0)
            what = NULL;
        ok = what ? row(rows, err, list[i].name, what) : error_memory(err, 0);
    }
    arena_free(arena);
    return ok;
}

static bool fill_roles(json_t *rows, struct error *err)
{
    static const char *const kinds[] = {[KIND_LINEAR] = "linear",
                                        [KIND_TABLE] =
                                            "table: for lines that name it and for patterns, not for class linear",
                                        [KIND_ROUTER] = "never quantized",
                                        [KIND_SSM] = "state path, never quantized",
                                        [KIND_SMALL] = "never quantized"};
    for (int r = 0; r < ROLE_COUNT; r++) {
        const struct role_info *info = role_info((enum tensor_role)r);
        char what[96];
        snprintf(what, sizeof what, "class %s; %s", info->role_class, kinds[info->kind]);
        if (!row(rows, err, info->name, what)) return false;
    }
    return true;
}

/* One line about a backend: its first device, or why it has none. */
static void backend_line(const struct backend_ops *ops, char *what, size_t size)
{
    char why[256] = "", memory[96] = "", more[32] = "";
    struct backend *be = NULL;
    struct backend_device d;
    struct error err = ERROR_INIT;
    uint32_t n = ops->devices(why, sizeof why);
    if (n == 0) {
        snprintf(what, size, "not available: %s", why);
        return;
    }
    bool ok = ops->open(&be, 0, &(struct backend_config){.isa = isa_detected()}, &err) && ops->describe(be, &d, &err);
    ops->close(be);
    if (ok && d.memory) {
        char all[32], free[32];
        text_bytes(all, d.memory);
        text_bytes(free, d.unused);
        snprintf(memory, sizeof memory, ", %s (%s free)", all, free);
    }
    if (n > 1) snprintf(more, sizeof more, ", and %u more", n - 1);
    if (ok) snprintf(what, size, "available; uses %s%s%s", d.name, memory, more);
    else snprintf(what, size, "not available: %.400s", err.text);
}

static bool fill_backends(json_t *rows, struct error *err)
{
    for (const struct backend_ops *const *b = backends; *b; b++) {
        char what[512];
        backend_line(*b, what, sizeof what);
        if (!row(rows, err, (*b)->name, what)) return false;
    }
    return true;
}

static bool fill_kernels(json_t *rows, struct error *err)
{
    uint64_t have = isa_detected();
    for (const struct kernel *k = kernels; k->run; k++) {
        bool usable = (k->isa & have) == k->isa;
        char what[96];
        snprintf(what, sizeof what, "%s; %s%s", op_name(k->op),
                 usable ? (kernel_for(k->op, have) == k->run ? "in use" : "available") : "not available: needs ",
                 usable ? "" : isa_name(k->isa));
        if (!row(rows, err, k->name, what)) return false;
    }
    for (const struct math_ops *const *m = math_tables; *m; m++) {
        bool usable = ((*m)->isa & have) == (*m)->isa;
        char name[32];
        snprintf(name, sizeof name, "math_%s", (*m)->name);
        if (!row(rows, err, name,
                 !usable                ? "forward pass; not available here"
                 : math_for(have) == *m ? "forward pass; in use"
                                        : "forward pass; available"))
            return false;
    }
    return true;
}

static const struct listing listings[] = {
    {"formats", "checkpoint formats", fill_formats},
    {"architectures", "model families", fill_architectures},
    {"types", "quantization types", fill_types},
    {"recipes", "built-in recipes", fill_recipes},
    {"roles", "what tensors are for: the words of recipes", fill_roles},
    {"engines", "serving engines with profiles", profile_list_engines},
    {"gpus", "GPUs with profiles", profile_list_gpus},
    {"backends", "who computes", fill_backends},
    {"kernels", "implementations per instruction set", fill_kernels},
};

static void print_rows(const json_t *rows)
{
    size_t k;
    json_t *r;
    json_array_foreach (rows, k, r) {
        print_text("%-42s %s\n", json_string_value(json_object_get(r, "name")),
                   json_string_value(json_object_get(r, "what")));
    }
}

/* Without a word: people get the words, programs everything. */
static bool run(const struct command_env *env, const void *args, char *const *operands, uint32_t n_operands,
                struct error *err)
{
    (void)args;
    bool json = env->common->json, found = n_operands == 0;
    CLEANUP(json) json_t *all = json_object();
    if (!all) return error_memory(err, 0);
    for (size_t i = 0; i < sizeof listings / sizeof *listings; i++) {
        const struct listing *l = &listings[i];
        if (n_operands == 0 && !json) print_text("%-14s %s\n", l->word, l->summary);
        if (n_operands ? strcmp(l->word, operands[0]) != 0 : !json) continue;
        found = true;
        CLEANUP(json) json_t *rows = json_array();
        if (!rows) return error_memory(err, 0);
        if (!l->fill(rows, err)) return false;
        if (!json) print_rows(rows);
        else if (!json_put(all, l->word, json_incref(rows), err)) return false;
    }
    if (!found) return error_set(err, ERR_USAGE, "there is no list '%.64s' (`ingot list` names them)", operands[0]);
    return json ? print_json(take_ptr(&all), err) : true;
}

const struct command command_list = {
    .name = "list",
    .operands = "[WHAT]",
    .summary = "formats, architectures, types, recipes, roles, engines, gpus, backends, kernels",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .args_bytes = sizeof(struct list_args),
    .min_operands = 0,
    .max_operands = 1,
    .run = run,
};
