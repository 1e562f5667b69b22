/* Every decision of a profile that is not about memory or parsers. */
#include "pack/profile_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>

bool draft_note(struct profile_draft *d, struct error *err, const char *fmt, ...)
{
    char line[ERROR_TEXT_MAX / 2], clean[ERROR_TEXT_MAX / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    error_printable(clean, sizeof clean, line, strlen(line));
    if (!d->notes) d->notes = arena_alloc(d->arena, PROFILE_NOTES_MAX, sizeof *d->notes);
    const char *text = arena_text(d->arena, clean);
    if (!d->notes || !text || d->n_notes == PROFILE_NOTES_MAX) return error_memory(err, 0);
    d->notes[d->n_notes++] = text;
    return true;
}

/* What the quantization config says, as engines read it: config.json first, upper case; NULL when nothing is
 * quantized. */
static bool checkpoint_algo(struct profile_draft *d, struct error *err)
{
    const struct hf_config *hf = &d->model->hf;
    const json_t *doc = json_object_get(hf->config, "quantization_config");
    if (!json_is_object(doc)) doc = hf->quant;
    const json_t *inner = json_object_get(doc, "quantization");
    const char *said = json_string_value(json_object_get(inner ? inner : doc, "quant_algo"));
    if (!d->facts.declares_quant || !said) return true;
    char *algo = arena_text(d->arena, said);
    if (!algo) return error_memory(err, 0);
    for (char *p = algo; *p; p++) *p = (char)toupper((unsigned char)*p);
    d->facts.algo = algo;
    return true;
}

static bool decide_utilisation(struct profile_draft *d, struct error *err)
{
    struct profile_facts *f = &d->facts;
    double asked = d->req->utilisation;
    f->utilisation_permille = f->engine->utilisation_permille;
    if (asked != 0) {
        if (!(asked > 0 && asked <= 1) || fabs(asked * 1000 - (double)lround(asked * 1000)) > 1e-6 ||
            lround(asked * 1000) < 1)
            return error_set(err, ERR_USAGE,
                             "memory utilisation %g: expected a share from 0.001 to 1 with at most three decimals",
                             asked);
        f->utilisation_permille = (uint32_t)lround(asked * 1000);
        return true;
    }
    if (f->utilisation_permille <= f->gpu->utilisation_max_permille) return true;
    f->utilisation_permille = f->gpu->utilisation_max_permille;
    return draft_note(
        d, err, "memory utilisation %.3g instead of the engine's default %.3g: CPU and GPU of %s share the memory",
        f->utilisation_permille / 1000.0, f->engine->utilisation_permille / 1000.0, f->gpu->id);
}

static bool decide_kv(struct profile_draft *d, struct error *err)
{
    struct profile_facts *f = &d->facts;
    const char *asked = d->req->kv_dtype, *declared = f->inv->kv_algo;
    if (asked) {
        if (!row_lists(f->engine->kv_dtypes, asked))
            return error_set(err, ERR_USAGE, "KV cache type '%.64s' is not known to %s %s", asked, f->engine->name,
                             f->engine->version);
        f->kv_dtype = asked;
        return true;
    }
    f->kv_dtype = "auto";
    if (!declared || strcmp(declared, "FP8") != 0) return true;
    f->kv_dtype = f->gpu->fp8 ? "fp8" : "bfloat16";
    return f->gpu->fp8 ||
           draft_note(d, err,
                      "the checkpoint declares an FP8 KV cache, but %s has no FP8 arithmetic: the cache is bfloat16",
                      f->gpu->id);
}

/* Python that the configuration names: {"AutoConfig": "configuration_x.Class"}; a name with "--" lies in another
 * repository. */
static bool decide_remote_code(struct profile_draft *d, struct error *err)
{
    struct profile_facts *f = &d->facts;
    json_t *map = json_object_get(d->model->hf.config, "auto_map"), *v;
    const char *key;
    f->has_auto_map = json_is_object(map) && json_object_size(map) > 0;
    if (!f->has_auto_map) return true;
    json_object_foreach (map, key, v) {
        const char *s = json_string_value(v), *dot = s ? strchr(s, '.') : NULL;
        if (!dot || strstr(s, "--")) continue;
        const char *file = arena_printf(d->arena, "%.*s.py", (int)(dot - s), s);
        if (!file) return error_memory(err, 0);
        if (folder_find(d->model->folder, file) == NAME_NONE && !f->missing_code) f->missing_code = file;
    }
    return true;
}

static bool decide_rest(struct profile_draft *d, struct error *err)
{
    struct profile_facts *f = &d->facts;
    const json_t *config = d->model->hf.config;
    const char *type = json_string_value(json_object_get(config, "model_type"));
    f->model_type = type ? type : "";
    f->declares_quant = d->model->rules != NULL;
    f->drafts = d->req->draft_tokens;
    uint64_t max = f->inv->config.max_position;
    f->long_context = d->req->long_context && max && d->req->context > max;
    fit_model_from(&f->inv->config, &f->fit_model);
    f->ssm_dtype = facts_have_mamba(f) ? "float32" : NULL;
    f->expert_parallel = f->tp > 1 && facts_have_experts(f);
    const struct compute_row *c = engine_compute(f->engine, "NVFP4", f->gpu);
    f->nvfp4_path = c ? c->path : NULL;
    return checkpoint_algo(d, err) &&
           json_opt_u64(config, "num_nextn_predict_layers", "config.json", 0, 64, &f->n_predict, err);
}

bool draft_decide(struct profile_draft *d, struct error *err)
{
    d->facts.inv = d->model->inventory;
    return decide_rest(d, err) && decide_utilisation(d, err) && decide_kv(d, err) && decide_remote_code(d, err) &&
           draft_parsers(d, err) && draft_memory(d, err);
}
