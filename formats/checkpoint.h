/* Checkpoints: named tensors in files. Reading knows one format per row of checkpoint_formats[]; writing is sharded
 * safetensors with an index. Whatever the format, names, shapes and values are those of the family's Hugging Face
 * folder. */
#ifndef FORMATS_CHECKPOINT_H
#define FORMATS_CHECKPOINT_H

#include "core/cleanup.h"
#include "core/crypto.h"
#include "core/dtype.h"
#include "core/error.h"
#include "formats/folder.h"

#define TENSOR_DIMS_MAX 8u
#define TENSORS_MAX 4000000u /* per checkpoint; the largest published one has 10^5 */

/* How the bytes in the file become those of the tensor, where they are not the same (GGUF: formats/tensor_recode.c). */
enum tensor_recode {
    RECODE_NONE,
    RECODE_ROWS_APART, /* of each head, rows 0, 2, 4 ... of the file come first, then 1, 3, 5 ... */
    RECODE_MINUS_ONE,  /* F32: x - 1 */
    RECODE_LOG_NEG     /* F32: log(-x) */
};

/* A tensor that has no bytes of its own: row r, column c of it is the element at byte offset + r * row_step + c *
 * col_step of the file (experts in a stack: models/stacks.h). */
struct tensor_view {
    uint32_t base; /* the stored tensor */
    uint64_t row_step, col_step;
    /* MXFP4 whose blocks run along another dimension than a row's columns, decoded to BF16, which holds every such
     * number: then steps count elements, `first` is the one at (0, 0), and element x has byte x / 32 of `scales`. */
    bool is_mxfp4;
    uint32_t scales;
    uint64_t first;
    uint32_t scales_member; /* private: where that is */
    uint64_t scales_offset;
};

struct tensor_info {
    const char *name; /* valid until checkpoint_close */
    enum dtype dtype;
    uint32_t n_dims;
    uint64_t dims[TENSOR_DIMS_MAX]; /* outermost first */
    uint64_t n_elems, bytes;        /* products, checked */
    uint32_t member;                /* of the folder */
    uint64_t offset;                /* of the first byte in that member */
    enum tensor_recode recode;
    uint32_t head_rows;                 /* RECODE_ROWS_APART: rows of a head, an even number that divides dims[0] */
    const struct tensor_view *view;     /* NULL: the bytes lie there in order */
    const struct tensor_pieces *pieces; /* not NULL: they lie in several places (formats/tensor_pieces.h) */
};
/* As checkpoint_read does for such a tensor: n bytes from byte `offset` of it (a view: whole elements). */
MUST_CHECK bool tensor_recode_read(const struct folder *f, const struct tensor_info *t, uint64_t offset, void *dst,
                                   size_t n, struct error *err);
MUST_CHECK bool tensor_view_read(const struct folder *f, const struct tensor_info *t, uint64_t offset, void *dst,
                                 size_t n, struct error *err);

struct checkpoint;

/* Reads headers only. Everything is checked that can be without reading tensor bytes: docs/formats.md lists the rules.
 * ERR_UNSUPPORTED, naming the format, when the folder holds weights in one that no row of the list reads. */
MUST_CHECK bool checkpoint_open(struct checkpoint **out, const struct folder *folder,
                                struct error *err); /* borrows the folder */
/* One safetensors file of a folder, whatever the others are: for folders of families that are only bundled. */
MUST_CHECK bool checkpoint_open_member(struct checkpoint **out, const struct folder *folder, uint32_t member,
                                       struct error *err);
void checkpoint_close(struct checkpoint *ck); /* NULL is fine */
CLEANUP_DEFINE(checkpoint, struct checkpoint, checkpoint_close)

const char *checkpoint_format_name(const struct checkpoint *ck); /* "safetensors" */
const struct folder *checkpoint_folder(const struct checkpoint *ck);
uint32_t checkpoint_count(const struct checkpoint *ck);     /* stored tensors: 0 .. count - 1 */
uint32_t checkpoint_count_all(const struct checkpoint *ck); /* with the views, which follow */
const struct tensor_info *checkpoint_tensor(const struct checkpoint *ck,
                                            uint32_t i);                 /* in (file, offset) order, or PyTorch's own */
uint32_t checkpoint_find(const struct checkpoint *ck, const char *name); /* NAME_NONE when absent */
uint64_t checkpoint_bytes(const struct checkpoint *ck);                  /* sum over tensors */
/* What is odd but published checkpoints do, one sentence each: no reason to refuse, worth telling. NULL past the end.
 */
const char *checkpoint_remark(const struct checkpoint *ck, uint32_t i);
/* The stored tensor that i is, or is a part of. */
uint32_t checkpoint_stored(const struct checkpoint *ck, uint32_t i);
/* Adds a tensor of at most two dimensions that is a part of tensor view->base, and begins at byte `first` of it; found
 * by name after the next checkpoint_index. ERR_INTERNAL when it is not inside. */
MUST_CHECK bool checkpoint_add_view(struct checkpoint *ck, const struct tensor_info *t, const struct tensor_view *view,
                                    uint64_t first, struct error *err);
/* n bytes of tensor i from byte `offset` of it; safe from several threads. */
MUST_CHECK bool checkpoint_read(const struct checkpoint *ck, uint32_t i, uint64_t offset, void *dst, size_t n,
                                struct error *err);
/* The files that hold tensors, in the folder's order, with the SHA-256 of each one's header (of safetensors: the 8
 * length bytes and the text after them): what a plan is made from. */
struct checkpoint_file {
    uint32_t member;
    struct digest header;
};
const struct checkpoint_file *checkpoint_files(const struct checkpoint *ck, uint32_t *n);

/* Reads everything that has a checksum and compares (the storages of PyTorch's zip files); true for formats without.
 * ERR_FORMAT names the file and the part. What writes from a checkpoint asks first. */
MUST_CHECK bool checkpoint_check_sums(const struct checkpoint *ck, struct error *err);

/* A value that the files carry beside their tensors (safetensors' __metadata__), or NULL; of several files the first
 * that has it. */
const char *checkpoint_metadata(const struct checkpoint *ck, const char *key);

/* True for a file name that holds weights in any format we know of, also those we do not read. */
bool checkpoint_is_weights(const char *name);

/* One per file format. */
struct checkpoint_format {
    const char *name;
    /* True when the folder holds this format. */
    bool (*probe)(const struct folder *f);
    bool (*open)(struct checkpoint *ck, struct error *err);
};
extern const struct checkpoint_format *const checkpoint_formats[]; /* NULL-terminated; formats/checkpoint.c */
extern const struct checkpoint_format checkpoint_safetensors, checkpoint_gguf, checkpoint_megatron, checkpoint_torch;

/* For formats: called by `open`, files in the folder's order. Names and infos are copied; n_elems and bytes are worked
 * out here. */
MUST_CHECK bool checkpoint_add(struct checkpoint *ck, const struct tensor_info *t, struct error *err);
MUST_CHECK bool checkpoint_add_metadata(struct checkpoint *ck, const char *key, const char *value, size_t value_bytes,
                                        struct error *err);
MUST_CHECK bool checkpoint_add_file(struct checkpoint *ck, uint32_t member, const struct digest *header,
                                    struct error *err);
/* The CRC-32 that the file says its n bytes from `offset` on have; `what` names them. */
MUST_CHECK bool checkpoint_add_sum(struct checkpoint *ck, uint32_t member, uint64_t offset, uint64_t n, uint32_t crc32,
                                   const char *what, struct error *err);
MUST_CHECK bool checkpoint_add_remark(struct checkpoint *ck, struct error *err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts the tensors from number `first` on into the order of their offsets. */
MUST_CHECK bool checkpoint_sort(struct checkpoint *ck, uint32_t first, struct error *err);
/* Makes checkpoint_find work; ERR_FORMAT when a name is there twice. Called again by checkpoint_open, at no cost. */
MUST_CHECK bool checkpoint_index(struct checkpoint *ck, struct error *err);

/* ---- writing ---- */

struct tensor_spec {
    const char *name;
    enum dtype dtype;
    uint32_t n_dims;
    uint64_t dims[TENSOR_DIMS_MAX];
};

/* Elements and bytes of a shape, with checked arithmetic; ERR_FORMAT naming the tensor when they do not fit. */
MUST_CHECK bool tensor_size(const char *name, enum dtype dtype, uint32_t n_dims, const uint64_t *dims,
                            uint64_t *n_elems, uint64_t *bytes, struct error *err);

/* Where every tensor will lie, decided before the first byte: depends on nothing but specs and shard_bytes.
 * Tensors go to shards in the given order; a new shard begins when the next tensor would take the data past shard_bytes
 * (a tensor larger than that has a shard of its own). The format allows no gaps, so inside a shard those whose size is
 * a multiple of 64 bytes come first, then of 32, 16, 8, 4, 2, 1, each group in the given order: every tensor is aligned
 * for its type, and the large ones for vector loads. The header is padded with spaces so that the data begins on a
 * page. */
#define SHARD_BYTES_DEFAULT 5000000000ull /* what hubs and registries take without complaint */
struct shard_layout {
    uint32_t n_shards, n_tensors;
    uint32_t *shard;        /* [n_tensors] */
    uint64_t *offset;       /* [n_tensors] from the first byte of the shard's data */
    uint64_t *bytes;        /* [n_tensors] */
    uint64_t *shard_bytes;  /* [n_shards] whole file */
    uint64_t *header_bytes; /* [n_shards] the 8 length bytes and the header */
    uint32_t *first;        /* [n_shards + 1] first tensor of each shard */
};
/* ERR_FORMAT for a name that is there twice or not UTF-8; ERR_UNSUPPORTED when a header would exceed the format's
 * limit. */
MUST_CHECK bool shard_layout_make(struct shard_layout *out, const struct tensor_spec *specs, uint32_t n,
                                  uint64_t shard_bytes, struct error *err);
void shard_layout_free(struct shard_layout *l);
void shard_name(char out[64], uint32_t shard, uint32_t n_shards); /* "model.safetensors" when there is one */

/* Writes one shard: open, then bytes of its tensors at any offset in any order, from several threads if wanted, then
 * commit. Borrows specs and layout until then. The file appears under its name with the commit. */
struct shard_writer;
MUST_CHECK bool shard_writer_open(struct shard_writer **out, const char *folder, const struct tensor_spec *specs,
                                  const struct shard_layout *l, uint32_t shard, struct error *err);
MUST_CHECK bool shard_writer_write(struct shard_writer *w, uint32_t tensor, uint64_t offset, const void *data, size_t n,
                                   struct error *err);
/* Fails (ERR_INTERNAL, naming the tensor) when fewer or more bytes were written than a tensor holds. Frees w. */
/* Lets the disk begin with what was written of a tensor (core/file.h): a hint. */
void shard_writer_start_flush(const struct shard_writer *w, uint32_t tensor, uint64_t offset, uint64_t n);
MUST_CHECK bool shard_writer_commit(struct shard_writer *w, struct error *err);
void shard_writer_abort(struct shard_writer *w); /* NULL is fine */
/* model.safetensors.index.json beside several shards; nothing for one. */
MUST_CHECK bool shard_index_write(const char *folder, const struct tensor_spec *specs, const struct shard_layout *l,
                                  struct error *err);

#endif
