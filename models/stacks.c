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

/* What ModelOpt makes of a stack of [experts, inputs, outputs]; STORED_PLAIN also for FP8, which keeps the shape. */
enum stored { STORED_PLAIN, STORED_NVFP4, STORED_MXFP4 };

static enum stored stored_as(const struct stack_rule *r, const struct tensor_info *t, const uint64_t want[4])
{
    if (r->order != STACK_IN_OUT || t->dtype != DTYPE_U8 || t->n_dims != 3) return STORED_PLAIN;
    return t->dims[1] == want[1] ? STORED_MXFP4 : STORED_NVFP4;
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
    bool fp8 = r->order == STACK_IN_OUT && t->dtype == DTYPE_F8_E4M3;
    enum stored as = stored_as(r, t, want);
    if (as == STORED_NVFP4) want[1] /= 2;
    if (as == STORED_MXFP4) want[2] /= 2;
    if (packed ? t->dtype != DTYPE_U8 : !fp8 && as == STORED_PLAIN && !dtype_is_plain_float(t->dtype))
        return error_set(o->err, ERR_FORMAT, "tensor '%.256s': expected %s, found %s", t->name,
                         packed ? "U8" : "F32, BF16 or F16", dtype_name(t->dtype));
    if (t->n_dims != n || memcmp(t->dims, want, n * sizeof *want) != 0) return shape_differs(o, t, n, want);
    return true;
}

/* The member's name with another last word: ".weight" becomes ".weight_scale". */
static const char *member_name(const struct opening *o, const struct stack_rule *r, const struct block_config *b,
                               uint32_t e, const char *suffix)
{
    const char *name = model_pattern_name(o->cfg, o->arena, r->member, b, (int32_t)e);
    size_t n = name ? strlen(name) : 0;
    return name && *suffix ? arena_printf(o->arena, "%.*s%s", (int)(n - strlen(".weight")), name, suffix) : name;
}

/* Expert number e's part of a stack, which has `cols` columns of it. */
static bool add_member(struct opening *o, const struct stack_rule *r, const struct block_config *b, uint32_t base,
                       uint32_t e, const char *suffix, uint64_t cols)
{
    struct tensor_info stack = *checkpoint_tensor(o->ck, base);
    uint64_t elem = dtype_bytes(stack.dtype), rows = one_dim(o, b, r->rows);
    struct tensor_info t = {.name = member_name(o, r, b, e, suffix),
                            .dtype = stack.dtype,
                            .n_dims = stack.n_dims == 0 ? 0
                                      : cols            ? 2
                                                        : 1,
                            .dims = {rows, cols}};
    if (!t.name) return error_memory(o->err, 0);
    if (stack.n_dims == 0) return checkpoint_add_view(o->ck, &t, &(struct tensor_view){.base = base}, 0, o->err);
    uint64_t per_row = cols && r->order != STACK_IN_OUT ? cols * elem : elem; /* from one output to the next */
    struct tensor_view v = {.base = base,
                            .row_step = r->interleaved ? per_row * r->n_parts : per_row,
                            .col_step = r->order == STACK_IN_OUT ? r->n_parts * rows * elem : elem};
    uint64_t first = r->part * (r->interleaved ? per_row : per_row * rows);
    return checkpoint_add_view(o->ck, &t, &v, e * (stack.bytes / o->cfg->moe.n_experts) + first, o->err);
}

static uint32_t beside(const struct opening *o, uint32_t base, const char *suffix)
{
    char *name = arena_printf(o->arena, "%s_%s", checkpoint_tensor(o->ck, base)->name, suffix);
    return name ? checkpoint_find(o->ck, name) : NAME_NONE;
}

static bool check_beside(const struct opening *o, uint32_t scale, enum dtype dtype, uint32_t n, const uint64_t *want)
{
    const struct tensor_info *t = checkpoint_tensor(o->ck, scale);
    if (t->dtype != dtype)
        return error_set(o->err, ERR_FORMAT, "tensor '%.256s': expected %s, found %s", t->name, dtype_name(dtype),
                         dtype_name(t->dtype));
    return t->n_dims == n && memcmp(t->dims, want, n * sizeof *want) == 0 ? true : shape_differs(o, t, n, want);
}

/* The scales that ModelOpt puts beside a stack, for each expert: block scales in its order, scalars for all. */
static bool add_scales(struct opening *o, const struct stack_rule *r, const struct block_config *b, uint32_t base,
                       enum stored as)
{
    static const char *const suffixes[] = {"weight_scale", "weight_scale_2", "input_scale"};
    const uint64_t *d = checkpoint_tensor(o->ck, base)->dims, blocks[3] = {d[0], d[1] / 8, d[2]};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        uint32_t scale = beside(o, base, suffixes[i]);
        if (scale == NAME_NONE) continue;
        bool matrix = as == STORED_NVFP4 && i == 0;
        if (!check_beside(o, scale, matrix ? DTYPE_F8_E4M3 : DTYPE_F32, matrix ? 3 : 0, blocks)) return false;
        char dotted[32];
        snprintf(dotted, sizeof dotted, ".%s", suffixes[i]);
        for (uint32_t e = 0; e < o->cfg->moe.n_experts; e++)
            if (!add_member(o, r, b, scale, e, dotted, matrix ? blocks[1] : 0)) return false;
    }
    return true;
}

/* Blocks along the outputs: experts' matrices are decoded as they are read. */
static bool add_decoded(struct opening *o, const struct stack_rule *r, const struct block_config *b, uint32_t base)
{
    const uint64_t *d = checkpoint_tensor(o->ck, base)->dims, blocks[3] = {d[0], d[1], d[2] / 16};
    uint32_t scale = beside(o, base, "weight_scale");
    uint64_t rows = one_dim(o, b, r->rows), all = 2 * d[2], cols = d[1];
    if (scale == NAME_NONE)
        return error_set(o->err, ERR_FORMAT, "tensor '%.256s_weight_scale' is missing",
                         checkpoint_tensor(o->ck, base)->name);
    if (!check_beside(o, scale, DTYPE_U8, 3, blocks)) return false;
    for (uint32_t e = 0; e < o->cfg->moe.n_experts; e++) {
        struct tensor_info t = {
            .name = member_name(o, r, b, e, ""), .dtype = DTYPE_BF16, .n_dims = 2, .dims = {rows, cols}};
        struct tensor_view v = {.base = base,
                                .row_step = r->interleaved ? r->n_parts : 1,
                                .col_step = all,
                                .is_mxfp4 = true,
                                .scales = scale,
                                .first = e * cols * all + r->part * (r->interleaved ? 1 : rows)};
        if (!t.name) return error_memory(o->err, 0);
        if (!checkpoint_add_view(o->ck, &t, &v, 0, o->err)) return false;
    }
    return true;
}

static bool open_stack(struct opening *o, const struct stack_rule *r, const struct block_config *b, uint32_t base)
{
    uint64_t want[4], cols = *r->cols ? one_dim(o, b, r->cols) : 0;
    if (!check_stack(o, r, b, checkpoint_tensor(o->ck, base))) return false;
    stack_shape(o, r, b, want);
    enum stored as = stored_as(r, checkpoint_tensor(o->ck, base), want);
    if (as == STORED_MXFP4) return add_decoded(o, r, b, base);
    if (r->order == STACK_MXFP4_BLOCKS || as == STORED_NVFP4) cols /= 2;
    if (r->order == STACK_MXFP4_SCALES) cols /= 32;
    for (uint32_t e = 0; e < o->cfg->moe.n_experts; e++)
        if (!add_member(o, r, b, base, e, "", cols)) return false;
    return r->order != STACK_IN_OUT || add_scales(o, r, b, base, as);
}

static bool open_block(struct opening *o, const struct block_config *b)
{
    for (const struct stack_rule *r = o->cfg->arch->stacks; r->stack; r++) {
        const char *name = model_pattern_name(o->cfg, o->arena, r->stack, b, -1);
        if (!name) return error_memory(o->err, 0);
        uint32_t base = checkpoint_find(o->ck, name);
        if (base == NAME_NONE) continue;
        if (!open_stack(o, r, b, base)) return false;
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
