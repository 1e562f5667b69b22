/* From the words of a target to the rows of the tables. */
#include "pack/profile_parts.h"

static void engine_names(const struct profile_rows *rows, char *out, size_t size)
{
    *out = '\0';
    for (uint32_t i = 0; i < rows->n_engines; i++) {
        const struct engine_row *e = &rows->engines[i];
        if (!e->writer) continue;
        size_t n = strlen(out);
        snprintf(out + n, size - n, "%s%s@%s", n ? ", " : "", e->name, e->version);
    }
}

static bool known_engine(const struct profile_rows *rows, const char *name)
{
    for (uint32_t i = 0; i < rows->n_engines; i++)
        if (strcmp(rows->engines[i].name, name) == 0) return true;
    return false;
}

static bool read_image(struct profile_draft *d, const char *image, struct error *err)
{
    struct digest digest;
    if (strncmp(image, "sha256:", 7) != 0 || !digest_parse(image + 7, &digest))
        return error_set(err, ERR_USAGE,
                         "engine '%.256s': expected sha256: and 64 lower-case hex digits behind the second @",
                         d->req->engine);
    d->facts.image = arena_text(d->arena, image);
    return d->facts.image ? true : error_memory(err, 0);
}

static bool read_engine(struct profile_draft *d, struct error *err)
{
    const char *text = d->req->engine ? d->req->engine : "", *at = strchr(text, '@');
    char known[256], name[64], version[64];
    engine_names(d->rows, known, sizeof known);
    const char *second = at ? strchr(at + 1, '@') : NULL;
    size_t name_size = at ? (size_t)(at - text) : 0, version_size = at ? strcspn(at + 1, "@") : 0;
    if (name_size == 0 || version_size == 0 || name_size >= sizeof name || version_size >= sizeof version)
        return error_set(err, ERR_USAGE, "engine '%.256s': expected NAME@VERSION, as in %s", text, known);
    snprintf(name, sizeof name, "%.*s", (int)name_size, text);
    snprintf(version, sizeof version, "%.*s", (int)version_size, at + 1);
    if (!known_engine(d->rows, name))
        return error_set(err, ERR_UNSUPPORTED,
                         "engine '%s' is not known (`ingot list engines`); profiles are written for %s", name, known);
    if (version_moves(version))
        return error_set(
            err, ERR_UNSUPPORTED,
            "VER-01: '%s@%s' is not one release but a name that moves on: a profile names a release, as in %s", name,
            version, known);
    const struct engine_row *e = engine_row_find(d->rows, name, version);
    if (!e)
        return error_set(err, ERR_UNSUPPORTED,
                         "version '%s' of %s is not known (`ingot list engines`); profiles are written for %s", version,
                         name, known);
    if (!e->writer)
        return error_set(err, ERR_UNSUPPORTED,
                         "of %s %s only single facts are known, not enough for a profile; profiles are written for %s",
                         name, version, known);
    d->facts.engine = e;
    return !second || read_image(d, second + 1, err);
}

static bool read_gpu(struct profile_draft *d, struct error *err)
{
    const char *text = d->req->gpu ? d->req->gpu : "", *colon = strchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    unsigned long count = 1;
    char id[64];
    if (colon) {
        char *end;
        bool digit = colon[1] >= '1' && colon[1] <= '9';
        count = digit ? strtoul(colon + 1, &end, 10) : 0;
        if (!digit || *end || count > FIT_RANKS_MAX)
            return error_set(err, ERR_USAGE,
                             "GPU '%.128s': expected NAME:COUNT with a count from 1 to %u, as in b200:2", text,
                             FIT_RANKS_MAX);
    }
    if (n == 0 || n >= sizeof id)
        return error_set(err, ERR_USAGE, "GPU '%.128s': expected NAME:COUNT, as in b200:2", text);
    snprintf(id, sizeof id, "%.*s", (int)n, text);
    const struct gpu_row *g = gpu_row_find(d->rows, id);
    if (!g) return error_set(err, ERR_UNSUPPORTED, "GPU '%s' is not known (`ingot list gpus`)", id);
    if (!g->memory_bytes || !g->capability)
        return error_set(err, ERR_UNSUPPORTED,
                         "GPU '%s' (%s): its memory is not known to this program, so nothing can be said to fit", id,
                         g->name);
    d->facts.gpu = g;
    d->facts.tp = (uint32_t)count;
    return true;
}

bool target_read(struct profile_draft *d, struct error *err)
{
    return read_engine(d, err) && read_gpu(d, err);
}

/* ---- `ingot list` ---- */

static bool add_row(json_t *rows, const char *name, const char *what, struct error *err)
{
    json_t *row = json_pack("{s:s,s:s}", "name", name, "what", what);
    return row && json_array_append_new(rows, row) == 0 ? true : error_memory(err, 0);
}

bool profile_list_gpus(json_t *rows, struct error *err)
{
    CLEANUP(profile_rows) struct profile_rows *tables = NULL;
    if (!profile_rows_open(&tables, err)) return false;
    for (uint32_t i = 0; i < tables->n_gpus; i++) {
        const struct gpu_row *g = &tables->gpus[i];
        char what[256];
        snprintf(what, sizeof what, "%s, compute capability %u.%u, %.1f GiB%s, %u GB/s%s%s", g->name,
                 g->capability / 10, g->capability % 10, (double)g->memory_bytes / 1073741824.0,
                 g->unified ? " shared with the CPU" : "", g->bandwidth_gb_s, g->fp8 ? ", FP8" : "",
                 g->nvfp4 ? ", NVFP4" : "");
        if (!g->memory_bytes) snprintf(what, sizeof what, "%s: %s", g->name, g->note ? g->note : "memory not known");
        if (!add_row(rows, g->id, what, err)) return false;
    }
    return true;
}

bool profile_list_engines(json_t *rows, struct error *err)
{
    CLEANUP(profile_rows) struct profile_rows *tables = NULL;
    if (!profile_rows_open(&tables, err)) return false;
    for (uint32_t i = 0; i < tables->n_engines; i++) {
        const struct engine_row *e = &tables->engines[i];
        __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
        CLEANUP(free) char *what = NULL;
        char name[128];
        text_add(&t, "%s", e->writer ? "profiles are written for it" : "facts only");
        for (uint32_t k = 0; e->known[k]; k++) text_add(&t, "; %s", e->known[k]);
        snprintf(name, sizeof name, "%s@%s", e->name, e->version);
        if (!text_take(&t, &what, NULL, err) || !add_row(rows, name, what, err)) return false;
    }
    return true;
}
