/* A model as one GGUF file. */
#include "convert/cast.h"
#include "convert/convert.h"
#include "core/memory.h"
#include "formats/gguf_write.h"

#include <math.h>

struct job {
    const struct model *m;
    const struct convert_options *opt;
    const struct gguf_arch *arch;
    struct gguf_writer *w;
    struct arena *arena;
    struct convert_item *items;
    uint32_t *parts; /* of all items, one behind the other */
    uint32_t n_items, n_parts, n_made;
    enum dtype type; /* of the matrices */
    uint64_t heads, kv_heads;
    struct file_out file;
    struct error *err;
};

/* ---- which tensors ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* llama.cpp wants everything with one dimension, norms, routers and convolutions in F32. */
static enum dtype target_type(const struct job *j, const struct gguf_name *n, const struct tensor_info *t)
{
    if (t->n_dims <= 1 || n->f32 || n->change >= GGUF_PLUS_ONE || ends_with(n->gguf, "_norm.weight")) return DTYPE_F32;
    /* Rows that are not whole blocks: as llama.cpp's converter has it. */
    if (j->type == DTYPE_Q8_0 && t->dims[t->n_dims - 1] % dtype_block_elems(DTYPE_Q8_0)) return DTYPE_F16;
    return j->type;
}

static bool interleave(const struct job *j, const struct gguf_name *n, const struct tensor_info *t, uint64_t *out)
{
    uint64_t heads = n->change == GGUF_ROPE_Q ? j->heads : j->kv_heads;
    if (n->change != GGUF_ROPE_Q && n->change != GGUF_ROPE_K) return true;
    *out = heads ? t->dims[0] / heads : 0;
    if (heads && t->dims[0] % heads == 0 && *out % 2 == 0 && *out) return true;
    return error_set(j->err, ERR_FORMAT, "tensor '%.256s': rows do not divide into heads of an even size", t->name);
}

/* GGUF's shape of a tensor of the folder. */
static uint32_t gguf_shape(const struct gguf_writer *w, const struct gguf_name *n, const struct tensor_info *t,
                           uint64_t groups, uint64_t dims[GGUF_DIMS_MAX])
{
    (void)w;
    memcpy(dims, t->dims, GGUF_DIMS_MAX * sizeof *dims);
    switch (n->change) {
    case GGUF_NEG_EXP:
    case GGUF_COLUMN: dims[1] = 1; return 2;
    case GGUF_GROUPS:
        dims[0] = groups;
        dims[1] = t->dims[0] / groups;
        return 2;
    case GGUF_CONV: dims[1] = t->dims[2]; return 2;
    default: return t->n_dims;
    }
}

static bool start_item(struct job *j, const struct gguf_name *n, uint32_t block, uint32_t source)
{
    const struct tensor_info *t = checkpoint_tensor(j->m->checkpoint, source);
    struct convert_item *it = &j->items[j->n_items];
    char *name = gguf_name_fill(j->arena, n->gguf, n->mtp ? (uint32_t)gguf_trunk_layers(j->w) : block, 0);
    if (!name) return error_memory(j->err, 0);
    if (t->n_dims == 0 || t->n_dims > 3)
        return error_set(j->err, ERR_UNSUPPORTED, "tensor '%.256s' has %u dimensions", t->name, t->n_dims);
    uint64_t cols = t->n_dims == 1 ? t->dims[0] : t->dims[t->n_dims - 1];
    *it = (struct convert_item){.parts = j->parts + j->n_parts,
                                .part_rows = cols ? t->n_elems / cols : 0,
                                .cols = cols,
                                .from = t->dtype,
                                .to = target_type(j, n, t),
                                .change = n->change == GGUF_PLUS_ONE  ? CAST_PLUS_ONE
                                          : n->change == GGUF_NEG_EXP ? CAST_NEG_EXP
                                                                      : CAST_SAME,
                                .name = name};
    if (!interleave(j, n, t, &it->interleave)) return false;
    if (it->interleave && t->n_dims == 1) it->part_rows = t->dims[0], it->cols = 1;
    if (!cast_possible(it->from, it->to))
        return error_set(j->err, ERR_UNSUPPORTED, "tensor '%.256s' is stored as %s, which cannot become %s here",
                         t->name, dtype_name(it->from), dtype_name(it->to));
    j->n_items++;
    return true;
}

/* Experts come in order, so that a stack grows by one at its end. */
static bool add_source(struct job *j, const struct model_tensor *mt)
{
    uint32_t block, expert;
    const struct gguf_name *n = gguf_name_match_hf(j->arch, mt->name, &block, &expert);
    if (!n)
        return error_set(j->err, ERR_UNSUPPORTED, "tensor '%.256s' has no place in GGUF's %s", mt->name, j->arch->name);
    if ((expert == NAME_NONE || expert == 0) && !start_item(j, n, block, mt->parts[PART_WEIGHT])) return false;
    struct convert_item *it = &j->items[j->n_items - 1];
    const struct tensor_info *t = checkpoint_tensor(j->m->checkpoint, mt->parts[PART_WEIGHT]);
    if (it->n_parts != (expert == NAME_NONE ? 0 : expert) || t->dtype != it->from)
        return error_set(j->err, ERR_UNSUPPORTED, "tensor '%.256s': the experts of one layer differ in type or order",
                         mt->name);
    j->parts[j->n_parts++] = mt->parts[PART_WEIGHT];
    it->n_parts++;
    it->rows = it->n_parts * it->part_rows;
    return true;
}

static bool announce(struct job *j, uint32_t i)
{
    const struct convert_item *it = &j->items[i];
    const struct tensor_info *t = checkpoint_tensor(j->m->checkpoint, it->parts[0]);
    uint32_t block, expert, n_dims;
    uint64_t dims[GGUF_DIMS_MAX] = {0}, shape[GGUF_DIMS_MAX] = {0};
    const struct gguf_name *n = gguf_name_match_hf(j->arch, t->name, &block, &expert);
    uint64_t groups = j->m->inventory->config.ssm.n_groups;
    n_dims = gguf_shape(j->w, n, t, groups ? groups : 1, dims);
    if (expert != NAME_NONE) {
        shape[0] = it->n_parts;
        memcpy(shape + 1, dims, 2 * sizeof *dims);
        return gguf_add_tensor(j->w, it->name, ggml_type_of(it->to), 3, shape, j->err);
    }
    return gguf_add_tensor(j->w, it->name, ggml_type_of(it->to), n_dims, dims, j->err);
}

static bool collect(struct job *j)
{
    const struct inventory *inv = j->m->inventory;
    j->items = arena_alloc(j->arena, inv->n_tensors + 1, sizeof *j->items);
    j->parts = arena_alloc(j->arena, inv->n_tensors + 1, sizeof *j->parts);
    if (!j->items || !j->parts) return error_memory(j->err, inv->n_tensors * sizeof *j->items);
    for (uint32_t i = 0; i < inv->n_tensors; i++)
        if (!add_source(j, &inv->tensors[i])) return false;
    j->n_made = gguf_made_count(j->w);
    for (uint32_t i = 0; i < j->n_made; i++) {
        const char *name;
        uint64_t n;
        (void)gguf_made(j->w, i, &name, &n);
        if (!gguf_add_tensor(j->w, name, ggml_type_of(DTYPE_F32), 1, &n, j->err)) return false;
    }
    for (uint32_t i = 0; i < j->n_items; i++)
        if (!announce(j, i)) return false;
    return true;
}

/* ---- what the file says ---- */

static bool chat_template(const struct job *j, struct buffer *text, struct bytes *out)
{
    const struct folder *f = j->m->folder;
    const json_t *t = json_object_get(j->m->hf.tokenizer_config, "chat_template");
    if (folder_find(f, "chat_template.jinja") != NAME_NONE) {
        if (!folder_load(f, "chat_template.jinja", CONFIG_BYTES_MAX, text, j->err)) return false;
        *out = buffer_view(text);
    } else if (json_is_string(t)) {
        *out = bytes_of(json_string_value(t), json_string_length(t));
    }
    return true;
}

static bool put_vocab(const struct job *j)
{
    CLEANUP_BUFFER struct buffer json = {0};
    CLEANUP_BUFFER struct buffer text = {0};
    struct gguf_vocab_source s = {.config = j->m->hf.config, .tokenizer_config = j->m->hf.tokenizer_config};
    if (!j->opt->no_tokenizer) {
        if (folder_find(j->m->folder, "tokenizer.json") == NAME_NONE)
            return error_set(j->err, ERR_UNSUPPORTED,
                             "folder '%.256s' has no tokenizer.json: --no-tokenizer leaves the tokenizer out",
                             folder_path(j->m->folder));
        if (!folder_load(j->m->folder, "tokenizer.json", (size_t)64 << 20, &json, j->err) ||
            !chat_template(j, &text, &s.chat_template))
            return false;
        s.json = buffer_view(&json);
    }
    return gguf_write_vocab(j->w, &s, j->m->inventory->config.dims[DIM_VOCAB], j->err);
}

static bool describe(struct job *j)
{
    const json_t *config = j->m->hf.config;
    const struct ggml_type *type = ggml_type_of(j->type);
    if (!type)
        return error_set(j->err, ERR_UNSUPPORTED, "matrices stored as %s are not written as GGUF: name a --type",
                         dtype_name(j->type));
    gguf_put_text(j->w, "general.type", bytes_text("model"));
    gguf_put_u32(j->w, "general.file_type", 0);
    gguf_put_u32(j->w, "general.quantization_version", 2);
    j->heads = j->m->inventory->config.attention.n_heads;
    j->kv_heads = j->m->inventory->config.attention.n_kv_heads;
    return gguf_write_config(j->w, config, j->err) && put_vocab(j);
}

/* ---- writing ---- */

static bool write_item(void *ctx, uint32_t item, uint64_t offset, const void *data, size_t n, struct error *err)
{
    struct job *j = ctx;
    return file_out_write_at(&j->file, gguf_tensor_place(j->w, j->n_made + item) + offset, data, n, err);
}

static bool write_all(struct job *j, struct bytes header, const struct progress *pr)
{
    if (!file_out_write_at(&j->file, 0, header.data, header.size, j->err)) return false;
    for (uint32_t i = 0; i < j->n_made; i++) {
        const char *name;
        uint64_t n;
        const float *v = gguf_made(j->w, i, &name, &n);
        if (!file_out_write_at(&j->file, gguf_tensor_place(j->w, i), v, n * sizeof *v, j->err)) return false;
    }
    return convert_items(j->m->checkpoint, j->items, j->n_items, j->opt, write_item, j, pr, j->err);
}

static bool write_file(struct job *j, const char *output, struct convert_result *out, const struct progress *pr)
{
    struct bytes header;
    uint64_t bytes;
    if (!gguf_writer_lay(j->w, &header, &bytes, j->err) || !dir_make_parents(output, j->err) ||
        !file_out_open(&j->file, output, 0666, j->err))
        return false;
    if (!file_out_reserve(&j->file, bytes, j->err) || !write_all(j, header, pr) || !file_out_commit(&j->file, j->err)) {
        file_out_abort(&j->file);
        return false;
    }
    *out = (struct convert_result){.n_tensors = j->n_made + j->n_items,
                                   .n_files = 1,
                                   .read_bytes = checkpoint_bytes(j->m->checkpoint),
                                   .bytes = bytes};
    return true;
}

static bool check_source(const struct job *j)
{
    const struct inventory *inv = j->m->inventory;
    for (uint32_t i = 0; i < inv->n_tensors; i++)
        if (inv->tensors[i].format && !inv->tensors[i].format->self_described)
            return error_set(j->err, ERR_UNSUPPORTED,
                             "tensor '%.256s' is quantized (%s); GGUF is written from plain numbers and Q8_0",
                             inv->tensors[i].name, inv->tensors[i].format->algo);
    return true;
}

bool convert_to_gguf(const struct model *m, const char *output, const struct convert_options *opt,
                     struct convert_result *out, const struct progress *pr, struct error *err)
{
    const struct model_tensor *embed = inventory_find(m->inventory, ROLE_EMBED, -1, -1, false);
    struct job j = {.m = m, .opt = opt, .file = FILE_OUT_INIT, .err = err};
    j.type = opt->type != DTYPE_COUNT || !embed ? opt->type
                                                : checkpoint_tensor(m->checkpoint, embed->parts[PART_WEIGHT])->dtype;
    if (!check_source(&j) || !gguf_arch_for(&j.arch, m->hf.config, err) || !gguf_writer_open(&j.w, j.arch, err))
        return false;
    j.arena = arena_new();
    bool ok = j.arena ? describe(&j) && collect(&j) && write_file(&j, output, out, pr) : error_memory(err, 0);
    arena_free(j.arena);
    gguf_writer_close(j.w);
    return ok;
}
