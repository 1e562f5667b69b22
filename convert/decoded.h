/* A quantized source as plain numbers: its linears as one matrix each, instead of codes and scales. */
#ifndef CONVERT_DECODED_H
#define CONVERT_DECODED_H

#include "convert/convert.h"

/* One tensor of the result. */
struct decoded_output {
    const char *name; /* in the arena of `decoded` */
    uint32_t n_dims;
    uint64_t dims[3];
    void *ctx; /* for decoded_read */
};

struct decoded;
/* Lists the outputs and what they are made of. A model in which nothing is quantized has none. Borrows the model. */
MUST_CHECK bool decoded_open(struct decoded **out, const struct model *m, const struct convert_options *opt,
                             struct error *err);
void decoded_close(struct decoded *d); /* NULL is fine */
CLEANUP_DEFINE(decoded, struct decoded, decoded_close)

/* What becomes of stored tensor i: *output is the one that stands in its place, or NULL; false: it stays as it is.
 * Codes are replaced, scales are replaced by nothing. */
bool decoded_replaces(const struct decoded *d, uint32_t i, const struct decoded_output **output);

/* Rows of an output as fp32 (struct convert_item); of a stack a row is one expert. */
bool decoded_read(void *ctx, uint32_t worker, uint64_t first, uint64_t n, float *out, struct error *err);

#endif
