#include "calibrate/work.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define FILE_NAME "solved.bin"

bool work_open(struct work *w, struct stats *s, const char *path, const char *key, struct error *err)
{
    *w = (struct work){.stats = s};
    CLEANUP(free) char *file = NULL;
    if (!dir_make_parents(path, err) || !staging_open(&s->work, path, key, true, err) ||
        !path_join(&file, staging_path(s->work), FILE_NAME, err))
        return false;
    s->work_fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    return s->work_fd >= 0 || error_set_errno(err, "cannot open '%.512s'", file);
}

uint64_t work_reserve(struct work *w, uint64_t n)
{
    uint64_t at = w->size;
    w->size += n;
    return at;
}

bool work_write(const struct work *w, uint64_t at, const void *data, size_t n, struct error *err)
{
    for (const uint8_t *p = data; n;) {
        ssize_t done = pwrite(w->stats->work_fd, p, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return error_set_errno(err, "cannot write the work file of the calibration");
        p += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return true;
}

/* ---- the journal ---- */

static json_t *hex_json(const struct digest *d)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    return json_string(hex);
}

void work_begin_block(struct work *w)
{
    w->n_solved = w->stats->n_solved;
    w->n_gains = w->stats->n_gains;
}

bool work_end_block(struct work *w, uint32_t block, struct error *err)
{
    const struct stats *s = w->stats;
    CLEANUP(json) json_t *doc = NULL;
    CLEANUP(free) char *line = NULL;
    json_t *tensors = json_array(), *gains = json_array();
    for (uint32_t i = w->n_solved; i < s->n_solved; i++) {
        const struct solved_tensor *t = &s->solved[i];
        json_t *dims = t->n_dims == 2   ? json_pack("[I,I]", (json_int_t)t->dims[0], (json_int_t)t->dims[1])
                       : t->n_dims == 1 ? json_pack("[I]", (json_int_t)t->dims[0])
                                        : json_array();
        json_array_append_new(tensors, json_pack("[s,i,o,I,I,o,o]", t->name, (int)t->dtype, dims, (json_int_t)t->bytes,
                                                 (json_int_t)t->at, hex_json(&t->digest), hex_json(&t->source)));
    }
    for (uint32_t i = w->n_gains; i < s->n_gains; i++) {
        const struct solve_gain *g = &s->gains[i];
        json_array_append_new(gains, json_pack("[s,f,f,f,f]", g->module, g->before, g->after, g->output, g->damp));
    }
    doc = json_pack("{s:o,s:o,s:I}", "tensors", tensors, "gains", gains, "size", (json_int_t)w->size);
    if (json_array_size(tensors) != s->n_solved - w->n_solved || json_array_size(gains) != s->n_gains - w->n_gains)
        return error_memory(err, 0);
    char name[32];
    snprintf(name, sizeof name, "block:%u", block);
    if (fdatasync(s->work_fd) != 0) return error_set_errno(err, "cannot write the work file of the calibration");
    return doc && json_canonical(doc, &line, NULL, err) ? staging_record(s->work, name, line, err)
                                                        : error_memory(err, 0);
}

static bool recall_tensor(struct work *w, json_t *row, bool *sound, struct error *err)
{
    const char *name, *digest, *source;
    json_t *dims;
    json_int_t bytes, at;
    int dtype;
    struct solved_tensor t = {0};
    struct digest is;
    *sound = json_unpack(row, "[s,i,o,I,I,s,s]", &name, &dtype, &dims, &bytes, &at, &digest, &source) == 0 &&
             digest_parse(digest, &t.digest) && digest_parse(source, &t.source) && json_array_size(dims) <= 2 &&
             sha256_of_file(w->stats->work_fd, FILE_NAME, (uint64_t)at, (uint64_t)bytes, &is, NULL) &&
             digest_equal(&is, &t.digest);
    if (!*sound) return true;
    t.name = name;
    t.dtype = (enum dtype)dtype;
    t.bytes = (uint64_t)bytes;
    t.at = (uint64_t)at;
    t.n_dims = (uint32_t)json_array_size(dims);
    for (uint32_t i = 0; i < t.n_dims; i++) t.dims[i] = (uint64_t)json_integer_value(json_array_get(dims, i));
    return stats_add_solved(w->stats, &t, err);
}

static bool recall_gain(struct work *w, json_t *row, bool *sound, struct error *err)
{
    struct solve_gain g;
    *sound = json_unpack(row, "[s,F,F,F,F]", &g.module, &g.before, &g.after, &g.output, &g.damp) == 0;
    return !*sound || stats_add_gain(w->stats, &g, err);
}

bool work_recall(struct work *w, uint32_t block, bool *done, struct error *err)
{
    char name[32];
    snprintf(name, sizeof name, "block:%u", block);
    const char *line = staging_recorded(w->stats->work, name);
    CLEANUP(json) json_t *doc = NULL;
    *done = false;
    if (!line || !json_parse(bytes_text(line), JSON_DIALECT_STRICT, "journal", &doc, NULL)) return true;
    const json_t *tensors = json_object_get(doc, "tensors"), *gains = json_object_get(doc, "gains");
    uint32_t n_solved = w->stats->n_solved, n_gains = w->stats->n_gains;
    bool sound = json_is_integer(json_object_get(doc, "size"));
    for (size_t i = 0; sound && i < json_array_size(tensors); i++)
        if (!recall_tensor(w, json_array_get(tensors, i), &sound, err)) return false;
    for (size_t i = 0; sound && i < json_array_size(gains); i++)
        if (!recall_gain(w, json_array_get(gains, i), &sound, err)) return false;
    if (sound) {
        w->size = (uint64_t)json_integer_value(json_object_get(doc, "size"));
        *done = true;
    } else { /* as if it had not been there */
        w->stats->n_solved = n_solved;
        w->stats->n_gains = n_gains;
    }
    return true;
}
