/* Megatron's containers as one format of checkpoints. */
#include "formats/megatron.h"

#include "core/text.h"

static bool probe(const struct folder *f)
{
    return mega_dist_probe(f) || mega_zarr_probe(f) || mega_shards_probe(f);
}

/* "0", "0.1", "12.0.3": a chunk of zarr. */
static bool is_chunk(const char *base)
{
    return *base && strspn(base, "0123456789.") == strlen(base);
}

bool mega_is_weights(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    return strcmp(base, ".metadata") == 0 || strcmp(base, ".zarray") == 0 || text_ends_with(base, ".distcp") ||
           strcmp(base, "common.pt") == 0 || (slash && is_chunk(base));
}

static bool read_arrays(struct mega_set *s, const struct folder *f, struct checkpoint *ck, const struct mega_config *c,
                        struct error *err)
{
    if (mega_dist_probe(f)) return mega_dist_read(s, f, ck, err);
    return mega_zarr_probe(f) ? mega_zarr_read(s, f, ck, err) : mega_shards_read(s, f, ck, c, err);
}

bool mega_embedding_rows(const struct folder *f, uint64_t *out, struct error *err)
{
    struct mega_set s = {.arena = arena_new()};
    *out = 0;
    if (!s.arena) return error_memory(err, 0);
    bool ok = !probe(f) || read_arrays(&s, f, NULL, NULL, err);
    for (uint32_t i = 0; ok && i < s.n; i++)
        if (strcmp(s.arrays[i].name, "embedding.word_embeddings.weight") == 0 && s.arrays[i].n_dims == 2)
            *out = s.arrays[i].dims[0];
    mega_set_free(&s);
    return ok;
}

static bool open_megatron(struct checkpoint *ck, struct error *err)
{
    struct mega_set s = {.arena = arena_new()};
    struct mega_config c;
    const struct folder *f = checkpoint_folder(ck);
    if (!s.arena) return error_memory(err, 0);
    bool ok = mega_config_read(f, &c, err);
    ok = ok && read_arrays(&s, f, ck, &c, err) && mega_add_all(ck, &s, &c, err);
    mega_set_free(&s);
    return ok;
}

const struct checkpoint_format checkpoint_megatron = {.name = "megatron", .probe = probe, .open = open_megatron};
