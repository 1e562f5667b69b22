#include "models/stacks.h"

#include "models/expected.h"

struct opening {
    const struct model_config *cfg;
    struct checkpoint *ck;
    struct arena *arena;
    bool added;
    struct error *err;
};

static uint64_t one_dim(const struct opening *o, const struct block_config *b, const char *name)
{
    uint64_t n = 1;
    return model_dims(o->cfg, b, name, &n, 1) ? n : 1;
}

/* The stored shape: experts first, then outputs and inputs in the stack's order; MXFP4 has its blocks apart. */
static uint32_t stack_shape(const struct opening *o, const struct stack_rule *r, const struct block_config *b,
                            uint64_t dims[4])
{
    uint64_t rows = r->n_parts * one_dim(o, b, r->rows), cols = *r->cols ? one_dim(o, b, r->cols) : 0;
    uint32_t n = 0;
    dims[n++] = o->cfg->moe.n_experts;
    if (cols && r->order == STACK_IN_OUT) dims[n++] = cols;
    dims[n++] = rows;
    if (cols && r->order != STACK_IN_OUT) dims[n++] = cols / (r->order == STACK_OUT_IN ? 1 : 32);
    if (r->order == STACK_MXFP4_BLOCKS) dims[n++] = 16;
    return n;
}

static bool shape_differs(const struct opening *o, const struct tensor_info *t, uint32_t n, const uint64_t *want)
{
    char text[2][128] = {"", ""};
    for (uint32_t i = 0; i < n; i++)
        snprintf(text[0] + strlen(text[0]), sizeof *text - strlen(text[0]), "%s%llu", i ? ", " : "",
                 (unsigned long long)want[i]);
    for (uint32_t i = 0; i < t->n_dims && strlen(text[1]) < 100; i++)
        snprintf(text[1] + strlen(text[1]), sizeof *text - strlen(text[1]), "%s%llu", i ? ", " : "",
                 (unsigned long long)t->dims[i]);
    return error_set(o->err, ERR_FORMAT,
                     "file '%.128s': tensor '%.256s': expected shape [%s] (from config.json), found [%s]",
                     folder_name(checkpoint_folder(o->ck), t->member), t->name, text[0], text[1]);
}

static bool check_stack(const struct opening *o, const struct stack_rule *r, const struct block_config *b,
                        const struct tensor_info *t)
{
    uint64_t want[4], cols = *r->cols ? one_dim(o, b, r->cols) : 0;
    uint32_t n = stack_shape(o, r, b, want);
    bool packed = r->order == STACK_MXFP4_BLOCKS || r->order == STACK_MXFP4_SCALES;
    if (packed && cols % 32 != 0)
        return error_set(o->err, ERR_FORMAT, "tensor '%.256s': %llu columns are not a multiple of MXFP4's block of 32",
                         t->name, (unsigned long long)cols);
    if (packed ? t->dtype != DTYPE_U8 : !dtype_is_plain_float(t->dtype))
        return error_set(o->err, ERR_FORMAT, "tensor '%.256s': expected %s, found %s", t->name,
                         packed ? "U8" : "F32, BF16 or F16", dtype_name(t->dtype));
    if (t->n_dims != n || memcmp(t->dims, want, n * sizeof *want) != 0) return shape_differs(o, t, n, want);
    return true;
}

/* Expert number e's part of a stack. */
static bool add_member(struct opening *o, const struct stack_rule *r, const struct block_config *b, uint32_t base,
                       uint32_t e)
{
    struct tensor_info stack = *checkpoint_tensor(o->ck, base);
    uint64_t elem = dtype_bytes(stack.dtype), rows = one_dim(o, b, r->rows),
             cols = *r->cols ? one_dim(o, b, r->cols) : 0;
    if (r->order == STACK_MXFP4_BLOCKS) cols /= 2;
    if (r->order == STACK_MXFP4_SCALES) cols /= 32;
    struct tensor_info t = {.name = model_pattern_name(o->cfg, o->arena, r->member, b, (int32_t)e),
                            .dtype = stack.dtype,
                            .n_dims = cols ? 2 : 1,
                            .dims = {rows, cols}};
    if (!t.name) return error_memory(o->err, 0);
    uint64_t per_row = cols && r->order != STACK_IN_OUT ? cols * elem : elem; /* from one output to the next */
    struct tensor_view v = {.base = base,
                            .row_step = r->interleaved ? per_row * r->n_parts : per_row,
                            .col_step = r->order == STACK_IN_OUT ? r->n_parts * rows * elem : elem};
    uint64_t first = r->part * (r->interleaved ? per_row : per_row * rows);
    return checkpoint_add_view(o->ck, &t, &v, e * (stack.bytes / o->cfg->moe.n_experts) + first, o->err);
}

static bool open_block(struct opening *o, const struct block_config *b)
{
    for (const struct stack_rule *r = o->cfg->arch->stacks; r->stack; r++) {
        const char *name = model_pattern_name(o->cfg, o->arena, r->stack, b, -1);
        if (!name) return error_memory(o->err, 0);
        uint32_t base = checkpoint_find(o->ck, name);
        if (base == NAME_NONE) continue;
        if (!check_stack(o, r, b, checkpoint_tensor(o->ck, base))) return false;
        for (uint32_t e = 0; e < o->cfg->moe.n_experts; e++)
            if (!add_member(o, r, b, base, e)) return false;
        o->added = true;
    }
    return true;
}

bool stacks_open(const struct model_config *cfg, struct checkpoint *ck, struct arena *arena, struct error *err)
{
    struct opening o = {cfg, ck, arena, false, err};
    for (uint32_t i = 0; cfg->arch->stacks && i < cfg->n_blocks; i++)
        if (cfg->blocks[i].kind == BLOCK_MOE && !open_block(&o, &cfg->blocks[i])) return false;
    return !o.added || checkpoint_index(ck, err);
}
