#include "verify/policy.h"

#include "core/embed.h"
#include "core/file.h"
#include "core/yaml.h"

#include <fcntl.h>
#include <math.h>

#define POLICY_BYTES_MAX ((size_t)1 << 20)
#define POLICY_BUILT_IN "verify/policy_default.yaml"

static bool read_texts(struct policy *p, const json_t *list, struct error *err)
{
    size_t n = json_array_size(list);
    p->texts = calloc(n + 1, sizeof *p->texts);
    if (!p->texts) return error_memory(err, n * sizeof *p->texts);
    for (size_t i = 0; i < n; i++)
        if (!(p->texts[i] = json_string_value(json_array_get(list, i))))
            return error_set(err, ERR_FORMAT, "policy '%s': parity.texts: expected a list of strings", p->name);
    return n ? true : error_set(err, ERR_FORMAT, "policy '%s': parity.texts: expected a list of strings", p->name);
}

static bool resolve_data(struct policy *p, const char *path, const char *data, struct error *err)
{
    CLEANUP(free) char *folder = NULL;
    CLEANUP(free) char *name = NULL;
    if (*data == '/' || !path) {
        p->data = strdup(data);
        return p->data ? true : error_memory(err, strlen(data));
    }
    return path_split(path, &folder, &name, err) && path_join(&p->data, folder, data, err);
}

static bool read_parity(struct policy *p, const char *path, const json_t *j, struct error *err)
{
    static const char *const keys[] = {"data",
                                       "texts",
                                       "max_tokens",
                                       "kl_mean_at_most",
                                       "top1_at_least",
                                       "perplexity_ratio_at_most",
                                       "layer_sqnr_at_least_db",
                                       "cosine_at_least",
                                       "score_difference_at_most",
                                       NULL};
    const char *what = "policy: parity", *data = NULL;
    uint64_t max_tokens = p->max_tokens;
    if (!json_known_keys(j, what, keys, err) || !json_opt_string(j, "data", what, &data, err) ||
        !json_opt_u64(j, "max_tokens", what, 2, 1u << 24, &max_tokens, err) ||
        !json_opt_number(j, "kl_mean_at_most", what, &p->kl_mean_at_most, err) ||
        !json_opt_number(j, "top1_at_least", what, &p->top1_at_least, err) ||
        !json_opt_number(j, "perplexity_ratio_at_most", what, &p->perplexity_ratio_at_most, err) ||
        !json_opt_number(j, "cosine_at_least", what, &p->cosine_at_least, err) ||
        !json_opt_number(j, "score_difference_at_most", what, &p->score_difference_at_most, err) ||
        !json_opt_number(j, "layer_sqnr_at_least_db", what, &p->layer_sqnr_at_least_db, err))
        return false;
    p->max_tokens = (uint32_t)max_tokens;
    if (data && json_has(j, "texts"))
        return error_set(err, ERR_FORMAT, "policy '%s': parity has both 'data' and 'texts'", p->name);
    /* A limit that is NaN would compare as met or unmet by accident of spelling. */
    if (isnan(p->kl_mean_at_most) || isnan(p->top1_at_least) || isnan(p->perplexity_ratio_at_most) ||
        isnan(p->layer_sqnr_at_least_db) || isnan(p->cosine_at_least) || isnan(p->score_difference_at_most))
        return error_set(err, ERR_FORMAT, "policy '%s': a limit is not a number", p->name);
    if (data) return resolve_data(p, path, data, err);
    return !json_has(j, "texts") || read_texts(p, json_object_get(j, "texts"), err);
}

static bool read_policy(struct policy *p, const char *path, struct bytes text, struct error *err)
{
    CLEANUP(yaml) struct yaml *doc = NULL;
    if (!yaml_parse(text, p->name, &doc, err)) return false;
    static const char *const keys[] = {"trust",           "attestations", "licences", "minimum_version",
                                       "minimum_created", "digest",       "parity",   NULL};
    p->json = json_deep_copy(yaml_root(doc));
    if (!p->json) return error_memory(err, text.size);
    json_t *parity = NULL;
    if (!json_known_keys(p->json, p->name, keys, err) || !policy_read_trust(p, path, err)) return false;
    if (json_object_size(p->json) == 0) return error_set(err, ERR_FORMAT, "policy '%s': asks for nothing", p->name);
    if (!json_object_get(p->json, "parity")) return true;
    p->has_parity = true;
    return json_get_object(p->json, "parity", p->name, &parity, err) && read_parity(p, path, parity, err);
}

bool policy_parse(struct policy *out, const char *path, struct bytes text, struct error *err)
{
    *out = (struct policy){.name = path ? path : "built in",
                           .max_tokens = 256,
                           .kl_mean_at_most = INFINITY,
                           .top1_at_least = 0,
                           .perplexity_ratio_at_most = INFINITY,
                           .cosine_at_least = -1,
                           .score_difference_at_most = INFINITY,
                           .layer_sqnr_at_least_db = -INFINITY,
                           .minimum_created = INT64_MIN};
    bool ok = read_policy(out, path, text, err);
    if (!ok) policy_close(out);
    return ok;
}

bool policy_load(struct policy *out, const char *path, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    *out = (struct policy){0};
    if (path)
        return file_load(AT_FDCWD, path, POLICY_BYTES_MAX, &text, err) &&
               policy_parse(out, path, buffer_view(&text), err);
    const struct embedded_file *f = embedded_files;
    while (f->path && strcmp(f->path, POLICY_BUILT_IN) != 0) f++;
    return f->path ? policy_parse(out, NULL, bytes_of(f->data, f->size), err)
                   : error_set(err, ERR_INTERNAL, "the program lacks %s", POLICY_BUILT_IN);
}

void policy_close(struct policy *p)
{
    for (uint32_t i = 0; i < p->n_rules; i++) signers_close(&p->rules[i].signers);
    for (uint32_t i = 0; i < p->n_attestations; i++) signers_close(&p->attestations[i].signers);
    free(p->rules);
    free(p->attestations);
    free(p->data);
    free(p->texts);
    json_decref(p->json);
    *p = (struct policy){0};
}
