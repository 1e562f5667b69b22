/* The profiles as NIM lists them: model manifest, schema 2.0.0 (docs/package.md, profiles as NIM has them). */
#include "pack/pack_job.h"

static bool digest_put(json_t *o, const char *key, const struct digest *d, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    return json_put(o, key, json_string(hex), err);
}

/* The name of a file of profile k: of the model's without "models/", of an adapter's whole, of the profile's without
 * "profiles/NAME/". */
static const char *file_name(const struct pack_job *j, uint32_t i, uint32_t k)
{
    const char *path = j->result->files[i].path;
    if (j->sources[i].profile == PACK_MODEL) return path + strlen("models/");
    if (j->sources[i].profile == PACK_ADAPTER) return path;
    if (j->sources[i].profile == k) return path + strlen("profiles/") + strlen(j->list[k].name) + 1;
    return NULL;
}

/* SHA-256 of what the profile is: its tags, and name and bytes of every file it serves with, adapters among them. */
static bool make_id(const struct pack_job *j, uint32_t k, struct error *err)
{
    struct pack_profile *p = &j->list[k];
    CLEANUP(json) json_t *model = json_object();
    CLEANUP(json) json_t *profile = json_object();
    CLEANUP(json) json_t *adapters = json_object();
    CLEANUP(free) char *text = NULL;
    size_t n;
    struct digest id;
    if (!model || !profile || !adapters) return error_memory(err, 0);
    for (uint32_t i = 0; i < j->result->n_files; i++) {
        const char *name = file_name(j, i, k);
        json_t *files = j->sources[i].profile == PACK_MODEL     ? model
                        : j->sources[i].profile == PACK_ADAPTER ? adapters
                                                                : profile;
        if (name && !digest_put(files, name, &j->result->files[i].digest, err)) return false;
    }
    CLEANUP(json) json_t *all = json_pack("{s:O,s:O,s:O}", "model", model, "profile", profile, "tags", p->tags);
    if (!all) return error_memory(err, 0);
    if (j->n_carried && !json_put(all, "adapters", json_incref(adapters), err)) return false;
    if (!json_canonical(all, &text, &n, err) || !sha256_of(bytes_of(text, n), &id, err)) return false;
    digest_hex(&id, p->id);
    for (uint32_t i = 0; i < k; i++)
        if (strcmp(j->list[i].id, p->id) == 0)
            return error_set(err, ERR_FORMAT, "profiles '%s' and '%s' are one: both have the id %s", j->list[i].name,
                             p->name, p->id);
    return json_put(p->annotations, PACK_ANNOTATION_PROFILE_ID, json_string(p->id), err);
}

/* A double-quoted scalar of YAML; paths hold no control bytes and no backslash (tar_path_check). */
static void put_quoted(struct text *t, const char *s)
{
    text_put(t, "\"", 1);
    for (; *s; s++) {
        if (*s == '"') text_put(t, "\\", 1);
        text_put(t, s, 1);
    }
    text_put(t, "\"", 1);
}

/* RFC 3986: everything but unreserved letters and '/' is escaped. */
static void put_uri(struct text *t, const char *path)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    text_add(t, "\"file:///");
    for (; *path; path++) {
        if (strchr(plain, *path)) text_put(t, path, 1);
        else text_add(t, "%%%02X", (unsigned)(unsigned char)*path);
    }
    text_add(t, "\"");
}

static void put_profile(struct text *t, const struct pack_job *j, uint32_t k)
{
    const struct pack_profile *p = &j->list[k];
    static const char *const tags[] = {"llm_engine", "precision", "tp", "pp", "gpu", "feat_lora", "feat_lora_max_rank"};
    text_add(t, "  - id: \"%s\"\n    tags:\n", p->id);
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        const char *value = json_string_value(json_object_get(p->tags, tags[i]));
        if (!value) continue;
        text_add(t, "      %s: ", tags[i]);
        put_quoted(t, value);
        text_add(t, "\n");
    }
    text_add(t, "    workspace:\n      files:\n");
    for (uint32_t i = 0; i < j->result->n_files; i++) {
        if (!file_name(j, i, k)) continue;
        text_add(t, "        ");
        put_quoted(t, j->sources[i].profile == PACK_MODEL ? file_name(j, i, k) : j->result->files[i].path);
        text_add(t, ": {uri: ");
        put_uri(t, j->result->files[i].path);
        text_add(t, "}\n");
    }
}

bool pack_nim_make(struct pack_job *j, struct error *err)
{
    struct text t = TEXT_INIT;
    text_add(&t, "schema_version: 2.0.0\nprofile_selection_criteria: default\nprofiles:\n");
    for (uint32_t k = 0; k < j->n_list; k++) {
        if (!make_id(j, k, err)) {
            text_free(&t);
            return false;
        }
        put_profile(&t, j, k);
    }
    return text_take(&t, &j->nim, NULL, err);
}
