/* Pickles that torch.save and torch.distributed.checkpoint write, as a tree of plain values. Nothing is executed and
 * nothing is imported: a global is a row of a table (formats/pickle_global.c) or an error that names it, and calling
 * one gives a value of the kinds below. There is no other way in. Protocols 0 to 5, without INST, OBJ, extensions and
 * out-of-band buffers. */
#ifndef FORMATS_PICKLE_H
#define FORMATS_PICKLE_H

#include "core/arena.h"
#include "core/bytes.h"
#include "core/dtype.h"
#include "core/error.h"

#define PICKLE_BYTES_MAX ((size_t)96 << 20)
#define PICKLE_MEMORY_MAX ((uint64_t)192 << 20) /* of values; a tensor of a state dict takes about 1 KiB */
#define PICKLE_OPS_MAX (64u << 20)
#define PICKLE_STACK_MAX (1u << 20) /* values that wait; picklers hand over containers in batches of 1000 */
#define PICKLE_MARKS_MAX 10000u     /* open marks: nesting */
#define PICKLE_MEMO_MAX (1u << 22)
#define PICKLE_DEPTH_MAX 64u /* levels of containers that a reader of the tree follows */

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,    /* 64 bits */
    PICKLE_BIGINT, /* text: its little-endian bytes, or its digits */
    PICKLE_FLOAT,
    PICKLE_TEXT,  /* str */
    PICKLE_BYTES, /* bytes, bytearray */
    PICKLE_TUPLE, /* also torch.Size */
    PICKLE_LIST,  /* also set */
    PICKLE_DICT,  /* items: key, value, key, value ... in the order of the file; also OrderedDict */
    PICKLE_GLOBAL,
    PICKLE_OBJECT,  /* of a class whose meaning is the reader's: items[0] its arguments, items[1] its state or NULL */
    PICKLE_STORAGE, /* a persistent id: items[0] is the tuple, items[1] the storage before it or NULL */
    PICKLE_TENSOR   /* items: storage, offset, sizes, strides, and the dtype's global or NULL */
};

struct pickle_global;
struct pickle_value {
    enum pickle_kind kind;
    uint32_t n; /* bytes of text; values in items, twice the entries of a dict */
    union {
        int64_t i;
        double f;
        const char *text; /* not terminated */
        struct pickle_value **items;
    } u;
    const struct pickle_global *global; /* GLOBAL; OBJECT: its class */
};

/* What a global is good for. */
enum pickle_call {
    PICKLE_CALL_NEVER,     /* a name that stands for itself: a storage class, a dtype */
    PICKLE_CALL_DICT,      /* OrderedDict */
    PICKLE_CALL_SAME,      /* torch.Size(tuple) */
    PICKLE_CALL_TENSOR,    /* _rebuild_tensor, _v2 */
    PICKLE_CALL_TENSOR_V3, /* with a dtype */
    PICKLE_CALL_PARAMETER, /* its first argument */
    PICKLE_CALL_OBJECT     /* a PICKLE_OBJECT */
};
/* Who asks: a state dict, or the .metadata of a distributed checkpoint. */
enum { PICKLE_FOR_TENSORS = 1, PICKLE_FOR_METADATA = 2 };
struct pickle_global {
    const char *module, *name;
    uint32_t where; /* PICKLE_FOR_... */
    enum pickle_call call;
    enum dtype dtype; /* of a storage class or a dtype; DTYPE_COUNT: none */
};
const struct pickle_global *pickle_global_find(struct bytes module, struct bytes name, uint32_t where);

struct pickle_tree {
    struct pickle_value *root;
    struct pickle_value *storages; /* all of them, from the last to the first */
    size_t used;                   /* bytes of the text */
};
/* Runs one pickle at the beginning of `text`. The tree lives in the arena and points into the text. `what` names the
 * file in sentences. */
MUST_CHECK bool pickle_read(struct bytes text, uint32_t where, const char *what, struct arena *arena,
                            struct pickle_tree *out, struct error *err);

bool pickle_is_text(const struct pickle_value *v, const char *text);
/* The last value under a key of a dict, or NULL. */
struct pickle_value *pickle_dict_get(const struct pickle_value *dict, const char *key);
/* A value in [0, max]. */
bool pickle_u64(const struct pickle_value *v, uint64_t max, uint64_t *out);
const char *pickle_kind_name(const struct pickle_value *v);

#endif
