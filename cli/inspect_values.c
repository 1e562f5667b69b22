#include "cli/inspect_values.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "engine/tokenizer.h"
#include "formats/not_finite.h"
#include "numeric/e4m3.h"
#include "numeric/e8m0.h"

#include <math.h>

#define PIECE_BYTES ((uint64_t)4 << 20)

struct value_ctx {
    const struct checkpoint *ck;
    kernel_fn amax;
};

static bool check_piece(const struct value_ctx *c, const struct tensor_info *t, const uint8_t *piece, size_t n,
                        uint64_t at, struct error *err)
{
    if (dtype_is_plain_float(t->dtype)) {
        uint64_t elem = dtype_bytes(t->dtype);
        float top;
        c->amax(
            &(struct kernel_args){.n_rows = 1, .n_cols = n / elem, .src = piece, .dtype = t->dtype, .dst_f32 = &top});
        return isfinite(top) || tensor_not_finite(c->ck, t, piece, at / elem, n / elem, err);
    }
    for (size_t i = 0; t->dtype == DTYPE_F8_E4M3 && i < n; i++) {
        if ((piece[i] & 0x7f) != E4M3_NAN) continue;
        char place[96];
        tensor_place_text(place, t, at + i);
        return error_set(err, ERR_FORMAT,
                         "file '%.128s': tensor '%.256s' holds a value that is not finite: element %s is NaN",
                         folder_name(checkpoint_folder(c->ck), t->member), t->name, place);
    }
    return true;
}

static bool value_item(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct value_ctx *c = ctx;
    const struct tensor_info *t = checkpoint_tensor(c->ck, (uint32_t)i);
    CLEANUP(free) uint8_t *piece = NULL;
    if (!memory_alloc(&piece, u64_min(PIECE_BYTES, t->bytes), 1, err)) return false;
    for (uint64_t at = 0; at < t->bytes; at += PIECE_BYTES) {
        size_t n = (size_t)u64_min(PIECE_BYTES, t->bytes - at);
        if (!checkpoint_read(c->ck, (uint32_t)i, at, piece, n, err) || !check_piece(c, t, piece, n, at, err))
            return false;
    }
    return true;
}

static bool is_scale(enum tensor_part part)
{
    return part != PART_WEIGHT && part != PART_WEIGHT_SHAPE && part != PART_WEIGHT_ZERO_POINT && part != PART_QZEROS &&
           part != PART_G_IDX;
}

/* What a stored scale says; NAN for a code that says nothing. Bytes of other types than FP8 are powers of two. */
static float scale_at(const uint8_t *piece, enum dtype dtype, uint64_t i)
{
    if (dtype_is_plain_float(dtype)) return tensor_number_at(piece, dtype, i);
    if (dtype == DTYPE_F8_E4M3) return e4m3_decode(piece[i]);
    return piece[i] == E8M0_NAN ? NAN : 1;
}

static bool check_scales(const struct checkpoint *ck, uint32_t index, struct error *err)
{
    const struct tensor_info *t = checkpoint_tensor(ck, index);
    uint64_t elem = dtype_bytes(t->dtype);
    bool read = dtype_is_plain_float(t->dtype) || elem == 1;
    CLEANUP(free) uint8_t *piece = NULL;
    if (!read) return true;
    if (!memory_alloc(&piece, u64_min(PIECE_BYTES, t->bytes), 1, err)) return false;
    for (uint64_t at = 0; at < t->bytes; at += PIECE_BYTES) {
        size_t n = (size_t)u64_min(PIECE_BYTES, t->bytes - at);
        if (!checkpoint_read(ck, index, at, piece, n, err)) return false;
        for (uint64_t i = 0; i < n / elem; i++) {
            float v = scale_at(piece, t->dtype, i);
            if (v > 0 && isfinite(v)) continue;
            char place[96];
            tensor_place_text(place, t, at / elem + i);
            return error_set(err, ERR_FORMAT, "tensor '%.256s': element %s is %g; a scale is positive and finite",
                             t->name, place, (double)v);
        }
    }
    return true;
}

static bool scale_item(void *ctx, uint64_t i, uint32_t worker, struct error *err)
{
    (void)worker;
    const struct model *m = ctx;
    const struct model_tensor *t = &m->inventory->tensors[i];
    for (int part = PART_WEIGHT_SCALE; part < PART_COUNT; part++)
        if (t->parts[part] != NAME_NONE && is_scale((enum tensor_part)part) &&
            !check_scales(m->checkpoint, t->parts[part], err))
            return false;
    return true;
}

bool inspect_stored_values(const struct checkpoint *ck, struct pool *pool, uint64_t isa, struct error *err)
{
    struct value_ctx c = {ck, kernel_for(OP_AMAX, isa)};
    return pool_try(pool, checkpoint_count(ck), value_item, &c, err);
}

bool inspect_values(const struct model *m, struct pool *pool, uint64_t isa, const struct progress *pr,
                    struct error *err)
{
    struct value_ctx c = {m->checkpoint, kernel_for(OP_AMAX, isa)};
    progress_update(pr, "inspect", "values", 0, 1);
    if (!checkpoint_check_sums(m->checkpoint, err)) return false;
    struct model scales = *m;
    if (!pool_try(pool, checkpoint_count(m->checkpoint), value_item, &c, err) ||
        !pool_try(pool, m->inventory->n_tensors, scale_item, &scales, err))
        return false;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    return tokenizer_open(&t, m->folder, err);
}
