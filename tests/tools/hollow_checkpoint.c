/* hollow_checkpoint FOLDER: writes the weights that FOLDER/config.json calls for as one safetensors file with a header and a
 * hole in place of all numbers, all bf16: models of any size to plan with. */
#include "core/file.h"
#include "core/text.h"
#include "formats/checkpoint.h"
#include "models/expected.h"

#include <fcntl.h>
#include <stdio.h>

struct list { struct text header; uint64_t offset; };

static bool add(void *ctx, const struct expected_tensor *t, struct error *err)
{
    struct list *l = ctx;
    uint64_t n, bytes;
    if (!tensor_size(t->name, DTYPE_BF16, t->n_dims, t->dims, &n, &bytes, err)) return false;
    text_add(&l->header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[", l->offset ? "," : "", t->name);
    for (uint32_t d = 0; d < t->n_dims; d++) text_add(&l->header, "%s%llu", d ? "," : "", (unsigned long long)t->dims[d]);
    text_add(&l->header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)l->offset, (unsigned long long)(l->offset + bytes));
    l->offset += bytes;
    return true;
}

static bool run(const char *folder, struct error *err)
{
    char path[4096];
    CLEANUP_BUFFER struct buffer text = {0};
    struct hf_config hf = {0};
    struct model_config cfg;
    struct list l = {.header = TEXT_INIT};
    struct arena *arena = arena_new();
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (!file_load(AT_FDCWD, path, 1u << 20, &text, err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_HF, path, &hf.config, err) || !model_config_read(&cfg, &hf, arena, err))
        return false;
    text_add(&l.header, "{");
    if (!model_expect(&cfg, arena, add, &l, err)) return false;
    text_add(&l.header, "}");
    while (l.header.size % 8) text_add(&l.header, " ");
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *f = fopen(path, "wb");
    uint8_t size[8];
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)l.header.size >> (8 * i));
    bool ok = f && fwrite(size, 8, 1, f) == 1 && fwrite(l.header.data, l.header.size, 1, f) == 1 && fflush(f) == 0 &&
              ftruncate(fileno(f), (off_t)(8 + l.header.size + l.offset)) == 0;
    if (f) fclose(f);
    text_free(&l.header);
    json_decref(hf.config);
    arena_free(arena);
    return ok || error_set_errno(err, "%s", path);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    if (argc == 2 && run(argv[1], &err)) return 0;
    fprintf(stderr, "%s\n", argc == 2 ? err.text : "usage: hollow_checkpoint FOLDER");
    return 1;
}
