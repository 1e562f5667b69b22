/* The shards of one run: opened when their first tensor comes, committed and journaled when their last one is written.
 * The journal's line holds the digests of the shard's tensors, so that a resumed run can write ingot.json without
 * reading the source again; every tensor of the shard is read and compared before the shard is believed. */
#include "quantize/job.h"

#include "core/file.h"

#include <fcntl.h>

static void record_name(char out[96], const struct job *j, uint32_t shard)
{
    char name[64];
    shard_name(name, shard, j->layout.n_shards);
    snprintf(out, 96, "shard:%s", name);
}

static bool read_digest(const json_t *j, const char *key, struct digest *out)
{
    const char *hex = json_string_value(json_object_get(j, key));
    return hex && digest_parse(hex, out);
}

/* One tensor of an earlier run: its recorded digest must be that of the bytes in the file. */
static bool believe_tensor(struct job *j, int fd, const char *path, uint32_t output, const json_t *row)
{
    struct tensor_digests *d = &j->digests[output];
    struct digest is;
    uint64_t at = j->layout.header_bytes[j->layout.shard[output]] + j->layout.offset[output];
    if (!read_digest(row, "w", &d->written) || !sha256_of_file(fd, path, at, j->layout.bytes[output], &is, NULL) ||
        !digest_equal(&is, &d->written))
        return false;
    d->has_source = read_digest(row, "s", &d->source);
    return true;
}

/* True when the earlier run's shard is whole; its tensors' digests are filled in. */
static bool believe(struct job *j, uint32_t shard, const char *line)
{
    char name[64];
    CLEANUP(free) char *path = NULL;
    CLEANUP(fd) int fd = -1;
    CLEANUP(json) json_t *tensors = NULL;
    uint64_t size;
    shard_name(name, shard, j->layout.n_shards);
    if (!path_join(&path, staging_path(j->staging), name, NULL) || !file_open(AT_FDCWD, path, &fd, &size, NULL) ||
        size != j->layout.shard_bytes[shard] ||
        !json_parse(bytes_text(line), JSON_DIALECT_STRICT, "journal", &tensors, NULL))
        return false;
    uint32_t first = j->layout.first[shard], n = j->layout.first[shard + 1] - first;
    if (json_array_size(tensors) != n) return false;
    for (uint32_t i = 0; i < n; i++)
        if (!believe_tensor(j, fd, path, first + i, json_array_get(tensors, i))) return false;
    return true;
}

bool job_shards_open(struct job *j, struct error *err)
{
    const struct plan *p = j->plan;
    if (!shard_layout_make(&j->layout, p->specs, p->n_outputs, j->opt->shard_bytes, err)) return false;
    j->writers = calloc(j->layout.n_shards, sizeof *j->writers);
    j->shard_done = calloc(j->layout.n_shards, sizeof *j->shard_done);
    j->digests = calloc(p->n_outputs + 1, sizeof *j->digests);
    if (!j->writers || !j->shard_done || !j->digests) return error_memory(err, p->n_outputs * sizeof *j->digests);
    for (uint32_t s = 0; s < j->layout.n_shards; s++) {
        char name[96];
        record_name(name, j, s);
        const char *line = staging_recorded(j->staging, name);
        j->shard_done[s] = line && believe(j, s, line);
        j->result->resumed |= j->shard_done[s];
    }
    return true;
}

bool job_needs_item(const struct job *j, uint32_t i)
{
    const struct plan_item *item = &j->plan->items[i];
    if (j->again) return j->again->wanted[i] && item->n_outputs > 0;
    for (uint32_t k = 0; k < item->n_outputs; k++)
        if (!j->shard_done[j->layout.shard[item->first_output + k]]) return true;
    return false;
}

bool job_write(struct job *j, uint32_t output, uint64_t offset, const void *data, size_t n, struct error *err)
{
    if (j->again) return true; /* the digest is all that is wanted */
    uint32_t shard = j->layout.shard[output];
    if (j->shard_done[shard]) return true;
    if (!j->writers[shard] &&
        !shard_writer_open(&j->writers[shard], staging_path(j->staging), j->plan->specs, &j->layout, shard, err))
        return false;
    j->result->written_bytes += n;
    return shard_writer_write(j->writers[shard], output, offset, data, n, err);
}

static json_t *hex_json(const struct digest *d)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(d, hex);
    return json_string(hex);
}

static bool record_shard(struct job *j, uint32_t shard, struct error *err)
{
    char name[96];
    CLEANUP(json) json_t *tensors = json_array();
    CLEANUP(free) char *line = NULL;
    if (!tensors) return error_memory(err, 0);
    for (uint32_t o = j->layout.first[shard]; o < j->layout.first[shard + 1]; o++) {
        json_t *row = json_pack("{s:o}", "w", hex_json(&j->digests[o].written));
        if (row && j->digests[o].has_source) json_object_set_new(row, "s", hex_json(&j->digests[o].source));
        if (json_array_append_new(tensors, row) != 0) return error_memory(err, 0);
    }
    record_name(name, j, shard);
    return json_canonical(tensors, &line, NULL, err) && staging_record(j->staging, name, line, err);
}

bool job_shards_done_before(struct job *j, uint32_t output, struct error *err)
{
    for (uint32_t s = 0; s < j->layout.n_shards; s++) {
        if (!j->writers[s] || j->layout.first[s + 1] > output) continue;
        struct shard_writer *w = take_ptr(&j->writers[s]);
        if (!shard_writer_commit(w, err) || !record_shard(j, s, err)) return false;
    }
    return true;
}

void job_shards_close(struct job *j)
{
    for (uint32_t s = 0; j->writers && s < j->layout.n_shards; s++) shard_writer_abort(j->writers[s]);
    free(j->writers);
    free(j->shard_done);
    free(j->digests);
    shard_layout_free(&j->layout);
}
