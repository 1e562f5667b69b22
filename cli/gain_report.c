#include "cli/gain_report.h"

#include "cli/commands.h"
#include "plan/recipe_words.h"

struct totals {
    double error_max, error;
    uint32_t n, n_lost;
};

static bool is_lost(const struct quantize_gain *g)
{
    return g->measured && g->error > g->error_max;
}

static struct totals add_up(const struct plan *p, const struct quantize_result *r, enum scale_method m)
{
    struct totals t = {0};
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct quantize_gain *g = &r->gains[i];
        if (!g->measured || p->items[i].scales != m) continue;
        t.error_max += g->error_max;
        t.error += g->error;
        t.n++;
        t.n_lost += is_lost(g);
    }
    return t;
}

static json_t *method_json(const struct plan *p, const struct quantize_result *r, enum scale_method m,
                           const struct totals *t)
{
    json_t *rows = json_array();
    for (uint32_t i = 0; rows && i < p->n_items; i++)
        if (p->items[i].scales == m && is_lost(&r->gains[i]) &&
            json_array_append_new(rows, json_pack("{s:s,s:f,s:f}", "module", p->items[i].tensor->module, "error_max",
                                                  r->gains[i].error_max, "error", r->gains[i].error)) != 0)
            json_decref(take_ptr(&rows));
    if (!rows) return NULL;
    return json_pack("{s:s,s:i,s:f,s:f,s:i,s:b,s:o}", "method", scales_name(m), "count", (int)t->n, "error_max",
                     t->error_max, "error", t->error, "lost", (int)t->n_lost, "lost_in_total", t->error > t->error_max,
                     "linears_lost", rows);
}

bool gain_report_json(const struct plan *p, const struct quantize_result *r, json_t *result, struct error *err)
{
    json_t *list = NULL;
    for (int m = 0; m < SCALES_COUNT; m++) {
        struct totals t = add_up(p, r, (enum scale_method)m);
        if (t.n == 0) continue;
        if (!list && !(list = json_array())) return error_memory(err, 0);
        if (json_array_append_new(list, method_json(p, r, (enum scale_method)m, &t)) == 0) continue;
        json_decref(list);
        return error_memory(err, 0);
    }
    return !list || json_put(result, "scales", list, err);
}

void gain_report_print(const struct plan *p, const struct quantize_result *r)
{
    for (int m = 0; m < SCALES_COUNT; m++) {
        struct totals t = add_up(p, r, (enum scale_method)m);
        if (t.n == 0) continue;
        print_text("scales: %s, %u linears: the squared error of their weights is %.3f times that of scales: max\n",
                   scales_name((enum scale_method)m), t.n, t.error_max > 0 ? t.error / t.error_max : 1.0);
        if (t.error > t.error_max)
            print_text("lost: scales: %s is worse than max here\n", scales_name((enum scale_method)m));
        for (uint32_t i = 0; i < p->n_items; i++)
            if (p->items[i].scales == (enum scale_method)m && is_lost(&r->gains[i]))
                print_text("lost: %s, %.3f times\n", p->items[i].tensor->module,
                           r->gains[i].error / r->gains[i].error_max);
    }
}
