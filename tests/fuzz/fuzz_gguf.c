/* A GGUF file as a folder and as a checkpoint: what opens must hold what the format promises, and every made file and
 * every tensor must be readable. */
#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "formats/gguf_folder.h"
#include "tests/fuzz/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_code(const struct error *e)
{
    if (e->code != ERR_FORMAT && e->code != ERR_UNSUPPORTED) abort();
}

static void check_header(const struct gguf *g, uint64_t file_bytes)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        if (t->offset < end || t->offset + t->bytes > file_bytes || gguf_find_tensor(g, t->name) != t) abort();
        end = t->offset + t->bytes;
    }
    for (uint32_t i = 0; i < g->n_values; i++) {
        struct error e = ERROR_INIT;
        const struct gguf_value *v = &g->values[i];
        struct bytes text;
        uint64_t n;
        double x;
        size_t at = 0;
        if (strncmp(v->key, "%s", 2) != 0 && gguf_find(g, v->key) != v) abort(); /* %s: the name of the architecture */
        for (uint64_t k = 0; k < v->n; k++)
            if (v->type == GGUF_STRING) {
                if (!gguf_next_text(v, &at, &text, &e)) break;
            } else if (gguf_u64_at(v, k, UINT64_MAX, &n, &e) != gguf_number_at(v, k, &x, &e) && v->type == GGUF_U64)
                abort();
        if (gguf_u64_at(v, v->n, UINT64_MAX, &n, &e)) abort();
    }
}

static void check_tensors(const struct checkpoint *ck)
{
    for (uint32_t i = 0; i < checkpoint_count(ck); i++) {
        const struct tensor_info *t = checkpoint_tensor(ck, i);
        struct error e = ERROR_INIT;
        float last;
        size_t n = t->bytes < sizeof last ? (size_t)t->bytes : sizeof last;
        if (checkpoint_find(ck, t->name) != i) abort();
        if (!checkpoint_read(ck, i, t->bytes - n, &last, n, &e) && e.code != ERR_FORMAT) abort();
        if (checkpoint_read(ck, i, t->bytes, &last, 1, &e)) abort();
    }
}

static void check_made(const struct folder *f)
{
    for (uint32_t i = 0; i < folder_count(f); i++) {
        struct error e = ERROR_INIT;
        CLEANUP_BUFFER struct buffer b = {0};
        if (!folder_load(f, folder_name(f, i), (size_t)1 << 30, &b, &e)) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error e = ERROR_INIT;
    CLEANUP(folder) struct folder *f = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    CLEANUP(gguf) struct gguf *g = NULL;
    scratch_put("m.gguf", data, size);
    if (!folder_open(&f, scratch_folder(), &e)) {
        check_code(&e);
        return 0;
    }
    check_made(f);
    if (!gguf_open(&g, f, &e)) abort(); /* it has been opened for the files that are made of it */
    check_header(g, size);
    if (checkpoint_open(&ck, f, &e)) check_tensors(ck);
    else check_code(&e);
    return 0;
}

#include "tests/fuzz/replay.h"
