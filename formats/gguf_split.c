#include "formats/gguf_split.h"

#include "formats/tensor_pieces.h"

#include <stdlib.h>

#define GROUPS_MAX 65536u

struct split {
    const struct gguf_tensor *t, *other;
    struct gguf_sections s;
    uint64_t cols; /* of the whole */
    struct error *err;
};

uint64_t gguf_group_rows(const struct gguf_sections *s)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->n; i++) n += s->rows[i];
    return n;
}

static bool need(const struct gguf *g, const char *key, uint64_t *out, struct error *err)
{
    bool has;
    if (!gguf_opt_u64(g, key, INT32_MAX, out, &has, err)) return false;
    return (has && *out) || error_set(err, ERR_FORMAT, "key '%s' is missing or 0", key + 3);
}

/* DeltaNet: of each key head its query, key, values and their gates. */
static bool delta_sections(const struct gguf *g, struct gguf_sections *s, struct error *err)
{
    uint64_t groups, state, inner;
    if (!need(g, "%s.ssm.group_count", &groups, err) || !need(g, "%s.ssm.state_size", &state, err) ||
        !need(g, "%s.ssm.inner_size", &inner, err))
        return false;
    if (groups > GROUPS_MAX || inner % groups != 0)
        return error_set(err, ERR_FORMAT, "key 'ssm.inner_size' %llu does not divide by ssm.group_count %llu",
                         (unsigned long long)inner, (unsigned long long)groups);
    *s = (struct gguf_sections){.groups = groups, .n = 4, .rows = {state, state, inner / groups, inner / groups}};
    return true;
}

/* Latent attention: of each head the rows that make keys, without the rotary part, and those that make values. */
static bool latent_sections(const struct gguf *g, struct gguf_sections *s, struct error *err)
{
    uint64_t heads, key, value, rope;
    if (!need(g, "%s.attention.head_count", &heads, err) || !need(g, "%s.attention.key_length_mla", &key, err) ||
        !need(g, "%s.attention.value_length_mla", &value, err) || !need(g, "%s.rope.dimension_count", &rope, err))
        return false;
    if (heads > GROUPS_MAX || rope >= key)
        return error_set(err, ERR_FORMAT, "key 'attention.key_length_mla' is %llu, rope.dimension_count %llu",
                         (unsigned long long)key, (unsigned long long)rope);
    *s = (struct gguf_sections){.groups = heads, .n = 2, .rows = {key - rope, value}};
    return true;
}

static bool shape_is(const struct split *p, const struct gguf_tensor *t, uint32_t n, const uint64_t *dims)
{
    if (t->n_dims == n && memcmp(t->dims, dims, n * sizeof *dims) == 0) return true;
    char want[80];
    snprintf(want, sizeof want, n == 3 ? "[%llu, %llu, %llu]" : "[%llu, %llu]", (unsigned long long)dims[0],
             (unsigned long long)dims[1], (unsigned long long)(n == 3 ? dims[2] : 0));
    return error_set(p->err, ERR_FORMAT, "tensor '%.256s' has not the shape %s that the keys give it", t->name, want);
}

static bool check_delta(struct split *p)
{
    const uint64_t *r = p->s.rows, g = p->s.groups;
    p->cols = p->t->dims[p->t->n_dims - 1];
    return shape_is(p, p->t, 2, (uint64_t[]){g * (r[0] + r[1] + r[2]), p->cols}) &&
           shape_is(p, p->other, 2, (uint64_t[]){g * r[3], p->cols});
}

static bool check_latent(struct split *p)
{
    const uint64_t *r = p->s.rows, g = p->s.groups;
    p->cols = p->other->dims[p->other->n_dims - 1];
    return shape_is(p, p->t, 3, (uint64_t[]){g, p->cols, r[0]}) &&
           shape_is(p, p->other, 3, (uint64_t[]){g, r[1], p->cols});
}

static void place_delta(const struct split *p, struct tensor_piece *piece)
{
    uint64_t row_bytes = dtype_row_bytes(p->t->type->dtype, p->cols), row = 0;
    for (uint64_t g = 0; g < p->s.groups; g++) {
        uint64_t before = 0; /* rows of the sections that all groups have had */
        for (uint32_t k = 0; k < 4; k++, piece++) {
            const struct gguf_tensor *t = k == 3 ? p->other : p->t;
            uint64_t rows = p->s.rows[k], at = (k == 3 ? 0 : before) + g * rows;
            piece->row = row;
            piece->rows = rows;
            piece->row_step = row_bytes;
            piece->offset = t->offset + at * row_bytes;
            piece->member = t->member;
            row += rows;
            before += p->s.groups * rows;
        }
    }
}

static void place_latent(const struct split *p, struct tensor_piece *piece)
{
    uint64_t elem = dtype_block_bytes(p->t->type->dtype), key = p->s.rows[0], value = p->s.rows[1], row = 0;
    for (uint64_t g = 0; g < p->s.groups; g++, piece += 2) {
        piece[0].row = row;
        piece[0].rows = key;
        piece[0].row_step = elem;
        piece[0].col_step = key * elem;
        piece[0].offset = p->t->offset + g * p->cols * key * elem;
        piece[0].member = p->t->member;
        piece[1].row = row + key;
        piece[1].rows = value;
        piece[1].row_step = p->cols * elem;
        piece[1].offset = p->other->offset + g * value * p->cols * elem;
        piece[1].member = p->other->member;
        row += key + value;
    }
}

static bool check_types(const struct split *p, bool latent)
{
    enum dtype t = p->t->type->dtype;
    if (p->other->type->dtype != t)
        return error_set(p->err, ERR_UNSUPPORTED,
                         "tensors '%.256s' and '%.256s' are of different types; in the folder they are one", p->t->name,
                         p->other->name);
    return !latent || !dtype_is_blocks(t) ||
           error_set(p->err, ERR_UNSUPPORTED, "tensor '%.256s' is %s: only plain numbers are turned into rows",
                     p->t->name, dtype_name(t));
}

static bool add(const struct split *p, struct checkpoint *ck, bool latent, const char *name)
{
    enum dtype t = p->t->type->dtype;
    uint32_t n = (uint32_t)p->s.groups * p->s.n;
    struct tensor_info info = {.name = name, .dtype = t, .n_dims = 2};
    struct tensor_pieces pieces = {.rows = p->s.groups * gguf_group_rows(&p->s), .n = n};
    pieces.cols = p->cols / dtype_block_elems(t); /* blocks stay whole */
    info.dims[0] = pieces.rows;
    info.dims[1] = p->cols;
    pieces.piece = calloc(n, sizeof *pieces.piece);
    if (!pieces.piece) return error_memory(p->err, n * sizeof *pieces.piece);
    for (uint32_t i = 0; i < n; i++) {
        pieces.piece[i].cols = pieces.cols;
        pieces.piece[i].col_step = dtype_block_bytes(t);
    }
    (latent ? place_latent : place_delta)(p, pieces.piece);
    bool ok = checkpoint_add_pieces(ck, &info, &pieces, p->err);
    free(pieces.piece);
    return ok;
}

bool gguf_add_split(struct checkpoint *ck, const struct gguf *g, const struct gguf_tensor *t, enum gguf_change change,
                    const char *pair, const char *name, struct error *err)
{
    struct split p = {.t = t, .other = gguf_find_tensor(g, pair), .err = err};
    bool latent = change == GGUF_K_B || change == GGUF_V_B;
    if (!p.other) return error_set(err, ERR_FORMAT, "tensor '%.256s' is there without '%.256s'", t->name, pair);
    if (change == GGUF_Z || change == GGUF_V_B) return true;
    return (latent ? latent_sections(g, &p.s, err) : delta_sections(g, &p.s, err)) &&
           (latent ? check_latent(&p) : check_delta(&p)) && check_types(&p, latent) && add(&p, ck, latent, name);
}
