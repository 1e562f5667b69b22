#include "cli/inspect_bundle.h"

#include "cli/commands.h"
#include "cli/inspect_files.h"
#include "cli/inspect_values.h"
#include "core/memory.h"
#include "formats/checkpoint.h"

#define CONFIG_BYTES_MAX_HERE ((size_t)32 << 20)

struct bundle {
    struct folder *folder;
    json_t **rows; /* [members] */
    struct pool *pool;
    uint64_t isa;
    const struct progress *pr;
};

static bool is_safetensors(const char *name)
{
    const char *end = strrchr(name, '.');
    return end && strcmp(end, ".safetensors") == 0;
}

/* ---- one file ---- */

static bool describe_tensors(const struct bundle *b, uint32_t member, json_t *row, struct error *err)
{
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    CLEANUP(json) json_t *types = json_object();
    uint64_t elems = 0, bytes[DTYPE_COUNT] = {0};
    if (!types) return error_memory(err, 0);
    if (!checkpoint_open_member(&ck, b->folder, member, err)) return false;
    for (uint32_t i = 0; i < checkpoint_count(ck); i++) {
        const struct tensor_info *t = checkpoint_tensor(ck, i);
        elems += t->n_elems;
        bytes[t->dtype] += t->bytes;
    }
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (bytes[t] && !json_put(types, dtype_name((enum dtype)t), json_integer((json_int_t)bytes[t]), err))
            return false;
    return json_put(row, "tensors", json_integer(checkpoint_count(ck)), err) &&
           json_put(row, "elements", json_integer((json_int_t)elems), err) &&
           json_put(row, "types", json_incref(types), err) && (!b->isa || inspect_stored_values(ck, NULL, b->isa, err));
}

static bool describe_file(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct bundle *b = ctx;
    uint32_t member = (uint32_t)i;
    const char *name = folder_name(b->folder, member);
    struct digest d;
    char hex[DIGEST_HEX_SIZE];
    int fd;
    uint64_t at, size = folder_size(b->folder, member);
    if (!progress_go_on(b->pr, err) || !folder_place(b->folder, member, &fd, &at, err) ||
        !sha256_of_file(fd, name, at, size, &d, err))
        return false;
    digest_hex(&d, hex);
    b->rows[i] = json_pack("{s:s,s:I,s:s}", "file", name, "bytes", (json_int_t)size, "sha256", hex);
    if (!b->rows[i]) return error_memory(err, 0);
    return !is_safetensors(name) || describe_tensors(b, member, b->rows[i], err);
}

/* ---- all of them ---- */

/* What the folder says it is: the pipeline or class of its topmost configuration. */
static json_t *declared_class(const struct folder *f)
{
    static const char *const files[] = {"model_index.json", "config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        CLEANUP_BUFFER struct buffer text = {0};
        CLEANUP(json) json_t *doc = NULL;
        struct error ignored = ERROR_INIT;
        if (folder_find(f, files[i]) == NAME_NONE ||
            !folder_load(f, files[i], CONFIG_BYTES_MAX_HERE, &text, &ignored) ||
            !json_parse(buffer_view(&text), JSON_DIALECT_HF, files[i], &doc, &ignored))
            continue;
        json_t *name = json_object_get(doc, "_class_name");
        if (!name) name = json_array_get(json_object_get(doc, "architectures"), 0);
        if (!name) name = json_object_get(doc, "model_type");
        if (json_is_string(name)) return json_incref(name);
    }
    return json_null();
}

static bool summarize(const struct bundle *b, json_t **out, struct error *err)
{
    uint64_t bytes = 0, elems = 0, tensors = 0;
    uint32_t n = folder_count(b->folder), n_weights = 0;
    CLEANUP(json) json_t *files = json_array();
    if (!files) return error_memory(err, 0);
    for (uint32_t i = 0; i < n; i++) {
        bytes += folder_size(b->folder, i);
        elems += (uint64_t)json_integer_value(json_object_get(b->rows[i], "elements"));
        tensors += (uint64_t)json_integer_value(json_object_get(b->rows[i], "tensors"));
        n_weights += is_safetensors(folder_name(b->folder, i)) || checkpoint_is_weights(folder_name(b->folder, i));
        if (json_array_append(files, b->rows[i]) != 0) return error_memory(err, 0);
    }
    if (n_weights == 0)
        return error_set(err, ERR_FORMAT, "folder '%.512s' holds no file of weights", folder_path(b->folder));
    *out = json_pack("{s:s,s:o,s:I,s:I,s:I,s:I,s:O}", "schema", "ingot.inspect-bundle/1", "class",
                     declared_class(b->folder), "parameters", (json_int_t)elems, "tensors", (json_int_t)tensors,
                     "bytes", (json_int_t)bytes, "weight_files", (json_int_t)n_weights, "files", files);
    return *out ? inspect_files(b->folder, *out, err) : error_memory(err, 0);
}

bool inspect_bundle_json(const char *path, struct pool *pool, uint64_t isa, const struct progress *pr, json_t **out,
                         struct error *err)
{
    struct bundle b = {.pool = pool, .isa = isa, .pr = pr};
    if (!folder_open(&b.folder, path, err)) return false;
    uint32_t n = folder_count(b.folder);
    bool ok = memory_zalloc(&b.rows, n, sizeof *b.rows, err) && pool_try(pool, n, describe_file, &b, err) &&
              summarize(&b, out, err);
    for (uint32_t i = 0; b.rows && i < n; i++) json_decref(b.rows[i]);
    free(b.rows);
    folder_close(b.folder);
    return ok;
}

void inspect_bundle_print(const json_t *doc)
{
    char text[32];
    const char *class = json_string_value(json_object_get(doc, "class")), *type;
    size_t i;
    json_t *row, *n;
    text_bytes(text, (unsigned long long)json_integer_value(json_object_get(doc, "bytes")));
    print_text("%s, bundled only: %lld parameters in %lld tensors, %lld files of weights, %s\n\n",
               class ? class : "no declared class", (long long)json_integer_value(json_object_get(doc, "parameters")),
               (long long)json_integer_value(json_object_get(doc, "tensors")),
               (long long)json_integer_value(json_object_get(doc, "weight_files")), text);
    json_array_foreach (json_object_get(doc, "files"), i, row) {
        text_bytes(text, (unsigned long long)json_integer_value(json_object_get(row, "bytes")));
        print_text("%.16s %12s  %s", json_string_value(json_object_get(row, "sha256")), text,
                   json_string_value(json_object_get(row, "file")));
        if ((n = json_object_get(row, "tensors"))) print_text("  %lld tensors,", (long long)json_integer_value(n));
        json_object_foreach (json_object_get(row, "types"), type, n) print_text(" %s", type);
        print_text("\n");
    }
}
