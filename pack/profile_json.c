/* The name of a profile and profile.json: what was decided, from what, and every term of the memory figure. */
#include "pack/profile_parts.h"

#include "core/version.h"

#include <ctype.h>

/* ---- the name ---- */

/* The format that most weights outside tables are in, and the storage type when that is none. */
static const char *main_precision(const struct profile_facts *f, char out[32])
{
    uint64_t best = 0;
    const struct quant_format *most = NULL;
    const struct tensor_info *first = NULL;
    for (const struct quant_format *const *q = quant_formats; *q; q++) {
        uint64_t n = 0;
        for (uint32_t i = 0; i < f->inv->n_tensors; i++)
            if (f->inv->tensors[i].format == *q) n += f->inv->tensors[i].n_elems;
        if (n > best) {
            best = n;
            most = *q;
        }
    }
    for (uint32_t i = 0; i < f->inv->n_tensors; i++) {
        const struct model_tensor *t = &f->inv->tensors[i];
        if (t->format || role_info(t->place.role)->kind != KIND_LINEAR) continue;
        if (!first) first = checkpoint_tensor(f->inv->checkpoint, t->parts[PART_WEIGHT]);
    }
    if (most) {
        bool weight_only = strcmp(most->algo, "NVFP4") == 0 && f->nvfp4_path && strcmp(f->nvfp4_path, "w4a4") != 0;
        weight_only = weight_only || strcmp(most->algo, "W4A16_NVFP4") == 0;
        snprintf(out, 32, "%s", weight_only ? "nvfp4-w4a16" : most->name);
        return out;
    }
    snprintf(out, 32, "%s", first ? dtype_name(first->dtype) : "none");
    for (char *p = out; *p; p++) *p = (char)tolower((unsigned char)*p);
    return out;
}

bool profile_name(const struct profile_facts *f, struct arena *arena, const char **out, struct error *err)
{
    char precision[32], drafts[24] = "";
    if (f->drafts) snprintf(drafts, sizeof drafts, "-mtp%u", f->drafts);
    *out = arena_printf(arena, "%s-%s-%sx%u-%s-tp%u%s", f->engine->name, f->engine->version, f->gpu->id, f->tp,
                        main_precision(f, precision), f->tp, drafts);
    return *out ? true : error_memory(err, 0);
}

/* ---- the document ---- */

/* Null for NULL. */
static json_t *word(const char *s)
{
    return s ? json_string(s) : json_null();
}

static json_t *count(uint64_t n)
{
    return n == FIT_UNBOUNDED ? json_null() : json_integer((json_int_t)n);
}

static json_t *digest(const struct digest *d)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    return json_string(hex);
}

struct member {
    const char *key;
    json_t *value;
};

/* A new object of the members, up to one with a NULL key; every value is taken over, also on failure. */
static bool object_of(const struct member *m, json_t **out, struct error *err)
{
    json_t *o = json_object();
    bool ok = o != NULL;
    for (; m->key; m++)
        if (!ok || json_object_set_new(o, m->key, m->value) != 0) {
            if (!ok) json_decref(m->value);
            ok = false;
        }
    if (ok) {
        *out = o;
        return true;
    }
    json_decref(o);
    return error_memory(err, 0);
}

#define OBJECT(...) object_of((const struct member[]){__VA_ARGS__, {NULL, NULL}}, out, err)

static bool engine_json(const struct profile_facts *f, json_t **out, struct error *err)
{
    return OBJECT({"name", word(f->engine->name)}, {"version", word(f->engine->version)}, {"image", word(f->image)},
                  {"row_sha256", digest(&f->engine->digest)});
}

static bool gpu_json(const struct profile_facts *f, json_t **out, struct error *err)
{
    const struct gpu_row *g = f->gpu;
    return OBJECT({"id", word(g->id)}, {"name", word(g->name)}, {"count", count(f->tp)},
                  {"compute_capability", json_sprintf("%u.%u", g->capability / 10, g->capability % 10)},
                  {"memory_bytes", count(g->memory_bytes)}, {"memory_grade", word(g->memory_grade)},
                  {"bandwidth_gb_s", count(g->bandwidth_gb_s)}, {"fp8", json_boolean(g->fp8)},
                  {"nvfp4", json_boolean(g->nvfp4)}, {"shares_memory_with_cpu", json_boolean(g->unified)},
                  {"arch", word(g->arch)}, {"row_sha256", digest(&g->digest)});
}

static bool inputs_json(const struct profile_draft *d, json_t **out, struct error *err)
{
    const struct inventory *inv = d->facts.inv;
    uint32_t n = 0;
    const struct checkpoint_file *files = checkpoint_files(inv->checkpoint, &n);
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < n; i++) {
        json_t *file = NULL;
        const char *name = folder_name(checkpoint_folder(inv->checkpoint), files[i].member);
        bool ok = object_of(
            (const struct member[]){{"name", word(name)}, {"header_sha256", digest(&files[i].header)}, {NULL, NULL}},
            &file, err);
        if (ok && json_array_append_new(list, file) == 0) continue;
        json_decref(list);
        return error_memory(err, 0);
    }
    return OBJECT({"config_sha256", digest(&inv->config_digest)},
                  {"chat_template_sha256", d->has_template ? digest(&d->template_digest) : json_null()},
                  {"files", list}, {"ingot", word(INGOT_VERSION)});
}

static bool precision_json(const struct profile_facts *f, json_t **out, struct error *err)
{
    const struct inventory *inv = f->inv;
    json_t *formats = json_object();
    for (const struct quant_format *const *q = quant_formats; formats && *q; q++) {
        uint64_t elems = 0, n = 0;
        for (uint32_t i = 0; i < inv->n_tensors; i++) {
            if (inv->tensors[i].format != *q) continue;
            elems += inv->tensors[i].n_elems;
            n++;
        }
        const struct compute_row *c = engine_compute(f->engine, (*q)->algo, f->gpu);
        if (n == 0) continue;
        json_t *one = NULL;
        bool ok = object_of((const struct member[]){{"tensors", count(n)},
                                                    {"weights", count(elems)},
                                                    {"runs_as", word(c ? c->path : NULL)},
                                                    {"by", word(c ? c->by : NULL)},
                                                    {NULL, NULL}},
                            &one, err);
        if (ok && json_object_set_new(formats, (*q)->name, one) == 0) continue;
        json_decref(formats);
        return error_memory(err, 0);
    }
    return OBJECT({"quant_algo", word(f->algo)}, {"formats", formats});
}

static bool kv_json(const struct profile_facts *f, json_t **out, struct error *err)
{
    uint64_t scales = 0, places = 0;
    for (uint32_t i = 0; i < f->inv->n_tensors; i++) {
        const struct model_tensor *t = &f->inv->tensors[i];
        if (t->place.role != ROLE_ATTN_K && t->place.role != ROLE_ATTN_V) continue;
        places++;
        scales += t->parts[t->place.role == ROLE_ATTN_K ? PART_K_SCALE : PART_V_SCALE] != NAME_NONE;
    }
    return OBJECT({"checkpoint", word(f->inv->kv_algo)}, {"engine", word(f->kv_dtype)}, {"scales", count(scales)},
                  {"scales_possible", count(places)});
}

/* The recurrent state has its own row: what config.json says and what the engine will use. */
static bool state_json(const struct profile_facts *f, json_t **out, struct error *err)
{
    if (!facts_have_mamba(f)) {
        *out = json_null();
        return true;
    }
    return OBJECT({"config_json", word(f->inv->config.ssm_cache_dtype)}, {"engine", word(f->ssm_dtype)},
                  {"convolution_engine", word("auto: the model's 16-bit type")},
                  {"bytes_per_sequence", count(f->fit.slots * (f->fit.ssm_bytes + f->fit.conv_bytes))});
}

static bool blocks_json(const struct fit_blocks *b, json_t **out, struct error *err)
{
    if (!b->group_layers) {
        *out = json_null();
        return true;
    }
    return OBJECT({"block_tokens", count(b->block_tokens)}, {"page_bytes", count(b->page_bytes)},
                  {"layers_per_group", count(b->group_layers)}, {"attention_groups", count(b->n_attention_groups)},
                  {"state_groups", count(b->n_state_groups)}, {"total", count(b->total)},
                  {"per_sequence", count(b->per_sequence)}, {"max_context", count(b->max_context)},
                  {"max_sequences", count(b->max_sequences)});
}

static bool fit_json(const struct profile_facts *f, json_t **out, struct error *err)
{
    const struct fit *t = &f->fit;
    const struct fit_request *r = &f->fit_request;
    json_t *blocks = NULL;
    if (!blocks_json(&t->blocks, &blocks, err)) return false;
    return OBJECT(
        {"fits", json_boolean(t->fits)}, {"memory_bytes", count(r->memory_bytes)},
        {"utilisation_permille", count(r->utilisation_permille)}, {"allowed_bytes", count(t->allowed_bytes)},
        {"weight_bytes", count(f->fit_model.weight_bytes)}, {"overhead_bytes", count(r->overhead_bytes)},
        {"budget_bytes", json_integer(t->budget_bytes)},
        {"attention_layers", count(f->fit_model.n_attention + (f->drafts ? f->fit_model.n_draft_attention : 0))},
        {"mamba_layers", count(f->fit_model.n_mamba)}, {"kv_token_bytes", count(t->kv_token_bytes)},
        {"ssm_slot_bytes", count(t->ssm_bytes)}, {"conv_slot_bytes", count(t->conv_bytes)},
        {"slots_per_sequence", count(t->slots)}, {"state_bytes", count(t->state_bytes)},
        {"kv_bytes", count(t->kv_bytes)}, {"max_context", count(fit_max_context(t))},
        {"max_sequences", count(fit_max_sequences(t))}, {"blocks", blocks});
}

static bool lint_json(const struct lint_report *lint, json_t **out, struct error *err)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < lint->n; i++) {
        const struct lint_finding *x = &lint->findings[i];
        json_t *one = NULL;
        bool ok = object_of((const struct member[]){{"id", word(x->rule->id)},
                                                    {"severity", word(lint_severity_name(x->severity))},
                                                    {"text", word(x->text)},
                                                    {NULL, NULL}},
                            &one, err);
        if (ok && json_array_append_new(list, one) == 0) continue;
        json_decref(list);
        return error_memory(err, 0);
    }
    *out = list;
    return list ? true : error_memory(err, 0);
}

static bool files_json(const struct profile_result *r, json_t **out, struct error *err)
{
    json_t *o = json_object();
    for (uint32_t i = 0; o && i < r->n_files; i++) {
        struct digest d;
        if (sha256_of(bytes_of(r->files[i].text, r->files[i].size), &d, err) &&
            json_object_set_new(o, r->files[i].name, digest(&d)) == 0)
            continue;
        json_decref(o);
        return error_memory(err, 0);
    }
    *out = o;
    return o ? true : error_memory(err, 0);
}

static json_t *notes_json(const struct profile_draft *d)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < d->n_notes; i++)
        if (json_array_append_new(list, json_string(d->notes[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

bool profile_json(const struct profile_draft *d, const struct profile_result *r, json_t **out, struct error *err)
{
    const struct profile_facts *f = &d->facts;
    enum { ENGINE, GPU, INPUTS, PRECISION, KV, STATE, FIT, LINT, FILES, N };
    json_t *p[N] = {NULL};
    bool ok = engine_json(f, &p[ENGINE], err) && gpu_json(f, &p[GPU], err) && inputs_json(d, &p[INPUTS], err) &&
              precision_json(f, &p[PRECISION], err) && kv_json(f, &p[KV], err) && state_json(f, &p[STATE], err) &&
              fit_json(f, &p[FIT], err) && lint_json(&r->lint, &p[LINT], err) && files_json(r, &p[FILES], err);
    if (!ok) {
        for (int i = 0; i < N; i++) json_decref(p[i]);
        return false;
    }
    return OBJECT({"schema", word(PROFILE_SCHEMA)}, {"name", word(r->name)}, {"engine", p[ENGINE]}, {"gpu", p[GPU]},
                  {"architecture", word(f->inv->config.arch->name)}, {"tensor_parallel", count(f->tp)},
                  {"expert_parallel", json_boolean(f->expert_parallel)}, {"precision", p[PRECISION]},
                  {"context", count(f->context)}, {"beyond_max_position", json_boolean(f->long_context)},
                  {"sequences", count(f->sequences)}, {"draft_tokens", count(f->drafts)},
                  {"reasoning_parser", word(f->reasoning_parser)}, {"tool_parser", word(f->tool_parser)},
                  {"kv_cache", p[KV]}, {"ssm_state", p[STATE]}, {"fit", p[FIT]},
                  {"forced", json_boolean(r->lint.n_errors > 0)}, {"lint", p[LINT]}, {"notes", notes_json(d)},
                  {"files", p[FILES]}, {"inputs", p[INPUTS]});
}
