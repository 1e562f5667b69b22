/* The list of formats, and the list of tensors that every format fills. */
#include "formats/safetensors.h"

#include "core/arena.h"
#include "core/crc32.h"
#include "core/text.h"
#include "formats/megatron.h"
#include "formats/tensor_pieces.h"

#include <stdarg.h>
#include <stdio.h>

const struct checkpoint_format *const checkpoint_formats[] = {&checkpoint_safetensors, &checkpoint_gguf,
                                                              &checkpoint_megatron, &checkpoint_torch, NULL};

/* Weights that people have and that no format above reads: a sentence that names the format is worth more than "nothing
 * found". A row matches the end of a member's name, and the beginning of its last component when `begin` is given. */
static const struct {
    const char *begin, *end, *what;
} not_read[] = {
    {"consolidated", ".safetensors", "Mistral's own layout without its params.json"},
    {"adapter_model", ".safetensors", "a LoRA adapter without its base model"},
    {NULL, ".gguf", "a part of a GGUF model"},
    {NULL, ".nemo", "a NeMo archive"},
    {NULL, ".distcp", "a PyTorch distributed checkpoint"},
    {NULL, ".bin", "a PyTorch pickle"},
    {NULL, ".pt", "a PyTorch pickle"},
    {NULL, ".pth", "a PyTorch pickle"},
    {NULL, ".ckpt", "a PyTorch pickle"},
    {NULL, ".onnx", "ONNX"},
    {NULL, ".onnx_data", "ONNX"},
    {NULL, ".npz", "NumPy arrays"},
    {NULL, ".npy", "a NumPy array"},
    {NULL, ".h5", "HDF5 (Keras, TensorFlow)"},
    {NULL, ".hdf5", "HDF5 (Keras, TensorFlow)"},
    {NULL, ".keras", "Keras"},
    {NULL, ".msgpack", "Flax"},
    {"saved_model", ".pb", "a TensorFlow SavedModel"},
    {NULL, ".pb", "a TensorFlow graph"},
    {"model.ckpt", "", "a TensorFlow checkpoint"},
    {NULL, ".tflite", "TensorFlow Lite"},
    {NULL, ".mlmodel", "Core ML"},
    {NULL, ".mlpackage", "Core ML"},
    {NULL, ".pkl", "a Python pickle"},
    {NULL, ".pickle", "a Python pickle"},
    {NULL, ".joblib", "a Python pickle"},
    {NULL, ".mar", "a TorchServe archive"},
    {NULL, ".pte", "ExecuTorch"},
    {NULL, ".ggml", "GGML, the format before GGUF"},
    {NULL, ".llamafile", "a llamafile"},
    {NULL, ".pdparams", "PaddlePaddle"},
    {NULL, ".mlx", "MLX"},
    {NULL, ".engine", "a TensorRT engine"},
};

struct checkpoint {
    const struct folder *folder;
    const struct checkpoint_format *format;
    struct arena *texts;
    struct tensor_info *tensors;
    uint32_t n_tensors, n_stored, capacity; /* n_stored: without the views behind them */
    uint32_t n_sorted;                      /* the index is over this many */
    struct name_index index;
    struct checkpoint_file *files;
    uint32_t n_files, files_capacity;
    const char **remarks;
    uint32_t n_remarks;
    struct metadata {
        const char *key, *value;
    } * metadata;
    uint32_t n_metadata, metadata_capacity;
    struct sum {
        const char *what;
        uint64_t offset, n;
        uint32_t member, crc32;
    } * sums;
    uint32_t n_sums, sums_capacity, n_pieces;
    uint64_t bytes;
};

static bool row_matches(size_t r, const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    const char *begin = not_read[r].begin ? not_read[r].begin : "";
    return strncmp(base, begin, strlen(begin)) == 0 && text_ends_with(base, not_read[r].end);
}

bool checkpoint_is_weights(const char *name)
{
    if (text_ends_with(name, ".safetensors") || mega_is_weights(name)) return true;
    for (size_t r = 0; r < sizeof not_read / sizeof *not_read; r++)
        if (row_matches(r, name)) return true;
    return false;
}

static bool no_format(const struct folder *f, struct error *err)
{
    for (size_t r = 0; r < sizeof not_read / sizeof *not_read; r++)
        for (uint32_t i = 0; i < folder_count(f); i++) {
            const char *name = folder_name(f, i);
            if (row_matches(r, name))
                return error_set(err, ERR_UNSUPPORTED,
                                 "folder '%.256s' holds '%.256s', %s, which is not read here; safetensors, GGUF and "
                                 "PyTorch's files are",
                                 folder_path(f), name, not_read[r].what);
        }
    if (folder_find(f, "oci-layout") != NAME_NONE)
        return error_set(err, ERR_FORMAT, "folder '%.256s' is an image layout; a model in it is named oci:%.256s:TAG",
                         folder_path(f), folder_path(f));
    return error_set(err, ERR_FORMAT,
                     "folder '%.256s' holds no checkpoint: there is no *.safetensors, *.gguf or *.bin file in it",
                     folder_path(f));
}

static bool open_all(struct checkpoint *ck, struct error *err)
{
    const struct checkpoint_format *const *f = checkpoint_formats;
    while (*f && !(*f)->probe(ck->folder)) f++;
    if (!*f) return no_format(ck->folder, err);
    ck->format = *f;
    if (!(*f)->open(ck, err)) return false;
    ck->n_stored = ck->n_tensors;
    return checkpoint_index(ck, err);
}

/* member NAME_NONE: what the folder's format says belongs together. */
static bool open_some(struct checkpoint **out, const struct folder *folder, uint32_t member, struct error *err)
{
    *out = NULL;
    struct checkpoint *ck = calloc(1, sizeof *ck);
    if (!ck) return error_memory(err, sizeof *ck);
    ck->folder = folder;
    ck->texts = arena_new();
    ck->format = &checkpoint_safetensors;
    bool ok = ck->texts || error_memory(err, sizeof *ck);
    ok = ok && (member == NAME_NONE ? open_all(ck, err)
                                    : safetensors_read_header(ck, member, err) && checkpoint_index(ck, err));
    if (ok) *out = ck;
    else checkpoint_close(ck);
    return ok;
}

bool checkpoint_open(struct checkpoint **out, const struct folder *folder, struct error *err)
{
    return open_some(out, folder, NAME_NONE, err);
}

bool checkpoint_open_member(struct checkpoint **out, const struct folder *folder, uint32_t member, struct error *err)
{
    return open_some(out, folder, member, err);
}

void checkpoint_close(struct checkpoint *ck)
{
    if (!ck) return;
    name_index_free(&ck->index);
    arena_free(ck->texts);
    free(ck->tensors);
    free(ck->files);
    free(ck->remarks);
    free(ck->metadata);
    free(ck->sums);
    free(ck);
}

const char *checkpoint_format_name(const struct checkpoint *ck)
{
    return ck->format->name;
}

const struct folder *checkpoint_folder(const struct checkpoint *ck)
{
    return ck->folder;
}

uint32_t checkpoint_count(const struct checkpoint *ck)
{
    return ck->n_stored ? ck->n_stored : ck->n_tensors; /* while a format is still adding: what there is */
}

uint32_t checkpoint_count_all(const struct checkpoint *ck)
{
    return ck->n_tensors;
}

const struct tensor_info *checkpoint_tensor(const struct checkpoint *ck, uint32_t i)
{
    return &ck->tensors[i];
}

uint32_t checkpoint_stored(const struct checkpoint *ck, uint32_t i)
{
    return ck->tensors[i].view ? ck->tensors[i].view->base : i;
}

uint32_t checkpoint_find(const struct checkpoint *ck, const char *name)
{
    return name_index_find(&ck->index, name);
}

uint64_t checkpoint_bytes(const struct checkpoint *ck)
{
    return ck->bytes;
}

const char *checkpoint_remark(const struct checkpoint *ck, uint32_t i)
{
    return i < ck->n_remarks ? ck->remarks[i] : NULL;
}

const struct checkpoint_file *checkpoint_files(const struct checkpoint *ck, uint32_t *n)
{
    *n = ck->n_files;
    return ck->files;
}

bool checkpoint_read(const struct checkpoint *ck, uint32_t i, uint64_t offset, void *dst, size_t n, struct error *err)
{
    const struct tensor_info *t = &ck->tensors[i];
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(err, ERR_INTERNAL, "tensor '%.256s': %zu bytes at byte %llu were asked for, it has %llu",
                         t->name, n, (unsigned long long)offset, (unsigned long long)t->bytes);
    bool ok = t->recode   ? tensor_recode_read(ck->folder, t, offset, dst, n, err)
              : t->view   ? tensor_view_read(ck->folder, t, offset, dst, n, err)
              : t->pieces ? tensor_pieces_read(ck->folder, t, offset, dst, n, err)
                          : folder_read(ck->folder, t->member, t->offset + offset, dst, n, err);
    return ok || error_wrap(err, "tensor '%.256s'", t->name);
}

static bool append(struct checkpoint *ck, const struct tensor_info *t, struct error *err)
{
    if (ck->n_tensors == TENSORS_MAX)
        return error_set(err, ERR_UNSUPPORTED, "folder '%.256s' holds more than %u tensors", folder_path(ck->folder),
                         TENSORS_MAX);
    if (ck->n_tensors == ck->capacity) {
        uint32_t capacity = ck->capacity ? 2 * ck->capacity : 256;
        struct tensor_info *p = realloc(ck->tensors, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        ck->tensors = p;
        ck->capacity = capacity;
    }
    struct tensor_info copy = *t;
    if (!tensor_size(t->name, t->dtype, t->n_dims, t->dims, &copy.n_elems, &copy.bytes, err)) return false;
    copy.name = arena_text(ck->texts, t->name);
    if (!copy.name) return error_memory(err, strlen(t->name));
    ck->tensors[ck->n_tensors++] = copy;
    return true;
}

bool checkpoint_add(struct checkpoint *ck, const struct tensor_info *t, struct error *err)
{
    if (!append(ck, t, err)) return false;
    if (u64_add(ck->bytes, ck->tensors[ck->n_tensors - 1].bytes, &ck->bytes)) return true;
    return error_set(err, ERR_FORMAT, "folder '%.256s': the tensors have more bytes than 64 bits can count",
                     folder_path(ck->folder));
}

/* Byte behind the last one that the view reads, counted from its first. */
static bool view_extent(const struct tensor_info *t, const struct tensor_view *v, uint64_t *out)
{
    uint64_t cols = t->n_dims > 1 ? t->dims[1] : 1, rows = t->n_dims ? t->dims[0] : 1, rows_end, cols_end;
    *out = 0;
    if (rows == 0 || cols == 0) return true;
    if (v->is_mxfp4) { /* in elements */
        bool ok = u64_mul(rows - 1, v->row_step, &rows_end) && u64_mul(cols - 1, v->col_step, &cols_end) &&
                  u64_add(rows_end, cols_end, out) && u64_add(*out, v->first, out);
        *out = *out / 2 + 1;
        return ok;
    }
    return u64_mul(rows - 1, v->row_step, &rows_end) && u64_mul(cols - 1, v->col_step, &cols_end) &&
           u64_add(rows_end, cols_end, out) && u64_add(*out, dtype_bytes(t->dtype), out);
}

bool checkpoint_add_view(struct checkpoint *ck, const struct tensor_info *t, const struct tensor_view *view,
                         uint64_t first, struct error *err)
{
    const struct tensor_info *base = &ck->tensors[view->base];
    const struct tensor_info *scales = view->is_mxfp4 ? &ck->tensors[view->scales] : base;
    uint64_t extent;
    if (base->pieces || scales->pieces)
        return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s' is a part of '%.256s', which does not lie in one piece",
                         t->name, base->name);
    if (t->n_dims > 2 || base->view || !view_extent(t, view, &extent) || first > base->bytes ||
        extent > base->bytes - first || (view->is_mxfp4 && (extent + 15) / 16 > scales->bytes))
        return error_set(err, ERR_INTERNAL, "tensor '%.256s' is not inside '%.256s'", t->name, base->name);
    struct tensor_info v = *t;
    struct tensor_view *own = arena_alloc(ck->texts, 1, sizeof *own);
    if (!own) return error_memory(err, sizeof *own);
    *own = *view;
    own->scales_member = scales->member;
    own->scales_offset = scales->offset;
    v.member = base->member;
    v.offset = base->offset + first;
    v.view = own;
    return append(ck, &v, err);
}

bool checkpoint_add_pieces(struct checkpoint *ck, const struct tensor_info *t, const struct tensor_pieces *pieces,
                           struct error *err)
{
    struct tensor_info own = *t;
    struct tensor_pieces *p = arena_alloc(ck->texts, 1, sizeof *p);
    if (pieces->n > TENSOR_PIECES_MAX - ck->n_pieces)
        return error_set(err, ERR_UNSUPPORTED, "folder '%.256s': the tensors lie in more than %u pieces",
                         folder_path(ck->folder), TENSOR_PIECES_MAX);
    ck->n_pieces += pieces->n;
    if (p) *p = *pieces;
    if (p) p->piece = arena_alloc(ck->texts, pieces->n, sizeof *p->piece);
    if (!p || !p->piece) return error_memory(err, pieces->n * sizeof *p->piece);
    memcpy(p->piece, pieces->piece, pieces->n * sizeof *p->piece);
    if (!tensor_pieces_settle(t->name, p, err)) return false;
    own.member = p->piece[0].member;
    own.offset = p->piece[0].offset;
    own.pieces = p;
    return checkpoint_add(ck, &own, err);
}

bool checkpoint_add_sum(struct checkpoint *ck, uint32_t member, uint64_t offset, uint64_t n, uint32_t crc32,
                        const char *what, struct error *err)
{
    if (ck->n_sums == ck->sums_capacity) {
        uint32_t capacity = ck->sums_capacity ? 2 * ck->sums_capacity : 64;
        struct sum *p = realloc(ck->sums, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        ck->sums = p;
        ck->sums_capacity = capacity;
    }
    struct sum s = {.what = arena_text(ck->texts, what), .offset = offset, .n = n, .member = member, .crc32 = crc32};
    if (!s.what) return error_memory(err, strlen(what));
    ck->sums[ck->n_sums++] = s;
    return true;
}

#define SUM_CHUNK_BYTES ((size_t)1 << 20)

bool checkpoint_check_sums(const struct checkpoint *ck, struct error *err)
{
    CLEANUP(free) uint8_t *chunk = ck->n_sums ? malloc(SUM_CHUNK_BYTES) : NULL;
    if (ck->n_sums && !chunk) return error_memory(err, SUM_CHUNK_BYTES);
    for (uint32_t i = 0; i < ck->n_sums; i++) {
        const struct sum *s = &ck->sums[i];
        uint32_t crc = 0;
        for (uint64_t at = 0; at < s->n; at += SUM_CHUNK_BYTES) {
            size_t n = (size_t)u64_min(SUM_CHUNK_BYTES, s->n - at);
            if (!folder_read(ck->folder, s->member, s->offset + at, chunk, n, err)) return false;
            crc = crc32_add(crc, chunk, n);
        }
        if (crc != s->crc32)
            return error_set(err, ERR_FORMAT, "'%.256s': '%.256s': the bytes have CRC %08x, the file says %08x",
                             folder_name(ck->folder, s->member), s->what, crc, s->crc32);
    }
    return true;
}

bool checkpoint_add_file(struct checkpoint *ck, uint32_t member, const struct digest *header, struct error *err)
{
    if (ck->n_files == ck->files_capacity) {
        uint32_t capacity = ck->files_capacity ? 2 * ck->files_capacity : 16;
        struct checkpoint_file *p = realloc(ck->files, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        ck->files = p;
        ck->files_capacity = capacity;
    }
    ck->files[ck->n_files++] = (struct checkpoint_file){member, *header};
    return true;
}

bool checkpoint_add_metadata(struct checkpoint *ck, const char *key, const char *value, size_t value_bytes,
                             struct error *err)
{
    if (ck->n_metadata == ck->metadata_capacity) {
        uint32_t capacity = ck->metadata_capacity ? 2 * ck->metadata_capacity : 16;
        struct metadata *p = realloc(ck->metadata, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        ck->metadata = p;
        ck->metadata_capacity = capacity;
    }
    struct metadata m = {arena_text(ck->texts, key), arena_copy(ck->texts, value, value_bytes)};
    if (!m.key || !m.value) return error_memory(err, value_bytes);
    ck->metadata[ck->n_metadata++] = m;
    return true;
}

const char *checkpoint_metadata(const struct checkpoint *ck, const char *key)
{
    for (uint32_t i = 0; i < ck->n_metadata; i++)
        if (strcmp(ck->metadata[i].key, key) == 0) return ck->metadata[i].value;
    return NULL;
}

bool checkpoint_add_remark(struct checkpoint *ck, struct error *err, const char *fmt, ...)
{
    char raw[ERROR_TEXT_MAX], text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    error_printable(text, sizeof text, raw, strlen(raw));
    const char **p = realloc(ck->remarks, (ck->n_remarks + 1) * sizeof *p);
    if (!p) return error_memory(err, sizeof *p);
    ck->remarks = p;
    p[ck->n_remarks] = arena_text(ck->texts, text);
    return p[ck->n_remarks++] ? true : error_memory(err, sizeof text);
}

/* What is sorted: small, so that a comparison of millions stays in the cache. */
struct place {
    uint64_t offset, bytes;
    uint32_t tensor;
};

/* By offset; of those that begin at one place, the empty ones first; those in the order of the header. */
static int by_offset(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

/* Moves tensor order[i] to place i by following the cycles: a second array of tensors would double the memory. */
static void permute(struct tensor_info *t, uint32_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct tensor_info kept = t[i];
        uint32_t to = i;
        for (uint32_t from; (from = order[to]) != i; to = from) {
            t[to] = t[from];
            order[to] = to;
        }
        t[to] = kept;
        order[to] = to;
    }
}

static bool in_order(const struct tensor_info *t, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (t[i - 1].offset > t[i].offset || (t[i - 1].offset == t[i].offset && t[i - 1].bytes > t[i].bytes))
            return false;
    return true;
}

bool checkpoint_sort(struct checkpoint *ck, uint32_t first, struct error *err)
{
    uint32_t n = ck->n_tensors - first;
    if (n == 0 || in_order(ck->tensors + first, n)) return true; /* most writers lay them out in order */
    struct tensor_info *t = ck->tensors + first;
    CLEANUP(free) struct place *places = malloc(n * sizeof *places);
    CLEANUP(free) uint32_t *order = malloc(n * sizeof *order);
    if (!places || !order) return error_memory(err, n * sizeof *places);
    for (uint32_t i = 0; i < n; i++) places[i] = (struct place){t[i].offset, t[i].bytes, i};
    qsort(places, n, sizeof *places, by_offset);
    for (uint32_t i = 0; i < n; i++) order[i] = places[i].tensor;
    permute(t, order, n);
    return true;
}

bool checkpoint_index(struct checkpoint *ck, struct error *err)
{
    uint32_t n = ck->n_tensors, twice[2];
    if (ck->index.entries && ck->n_sorted == n) return true;
    name_index_free(&ck->index);
    CLEANUP(free) const char **names = malloc((n ? n : 1) * sizeof *names);
    if (!names) return error_memory(err, n * sizeof *names);
    for (uint32_t i = 0; i < n; i++) names[i] = ck->tensors[i].name;
    if (!name_index_sort(&ck->index, names, n, twice, err)) return false;
    ck->n_sorted = n;
    if (twice[0] == NAME_NONE) return true;
    const struct tensor_info *a = &ck->tensors[twice[0]], *b = &ck->tensors[twice[1]];
    const char *file = folder_name(ck->folder, a->member), *other = folder_name(ck->folder, b->member);
    if (a->member == b->member)
        return error_set(err, ERR_FORMAT, "'%.256s': tensor '%.256s' is there twice", file, a->name);
    return error_set(err, ERR_FORMAT, "tensor '%.256s' is in '%.256s' and in '%.256s'", a->name, file, other);
}
