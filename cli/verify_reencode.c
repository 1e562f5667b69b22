#include "cli/verify_reencode.h"

#include "core/file.h"
#include "quantize/quantize.h"
#include "verify/findings.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST "ingot.json"
#define MANIFEST_BYTES_MAX ((size_t)1 << 30)
static const char name[] = "encoded again";

static bool load_manifest(const struct model *m, json_t **out, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    return folder_load(m->folder, MANIFEST, MANIFEST_BYTES_MAX, &text, err) &&
           json_parse(buffer_view(&text), JSON_DIALECT_STRICT, MANIFEST, out, err);
}

static const char *digest_of(const json_t *manifest, const char *tensor)
{
    return json_string_value(json_object_get(json_object_get(json_object_get(manifest, "tensors"), tensor), "sha256"));
}

static void compare(const json_t *said, const json_t *made, bool own_scales, struct report *r)
{
    struct findings f = {0};
    const char *tensor;
    json_t *row;
    json_object_foreach (json_object_get(said, "tensors"), tensor, row) {
        const char *a = digest_of(said, tensor), *b = digest_of(made, tensor);
        if (!a || !b || strcmp(a, b) != 0)
            find(&f, "tensor '%.256s' is not what the original gives by this recipe", tensor);
    }
    report_findings(r, CHECK_DIGEST, name, &f, json_object_size(json_object_get(said, "tensors")),
                    own_scales ? "tensors from the original give the same bytes with the package's own scales"
                               : "tensors from the original give the same bytes");
}

static bool has_solved(const struct plan *p)
{
    for (uint32_t i = 0; i < p->n_items; i++)
        if (p->items[i].solve.method != SOLVE_NONE || p->items[i].fold_in != NAME_NONE ||
            p->items[i].fold_out != NAME_NONE)
            return true;
    return false;
}

static bool encode(const struct command_env *env, const char *ref, struct plan *plan, const struct model *original,
                   const char *out, const json_t *said, struct report *r, struct error *err)
{
    __attribute__((cleanup(cleanup_model))) struct model again = {0};
    CLEANUP(json) json_t *made = NULL;
    struct error found = ERROR_INIT;
    struct quantize_result result;
    /* Scales that were taken over from elsewhere are in the package too. */
    bool own_scales = plan->needs_data || json_has(said, "scales_from");
    struct quantize_options o = {
        .pool = env->pool, .isa = env->isa, .scales_from = own_scales ? ref : NULL, .shard_bytes = SHARD_BYTES_DEFAULT};
    if (quantize_run(plan, original, NULL, out, &o, &result, env->progress, &found)) {
        if (!model_open(&again, out, err) || !load_manifest(&again, &made, err)) return false;
        compare(said, made, own_scales, r);
        return true;
    }
    if (!own_scales || (found.code != ERR_UNSUPPORTED && found.code != ERR_FORMAT)) {
        if (err) *err = found;
        return false;
    }
    report_add(r, CHECK_DIGEST, VERDICT_UNDECIDED, name, "it needs statistics that are not in the package: %s",
               found.text);
    return true;
}

static bool work_in(const struct command_env *env, const char *ref, struct plan *plan, const struct model *original,
                    const char *work_dir, const json_t *said, struct report *r, struct error *err)
{
    CLEANUP(free) char *folder = NULL;
    CLEANUP(free) char *out = NULL;
    const char *base = work_dir ? work_dir : getenv("TMPDIR");
    if (asprintf(&folder, "%s/ingot-verify-%ld", base ? base : P_tmpdir, (long)getpid()) < 0)
        return error_memory(err, 0);
    if (mkdir(folder, 0700) != 0) return error_set_errno(err, "cannot make a folder '%.512s'", folder);
    struct error ignored = ERROR_INIT;
    bool ok = path_join(&out, folder, "again", err) && encode(env, ref, plan, original, out, said, r, err);
    return dir_remove_tree(AT_FDCWD, folder, ok ? err : &ignored) && ok;
}

bool reencode_check(const struct command_env *env, const char *ref, const struct model *m, const struct model *original,
                    const char *work_dir, struct report *r, struct error *err)
{
    CLEANUP(json) json_t *said = NULL;
    CLEANUP(recipe) struct recipe *recipe = NULL;
    CLEANUP(plan) struct plan *plan = NULL;
    json_t *json;
    if (!load_manifest(m, &said, err) || !json_get_object(said, "recipe", MANIFEST, &json, err) ||
        !recipe_from_json(&recipe, json, "recipe in ingot.json", err) ||
        !plan_build(&plan, original->inventory, recipe, err))
        return false;
    if (!has_solved(plan)) return work_in(env, ref, plan, original, work_dir, said, r, err);
    report_add(r, CHECK_DIGEST, VERDICT_UNDECIDED, name,
               "weights were solved or folded by calibration, with data that is not here");
    return true;
}
