#include "cli/source_files.h"

#include "formats/folder.h"

struct hashing {
    const struct folder *folder;
    const struct progress *progress;
    struct digest *digests;
};

static bool hash_one(void *ctx, uint64_t item, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct hashing *h = ctx;
    uint32_t member = (uint32_t)item;
    int fd;
    uint64_t at;
    return progress_go_on(h->progress, err) && folder_place(h->folder, member, &fd, &at, err) &&
           sha256_of_file(fd, folder_name(h->folder, member), at, folder_size(h->folder, member), &h->digests[item],
                          err);
}

bool source_files(const struct command_env *env, const char *folder, json_t **out, struct error *err)
{
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(json) json_t *list = json_array();
    if (!list) return error_memory(err, 0);
    if (!folder_open(&f, folder, err)) return false;
    uint32_t n = folder_count(f);
    CLEANUP(free) struct digest *digests = calloc(n + 1u, sizeof *digests);
    if (!digests) return error_memory(err, n * sizeof *digests);
    struct hashing h = {.folder = f, .progress = env->progress, .digests = digests};
    progress_update(env->progress, "attest", "digests of the original", 0, 0);
    if (!pool_try(env->pool, n, hash_one, &h, err)) return false;
    for (uint32_t i = 0; i < n; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&digests[i], hex);
        json_t *j = json_pack("{s:s,s:I,s:s}", "name", folder_name(f, i), "bytes", (json_int_t)folder_size(f, i),
                              "sha256", hex);
        if (json_array_append_new(list, j) != 0) return error_memory(err, 0);
    }
    *out = take_ptr(&list);
    return true;
}
