/* One file of torch.save: a zip archive (since 1.6) or pickles with storages behind them (before), and in it a state
 * dict. What comes out is a list of tensors and where their elements lie; no tensor byte is read. */
#ifndef FORMATS_TORCH_FILE_H
#define FORMATS_TORCH_FILE_H

#include "formats/checkpoint.h"
#include "formats/pickle.h"
#include "formats/torch_zip.h"

#define TORCH_NAME_MAX 1024u      /* bytes of a tensor's name */
#define TORCH_VISITS_MAX 8000000u /* values that a state dict's walk meets */

struct torch_tensor {
    const char *name; /* "a.b.weight": keys of nested dicts with dots between; "" for a lone tensor */
    enum dtype dtype;
    uint32_t n_dims, member;
    uint64_t dims[TENSOR_DIMS_MAX], steps[TENSOR_DIMS_MAX]; /* steps: bytes from one element to the next */
    uint64_t offset;                                        /* of the first element, in the member */
};
struct torch_list {
    struct torch_tensor *tensors;
    uint32_t n, capacity;
    struct arena *names;
};
void torch_list_free(struct torch_list *l);
MUST_CHECK bool torch_list_add(struct torch_list *l, const struct torch_tensor *t, struct error *err);

/* Adds the tensors of a file. `digest` is of everything but the tensors' bytes (of a zip archive: with their sums).
 * Sums go to ck when it is not NULL. */
MUST_CHECK bool torch_file_read(struct torch_list *l, struct checkpoint *ck, const struct file_range *r,
                                struct digest *digest, struct error *err);

/* Where the bytes of a storage lie; a name in the file's own way. */
struct torch_storage {
    const char *key;
    uint64_t offset, bytes; /* in the member */
};
struct torch_storages {
    struct torch_storage *list; /* by key */
    uint32_t n, member;
};
/* formats/torch_state.c: the tensors of a tree. */
MUST_CHECK bool torch_state_read(struct torch_list *l, const struct pickle_value *root,
                                 const struct torch_storages *storages, const char *what, struct error *err);
/* formats/torch_add.c: one tensor under another name, plain where its elements lie in order, else in pieces. */
MUST_CHECK bool torch_add(struct checkpoint *ck, const struct torch_tensor *t, const char *name, struct error *err);

/* What a storage's persistent id says: "storage", class, key, location, elements, and maybe a part of it. */
struct torch_storage_id {
    const struct pickle_global *type;
    const char *key;      /* in the arena */
    uint64_t n;           /* elements of the whole */
    uint64_t first, part; /* the part that is meant, in elements */
    bool has_part;
};
MUST_CHECK bool torch_storage_id(const struct pickle_value *storage, struct arena *arena, const char *what,
                                 struct torch_storage_id *out, struct error *err);

#endif
