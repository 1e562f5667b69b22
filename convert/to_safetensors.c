/* A model as a Hugging Face folder: from GGUF, or with other shards, or with matrices of another type. */
#include "convert/cast.h"
#include "convert/other_files.h"
#include "convert/convert.h"
#include "convert/decoded.h"
#include "convert/lora.h"
#include "convert/native_hf.h"
#include "core/memory.h"
#include "core/staging.h"
#include "core/version.h"

#define FLUSH_BYTES ((size_t)1 << 20)    /* less is left to the kernel */
#define SMALL_BYTES ((uint64_t)64 << 20) /* tensors that are looked at whole before their type is chosen */

struct job {
    const struct model *m;
    const struct convert_options *opt;
    struct staging *staging;
    struct tensor_spec *specs;
    struct convert_item *items;
    uint32_t *numbers;                  /* of the checkpoint, one for each stored item */
    const struct model_tensor **owners; /* [of the checkpoint] whose weight a tensor is; NULL: no weight */
    uint32_t n;                         /* of the result */
    struct decoded *decoded; /* what a quantized source becomes with --type; NULL: everything stays as it is stored */
    struct lora *lora;       /* or NULL */
    struct native *native;   /* Mistral's own layout that becomes Hugging Face's; or NULL */
    enum dtype type;         /* of the matrices; DTYPE_COUNT: as the source has them */
    bool from_gguf;
    struct shard_layout layout;
    struct shard_writer *writer;
    uint32_t first; /* tensor of the shard that is being written */
    struct error *err;
};

/* ---- types ---- */

/* GGUF keeps norms, routers and convolutions in F32 whatever they were before: what fits the type of the matrices
 * exactly had it, or loses nothing. */
static bool fits_exactly(const struct job *j, uint32_t i, enum dtype to, bool *exact)
{
    const struct tensor_info *t = checkpoint_tensor(j->m->checkpoint, i);
    CLEANUP(free) float *values = NULL;
    *exact = false;
    if (t->dtype != DTYPE_F32 || (to != DTYPE_F16 && to != DTYPE_BF16) || t->bytes > SMALL_BYTES) return true;
    if (!memory_alloc(&values, t->n_elems, sizeof *values, j->err) ||
        !checkpoint_read(j->m->checkpoint, i, 0, values, t->bytes, j->err))
        return false;
    *exact = cast_is_exact(values, t->n_elems, to);
    return true;
}

static bool choose_type(const struct job *j, uint32_t i, enum role_kind kind, bool quantized, enum dtype *out)
{
    const struct tensor_info *t = checkpoint_tensor(j->m->checkpoint, i);
    bool matrix = kind == KIND_LINEAR || kind == KIND_TABLE, exact = false;
    *out = t->dtype;
    if (quantized) return true;
    if (matrix && j->type != DTYPE_COUNT) *out = j->type;
    if (matrix || !j->from_gguf) return true;
    if (!fits_exactly(j, i, j->type, &exact)) return false;
    if (exact) *out = j->type;
    return true;
}

/* What each source tensor is; scales of quantized linears are neither. Those of GGUF's NVFP4 go with the numbers. */
static void kinds(const struct job *j, enum role_kind *kind, bool *quantized, bool *drop)
{
    const struct inventory *inv = j->m->inventory;
    for (uint32_t i = 0; i < checkpoint_count(j->m->checkpoint); i++)
        kind[i] = KIND_SMALL, quantized[i] = drop[i] = false;
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i];
        for (int part = 0; part < PART_COUNT; part++) {
            if (t->parts[part] == NAME_NONE) continue;
            uint32_t stored = checkpoint_stored(j->m->checkpoint, t->parts[part]);
            bool own = t->format && t->format->self_described;
            quantized[stored] = t->format && !own;
            if (part == PART_WEIGHT) kind[stored] = role_info(t->place.role)->kind;
            if (part == PART_WEIGHT) j->owners[stored] = t;
            else drop[stored] = own;
        }
    }
}

/* A stored tensor as it is, or cast. */
static bool add_stored(struct job *j, uint32_t i, enum role_kind kind, bool quantized)
{
    const struct tensor_info *t = checkpoint_tensor(j->m->checkpoint, i);
    enum dtype to;
    if (!choose_type(j, i, kind, quantized, &to)) return false;
    if (!cast_possible(t->dtype, to) || dtype_is_blocks(to))
        return error_set(j->err, ERR_UNSUPPORTED, "tensor '%.256s' is stored as %s, which cannot become %s here",
                         t->name, dtype_name(t->dtype), dtype_name(to));
    struct tensor_spec *spec = &j->specs[j->n];
    struct convert_item *it = &j->items[j->n++];
    *spec = (struct tensor_spec){.name = t->name, .dtype = to, .n_dims = t->n_dims};
    memcpy(spec->dims, t->dims, sizeof t->dims);
    /* As bytes in rows: a tensor that stays as it is may be of a type without arithmetic. */
    uint64_t cols = t->n_dims ? t->dims[t->n_dims - 1] : 1;
    bool plain = dtype_is_plain_float(t->dtype) || dtype_is_decoded(t->dtype);
    bool scaled = j->owners[i] && j->owners[i]->format && j->owners[i]->format->self_described;
    j->numbers[i] = i;
    *it = (struct convert_item){.parts = &j->numbers[i],
                                .tensors = scaled ? &j->owners[i] : NULL,
                                .n_parts = 1,
                                .cols = plain      ? cols
                                        : t->bytes ? 1
                                                   : 0,
                                .from = plain ? t->dtype : DTYPE_U8,
                                .to = plain ? to : DTYPE_U8,
                                .name = t->name};
    if (!plain && it->cols) it->cols = t->bytes % 4096 == 0 ? 4096 : 1;
    it->rows = it->part_rows = it->cols ? (plain ? t->n_elems : t->bytes) / it->cols : 0;
    return true;
}

static void add_decoded(struct job *j, const struct decoded_output *o)
{
    struct tensor_spec *spec = &j->specs[j->n];
    struct convert_item *it = &j->items[j->n++];
    *spec = (struct tensor_spec){.name = o->name, .dtype = j->type, .n_dims = o->n_dims};
    memcpy(spec->dims, o->dims, sizeof o->dims);
    *it = (struct convert_item){.rows = o->dims[0],
                                .cols = o->n_dims == 3 ? o->dims[1] * o->dims[2] : o->dims[1],
                                .from = DTYPE_F32,
                                .to = j->type,
                                .name = o->name,
                                .read = decoded_read,
                                .read_ctx = o->ctx};
}

/* The item that was added last, changed by the adapter: its rows are made, not read. */
static bool merge(struct job *j, uint32_t stored, bool quantized)
{
    const struct tensor_spec *spec = &j->specs[j->n - 1];
    struct convert_item *it = &j->items[j->n - 1];
    if (quantized && !j->decoded)
        return error_set(j->err, ERR_UNSUPPORTED,
                         "tensor '%.256s' is quantized, and the adapter changes it: --type says what it becomes",
                         spec->name);
    it->cols = spec->dims[spec->n_dims - 1];
    it->rows = 1;
    for (uint32_t k = 0; k + 1 < spec->n_dims; k++) it->rows *= spec->dims[k];
    it->from = DTYPE_F32;
    it->to = spec->dtype;
    it->read = lora_read;
    it->read_ctx = lora_change(j->lora, stored);
    return true;
}

static bool collect_native(struct job *j)
{
    if (j->opt->lora)
        return error_set(j->err, ERR_USAGE, "--merge-lora is for a Hugging Face folder: what comes out is one");
    if (!native_open(&j->native, j->m, j->type, j->err)) return false;
    j->n = native_count(j->native);
    j->specs = calloc(j->n + 1, sizeof *j->specs);
    j->items = calloc(j->n + 1, sizeof *j->items);
    if (!j->specs || !j->items) return error_memory(j->err, j->n * sizeof *j->items);
    for (uint32_t i = 0; i < j->n; i++) native_output(j->native, i, &j->specs[i], &j->items[i]);
    return shard_layout_make(&j->layout, j->specs, j->n, j->opt->shard_bytes, j->err);
}

static bool collect(struct job *j)
{
    uint32_t n = checkpoint_count(j->m->checkpoint);
    if (j->opt->hf && hf_config_is_native(&j->m->hf)) return collect_native(j);
    CLEANUP(free) enum role_kind *kind = malloc((n + 1) * sizeof *kind);
    CLEANUP(free) bool *quantized = malloc((n + 1) * sizeof *quantized);
    CLEANUP(free) bool *drop = malloc((n + 1) * sizeof *drop);
    j->specs = calloc(n + 1, sizeof *j->specs);
    j->items = calloc(n + 1, sizeof *j->items);
    j->numbers = calloc(n + 1, sizeof *j->numbers);
    j->owners = calloc(n + 1, sizeof *j->owners);
    if (!kind || !quantized || !drop || !j->specs || !j->items || !j->numbers || !j->owners)
        return error_memory(j->err, n * sizeof *j->items);
    kinds(j, kind, quantized, drop);
    if (j->opt->lora && !lora_open(&j->lora, j->opt->lora, j->m, j->opt, j->err)) return false;
    if (j->opt->type != DTYPE_COUNT && j->m->inventory->is_quantized &&
        !decoded_open(&j->decoded, j->m, j->opt, j->err))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const struct decoded_output *o = NULL;
        if (drop[i]) continue;
        bool replaced = j->decoded && decoded_replaces(j->decoded, i, &o);
        if (o) add_decoded(j, o);
        if (!replaced && !add_stored(j, i, kind[i], quantized[i])) return false;
        if (j->lora && lora_change(j->lora, i) && !merge(j, i, quantized[i])) return false;
    }
    return shard_layout_make(&j->layout, j->specs, j->n, j->opt->shard_bytes, j->err);
}

/* ---- shards ---- */

static bool write_item(void *ctx, uint32_t item, uint64_t offset, const void *data, size_t n, struct error *err)
{
    struct job *j = ctx;
    if (!shard_writer_write(j->writer, j->first + item, offset, data, n, err)) return false;
    if (n >= FLUSH_BYTES) shard_writer_start_flush(j->writer, j->first + item, offset, n);
    return true;
}

static bool write_shard(struct job *j, uint32_t shard, const struct progress *pr)
{
    char name[64];
    shard_name(name, shard, j->layout.n_shards);
    if (staging_recorded(j->staging, name)) return true;
    uint32_t n = j->layout.first[shard + 1] - j->layout.first[shard];
    j->first = j->layout.first[shard];
    if (!shard_writer_open(&j->writer, staging_path(j->staging), j->specs, &j->layout, shard, j->err)) return false;
    if (!convert_items(j->m->checkpoint, j->items + j->first, n, j->opt, write_item, j, pr, j->err)) {
        shard_writer_abort(j->writer);
        return false;
    }
    return shard_writer_commit(j->writer, j->err) && staging_record(j->staging, name, "written", j->err);
}

static bool write_all(struct job *j, const struct progress *pr)
{
    for (uint32_t s = 0; s < j->layout.n_shards; s++)
        if (!write_shard(j, s, pr)) return false;
    return carry_files(j->m, staging_path(j->staging), j->type, j->decoded != NULL,
                       j->native ? native_hf_config(j->native) : NULL, j->err) &&
           shard_index_write(staging_path(j->staging), j->specs, &j->layout, j->err);
}

/* Everything that the output depends on. */
static bool key_of(const struct job *j, char hex[DIGEST_HEX_SIZE])
{
    struct sha256 *h;
    struct digest d;
    uint32_t n;
    const struct checkpoint_file *files = checkpoint_files(j->m->checkpoint, &n);
    const uint64_t options[] = {(uint64_t)j->type, j->opt->shard_bytes, j->native != NULL};
    if (!sha256_open(&h, j->err)) return false;
    for (uint32_t i = 0; i < n; i++) sha256_add(h, &files[i].header, sizeof files[i].header);
    sha256_add(h, j->m->hf.config_text.data, j->m->hf.config_text.size);
    sha256_add(h, options, sizeof options);
    sha256_add(h, INGOT_VERSION, sizeof INGOT_VERSION);
    struct digest stamp;
    bool ok = folder_stamp(j->m->folder, &stamp, j->err);
    if (ok) sha256_add(h, &stamp, sizeof stamp);
    if (ok && j->lora) {
        ok = lora_stamp(j->lora, &stamp, j->err);
        if (ok) sha256_add(h, &stamp, sizeof stamp);
    }
    ok = sha256_close(h, ok ? &d : NULL, j->err) && ok;
    if (ok) digest_hex(&d, hex);
    return ok;
}

static enum dtype main_type(const struct job *j)
{
    const struct model_tensor *embed = inventory_find(j->m->inventory, ROLE_EMBED, -1, -1, false);
    enum dtype t = embed ? checkpoint_tensor(j->m->checkpoint, embed->parts[PART_WEIGHT])->dtype : DTYPE_COUNT;
    if (j->opt->type != DTYPE_COUNT || !j->from_gguf) return j->opt->type;
    return dtype_is_blocks(t) ? DTYPE_BF16 : t;
}

/* ---- reading back ---- */

struct back {
    const struct job *j;
    const struct checkpoint *ck;
    const struct convert_item *item;
    uint32_t index;
    uint64_t step;
};

static bool back_piece(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    const struct back *b = ctx;
    uint64_t row = dtype_row_bytes(b->item->to, b->item->cols), first = i * b->step;
    uint64_t n = u64_min(b->step, b->item->rows - first);
    CLEANUP(free) uint8_t *want = NULL;
    CLEANUP(free) uint8_t *read = NULL;
    if (!memory_alloc(&want, n * row, 1, err) || !memory_alloc(&read, n * row, 1, err) ||
        !convert_rows(b->j->m->checkpoint, b->item, b->j->opt->isa, worker, first, n, want, err) ||
        !checkpoint_read(b->ck, b->index, first * row, read, n * row, err))
        return false;
    return memcmp(want, read, n * row) == 0 ||
           error_set(err, ERR_MISMATCH, "tensor '%.256s': what was written is not what the source says", b->item->name);
}

/* Every tensor of the folder that was written, under its name, in its type and shape, byte for byte. */
static bool read_back(struct job *j, struct convert_result *out, const struct progress *pr)
{
    CLEANUP(folder) struct folder *folder = NULL;
    CLEANUP(checkpoint) struct checkpoint *ck = NULL;
    if (!folder_open(&folder, staging_path(j->staging), j->err) || !checkpoint_open(&ck, folder, j->err)) return false;
    for (uint32_t k = 0; k < j->n; k++) {
        struct back b = {j, ck, &j->items[k], checkpoint_find(ck, j->specs[k].name), 0};
        const struct tensor_info *t = b.index == NAME_NONE ? NULL : checkpoint_tensor(ck, b.index);
        progress_update(pr, "verify", j->specs[k].name, k, j->n);
        if (!progress_go_on(pr, j->err)) return false;
        if (!t || t->dtype != j->specs[k].dtype || t->n_dims != j->specs[k].n_dims ||
            memcmp(t->dims, j->specs[k].dims, t->n_dims * sizeof *t->dims) != 0)
            return error_set(j->err, ERR_MISMATCH, "tensor '%.256s' is not in the output as it should be",
                             j->specs[k].name);
        uint64_t row = b.item->cols * sizeof(float);
        b.step = row && row < CONVERT_PIECE_BYTES ? CONVERT_PIECE_BYTES / row : 1;
        if (b.item->rows && !pool_try(j->opt->pool, u64_div_up(b.item->rows, b.step), back_piece, &b, j->err))
            return false;
        out->n_verified++;
    }
    return true;
}

static void tell_native(const struct job *j, struct convert_result *out)
{
    const json_t *name = json_array_get(json_object_get(native_hf_config(j->native), "architectures"), 0);
    snprintf(out->renamed_as, sizeof out->renamed_as, "%s", json_string_value(name));
    out->assumed_length = native_assumes_length(j->m);
    out->no_tokenizer = folder_find(j->m->folder, "tokenizer.json") == NAME_NONE;
}

static bool run(struct job *j, const char *output, struct convert_result *out, const struct progress *pr)
{
    char key[DIGEST_HEX_SIZE];
    if (!collect(j) || !key_of(j, key) || !dir_make_parents(output, j->err) ||
        !staging_open(&j->staging, output, key, j->opt->replace, j->err))
        return false;
    if (!write_all(j, pr)) {
        staging_close(j->staging, j->err && j->err->code == ERR_CANCELLED);
        return false;
    }
    *out = (struct convert_result){.n_tensors = j->n, .n_files = j->layout.n_shards};
    out->read_bytes = checkpoint_bytes(j->m->checkpoint);
    out->n_merged = j->lora ? lora_count(j->lora) : 0;
    if (j->native) tell_native(j, out);
    for (uint32_t s = 0; s < j->layout.n_shards; s++) out->bytes += j->layout.shard_bytes[s];
    if (j->opt->verify && !read_back(j, out, pr)) {
        staging_close(j->staging, false);
        return false;
    }
    return staging_commit(j->staging, j->err);
}

bool convert_to_safetensors(const struct model *m, const char *output, const struct convert_options *opt,
                            struct convert_result *out, const struct progress *pr, struct error *err)
{
    struct job j = {
        .m = m, .opt = opt, .from_gguf = strcmp(checkpoint_format_name(m->checkpoint), "gguf") == 0, .err = err};
    j.type = main_type(&j);
    bool ok = folder_survives(m->folder, output, err) && run(&j, output, out, pr);
    shard_layout_free(&j.layout);
    free(j.specs);
    free(j.items);
    free(j.numbers);
    free(j.owners);
    decoded_close(j.decoded);
    lora_close(j.lora);
    native_close(j.native);
    return ok;
}
