/* A file of tensors. What the reader takes must be what the format promises: ranges that cover the data exactly, every
 * tensor found by its name, every byte readable. */
#include "formats/checkpoint.h"
#include "tests/fuzz/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct checkpoint *ck, uint64_t file_bytes)
{
    uint64_t sum = 0, end = 0;
    for (uint32_t i = 0; i < checkpoint_count(ck); i++) {
        const struct tensor_info *t = checkpoint_tensor(ck, i);
        uint64_t n_elems, bytes;
        uint8_t byte;
        struct error e = ERROR_INIT;
        if (!tensor_size(t->name, t->dtype, t->n_dims, t->dims, &n_elems, &bytes, &e)) abort();
        if (bytes != t->bytes || n_elems != t->n_elems || checkpoint_find(ck, t->name) != i) abort();
        if (i > 0 && t->offset != end) abort();
        end = t->offset + t->bytes;
        sum += bytes;
        if (bytes && !checkpoint_read(ck, i, bytes - 1, &byte, 1, &e)) abort();
        if (checkpoint_read(ck, i, bytes, &byte, 1, &e)) abort();
    }
    if (sum != checkpoint_bytes(ck) || end > file_bytes || (checkpoint_count(ck) && end != file_bytes)) abort();
}

static void read_file(const void *data, size_t size)
{
    struct error e = ERROR_INIT;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    scratch_put("model.safetensors", data, size);
    if (!folder_open(&f, scratch_folder(), &e)) abort();
    if (checkpoint_open(&ck, f, &e)) check(ck, size);
    else if (e.code != ERR_FORMAT && e.code != ERR_UNSUPPORTED) abort();
}

/* As it is; and, because hardly any change leaves the length field right, what stands before a byte 0x1e as a header with
 * the right length, what stands behind it as data. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_file(data, size);
    const uint8_t *end = size ? memchr(data, 0x1e, size) : NULL;
    CLEANUP(free) uint8_t *file = end ? malloc(size + 7) : NULL;
    if (!file) return 0;
    size_t n = (size_t)(end - data);
    store_le64(file, n);
    memcpy(file + 8, data, n);
    memcpy(file + 8 + n, end + 1, size - n - 1);
    read_file(file, size + 7);
    return 0;
}

#include "tests/fuzz/replay.h"
