/* Between verify/diff.c (keys, files) and verify/diff_tensors.c. */
#ifndef VERIFY_DIFF_IMPL_H
#define VERIFY_DIFF_IMPL_H

#include "formats/checkpoint.h"
#include "verify/diff.h"

struct side {
    struct folder *folder;
    struct checkpoint *ck; /* NULL: no weights */
};

struct diff {
    struct side a, b;
    uint64_t isa;
    struct pool *pool;
    const struct progress *pr;
    json_t *rows;
    uint32_t left_off;
    struct error *err;
};

/* Takes over `row`; one too many is only counted. */
MUST_CHECK bool diff_add(struct diff *d, json_t *row);
MUST_CHECK bool diff_add_one(struct diff *d, const char *what, const char *name, bool in_a);
/* Compares all tensors: how many there are in either, and how many are the same in both. */
MUST_CHECK bool diff_tensors(struct diff *d, uint32_t *n_all, uint32_t *n_same);
/* When both paths are packages, their adapters are files too; adds to the counts. */
MUST_CHECK bool diff_adapters(struct diff *d, const char *a, const char *b, uint32_t *n_all, uint32_t *n_same);

#endif
