/* Where every tensor will lie, and the header that says so. */
#include "formats/safetensors.h"

#include "core/json.h"
#include "core/text.h"

/* The data begins on a page (4 KiB, the smallest of any machine we run on), so that it can be mapped. */
#define DATA_ALIGN 4096u

void shard_layout_free(struct shard_layout *l)
{
    free(l->shard);
    free(l->offset);
    free(l->bytes);
    free(l->shard_bytes);
    free(l->header_bytes);
    free(l->first);
    *l = (struct shard_layout){0};
}

void shard_name(char out[64], uint32_t shard, uint32_t n_shards)
{
    if (n_shards == 1) snprintf(out, 64, "model.safetensors");
    else snprintf(out, 64, "model-%05u-of-%05u.safetensors", shard + 1, n_shards);
}

bool safetensors_put_string(struct text *t, const char *s, struct error *err)
{
    CLEANUP(json) json_t *j = json_string(s);
    if (!j) return error_set(err, ERR_FORMAT, "tensor name '%.256s' is not valid UTF-8", s);
    CLEANUP(free) char *quoted = json_dumps(j, JSON_ENCODE_ANY);
    if (!quoted) return error_memory(err, strlen(s));
    text_put(t, quoted, strlen(quoted));
    return true;
}

void safetensors_order(const struct shard_layout *l, uint32_t shard, uint32_t *order)
{
    uint32_t n = 0;
    for (uint64_t align = 64; align; align /= 2)
        for (uint32_t i = l->first[shard]; i < l->first[shard + 1]; i++) {
            bool fits = l->bytes[i] % align == 0, fits_better = align < 64 && l->bytes[i] % (2 * align) == 0;
            if (fits && !fits_better) order[n++] = i;
        }
}

static bool put_metadata(struct text *t, const json_t *metadata, struct error *err)
{
    CLEANUP(free) char *json = NULL;
    if (metadata && !json_canonical(metadata, &json, NULL, err)) return false;
    text_add(t, "{\"__metadata__\":%s", json ? json : "{\"format\":\"pt\"}");
    return true;
}

bool safetensors_make_header(struct text *t, const struct tensor_spec *specs, const struct shard_layout *l,
                             const uint32_t *order, uint32_t n, const json_t *metadata, struct error *err)
{
    static const char eight[8] = "", space[64] = "                                                                ";
    text_put(t, eight, sizeof eight);
    if (!put_metadata(t, metadata, err)) return false;
    for (uint32_t k = 0; k < n; k++) {
        const struct tensor_spec *s = &specs[order[k]];
        unsigned long long start = l->offset[order[k]], end = start + l->bytes[order[k]];
        text_put(t, ",", 1);
        if (!safetensors_put_string(t, s->name, err)) return false;
        text_add(t, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(s->dtype));
        for (uint32_t d = 0; d < s->n_dims; d++) text_add(t, "%s%llu", d ? "," : "", (unsigned long long)s->dims[d]);
        text_add(t, "],\"data_offsets\":[%llu,%llu]}", start, end);
    }
    text_put(t, "}", 1);
    while (t->size % DATA_ALIGN != 0 && !t->failed) {
        size_t missing = DATA_ALIGN - t->size % DATA_ALIGN;
        text_put(t, space, missing < sizeof space ? missing : sizeof space);
    }
    if (t->failed) return error_memory(err, t->size);
    if (t->size - 8 > SAFETENSORS_HEADER_MAX)
        return error_set(err, ERR_UNSUPPORTED,
                         "a shard with %u tensors would need a header of %zu bytes, at most %u are allowed;"
                         " use smaller shards",
                         n, t->size - 8, SAFETENSORS_HEADER_MAX);
    store_le64((uint8_t *)t->data, t->size - 8);
    return true;
}

/* Sizes, and which shard each tensor goes to. */
static bool assign_shards(struct shard_layout *l, const struct tensor_spec *specs, uint64_t shard_bytes,
                          struct error *err)
{
    uint64_t n_elems, used = 0, total = 0;
    for (uint32_t i = 0; i < l->n_tensors; i++) {
        if (!tensor_size(specs[i].name, specs[i].dtype, specs[i].n_dims, specs[i].dims, &n_elems, &l->bytes[i], err))
            return false;
        /* Half of the 64 bits: file offsets are signed. */
        if (!u64_add(total, l->bytes[i], &total) || total > INT64_MAX / 2)
            return error_set(err, ERR_FORMAT, "tensor '%.256s': the tensors together are too large for any file",
                             specs[i].name);
        bool empty = i == l->first[l->n_shards - 1];
        if (!empty && (used > shard_bytes || l->bytes[i] > shard_bytes - used)) {
            l->first[l->n_shards++] = i;
            used = 0;
        }
        l->shard[i] = l->n_shards - 1;
        used += l->bytes[i];
    }
    l->first[l->n_shards] = l->n_tensors;
    return true;
}

static bool place_shard(struct shard_layout *l, const struct tensor_spec *specs, uint32_t shard, uint32_t *order,
                        struct error *err)
{
    uint32_t n = l->first[shard + 1] - l->first[shard];
    uint64_t at = 0;
    safetensors_order(l, shard, order);
    for (uint32_t k = 0; k < n; k++) {
        l->offset[order[k]] = at;
        at += l->bytes[order[k]];
    }
    __attribute__((cleanup(cleanup_text))) struct text header = TEXT_INIT;
    if (!safetensors_make_header(&header, specs, l, order, n, NULL, err)) return false;
    l->header_bytes[shard] = header.size;
    l->shard_bytes[shard] = header.size + at;
    return true;
}

static bool make(struct shard_layout *l, const struct tensor_spec *specs, uint32_t n, uint64_t shard_bytes,
                 struct error *err)
{
    size_t room = (size_t)n + 2;
    l->n_tensors = n;
    l->n_shards = 1;
    l->shard = calloc(room, sizeof *l->shard);
    l->offset = calloc(room, sizeof *l->offset);
    l->bytes = calloc(room, sizeof *l->bytes);
    l->shard_bytes = calloc(room, sizeof *l->shard_bytes);
    l->header_bytes = calloc(room, sizeof *l->header_bytes);
    l->first = calloc(room, sizeof *l->first);
    CLEANUP(free) uint32_t *order = calloc(room, sizeof *order);
    if (!l->shard || !l->offset || !l->bytes || !l->shard_bytes || !l->header_bytes || !l->first || !order)
        return error_memory(err, room * 44);
    if (!assign_shards(l, specs, shard_bytes, err)) return false;
    for (uint32_t s = 0; s < l->n_shards; s++)
        if (!place_shard(l, specs, s, order, err)) return false;
    return true;
}

static bool names_unique(const struct tensor_spec *specs, uint32_t n, struct error *err)
{
    struct name_index ix;
    CLEANUP(free) const char **names = malloc((n ? n : 1) * sizeof *names);
    if (!names) return error_memory(err, n * sizeof *names);
    for (uint32_t i = 0; i < n; i++) names[i] = specs[i].name;
    if (!name_index_build(&ix, names, n, "output tensors", err)) return false;
    name_index_free(&ix);
    return true;
}

bool shard_layout_make(struct shard_layout *out, const struct tensor_spec *specs, uint32_t n, uint64_t shard_bytes,
                       struct error *err)
{
    *out = (struct shard_layout){0};
    if (n > TENSORS_MAX)
        return error_set(err, ERR_UNSUPPORTED, "%u output tensors, at most %u are possible", n, TENSORS_MAX);
    if (names_unique(specs, n, err) && make(out, specs, n, shard_bytes, err)) return true;
    shard_layout_free(out);
    return false;
}
