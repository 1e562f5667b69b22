/* From a view of a storage to a tensor of the checkpoint. */
#include "formats/tensor_pieces.h"
#include "formats/torch_file.h"

static bool in_order(const struct torch_tensor *t)
{
    uint64_t step = dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (t->dims[i] == 0) return true;
    for (uint32_t i = t->n_dims; i-- > 0;) {
        if (t->dims[i] != 1 && t->steps[i] != step) return false;
        step *= t->dims[i];
    }
    return true;
}

/* Dimensions in front of the last one, with those that run through each other as one: steps of rows. */
struct rows {
    uint32_t n;
    uint64_t dims[TENSOR_DIMS_MAX], steps[TENSOR_DIMS_MAX];
};

static void join_rows(const struct torch_tensor *t, struct rows *r)
{
    *r = (struct rows){0};
    for (uint32_t i = 0; i + 1 < t->n_dims; i++) {
        if (t->dims[i] == 1) continue;
        uint64_t *step = r->n ? &r->steps[r->n - 1] : NULL;
        if (step && *step == t->dims[i] * t->steps[i]) {
            r->dims[r->n - 1] *= t->dims[i];
            *step = t->steps[i];
        } else {
            r->dims[r->n] = t->dims[i];
            r->steps[r->n++] = t->steps[i];
        }
    }
}

bool torch_add(struct checkpoint *ck, const struct torch_tensor *t, const char *name, struct error *err)
{
    struct tensor_info info = {
        .name = name, .dtype = t->dtype, .n_dims = t->n_dims, .member = t->member, .offset = t->offset};
    memcpy(info.dims, t->dims, sizeof t->dims);
    if (in_order(t)) return checkpoint_add(ck, &info, err);
    struct rows r;
    join_rows(t, &r);
    uint64_t n = 1, cols = t->dims[t->n_dims - 1], rows = r.n ? r.dims[r.n - 1] : 1;
    for (uint32_t i = 0; i + 1 < r.n; i++)
        if (!u64_mul(n, r.dims[i], &n) || n > TENSOR_PIECES_MAX)
            return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s' lies in more than %u pieces", name,
                             TENSOR_PIECES_MAX);
    CLEANUP(free) struct tensor_piece *pieces = calloc((size_t)n, sizeof *pieces);
    if (!pieces) return error_memory(err, (size_t)n * sizeof *pieces);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t offset = t->offset, k = i;
        for (uint32_t d = r.n - 1; r.n && d-- > 0; k /= r.dims[d]) offset += k % r.dims[d] * r.steps[d];
        pieces[i] = (struct tensor_piece){.row = i * rows,
                                          .rows = rows,
                                          .cols = cols,
                                          .offset = offset,
                                          .row_step = r.n ? r.steps[r.n - 1] : 0,
                                          .col_step = cols == 1 ? dtype_bytes(t->dtype) : t->steps[t->n_dims - 1],
                                          .member = t->member};
    }
    struct tensor_pieces p = {.rows = n * rows, .cols = cols, .n = (uint32_t)n, .piece = pieces};
    return checkpoint_add_pieces(ck, &info, &p, err);
}
