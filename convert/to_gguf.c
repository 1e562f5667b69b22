/* A model as one GGUF file. */
#include "convert/cast.h"
#include "convert/coded.h"
#include "convert/convert.h"
#include "convert/split_rows.h"
#include "core/memory.h"
#include "core/text.h"
#include "formats/gguf_write.h"
#include "numeric/nvfp4.h"

#include <stdio.h>

struct job {
    const struct model *m;
    const struct convert_options *opt;
    const struct gguf_arch *arch;
    struct gguf_writer *w;
    struct arena *arena;
    struct convert_item *items;
    const struct gguf_name **rows;       /* of the items */
    uint32_t *parts;                     /* of all items, one behind the other */
    const struct model_tensor **tensors; /* the same */
    uint32_t n_items, n_parts, n_made;
    struct gguf_model_facts facts;
    struct convert_result *result;
    uint64_t heads, kv_heads;
    struct file_out file;
    struct error *err;
};

/* ---- which tensors, of which type ---- */

static enum dtype stored_type(const struct job *j, const struct model_tensor *t)
{
    return checkpoint_tensor(j->m->checkpoint, t->parts[PART_WEIGHT])->dtype;
}

static void note_fallback(struct job *j, const char *name, enum dtype to)
{
    uint32_t i = j->result->n_fallback++;
    if (i >= CONVERT_FALLBACKS_TOLD) return;
    struct convert_fallback *f = &j->result->fallback[i];
    snprintf(f->name, sizeof f->name, "%s", name);
    f->to = to;
}

/* A weight with scales beside it where llama.cpp reads none is decoded. */
static enum dtype same_type(struct job *j, const struct gguf_name *n, const struct model_tensor *t, const char *name)
{
    if (!t->format) return stored_type(j, t);
    enum dtype twin = coded_twin(t->format, t->dims[1]);
    if (twin == DTYPE_GGML_NVFP4 && !gguf_takes_scale(j->arch, n, name)) twin = DTYPE_COUNT;
    if (twin != DTYPE_COUNT) return twin;
    note_fallback(j, name, DTYPE_BF16);
    return DTYPE_BF16;
}

static bool is_few_bits(enum dtype t)
{
    return dtype_is_blocks(t);
}

/* llama.cpp wants everything with one dimension, norms, routers and convolutions in F32. */
static bool target_type(struct job *j, const struct gguf_name *n, const struct model_tensor *t, const char *name,
                        enum dtype *out)
{
    const struct gguf_mix *mix = j->opt->mix;
    uint32_t n_stack = t->place.expert >= 0 ? j->facts.n_experts : 1;
    bool fallback = false, ends = strcmp(name, "token_embd.weight") == 0 || strcmp(name, "output.weight") == 0;
    *out = DTYPE_F32;
    if (t->parts[PART_PRE_QUANT_SCALE] != NAME_NONE)
        return error_set(
            j->err, ERR_UNSUPPORTED,
            "tensor '%.256s' has a pre_quant_scale, which GGUF cannot hold: `ingot convert --to safetensors "
            "--type bf16` makes plain numbers of it",
            t->name);
    if (t->n_dims <= 1 || n->f32 || n->change >= GGUF_PLUS_ONE || text_ends_with(n->gguf, "_norm.weight")) return true;
    enum dtype same = same_type(j, n, t, name);
    *out = same;
    if (!mix) return true;
    *out = gguf_mix_type(mix, &j->facts, name, t->dims[t->n_dims - 1], n_stack, gguf_takes_scale(j->arch, n, name),
                         &fallback);
    if (mix->rule == GGUF_SCALED && ends) *out = dtype_is_plain_float(same) ? same : DTYPE_BF16;
    else if (fallback) note_fallback(j, name, *out);
    if (!t->format || !is_few_bits(*out) || *out == same || j->opt->requantize) return true;
    return error_set(j->err, ERR_UNSUPPORTED,
                     "tensor '%.256s' is %s already; making %s of it would lose precision twice (--allow-requantize "
                     "does it all the same)",
                     t->name, t->format->algo, dtype_name(*out));
}

static bool interleave(const struct job *j, const struct gguf_name *n, const struct model_tensor *t, uint64_t *out)
{
    if (n->change != GGUF_ROPE_Q && n->change != GGUF_ROPE_K) return true;
    *out = j->m->inventory->config.attention.head_dim;
    if (*out && t->dims[0] % *out == 0 && *out % 2 == 0) return true;
    return error_set(j->err, ERR_FORMAT, "tensor '%.256s': rows do not divide into heads of an even size", t->name);
}

/* GGUF's shape of a tensor of the folder. */
static uint32_t gguf_shape(const struct gguf_name *n, const struct model_tensor *t, uint64_t groups,
                           uint64_t dims[GGUF_DIMS_MAX])
{
    memcpy(dims, t->dims, GGUF_DIMS_MAX * sizeof *dims);
    switch (n->change) {
    case GGUF_NEG_EXP:
    case GGUF_COLUMN: dims[1] = 1; return 2;
    case GGUF_GROUPS:
        dims[0] = groups;
        dims[1] = t->dims[0] / groups;
        return 2;
    case GGUF_CONV: dims[1] = t->dims[2]; return 2;
    case GGUF_ROW: dims[0] = t->dims[1]; return 1;
    default: return t->n_dims;
    }
}

static bool can_become(const struct job *j, const struct model_tensor *t, enum dtype to)
{
    enum dtype from = stored_type(j, t);
    bool plain = dtype_is_plain_float(from) || dtype_is_blocks(from);
    if (plain ? cast_possible(from, to) : coded_is_known(t->format) && cast_possible(DTYPE_F32, to)) return true;
    return error_set(j->err, ERR_UNSUPPORTED, "tensor '%.256s' is stored as %s, which cannot become %s here", t->name,
                     t->format ? t->format->algo : dtype_name(from), dtype_name(to));
}

static bool start_item(struct job *j, const struct gguf_name *n, uint32_t block, const struct model_tensor *t)
{
    struct convert_item *it = &j->items[j->n_items];
    enum dtype to;
    char *name = gguf_name_fill(j->arena, n->gguf, n->mtp ? (uint32_t)gguf_trunk_layers(j->w) : block, 0);
    if (!name) return error_memory(j->err, 0);
    if (t->n_dims == 0 || t->n_dims > 3)
        return error_set(j->err, ERR_UNSUPPORTED, "tensor '%.256s' has %u dimensions", t->name, t->n_dims);
    uint64_t cols = t->dims[t->n_dims - 1];
    if (!target_type(j, n, t, name, &to) || !can_become(j, t, to)) return false;
    *it = (struct convert_item){.parts = j->parts + j->n_parts,
                                .tensors = t->format ? j->tensors + j->n_parts : NULL,
                                .part_rows = cols ? t->n_elems / cols : 0,
                                .cols = cols,
                                .from = stored_type(j, t),
                                .to = to,
                                .change = n->change == GGUF_PLUS_ONE                                   ? CAST_PLUS_ONE
                                          : n->change == GGUF_NEG_EXP || n->change == GGUF_NEG_EXP_ROW ? CAST_NEG_EXP
                                                                                                       : CAST_SAME,
                                .name = name};
    if (!interleave(j, n, t, &it->interleave)) return false;
    if (it->interleave && t->n_dims == 1) it->part_rows = t->dims[0], it->cols = 1;
    j->rows[j->n_items++] = n;
    return true;
}

static bool is_split(const struct gguf_name *n)
{
    return n->change >= GGUF_QKV && n->change <= GGUF_V_B;
}

/* Rows that are gathered from the projection, or its columns, as fp32 numbers: codes and scales do not survive that. */
static bool start_half(struct job *j, const struct gguf_name *n, uint32_t block, const struct model_tensor *mt)
{
    struct split_rows *r = arena_alloc(j->arena, 1, sizeof *r);
    if (!r) return error_memory(j->err, sizeof *r);
    if (!start_item(j, n, block, mt)) return false;
    struct convert_item *it = &j->items[j->n_items - 1];
    *r = (struct split_rows){.ck = j->m->checkpoint, .source = *it, .isa = j->opt->isa};
    r->source.n_parts = 1;
    r->source.rows = it->part_rows;
    r->source.to = DTYPE_F32;
    if (!split_rows_plan(r, n->change, &j->m->inventory->config, mt, j->err)) return false;
    bool latent = n->change == GGUF_K_B || n->change == GGUF_V_B;
    if (dtype_is_blocks(it->to) &&
        (mt->format || latent || it->to == DTYPE_GGML_NVFP4)) { /* two scales for one tensor */
        it->to = dtype_is_plain_float(it->from) ? it->from : DTYPE_BF16;
        note_fallback(j, it->name, it->to);
    }
    it->cols = r->dims[r->n_dims - 1];
    it->rows = it->part_rows = r->dims[0] * (r->n_dims == 3 ? r->dims[1] : 1);
    it->tensors = NULL;
    it->from = DTYPE_F32;
    it->n_parts = 1;
    it->read = split_rows_read;
    it->read_ctx = r;
    return true;
}

/* Both halves are made of one part. */
static bool add_halves(struct job *j, const struct gguf_name *n, uint32_t block, const struct model_tensor *mt)
{
    j->tensors[j->n_parts] = mt;
    j->parts[j->n_parts] = mt->parts[PART_WEIGHT];
    bool ok = start_half(j, n, block, mt) && start_half(j, n + 1, block, mt);
    j->n_parts++;
    return ok;
}

/* Experts come in order, so that a stack grows by one at its end. */
static bool add_source(struct job *j, const struct model_tensor *mt)
{
    uint32_t block, expert;
    const struct gguf_name *n = gguf_name_match_hf(j->arch, mt->name, &block, &expert);
    if (j->arch->drops_mtp && mt->place.mtp) {
        j->result->n_left_out++;
        return true;
    }
    if (!n)
        return error_set(j->err, ERR_UNSUPPORTED, "tensor '%.256s' has no place in GGUF's %s", mt->name, j->arch->name);
    if (n->change == GGUF_MADE) return true; /* a part of what another row makes */
    if (is_split(n)) return add_halves(j, n, block, mt);
    uint32_t item = j->n_items - 1;
    if (expert == NAME_NONE || expert == 0) {
        item = j->n_items;
        if (!start_item(j, n, block, mt)) return false;
    }
    struct convert_item *it = &j->items[item];
    const struct model_tensor *first = it->tensors ? it->tensors[0] : mt;
    if (it->n_parts != (expert == NAME_NONE ? 0 : expert) || stored_type(j, mt) != it->from ||
        (it->n_parts && first->format != mt->format))
        return error_set(j->err, ERR_UNSUPPORTED, "tensor '%.256s': the experts of one layer differ in type or order",
                         mt->name);
    j->tensors[j->n_parts] = mt;
    j->parts[j->n_parts++] = mt->parts[PART_WEIGHT];
    it->n_parts++;
    it->rows = it->n_parts * it->part_rows;
    return true;
}

static bool announce(struct job *j, uint32_t i)
{
    const struct convert_item *it = &j->items[i];
    const struct model_tensor *t = j->tensors[it->parts - j->parts];
    uint32_t n_dims;
    uint64_t dims[GGUF_DIMS_MAX] = {0}, shape[GGUF_DIMS_MAX] = {0};
    const struct gguf_name *n = j->rows[i];
    if (it->read) {
        const struct split_rows *r = it->read_ctx;
        return gguf_add_tensor(j->w, it->name, ggml_type_of(it->to), r->n_dims, r->dims, j->err);
    }
    uint64_t groups = j->m->inventory->config.ssm.n_groups;
    n_dims = gguf_shape(n, t, groups ? groups : 1, dims);
    if (strstr(n->hf, "{E}")) {
        shape[0] = it->n_parts;
        memcpy(shape + 1, dims, 2 * sizeof *dims);
        return gguf_add_tensor(j->w, it->name, ggml_type_of(it->to), 1 + n_dims, shape, j->err);
    }
    return gguf_add_tensor(j->w, it->name, ggml_type_of(it->to), n_dims, dims, j->err);
}

/* ---- NVFP4: the tensors' scales, in tensors of their own ---- */

static bool put_side(struct job *j, const struct convert_item *it, const char *suffix, const float *v)
{
    char *name = arena_printf(j->arena, "%.*s%s", (int)(strlen(it->name) - strlen(".weight")), it->name, suffix);
    return name ? gguf_add_made(j->w, name, v, it->n_parts, j->err) : error_memory(j->err, 0);
}

static bool stored_scales(struct job *j, const struct convert_item *it, float *scales, float *inputs, bool *has_inputs)
{
    *has_inputs = true;
    for (uint32_t p = 0; p < it->n_parts; p++) {
        struct coded c = {j->m->checkpoint, it->tensors[p], j->opt->isa};
        bool has;
        if (!coded_scale(&c, &scales[p], j->err) || !coded_input_scale(&c, &inputs[p], &has, j->err)) return false;
        *has_inputs = *has_inputs && has;
    }
    return true;
}

static bool put_scales(struct job *j, struct convert_item *it)
{
    bool stored = it->tensors && coded_twin(it->tensors[0]->format, it->cols) == DTYPE_GGML_NVFP4, has_inputs = false;
    float *scales = arena_alloc(j->arena, it->n_parts, sizeof *scales),
          *inputs = arena_alloc(j->arena, it->n_parts, sizeof *inputs);
    if (!scales || !inputs) return error_memory(j->err, it->n_parts * sizeof *scales);
    if (stored && it->from == it->to && it->tensors[0]->format->n_parts == 1) return true; /* it came without */
    if (stored) {
        if (!stored_scales(j, it, scales, inputs, &has_inputs)) return false;
    } else {
        if (!convert_amax(j->m->checkpoint, it, j->opt, scales, j->err)) return false;
        for (uint32_t p = 0; p < it->n_parts; p++) scales[p] = nvfp4_tensor_scale(scales[p]);
        it->scales = scales;
    }
    return put_side(j, it, ".scale", scales) && (!has_inputs || put_side(j, it, ".input_scale", inputs));
}

/* What the rules of the mixes look at. */
static void look_at_model(struct job *j)
{
    const struct inventory *inv = j->m->inventory;
    struct gguf_model_facts *f = &j->facts;
    bool head = false;
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        uint32_t block, expert;
        const struct gguf_name *n = gguf_name_match_hf(j->arch, inv->tensors[i].name, &block, &expert);
        if (n && gguf_is_attn_v(n->gguf)) f->n_attn_v++;
        if (n && strcmp(n->gguf, "output.weight") == 0) head = true;
        if (expert != NAME_NONE && expert + 1 > f->n_experts) f->n_experts = expert + 1;
    }
    bool llama = strcmp(j->arch->name, "llama") == 0 || strcmp(j->arch->name, "deci") == 0;
    f->tied = !head;
    f->n_layers = (uint32_t)gguf_all_layers(j->w);
    f->is_70b = llama && f->n_layers == 80 && j->heads != j->kv_heads;
}

static bool collect(struct job *j)
{
    const struct inventory *inv = j->m->inventory;
    j->items = arena_alloc(j->arena, 2 * (size_t)inv->n_tensors + 1, sizeof *j->items); /* some become two */
    j->rows = arena_alloc(j->arena, 2 * (size_t)inv->n_tensors + 1, sizeof *j->rows);
    j->parts = arena_alloc(j->arena, inv->n_tensors + 1, sizeof *j->parts);
    j->tensors = arena_alloc(j->arena, inv->n_tensors + 1, sizeof *j->tensors);
    if (!j->items || !j->rows || !j->parts || !j->tensors)
        return error_memory(j->err, inv->n_tensors * sizeof *j->items);
    look_at_model(j);
    for (uint32_t i = 0; i < inv->n_tensors; i++)
        if (!add_source(j, &inv->tensors[i])) return false;
    for (uint32_t i = 0; i < j->n_items; i++)
        if (j->items[i].to == DTYPE_GGML_NVFP4 && !put_scales(j, &j->items[i])) return false;
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

/* llama.cpp's number for a file of which it only knows the tensors. */
#define FILE_TYPE_GUESSED 1024u

/* That of the mix, or of the type that most numbers have. */
static uint32_t file_type(const struct job *j)
{
    uint64_t count[DTYPE_COUNT] = {0};
    int most = DTYPE_F32;
    if (j->opt->mix) return j->opt->mix->file_type;
    for (uint32_t i = 0; i < j->n_items; i++) {
        bool table = strncmp(j->items[i].name, "blk.", 4) != 0; /* embedding and head are large in small models */
        count[j->items[i].to] += table ? 0 : j->items[i].rows * j->items[i].cols;
    }
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (count[t] > count[most]) most = t;
    const struct gguf_mix *mix = gguf_mix_of((enum dtype)most);
    return mix ? mix->file_type : FILE_TYPE_GUESSED;
}

static bool describe(struct job *j)
{
    const json_t *config = j->m->hf.config;
    gguf_put_text(j->w, "general.type", bytes_text("model"));
    j->heads = j->m->inventory->config.attention.n_heads;
    j->kv_heads = j->m->inventory->config.attention.n_kv_heads;
    if (!gguf_write_config(j->w, config, j->err) || !put_vocab(j) || !collect(j)) return false;
    gguf_put_u32(j->w, "general.file_type", file_type(j));
    gguf_put_u32(j->w, "general.quantization_version", 2);
    return true;
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
    out->n_tensors = j->n_made + j->n_items;
    out->n_files = 1;
    out->read_bytes = checkpoint_bytes(j->m->checkpoint);
    out->bytes = bytes;
    return !j->opt->verify ||
           convert_read_back(output, j->w, j->m->checkpoint, j->items, j->n_items, j->opt, out, pr, j->err);
}

bool convert_to_gguf(const struct model *m, const char *output, const struct convert_options *opt,
                     struct convert_result *out, const struct progress *pr, struct error *err)
{
    struct job j = {.m = m, .opt = opt, .file = FILE_OUT_INIT, .result = out, .err = err};
    *out = (struct convert_result){0};
    if (hf_config_is_native(&m->hf))
        return error_set(err, ERR_UNSUPPORTED,
                         "Mistral's own layout (params.json) is not written as GGUF: `convert --to hf` makes a "
                         "Hugging Face folder of it");
    if (!gguf_arch_for(&j.arch, m->hf.config, err) || !gguf_writer_open(&j.w, j.arch, err)) return false;
    j.arena = arena_new();
    bool ok = j.arena ? describe(&j) && write_file(&j, output, out, pr) : error_memory(err, 0);
    arena_free(j.arena);
    gguf_writer_close(j.w);
    return ok;
}
