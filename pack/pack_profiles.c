/* Which profiles a folder holds: NAME/profile.json as ingot profile writes them (docs/profiles.md). */
#include "pack/pack_job.h"

#define PROFILE_BYTES_MAX ((size_t)4 << 20)
#define PROFILES_MAX 256u

static bool is_profile(const char *member, size_t *name_bytes)
{
    const char *slash = strchr(member, '/');
    if (!slash || strcmp(slash, "/profile.json") != 0) return false;
    *name_bytes = (size_t)(slash - member);
    return true;
}

/* The part of the name that says the precision: ENGINE-VERSION-GPUxCOUNT-PRECISION-tpN... */
static void precision_of(const char *name, const char *head, uint64_t tp, char out[64])
{
    char tail[32];
    size_t n = strlen(head);
    snprintf(tail, sizeof tail, "-tp%llu", (unsigned long long)tp);
    const char *end = strncmp(name, head, n) == 0 ? strstr(name + n, tail) : NULL;
    snprintf(out, 64, "%.*s", end ? (int)(end - name - (ptrdiff_t)n) : 7, end ? name + n : "unknown");
}

struct facts {
    const char *name, *engine, *version, *gpu, *gpu_name, *capability;
    uint64_t count, memory, tp;
    char precision[64];
};

static bool read_facts(const json_t *doc, const char *what, struct facts *f, struct error *err)
{
    json_t *engine, *gpu;
    char head[256];
    if (!json_get_string(doc, "name", what, &f->name, err) || !json_get_object(doc, "engine", what, &engine, err) ||
        !json_get_object(doc, "gpu", what, &gpu, err) || !json_get_string(engine, "name", what, &f->engine, err) ||
        !json_get_string(engine, "version", what, &f->version, err) ||
        !json_get_string(gpu, "id", what, &f->gpu, err) || !json_get_string(gpu, "name", what, &f->gpu_name, err) ||
        !json_get_string(gpu, "compute_capability", what, &f->capability, err) ||
        !json_get_u64(gpu, "count", what, 1, 4096, &f->count, err) ||
        !json_get_u64(gpu, "memory_bytes", what, 0, (uint64_t)1 << 50, &f->memory, err) ||
        !json_get_u64(doc, "tensor_parallel", what, 1, 4096, &f->tp, err))
        return false;
    snprintf(head, sizeof head, "%.80s-%.40s-%.60sx%llu-", f->engine, f->version, f->gpu, (unsigned long long)f->count);
    precision_of(f->name, head, f->tp, f->precision);
    return true;
}

static json_t *number_text(uint64_t n)
{
    return json_sprintf("%llu", (unsigned long long)n);
}

static bool describe(const struct pack_job *j, struct pack_profile *p, const struct facts *f, struct error *err)
{
    char gpu[64];
    size_t n = 0;
    for (; f->gpu[n] && n + 1 < sizeof gpu; n++)
        gpu[n] = (char)(f->gpu[n] >= 'a' && f->gpu[n] <= 'z' ? f->gpu[n] - 'a' + 'A' : f->gpu[n]);
    gpu[n] = '\0';
    p->annotations = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:s}", PACK_ANNOTATION_PROFILE, f->name, PACK_ANNOTATION_ENGINE, f->engine,
        PACK_ANNOTATION_ENGINE_VERSION, f->version, PACK_ANNOTATION_PRECISION, f->precision, PACK_ANNOTATION_GPU,
        f->gpu, PACK_ANNOTATION_GPU_NAME, f->gpu_name, PACK_ANNOTATION_GPU_COUNT, number_text(f->count),
        PACK_ANNOTATION_GPU_MEMORY, number_text(f->memory), PACK_ANNOTATION_GPU_CAPABILITY, f->capability);
    p->tags = json_pack("{s:s,s:s,s:o,s:s,s:s,s:s}", "llm_engine", f->engine, "precision", f->precision, "tp",
                        number_text(f->tp), "pp", "1", "gpu", gpu, "feat_lora", j->served_rank ? "true" : "false");
    if (!p->annotations || !p->tags) return error_memory(err, 0);
    return !j->served_rank || json_put(p->tags, "feat_lora_max_rank", number_text(j->served_rank), err);
}

static bool read_profile(struct pack_job *j, const char *member, size_t name_bytes, struct pack_profile *p,
                         struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    struct facts f = {0};
    if (!folder_load(j->profiles, member, PROFILE_BYTES_MAX, &text, err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, member, &p->doc, err) ||
        !read_facts(p->doc, member, &f, err))
        return false;
    if (strlen(f.name) != name_bytes || strncmp(f.name, member, name_bytes) != 0)
        return error_set(err, ERR_FORMAT, "%s: says that it is profile '%.128s', the folder has another name", member,
                         f.name);
    p->name = f.name;
    if (asprintf(&p->tag, "%s-%s", j->ref.tag, p->name) < 0) return error_memory(err, name_bytes);
    if (!oci_tag_is_valid(p->tag))
        return error_set(err, ERR_FORMAT, "%s: '%.256s' cannot be a tag (at most %u letters, digits, '_', '.', '-')",
                         member, p->tag, OCI_TAG_BYTES_MAX);
    if (strcmp(f.name, PACK_FALLBACK_NAME) == 0 || strcmp(f.name, PACK_MODELPACK_NAME) == 0)
        return error_set(err, ERR_FORMAT, "%s: '%s' names another image of every package", member, f.name);
    return describe(j, p, &f, err);
}

static uint32_t profile_of(const struct pack_job *j, const char *member)
{
    for (uint32_t i = 0; i < j->n_list; i++) {
        size_t n = strlen(j->list[i].name);
        if (strncmp(j->list[i].name, member, n) == 0 && member[n] == '/') return i;
    }
    return PACK_FALLBACK;
}

bool pack_profiles_read(struct pack_job *j, struct error *err)
{
    uint32_t n_files = folder_count(j->profiles), n = 0;
    size_t name_bytes;
    if (n_files == 0)
        return error_set(err, ERR_FORMAT, "folder '%.512s' holds no profiles: it is empty", j->o->profiles);
    for (uint32_t i = 0; i < n_files; i++) n += is_profile(folder_name(j->profiles, i), &name_bytes);
    if (n > PROFILES_MAX)
        return error_set(err, ERR_FORMAT, "folder '%.512s' holds %u profiles, at most %u can be packed", j->o->profiles,
                         n, PROFILES_MAX);
    if (n && folder_find(j->profiles, PACK_NIM_NAME) != NAME_NONE)
        return error_set(err, ERR_FORMAT, "folder '%.512s' holds a file '" PACK_NIM_NAME "', which pack makes itself",
                         j->o->profiles);
    j->list = calloc(n + 1u, sizeof *j->list);
    if (!j->list) return error_memory(err, n * sizeof *j->list);
    for (uint32_t i = 0; i < n_files; i++)
        if (is_profile(folder_name(j->profiles, i), &name_bytes)) {
            struct pack_profile *p = &j->list[j->n_list++];
            if (!read_profile(j, folder_name(j->profiles, i), name_bytes, p, err))
                return error_wrap(err, "folder '%.256s'", j->o->profiles);
        }
    for (uint32_t i = 0; i < j->result->n_files; i++) {
        struct pack_source *s = &j->sources[i];
        if (s->folder == j->profiles) s->profile = profile_of(j, folder_name(j->profiles, s->member));
    }
    return true;
}

void pack_profiles_free(struct pack_job *j)
{
    for (uint32_t i = 0; i < j->n_list; i++) {
        json_decref(j->list[i].doc);
        json_decref(j->list[i].annotations);
        json_decref(j->list[i].tags);
        free(j->list[i].tag);
    }
    free(j->list);
    free(j->nim);
}
