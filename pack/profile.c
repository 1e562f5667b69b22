#include "pack/profile_parts.h"

#include "core/file.h"
#include "core/staging.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

const struct profile_writer *const profile_writers[] = {&profile_writer_vllm, NULL};

void profile_result_close(struct profile_result *r)
{
    json_decref(r->json);
    profile_rows_close(r->rows);
    arena_free(r->arena);
    *r = (struct profile_result){0};
}

bool profile_add_file(struct profile_result *out, const char *name, unsigned mode, struct text *t, struct error *err)
{
    CLEANUP(free) char *text = NULL;
    size_t n;
    if (out->n_files == PROFILE_FILES_MAX)
        return error_set(err, ERR_INTERNAL, "profile: more than %u files", PROFILE_FILES_MAX);
    if (!text_take(t, &text, &n, err)) return false;
    const char *copy = arena_copy(out->arena, text, n);
    if (!copy) return error_memory(err, n);
    out->files[out->n_files++] = (struct profile_file){name, copy, n, mode};
    return true;
}

/* The first broken rule speaks; the others are counted. */
static bool refuse(const struct lint_report *lint, struct error *err)
{
    for (uint32_t i = 0; i < lint->n; i++) {
        if (lint->findings[i].severity != LINT_ERROR) continue;
        char more[32] = "";
        if (lint->n_errors > 1) snprintf(more, sizeof more, " (and %u more)", lint->n_errors - 1);
        return error_set(err, ERR_UNSUPPORTED, "%s: %s%s", lint->findings[i].rule->id, lint->findings[i].text, more);
    }
    return true;
}

static bool write_files(const struct profile_draft *d, struct profile_result *r, struct error *err)
{
    const struct profile_writer *const *w = profile_writers;
    while (*w && strcmp((*w)->name, d->facts.engine->writer) != 0) w++;
    if (!*w)
        return error_set(err, ERR_INTERNAL, "profile: no writer '%s' for %s", d->facts.engine->writer,
                         d->facts.engine->name);
    if (!(*w)->write(&d->facts, r, err) || !profile_json(d, r, &r->json, err)) return false;
    __attribute__((cleanup(cleanup_text))) struct text t = TEXT_INIT;
    CLEANUP(free) char *pretty = NULL;
    size_t n;
    if (!json_pretty(r->json, &pretty, &n, err)) return false;
    text_put(&t, pretty, n);
    return profile_add_file(r, "profile.json", 0644, &t, err);
}

static bool make(const struct model *m, const struct profile_request *req, struct profile_result *r, struct error *err)
{
    /* What the profiles' rows know is how engines generate. */
    if (!model_gives_logits(&m->inventory->config, "a serving profile", err)) return false;
    r->arena = arena_new();
    if (!r->arena) return error_memory(err, 0);
    struct profile_draft *d = arena_alloc(r->arena, 1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d);
    if (!profile_rows_open(&r->rows, err)) return false;
    *d = (struct profile_draft){.model = m, .req = req, .rows = r->rows, .arena = r->arena};
    if (!target_read(d, err) || !draft_decide(d, err) || !profile_lint(&d->facts, r->arena, &r->lint, err))
        return false;
    if (!req->force && !refuse(&r->lint, err)) return false;
    r->facts = &d->facts;
    r->notes = d->notes;
    r->n_notes = d->n_notes;
    return profile_name(&d->facts, r->arena, &r->name, err) && write_files(d, r, err);
}

bool profile_make(const struct model *m, const struct profile_request *req, struct profile_result *result,
                  struct error *err)
{
    *result = (struct profile_result){0};
    if (make(m, req, result, err)) return true;
    profile_result_close(result);
    return false;
}

/* ---- writing ---- */

static bool same_file(int dir, const struct profile_file *f, bool *same, struct error *err)
{
    CLEANUP_BUFFER struct buffer b = {0};
    struct stat st;
    *same = false;
    if (fstatat(dir, f->name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != f->size)
        return true;
    if (!file_load(dir, f->name, f->size, &b, err)) return false;
    *same = b.size == f->size && memcmp(b.data, f->text, f->size) == 0;
    return true;
}

/* True in *same when the folder is there and holds these files, and nothing else. */
static bool same_folder(const char *path, const struct profile_result *r, bool *same, struct error *err)
{
    DIR *list = opendir(path);
    uint32_t n = 0;
    bool ok = true;
    *same = list != NULL;
    if (!list) return true; /* not there, or not a folder: staging says what is wrong with it */
    for (const struct dirent *e; (e = readdir(list));) n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (n != r->n_files) *same = false;
    for (uint32_t i = 0; ok && *same && i < r->n_files; i++) ok = same_file(dirfd(list), &r->files[i], same, err);
    closedir(list);
    return ok;
}

static bool stage(struct profile_result *r, bool replace, struct error *err)
{
    struct staging *s = NULL;
    struct digest d;
    char hex[DIGEST_HEX_SIZE], key[DIGEST_HEX_SIZE + 32];
    const struct profile_file *json = &r->files[r->n_files - 1]; /* holds the digests of the others */
    if (!sha256_of(bytes_of(json->text, json->size), &d, err)) return false;
    digest_hex(&d, hex);
    snprintf(key, sizeof key, "ingot profile %s", hex);
    if (!dir_make_parents(r->path, err) || !staging_open(&s, r->path, key, replace, err)) return false;
    for (uint32_t i = 0; i < r->n_files; i++) {
        CLEANUP(free) char *path = NULL;
        if (path_join(&path, staging_path(s), r->files[i].name, err) &&
            file_save(path, bytes_of(r->files[i].text, r->files[i].size), r->files[i].mode, err))
            continue;
        staging_close(s, false);
        return false;
    }
    return staging_commit(s, err);
}

bool profile_build(const struct model *m, const struct profile_request *req, const char *out_dir,
                   const struct progress *pr, struct profile_result *result, struct error *err)
{
    if (!profile_make(m, req, result, err)) return false;
    result->path = arena_printf(result->arena, "%s/%s", out_dir, result->name);
    bool ok = result->path ? progress_go_on(pr, err) : error_memory(err, 0);
    ok = ok && same_folder(result->path, result, &result->unchanged, err);
    if (ok && !result->unchanged) ok = stage(result, req->replace, err);
    if (!ok) {
        profile_result_close(result);
        return false;
    }
    return true;
}
