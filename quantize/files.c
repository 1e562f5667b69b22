/* The files beside the weights. What we do not change is carried byte for byte, also what we do not understand:
 * parsers, templates, licences, cards. */
#include "quantize/job.h"

#include "core/file.h"
#include "core/version.h"
#include "formats/licence.h"
#include "formats/oms.h"
#include "plan/recipe_words.h"

/* Files that this stage writes itself, or that describe the source's weights. */
static bool is_ours(const struct job *j, const char *name)
{
    static const char *const names[] = {"hf_quant_config.json", "ingot.json", "model.safetensors.index.json"};
    if (strcmp(name, j->model->hf.name) == 0) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    uint32_t n;
    const struct checkpoint_file *files = checkpoint_files(j->model->checkpoint, &n);
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(name, folder_name(j->model->folder, files[i].member)) == 0) return true;
    return false;
}

static bool put_digest(json_t *obj, const char *key, const struct digest *d, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    return json_put(obj, key, json_string(hex), err);
}

static bool save(const struct job *j, const char *name, struct bytes data, json_t *digests, struct error *err)
{
    CLEANUP(free) char *path = NULL;
    struct digest d;
    return path_join(&path, staging_path(j->staging), name, err) && dir_make_parents(path, err) &&
           file_save(path, data, 0666, err) && sha256_of(data, &d, err) &&
           (!digests || put_digest(digests, name, &d, err));
}

static bool copy_file(const struct job *j, uint32_t member, json_t *digests, struct error *err)
{
    struct digest d;
    const struct folder *f = j->model->folder;
    return folder_copy(f, member, staging_path(j->staging), &d, err) &&
           put_digest(digests, folder_name(f, member), &d, err);
}

static bool save_json(const struct job *j, const char *name, const json_t *doc, json_t *digests, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n;
    return json_pretty(doc, &text, &n, err) && save(j, name, bytes_of(text, n), digests, err);
}

/* A hybrid's state dtype, where its other keys are: among `members`, or inside a multimodal configuration, which then
 * is *inner and *text. */
static bool put_state_dtype(const struct job *j, json_t *members, struct bytes *text, char **inner, struct error *err)
{
    const struct model_config *cfg = &j->plan->inventory->config;
    if (!cfg->ssm.n_heads || (cfg->ssm_cache_dtype && strcmp(cfg->ssm_cache_dtype, "float32") == 0)) return true;
    const char *wrapper = hf_config_wrapper(j->model->hf.config), *key = "mamba_ssm_cache_dtype";
    if (!wrapper) return json_put(members, key, json_string("float32"), err);
    CLEANUP(json) json_t *inside = json_object();
    size_t n;
    if (!inside || !json_put(inside, key, json_string("float32"), err) ||
        !json_splice_inside(*text, JSON_DIALECT_HF, wrapper, inside, "config.json", inner, &n, err))
        return false;
    *text = bytes_of(*inner, n);
    return true;
}

/* config.json (of Mistral's layout params.json) keeps every byte but the members that quantization changes. A hybrid's
 * state dtype is written even where the source is silent: engines that find nothing take the model's dtype, and a bf16
 * state ruins the model. */
static bool write_configs(const struct job *j, json_t *digests, struct error *err)
{
    CLEANUP(json) json_t *members = json_object();
    CLEANUP(json) json_t *file = NULL;
    if (!members) return error_memory(err, 0);
    if (j->plan->quantized_elems) {
        struct quant_config qc;
        json_t *section;
        if (!plan_quant_config(j->plan, &qc, err) || !quant_config_file(&qc, &file, err) ||
            !quant_config_inline(&qc, &section, err) || !json_put(members, "quantization_config", section, err))
            return false;
    }
    CLEANUP(free) char *inner = NULL;
    CLEANUP(free) char *text = NULL;
    struct bytes source = buffer_view(&j->model->hf.config_text);
    size_t n;
    const char *name = j->model->hf.name;
    if (!put_state_dtype(j, members, &source, &inner, err) ||
        !json_splice(source, JSON_DIALECT_HF, members, name, &text, &n, err) ||
        !save(j, name, bytes_of(text, n), digests, err))
        return false;
    if (file) return save_json(j, "hf_quant_config.json", file, digests, err);
    uint32_t carried = folder_find(j->model->folder, "hf_quant_config.json");
    return carried == NAME_NONE || copy_file(j, carried, digests, err);
}

static bool tensors_json(const struct job *j, json_t **out, struct error *err)
{
    CLEANUP(json) json_t *tensors = json_object();
    if (!tensors) return error_memory(err, 0);
    for (uint32_t o = 0; o < j->plan->n_outputs; o++) {
        json_t *row = json_object();
        if (!row || !put_digest(row, "sha256", &j->digests[o].written, err) ||
            (j->digests[o].has_source && !put_digest(row, "source_sha256", &j->digests[o].source, err))) {
            json_decref(row);
            return false;
        }
        if (!json_put(tensors, j->plan->specs[o].name, row, err)) return false;
    }
    *out = take_ptr(&tensors);
    return true;
}

static bool calibration_json(const struct job *j, json_t **out, struct error *err)
{
    if (!j->stats) {
        *out = json_null();
        return true;
    }
    const struct stats *s = j->stats;
    CLEANUP(json)
    json_t *doc = json_pack("{s:I,s:I}", "texts", (json_int_t)s->n_texts, "tokens", (json_int_t)s->n_tokens);
    if (!doc) return error_memory(err, 0);
    if (!put_digest(doc, "data_sha256", &s->data_digest, err) || !put_digest(doc, "stats_sha256", &s->digest, err) ||
        !stats_put_experts(s, j->plan, doc, err))
        return false;
    *out = take_ptr(&doc);
    return true;
}

/* What the auditor rebuilds the plan from, and every digest. Nothing here depends on host, date, threads or paths. */
static bool write_manifest(const struct job *j, json_t *digests, json_t *left_out, struct error *err)
{
    const struct plan *p = j->plan;
    CLEANUP(json)
    json_t *doc = json_pack("{s:s,s:s,s:s,s:O}", "schema", "ingot.checkpoint/1", "tool", INGOT_VERSION, "architecture",
                            p->inventory->config.arch->name, "recipe", p->recipe->json);
    json_t *calibration = NULL, *tensors = NULL, *source = NULL;
    if (!doc) return error_memory(err, 0);
    if (!put_digest(doc, "recipe_sha256", &p->recipe->digest, err) || !put_digest(doc, "plan_sha256", &p->digest, err))
        return false;
    if (!calibration_json(j, &calibration, err) || !json_put(doc, "calibration", calibration, err)) return false;
    json_t *scales = j->given ? json_object() : NULL;
    if (j->given &&
        (!put_digest(scales, "sha256", &j->given->digest, err) || !json_put(doc, "scales_from", scales, err)))
        return false;
    if (!plan_source_json(p, &source, err) || !json_put(doc, "source", source, err)) return false;
    json_t *signature = (json_t *)(uintptr_t)j->opt->source_signature; /* jansson counts references in it */
    if (signature && !json_put(source, "signature", json_incref(signature), err)) return false;
    if (!json_put(doc, "files", json_incref(digests), err) || !json_put(doc, "left_out", json_incref(left_out), err))
        return false;
    json_t *licences;
    if (!licence_of_folder(j->model->folder, &licences, err) || !json_put(doc, "licences", licences, err)) return false;
    return tensors_json(j, &tensors, err) && json_put(doc, "tensors", tensors, err) &&
           save_json(j, "ingot.json", doc, NULL, err);
}

/* Weights that are not this checkpoint's (another format beside it, outputs in a folder below) would be the original in
 * disguise, at full size: they stay behind, and the manifest says so. */
static bool carry(const struct job *j, uint32_t member, json_t *digests, json_t *left_out, struct error *err)
{
    const char *name = folder_name(j->model->folder, member);
    if (is_ours(j, name)) return true;
    if (strcmp(name, OMS_FILE) == 0) { /* a signature of the original, which would be a false one here */
        progress_note(j->pr, "quantize", "'%s' signs the original: not carried", name);
        return json_array_append_new(left_out, json_string(name)) == 0 ? true : error_memory(err, 0);
    }
    if (!checkpoint_is_weights(name)) return copy_file(j, member, digests, err);
    progress_note(j->pr, "quantize", "'%s' holds weights that are not part of this checkpoint: not carried", name);
    return json_array_append_new(left_out, json_string(name)) == 0 ? true : error_memory(err, 0);
}

bool job_write_files(struct job *j, struct error *err)
{
    CLEANUP(json) json_t *digests = json_object();
    CLEANUP(json) json_t *left_out = json_array();
    if (!digests || !left_out) return error_memory(err, 0);
    for (uint32_t i = 0; i < folder_count(j->model->folder); i++)
        if (!carry(j, i, digests, left_out, err)) return false;
    return write_configs(j, digests, err) && write_manifest(j, digests, left_out, err);
}
