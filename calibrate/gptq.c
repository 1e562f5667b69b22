#include "calibrate/gptq.h"

#include "calibrate/factor.h"
#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

void gptq_factor_close(struct gptq_factor *f)
{
    if (f->factor) factor_close(f->factor);
    free(f->factor);
    target_close(&f->target);
    free(f->order);
    free(f->added);
    free(f->added_to);
    *f = (struct gptq_factor){0};
}

struct ranked {
    float moment;
    uint32_t column;
};

static int by_moment(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->moment != y->moment) return x->moment > y->moment ? -1 : 1;
    return x->column < y->column ? -1 : 1;
}

static bool choose_order(struct gptq_factor *f, const struct moments *m, bool act_order, struct error *err)
{
    CLEANUP(free) struct ranked *ranked = NULL;
    if (!memory_alloc(&f->order, m->cols, sizeof *f->order, err) ||
        !memory_alloc(&ranked, m->cols, sizeof *ranked, err))
        return false;
    for (uint32_t c = 0; c < m->cols; c++) ranked[c] = (struct ranked){m->sum[c * m->cols + c], c};
    if (act_order) qsort(ranked, m->cols, sizeof *ranked, by_moment);
    for (uint32_t c = 0; c < m->cols; c++) f->order[c] = ranked[c].column;
    return true;
}

/* The mean of the diagonal, which columns without any input get: added[c], by column of the moments, else 0. 0 when the
 * moments are of no use. */
static double fill_diagonal(struct moments *m, float *added)
{
    double sum = 0;
    uint64_t n = 0;
    for (uint64_t c = 0; c < m->cols; c++) {
        double d = (double)m->sum[c * m->cols + c];
        sum += d;
        n += d > 0;
    }
    double mean = n ? sum / (double)n : 0;
    if (!(mean > 0 && mean < 1e37)) return 0;
    for (uint64_t c = 0; c < m->cols; c++) {
        bool dead = !(m->sum[c * m->cols + c] > 0);
        added[c] = dead ? (float)mean : 0;
        if (dead) m->sum[c * m->cols + c] = (float)mean;
    }
    return mean;
}

/* Puts them into the factor's order, and takes the columns that were filled out of the moments again. */
static bool keep_added(struct gptq_factor *out, struct moments *m, const float *filled, double add, struct error *err)
{
    if (!memory_alloc(&out->added, m->cols, sizeof *out->added, err) ||
        !memory_alloc(&out->added_to, m->cols, sizeof *out->added_to, err))
        return false;
    for (uint64_t c = 0; c < m->cols; c++) out->added_to[c] = (float)((double)filled[c] + add);
    for (uint64_t c = 0; c < m->cols; c++) out->added[c] = out->added_to[out->order[c]];
    for (uint64_t c = 0; c < m->cols; c++)
        if (filled[c] > 0) m->sum[c * m->cols + c] = 0;
    return true;
}

bool gptq_factor_make(struct gptq_factor *out, struct moments *m, const struct solve_choice *choice,
                      const struct gptq_env *env, struct error *err)
{
    *out = (struct gptq_factor){.n_rows = m->n_rows, .moments = m};
    CLEANUP(free) float *filled = NULL;
    if (!memory_zalloc(&filled, m->cols, sizeof *filled, err) || !choose_order(out, m, choice->act_order, err))
        return false;
    double mean = fill_diagonal(m, filled), add = 0;
    if (mean == 0) return true;
    out->factor = calloc(1, sizeof *out->factor);
    if (!out->factor) return error_memory(err, sizeof *out->factor);
    bool definite = false;
    for (double damp = choice->damp; !definite; damp = damp * 10 < 1 ? damp * 10 : 1) {
        out->damp = damp;
        add = damp * mean;
        if (!factor_make(out->factor, m->sum, m->cols, out->order, add, env->math, env->pool, &definite, err))
            return false;
        if (damp >= 1) break;
    }
    if (!definite) {
        free(out->factor);
        out->factor = NULL;
        out->damp = 0;
    }
    return keep_added(out, m, filled, add, err) &&
           (!m->off || !definite || target_open(&out->target, out->factor, out->order, m->off, env->pool, err));
}
