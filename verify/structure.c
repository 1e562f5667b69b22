#include "verify/structure.h"

#include "core/memory.h"
#include "formats/oci_package.h"
#include "plan/fold.h"
#include "verify/carried.h"
#include "verify/findings.h"

#include <math.h>

#define MANIFEST_NAME "ingot.json"
#define MANIFEST_BYTES_MAX ((size_t)1 << 30)
#define PLANNED "tensors of the plan"
#define HASH_PIECE_BYTES ((uint64_t)4 << 20)

static bool load_manifest(const struct folder *f, json_t **out, struct report *r, struct error *err)
{
    *out = NULL;
    struct error e = ERROR_INIT;
    CLEANUP_BUFFER struct buffer text = {0};
    const char *schema = NULL;
    if (folder_load(f, MANIFEST_NAME, MANIFEST_BYTES_MAX, &text, &e) &&
        json_parse(buffer_view(&text), JSON_DIALECT_STRICT, MANIFEST_NAME, out, &e) &&
        json_get_string(*out, "schema", MANIFEST_NAME, &schema, &e)) {
        if (strcmp(schema, "ingot.checkpoint/1") == 0) return true;
        error_set(&e, ERR_FORMAT, "%s: schema '%.64s' is not ingot.checkpoint/1", MANIFEST_NAME, schema);
    }
    json_decref(*out);
    *out = NULL;
    if (e.code == ERR_MEMORY || e.code == ERR_IO) {
        if (err) *err = e;
        return false;
    }
    report_add(r, CHECK_LAYOUT, VERDICT_FAIL, MANIFEST_NAME, "%s", e.text);
    return true;
}

/* ---- digests of tensors ---- */

struct hash_ctx {
    const struct checkpoint *ck;
    const uint32_t *tensors;
    struct digest *digests;
};

static bool hash_item(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct hash_ctx *c = ctx;
    const struct tensor_info *t = checkpoint_tensor(c->ck, c->tensors[i]);
    CLEANUP(free) void *piece = NULL;
    struct sha256 *h;
    if (!memory_alloc(&piece, u64_min(HASH_PIECE_BYTES, t->bytes), 1, err) || !sha256_open(&h, err)) return false;
    bool ok = true;
    for (uint64_t at = 0; ok && at < t->bytes; at += HASH_PIECE_BYTES) {
        size_t n = (size_t)u64_min(HASH_PIECE_BYTES, t->bytes - at);
        ok = checkpoint_read(c->ck, c->tensors[i], at, piece, n, err);
        if (ok) sha256_add(h, piece, n);
    }
    return sha256_close(h, ok ? &c->digests[i] : NULL, err) && ok;
}

/* Digests of the listed tensors, in batches so that progress shows and a signal is heard. */
static bool hash_tensors(const struct checkpoint *ck, const uint32_t *tensors, uint32_t n, struct digest *digests,
                         struct pool *pool, const char *what, const struct progress *pr, struct error *err)
{
    for (uint32_t i = 0; i < n; i += 256) {
        uint32_t count = n - i < 256 ? n - i : 256;
        struct hash_ctx c = {ck, tensors + i, digests + i};
        progress_update(pr, "verify", what, i, n);
        if (!progress_go_on(pr, err) || !pool_try(pool, count, hash_item, &c, err)) return false;
    }
    return true;
}

static const char *said_digest(const json_t *manifest, const char *tensor, const char *key)
{
    return json_string_value(json_object_get(json_object_get(json_object_get(manifest, "tensors"), tensor), key));
}

static bool check_tensors(const struct model *m, const json_t *manifest, struct pool *pool, struct report *r,
                          const struct progress *pr, struct error *err)
{
    const struct checkpoint *ck = m->checkpoint;
    uint32_t n = checkpoint_count(ck);
    CLEANUP(free) struct digest *digests = NULL;
    CLEANUP(free) uint32_t *all = NULL;
    if (!memory_alloc(&digests, n, sizeof *digests, err) || !memory_alloc(&all, n, sizeof *all, err)) return false;
    for (uint32_t i = 0; i < n; i++) all[i] = i;
    if (!hash_tensors(ck, all, n, digests, pool, "tensor digests", pr, err)) return false;
    struct findings names = {0}, bytes = {0};
    for (uint32_t i = 0; i < n; i++) {
        const char *name = checkpoint_tensor(ck, i)->name, *said = said_digest(manifest, name, "sha256");
        struct digest want;
        if (!said || !digest_parse(said, &want)) find(&names, "tensor '%.256s' is not in %s", name, MANIFEST_NAME);
        else if (!digest_equal(&want, &digests[i]))
            find(&bytes, "tensor '%.256s': its bytes are not those that %s names", name, MANIFEST_NAME);
    }
    const char *name;
    json_t *row;
    json_object_foreach (json_object_get(manifest, "tensors"), name, row)
        if (checkpoint_find(ck, name) == NAME_NONE)
            find(&names, "tensor '%.256s' of %s is not there", name, MANIFEST_NAME);
    report_findings(r, CHECK_LAYOUT, "tensor list", &names, n, "tensors, as listed");
    report_findings(r, CHECK_DIGEST, "tensor digests", &bytes, n, "tensors have the bytes that were written");
    return true;
}

/* ---- files ---- */

/* `ck` NULL: weights are not here, or not all of them. */
static bool is_weight_file(const struct folder *f, const struct checkpoint *ck, const char *name)
{
    uint32_t n = 0;
    if (!ck && oci_is_weights(name)) return true;
    const struct checkpoint_file *files = ck ? checkpoint_files(ck, &n) : NULL;
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(folder_name(f, files[i].member), name) == 0) return true;
    return strcmp(name, "model.safetensors.index.json") == 0 || strcmp(name, MANIFEST_NAME) == 0;
}

static bool check_files(const struct folder *f, const struct checkpoint *ck, const json_t *manifest, struct report *r,
                        struct error *err)
{
    struct findings names = {0}, bytes = {0};
    const json_t *files = json_object_get(manifest, "files");
    uint32_t n = 0;
    for (uint32_t i = 0; i < folder_count(f); i++) {
        const char *name = folder_name(f, i), *said = json_string_value(json_object_get(files, name));
        struct digest want, is;
        if (is_weight_file(f, ck, name)) continue;
        n++;
        if (!said || !digest_parse(said, &want)) {
            find(&names, "file '%.256s' is not in %s", name, MANIFEST_NAME);
            continue;
        }
        if (!member_digest(f, i, &is, err)) return false;
        if (!digest_equal(&want, &is))
            find(&bytes, "file '%.256s': its bytes are not those that %s names", name, MANIFEST_NAME);
    }
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)files, name, value)
        if (folder_find(f, name) == NAME_NONE) find(&names, "file '%.256s' of %s is not there", name, MANIFEST_NAME);
    report_findings(r, CHECK_LAYOUT, "file list", &names, n, "files beside the weights, as listed");
    report_findings(r, CHECK_DIGEST, "file digests", &bytes, n, "files have the bytes that were written");
    return true;
}

/* ---- values that engines take on trust ---- */

static bool check_scales(const struct model *m, struct report *r, struct error *err)
{
    struct findings f = {0};
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->inventory->n_tensors; i++) {
        const struct model_tensor *t = &m->inventory->tensors[i];
        for (int part = PART_WEIGHT_SCALE; part < PART_COUNT; part++) {
            if (t->parts[part] == NAME_NONE || checkpoint_tensor(m->checkpoint, t->parts[part])->n_dims != 0) continue;
            float v;
            n++;
            if (!checkpoint_read(m->checkpoint, t->parts[part], 0, &v, sizeof v, err)) return false;
            if (!(v > 0) || !isfinite(v))
                find(&f, "'%.256s.%s' is %g", t->module, tensor_part_suffix((enum tensor_part)part), (double)v);
        }
    }
    report_findings(r, CHECK_LAYOUT, "scales", &f, n, "scales are positive and finite");
    return true;
}

static void check_state_dtype(const struct model *m, struct report *r)
{
    const struct model_config *cfg = &m->inventory->config;
    if (!cfg->ssm.n_heads) return;
    bool fp32 = cfg->ssm_cache_dtype && strcmp(cfg->ssm_cache_dtype, "float32") == 0;
    report_add(r, CHECK_LAYOUT, fp32 ? VERDICT_PASS : VERDICT_FAIL, "recurrent state",
               "config.json: mamba_ssm_cache_dtype is %s",
               cfg->ssm_cache_dtype ? cfg->ssm_cache_dtype : "missing: engines would take the model's type");
}

bool structure_check(const struct model *m, struct pool *pool, struct report *r, const struct progress *pr,
                     struct error *err)
{
    CLEANUP(json) json_t *manifest = NULL;
    if (!load_manifest(m->folder, &manifest, r, err)) return false;
    check_state_dtype(m, r);
    if (!check_scales(m, r, err)) return false;
    if (!manifest) return true; /* reported already */
    return check_tensors(m, manifest, pool, r, pr, err) && check_files(m->folder, m->checkpoint, manifest, r, err);
}

bool structure_check_files(const struct folder *f, struct report *r, struct error *err)
{
    CLEANUP(json) json_t *manifest = NULL;
    return load_manifest(f, &manifest, r, err) && (!manifest || check_files(f, NULL, manifest, r, err));
}

/* ---- against the original ---- */

static bool rebuild_plan(const json_t *manifest, const struct model *original, struct recipe **recipe,
                         struct plan **plan, struct report *r)
{
    struct error e = ERROR_INIT;
    json_t *json;
    if (json_get_object(manifest, "recipe", MANIFEST_NAME, &json, &e) &&
        recipe_from_json(recipe, json, "recipe in ingot.json", &e) &&
        plan_build(plan, original->inventory, *recipe, &e))
        return true;
    report_add(r, CHECK_LAYOUT, VERDICT_FAIL, "plan", "the plan cannot be made again from the original: %s", e.text);
    return false;
}

static void check_planned(const struct plan *p, const struct checkpoint *ck, struct report *r)
{
    struct findings f = {0};
    for (uint32_t o = 0; o < p->n_outputs; o++) {
        const struct tensor_spec *s = &p->specs[o];
        uint32_t i = checkpoint_find(ck, s->name);
        const struct tensor_info *t = i == NAME_NONE ? NULL : checkpoint_tensor(ck, i);
        if (!t) find(&f, "tensor '%.256s' of the plan is missing", s->name);
        else if (t->dtype != s->dtype || t->n_dims != s->n_dims ||
                 memcmp(t->dims, s->dims, s->n_dims * sizeof *s->dims) != 0)
            find(&f, "tensor '%.256s' has another type or shape than the plan says", s->name);
    }
    if (p->n_outputs != checkpoint_count(ck))
        find(&f, "the plan writes %u tensors, the checkpoint has %u", p->n_outputs, checkpoint_count(ck));
    report_findings(r, CHECK_LAYOUT, PLANNED, &f, p->n_outputs, "tensors as the plan says");
}

/* Without weights: their names alone are known. */
static void check_planned_names(const struct plan *p, const json_t *manifest, struct report *r)
{
    struct findings f = {0};
    const json_t *tensors = json_object_get(manifest, "tensors");
    for (uint32_t o = 0; o < p->n_outputs; o++)
        if (!json_has(tensors, p->specs[o].name))
            find(&f, "tensor '%.256s' of the plan is not in %s", p->specs[o].name, MANIFEST_NAME);
    if (p->n_outputs != json_object_size(tensors))
        find(&f, "the plan writes %u tensors, %s has %zu", p->n_outputs, MANIFEST_NAME, json_object_size(tensors));
    if (f.n) report_findings(r, CHECK_LAYOUT, PLANNED, &f, p->n_outputs, "");
    else
        report_add(r, CHECK_LAYOUT, VERDICT_UNDECIDED, PLANNED,
                   "%u tensors, listed as the plan says; types and shapes are not here to be looked at", p->n_outputs);
}

static void check_plan(const struct plan *p, const struct checkpoint *ck, const json_t *manifest, struct report *r)
{
    const char *said = json_string_value(json_object_get(manifest, "plan_sha256"));
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&p->digest, hex);
    bool same = said && strcmp(said, hex) == 0;
    report_add(r, CHECK_LAYOUT, same ? VERDICT_PASS : VERDICT_FAIL, "plan",
               same ? "made again from the original: sha256 %s"
                    : "made again from the original it has sha256 %s, "
                      "another than ingot.json names",
               hex);
    if (ck) check_planned(p, ck, r);
    else check_planned_names(p, manifest, r);
}

static bool check_sources(const struct plan *p, const struct model *original, const json_t *manifest, struct pool *pool,
                          struct report *r, const struct progress *pr, struct error *err)
{
    const struct checkpoint *ck = original->checkpoint;
    uint32_t n = 0;
    CLEANUP(free) uint32_t *tensors = NULL;
    CLEANUP(free) bool *copies = NULL;
    CLEANUP(free) const char **names = NULL;
    CLEANUP(free) struct digest *digests = NULL;
    if (!memory_alloc(&copies, p->n_outputs, sizeof *copies, err) ||
        !memory_alloc(&tensors, p->n_outputs, sizeof *tensors, err) ||
        !memory_alloc(&names, p->n_outputs, sizeof *names, err) ||
        !memory_alloc(&digests, p->n_outputs, sizeof *digests, err))
        return false;
    for (uint32_t o = 0; o < p->n_outputs; o++) {
        uint32_t source = p->outputs[o].source;
        if (source == NAME_NONE) continue; /* a scale that quantization made */
        tensors[n] = source;
        copies[n] = plan_output_is_copy(p, o);
        names[n++] = p->specs[o].name;
    }
    if (!hash_tensors(ck, tensors, n, digests, pool, "source digests", pr, err)) return false;
    struct findings f = {0};
    for (uint32_t i = 0; i < n; i++) {
        const char *said = said_digest(manifest, names[i], "source_sha256");
        const char *written = said_digest(manifest, names[i], "sha256");
        struct digest want;
        if (!said || !digest_parse(said, &want) || !digest_equal(&want, &digests[i]))
            find(&f, "tensor '%.256s' was not made from this original's bytes", names[i]);
        else if (copies[i] && (!written || strcmp(written, said) != 0))
            find(&f, "tensor '%.256s' is not the original's, which the plan copies", names[i]);
    }
    report_findings(r, CHECK_DIGEST, "source digests", &f, n, "tensors were made from this original's bytes");
    return true;
}

bool structure_check_against(const struct folder *f, const struct checkpoint *ck, const struct model *original,
                             struct pool *pool, struct report *r, const struct progress *pr, struct error *err)
{
    CLEANUP(json) json_t *manifest = NULL;
    CLEANUP(recipe) struct recipe *recipe = NULL;
    CLEANUP(plan) struct plan *plan = NULL;
    if (!load_manifest(f, &manifest, r, err)) return false;
    if (!manifest || !rebuild_plan(manifest, original, &recipe, &plan, r)) return true;
    check_plan(plan, ck, manifest, r);
    return check_sources(plan, original, manifest, pool, r, pr, err) && carried_check(f, original->folder, r, err);
}
