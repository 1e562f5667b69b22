#include "cli/solve_report.h"

#include "cli/commands.h"

struct totals {
    double before, after;
    uint32_t n_lost, n_rounded;
    const struct solve_gain *worst; /* the largest after / before */
};

static bool is_lost(const struct solve_gain *g)
{
    return g->damp > 0 && g->after > g->before;
}

static struct totals add_up(const struct stats *s)
{
    struct totals t = {0};
    for (uint32_t i = 0; i < s->n_gains; i++) {
        const struct solve_gain *g = &s->gains[i];
        t.before += g->before;
        t.after += g->after;
        t.n_lost += is_lost(g);
        t.n_rounded += g->damp == 0;
        if (g->damp > 0 && (!t.worst || g->after * t.worst->before > t.worst->after * g->before)) t.worst = g;
    }
    return t;
}

static json_t *row_json(const struct solve_gain *g)
{
    return json_pack("{s:s,s:f,s:f,s:f,s:f,s:b}", "module", g->module, "error_max", g->before, "error", g->after,
                     "output", g->output, "damp", g->damp, "lost", is_lost(g));
}

bool solve_report_json(const struct stats *s, json_t *result, struct error *err)
{
    if (!s || !s->n_gains) return true;
    struct totals t = add_up(s);
    json_t *rows = json_array();
    for (uint32_t i = 0; rows && i < s->n_gains; i++)
        if (json_array_append_new(rows, row_json(&s->gains[i])) != 0) {
            json_decref(rows);
            return error_memory(err, 0);
        }
    return json_put(result, "solved",
                    json_pack("{s:i,s:f,s:f,s:i,s:i,s:b,s:o}", "count", (int)s->n_gains, "error_max", t.before, "error",
                              t.after, "lost", (int)t.n_lost, "rounded", (int)t.n_rounded, "sequential", s->sequential,
                              "linears", rows),
                    err);
}

void solve_report_print(const struct stats *s)
{
    if (!s || !s->n_gains) return;
    struct totals t = add_up(s);
    print_text("%u linears solved: the error of their outputs is %.3f times that of scales: max", s->n_gains,
               t.before > 0 ? t.after / t.before : 1.0);
    if (t.worst && t.worst->before > 0)
        print_text(", at worst %.3f times (%s)", t.worst->after / t.worst->before, t.worst->module);
    print_text("\n");
    if (t.n_lost) print_text("lost: %u of them are worse than scales: max\n", t.n_lost);
    for (uint32_t i = 0; i < s->n_gains; i++) {
        const struct solve_gain *g = &s->gains[i];
        if (is_lost(g)) print_text("lost: %s, %.3f times\n", g->module, g->before > 0 ? g->after / g->before : 1.0);
        if (g->damp == 0) print_text("not solved, rounded as it is: %s (no inputs that help)\n", g->module);
    }
}
