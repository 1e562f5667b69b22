/* The index of a sharded checkpoint, beside two sound shards. What is taken must name every tensor where it is. */
#include "formats/checkpoint.h"
#include "tests/fuzz/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One byte-sized tensor for every letter. */
static void put_shard(const char *name, const char *letters)
{
    char file[1024], *p = file + 8;
    size_t n = strlen(letters);
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, "%c\"%c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", i ? ',' : '{', letters[i], i, i + 1);
    *p++ = '}';
    store_le64((uint8_t *)file, (size_t)(p - file) - 8);
    memcpy(p, letters, n);
    scratch_put(name, file, (size_t)(p - file) + n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready) {
        put_shard("model-00001-of-00002.safetensors", "ab");
        put_shard("model-00002-of-00002.safetensors", "c");
        ready = true;
    }
    struct error e = ERROR_INIT;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    scratch_put("model.safetensors.index.json", data, size);
    if (!folder_open(&f, scratch_folder(), &e)) abort();
    if (!checkpoint_open(&ck, f, &e)) {
        if (e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED) abort();
        return 0;
    }
    uint32_t n;
    checkpoint_files(ck, &n);
    if (n != 2 || checkpoint_count(ck) != 3 || checkpoint_bytes(ck) != 3) abort();
    if (checkpoint_find(ck, "a") != 0 || checkpoint_find(ck, "b") != 1 || checkpoint_find(ck, "c") != 2) abort();
    /* It must name both files and every tensor, however it spells them: nothing shorter can be complete. */
    if (size < strlen("{\"weight_map\":{\"a\":\"\",\"b\":\"\",\"c\":\"\"}}") + 3 * 32) abort();
    return 0;
}

#include "tests/fuzz/replay.h"
