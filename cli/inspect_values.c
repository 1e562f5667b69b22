#include "cli/inspect_values.h"

#include "backends/cpu/kernel.h"
#include "core/memory.h"
#include "engine/tokenizer.h"

#include <math.h>

#define PIECE_BYTES ((uint64_t)4 << 20)
#define E4M3_NAN 0x7fu /* both signs */

struct value_ctx {
    const struct checkpoint *ck;
    kernel_fn amax;
};

static bool check_piece(const struct value_ctx *c, const struct tensor_info *t, const uint8_t *piece, size_t n,
                        uint64_t at, struct error *err)
{
    bool bad = false;
    if (dtype_is_plain_float(t->dtype)) {
        float top;
        c->amax(&(struct kernel_args){
            .n_rows = 1, .n_cols = n / dtype_bytes(t->dtype), .src = piece, .dtype = t->dtype, .dst_f32 = &top});
        bad = !isfinite(top);
    } else if (t->dtype == DTYPE_F8_E4M3) {
        for (size_t i = 0; i < n && !bad; i++) bad = (piece[i] & 0x7f) == E4M3_NAN;
    }
    if (!bad) return true;
    return error_set(err, ERR_FORMAT,
                     "file '%.128s': tensor '%.256s' holds a value that is not finite (bytes %llu to %llu)",
                     folder_name(checkpoint_folder(c->ck), t->member), t->name, (unsigned long long)at,
                     (unsigned long long)(at + n - 1));
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

static bool check_scalars(const struct model *m, struct error *err)
{
    for (uint32_t i = 0; i < m->inventory->n_tensors; i++) {
        const struct model_tensor *t = &m->inventory->tensors[i];
        for (int part = PART_WEIGHT_SCALE; part < PART_COUNT; part++) {
            float v;
            if (t->parts[part] == NAME_NONE || checkpoint_tensor(m->checkpoint, t->parts[part])->n_dims != 0) continue;
            if (!checkpoint_read(m->checkpoint, t->parts[part], 0, &v, sizeof v, err)) return false;
            if (!(v > 0))
                return error_set(err, ERR_FORMAT, "tensor '%.256s.%s' is %g; a scale is positive", t->module,
                                 tensor_part_suffix((enum tensor_part)part), (double)v);
        }
    }
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
    if (!pool_try(pool, checkpoint_count(m->checkpoint), value_item, &c, err) || !check_scalars(m, err)) return false;
    CLEANUP(tokenizer) struct tokenizer *t = NULL;
    return tokenizer_open(&t, m->folder, err);
}
