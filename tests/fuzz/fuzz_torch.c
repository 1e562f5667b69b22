/* A PyTorch file as a folder and as a checkpoint: what opens must hold what the format promises, and every element of
 * every tensor must be readable, in whole and in parts, with the same bytes. */
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
    uint32_t elem = dtype_bytes(t->dtype);
    uint8_t one[16];
    if (checkpoint_find(ck, t->name) != i) abort();
    if (checkpoint_read(ck, i, t->bytes, one, 1, &e)) abort();
    if (t->bytes == 0 || t->bytes > WHOLE_MAX) return;
    CLEANUP(free) uint8_t *whole = malloc(t->bytes);
    if (!whole || !checkpoint_read(ck, i, 0, whole, t->bytes, &e)) abort();
    for (uint64_t at = 0; at < t->bytes; at += (t->bytes / elem / 16 + 1) * elem)
        if (!checkpoint_read(ck, i, at, one, elem, &e) || memcmp(one, whole + at, elem) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    scratch_put("pytorch_model.bin", data, size);
    if (!folder_open(&f, scratch_folder(), &e)) abort();
    if (!checkpoint_open(&ck, f, &e)) {
        check_code(&e);
        return 0;
    }
    for (uint32_t i = 0; i < checkpoint_count(ck); i++) check_tensor(ck, i);
    if (!checkpoint_check_sums(ck, &e)) check_code(&e);
    return 0;
}

#include "tests/fuzz/replay.h"
