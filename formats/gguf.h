/* GGUF files, versions 2 and 3, little-endian: typed key-value metadata and tensors, in one file or split over several
 * (NAME-00001-of-0000N.gguf). Here is what the bytes say; what the names mean to a family is formats/gguf_arch.h.
 *
 * The headers are kept in memory as they lie in the files. Everything a header claims is checked against the bytes that
 * are there before anything is allocated for it: counts, lengths, types, alignment, offsets, sums. docs/formats.md
 * lists the rules. */
#ifndef FORMATS_GGUF_H
#define FORMATS_GGUF_H

#include "core/arena.h"
#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/crypto.h"
#include "formats/folder.h"
#include "formats/ggml_type.h"

#define GGUF_MAGIC 0x46554747u                /* "GGUF" */
#define GGUF_HEADER_MAX ((uint64_t)128 << 20) /* bytes before the tensors; the largest tokenizers come to 50 MiB */
#define GGUF_VALUES_MAX 65536u
#define GGUF_KEY_MAX 256u
#define GGUF_NAME_MAX 256u /* of a tensor; ggml itself takes 63 */
#define GGUF_DIMS_MAX 4u
#define GGUF_ALIGNMENT_DEFAULT 32u
#define GGUF_ALIGNMENT_MAX (1u << 20)
#define GGUF_FILES_MAX 1000u

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

struct gguf_value {
    const char *key;
    enum gguf_type type; /* of the value, or of the elements of an array */
    bool is_array;
    uint64_t n;        /* elements; 1 when it is no array */
    struct bytes data; /* as in the file, without type and count */
};

struct gguf_tensor {
    const char *name;
    const struct ggml_type *type;
    uint32_t n_dims;
    uint64_t dims[GGUF_DIMS_MAX]; /* outermost first, the other way round than in the file */
    uint64_t n_elems, bytes;
    uint64_t offset; /* of the first byte in its file */
    uint32_t member; /* of the folder */
};

struct gguf_file {
    uint32_t member;
    struct buffer header;
    struct digest digest; /* SHA-256 of everything before the tensors */
};

struct gguf {
    const struct folder *folder; /* borrowed */
    struct arena *arena;
    struct gguf_value *values;   /* of the first file */
    struct gguf_tensor *tensors; /* of all files, in their order */
    struct gguf_file *files;
    uint32_t n_values, n_tensors, n_files;
    struct name_index value_index, tensor_index;
};

/* The members of a folder that are a GGUF model, the first file of a split one first; at most GGUF_FILES_MAX. *n 0 when
 * there is none, or when the folder holds safetensors, which go first. ERR_USAGE when there are several models;
 * ERR_FORMAT when files of a split model are missing. Projectors of multimodal models (mmproj*) do not count. */
MUST_CHECK bool gguf_members(const struct folder *f, uint32_t *members, uint32_t *n, struct error *err);
bool gguf_is_name(const char *name); /* ends in ".gguf" */
/* "stem-00002-of-00005.gguf": 2, 5 and the bytes of the stem; false for other names. And the other way round. */
#define GGUF_PART_NAME_MAX 1024u
bool gguf_split_name(const char *name, size_t *stem, uint32_t *number, uint32_t *count);
void gguf_part_name(char out[GGUF_PART_NAME_MAX], const char *name, size_t stem, uint32_t number, uint32_t count);
bool gguf_folder_has(const struct folder *f); /* gguf_members would find something to say */

MUST_CHECK bool gguf_open(struct gguf **out, const struct folder *f, struct error *err); /* ERR_FORMAT when none */
void gguf_close(struct gguf *g);                                                         /* NULL is fine */
CLEANUP_DEFINE(gguf, struct gguf, gguf_close)

/* For gguf_open: one file's header; *split says what it says of itself (count 0: nothing). */
struct gguf_split {
    uint64_t number, count, tensors;
    bool has_tensors;
};
MUST_CHECK bool gguf_read_file(struct gguf *g, const struct folder *f, uint32_t member, struct gguf_split *split,
                               struct error *err);

/* ---- values: `key` as it stands, or with "%s" at its beginning for the architecture's name ---- */

const struct gguf_value *gguf_find(const struct gguf *g, const char *key); /* NULL when absent */
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);
/* general.architecture. */
MUST_CHECK bool gguf_architecture(const struct gguf *g, const char **out, struct error *err);

/* Element i of a value as a number; ERR_FORMAT, naming the key, when it is of another kind or does not fit. */
MUST_CHECK bool gguf_u64_at(const struct gguf_value *v, uint64_t i, uint64_t max, uint64_t *out, struct error *err);
MUST_CHECK bool gguf_number_at(const struct gguf_value *v, uint64_t i, double *out, struct error *err);
/* Absent: *has false, *out untouched. */
MUST_CHECK bool gguf_opt_u64(const struct gguf *g, const char *key, uint64_t max, uint64_t *out, bool *has,
                             struct error *err);
MUST_CHECK bool gguf_opt_number(const struct gguf *g, const char *key, double *out, bool *has, struct error *err);
MUST_CHECK bool gguf_opt_bool(const struct gguf *g, const char *key, bool *out, bool *has, struct error *err);
/* The text in the header; valid UTF-8 without NUL. */
MUST_CHECK bool gguf_opt_text(const struct gguf *g, const char *key, struct bytes *out, bool *has, struct error *err);
/* Walks an array of texts: *at begins at 0 and is moved on. The text is valid UTF-8 without NUL. */
MUST_CHECK bool gguf_next_text(const struct gguf_value *v, size_t *at, struct bytes *out, struct error *err);

#endif
