/* A NeMo archive as a folder and as a checkpoint: the tar, model_config.yaml, and in it one of torch.save's files, the
 * metadata of a distributed checkpoint with its parts, or zarr's headers and chunks. Every tensor must be readable. */
#include "formats/checkpoint.h"
#include "tests/fuzz/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WHOLE_MAX ((uint64_t)1 << 20)

static void check_code(const struct error *e)
{
    if (e->code != ERR_FORMAT && e->code != ERR_UNSUPPORTED) abort();
}

static void check_tensor(const struct checkpoint *ck, uint32_t i)
{
    const struct tensor_info *t = checkpoint_tensor(ck, i);
    struct error e = ERROR_INIT;
    uint8_t one[16];
    if (checkpoint_find(ck, t->name) != i) abort();
    if (t->bytes == 0 || t->bytes > WHOLE_MAX) return;
    uint32_t elem = dtype_bytes(t->dtype);
    CLEANUP(free) uint8_t *whole = malloc(t->bytes);
    if (!whole || !checkpoint_read(ck, i, 0, whole, t->bytes, &e)) abort();
    if (!checkpoint_read(ck, i, t->bytes - elem, one, elem, &e) || memcmp(one, whole + t->bytes - elem, elem)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    scratch_put("m.nemo", data, size);
    if (!folder_open(&f, scratch_folder(), &e)) {
        check_code(&e);
        return 0;
    }
    if (!checkpoint_open(&ck, f, &e)) {
        check_code(&e);
        return 0;
    }
    for (uint32_t i = 0; i < checkpoint_count(ck); i++) check_tensor(ck, i);
    if (!checkpoint_check_sums(ck, &e)) check_code(&e);
    return 0;
}

#include "tests/fuzz/replay.h"
