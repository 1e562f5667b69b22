#include "convert/split_rows.h"

#include "core/memory.h"

static void sections_of(enum gguf_change change, const struct model_config *cfg, struct gguf_sections *s)
{
    if (change == GGUF_K_B || change == GGUF_V_B) {
        *s = (struct gguf_sections){
            .groups = cfg->attention.n_heads, .n = 2, .rows = {cfg->mla.nope_dim, cfg->mla.v_dim}};
        return;
    }
    const struct ssm_config *m = &cfg->ssm;
    uint64_t values = m->n_groups ? (uint64_t)m->n_heads / m->n_groups * m->head_dim : 0;
    *s = (struct gguf_sections){.groups = m->n_groups, .n = 4, .rows = {m->state_size, m->state_size, values, values}};
}

bool split_rows_plan(struct split_rows *r, enum gguf_change change, const struct model_config *cfg,
                     const struct model_tensor *t, struct error *err)
{
    sections_of(change, cfg, &r->s);
    r->transposed = change == GGUF_K_B;
    r->first = change == GGUF_Z ? 3 : change == GGUF_V_B ? 1 : 0;
    r->last = change == GGUF_QKV ? 2 : r->first;
    if (t->n_dims != 2 || r->s.groups == 0 || gguf_group_rows(&r->s) * r->s.groups != t->dims[0])
        return error_set(err, ERR_FORMAT, "tensor '%.256s': its rows are not %llu groups of %llu", t->name,
                         (unsigned long long)r->s.groups, (unsigned long long)gguf_group_rows(&r->s));
    uint64_t rows = 0;
    for (uint32_t k = r->first; k <= r->last; k++) rows += r->s.rows[k];
    r->n_dims = 2;
    r->dims[0] = rows * r->s.groups;
    r->dims[1] = t->dims[1];
    if (change != GGUF_K_B && change != GGUF_V_B) return true;
    r->n_dims = 3;
    r->dims[0] = r->s.groups;
    r->dims[1] = r->transposed ? t->dims[1] : rows;
    r->dims[2] = r->transposed ? rows : t->dims[1];
    return true;
}

/* Where a section begins within a group. */
static uint64_t start_of(const struct gguf_sections *s, uint32_t section)
{
    uint64_t at = 0;
    for (uint32_t k = 0; k < section; k++) at += s->rows[k];
    return at;
}

static bool source(const struct split_rows *r, uint64_t first, uint64_t n, float *out, struct error *err)
{
    return convert_values(r->ck, &r->source, r->isa, first, n, out, err);
}

/* Row i of the output is a column of a group's section. */
static bool columns(const struct split_rows *r, uint64_t first, uint64_t n, float *out, struct error *err)
{
    uint64_t rows = r->s.rows[r->first], cols = r->source.cols;
    CLEANUP(free) float *section = NULL;
    if (!memory_alloc(&section, rows * cols, sizeof *section, err)) return false;
    for (uint64_t i = first; i < first + n; i++) {
        uint64_t group = i / cols, c = i % cols;
        if ((i == first || c == 0) &&
            !source(r, group * gguf_group_rows(&r->s) + start_of(&r->s, r->first), rows, section, err))
            return false;
        for (uint64_t k = 0; k < rows; k++) out[(i - first) * rows + k] = section[k * cols + c];
    }
    return true;
}

bool split_rows_read(void *ctx, uint32_t worker, uint64_t first, uint64_t n, float *out, struct error *err)
{
    (void)worker;
    const struct split_rows *r = ctx;
    if (r->transposed) return columns(r, first, n, out, err);
    while (n) {
        uint32_t k = r->first;
        uint64_t i = first;
        for (; k < r->last && i >= r->s.groups * r->s.rows[k]; k++) i -= r->s.groups * r->s.rows[k];
        uint64_t group = i / r->s.rows[k], at = i % r->s.rows[k], m = u64_min(n, r->s.rows[k] - at);
        if (!source(r, group * gguf_group_rows(&r->s) + start_of(&r->s, k) + at, m, out, err)) return false;
        first += m;
        n -= m;
        out += m * r->source.cols;
    }
    return true;
}
