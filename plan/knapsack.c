#include "plan/knapsack.h"

#include "core/bytes.h"
#include "core/cleanup.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

#define STATES_MAX ((uint64_t)1 << 25)
#define NOBODY UINT32_MAX

/* One step up a group's convex hull: so many bytes more for so much less cost. */
struct step {
    uint64_t bytes, gain;
    uint32_t group, choice; /* the choice that it leads to */
};

struct state {
    uint64_t bytes, cost; /* of the groups so far */
    uint32_t parent;      /* in the level before */
    uint32_t choice;
};

struct level {
    struct state *states; /* bytes ascending, cost descending */
    uint32_t n;
};

struct solver {
    const struct knapsack *k;
    uint32_t *order;    /* [n_groups] position -> group */
    uint32_t *smallest; /* [n_groups] the choice of fewest bytes */
    struct step *steps; /* of all groups, best gain per byte first */
    uint64_t n_steps;
    struct level *levels; /* [n_groups + 1] */
    uint32_t n_levels;
    uint64_t n_states;
    /* of the groups that are still to come */
    uint32_t *position; /* [n_groups] group -> position */
    uint64_t base_bytes, base_cost;
    uint64_t *sum_bytes, *sum_gain; /* [n_open + 1] over the steps that are open */
    uint32_t *open;                 /* [n_open] their numbers */
    uint64_t n_open;
    /* the best solution */
    uint64_t best_cost;
    uint32_t best_level, best_state;
};

static const struct knapsack_choice *choice_of(const struct solver *s, uint32_t group, uint32_t choice)
{
    return &s->k->choices[(uint64_t)group * s->k->n_choices + choice];
}

/* ---- convex hulls ---- */

/* a/b > c/d, with b and d positive. */
static bool steeper(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return (wide)a * d > (wide)c * b;
}

/* The next corner of a group's lower hull above choice `from`: the steepest way down, the longest of equals. */
static uint32_t next_corner(const struct solver *s, uint32_t group, uint32_t from)
{
    const struct knapsack_choice *f = choice_of(s, group, from);
    uint32_t best = NOBODY;
    for (uint32_t j = 0; j < s->k->n_choices; j++) {
        const struct knapsack_choice *c = choice_of(s, group, j);
        if (!c->allowed || c->bytes <= f->bytes || c->cost >= f->cost) continue;
        const struct knapsack_choice *b = best == NOBODY ? NULL : choice_of(s, group, best);
        if (!b || steeper(f->cost - c->cost, c->bytes - f->bytes, f->cost - b->cost, b->bytes - f->bytes) ||
            (!steeper(f->cost - b->cost, b->bytes - f->bytes, f->cost - c->cost, c->bytes - f->bytes) &&
             c->bytes > b->bytes))
            best = j;
    }
    return best;
}

static bool find_smallest(struct solver *s, uint32_t group, struct error *err)
{
    uint32_t best = NOBODY;
    for (uint32_t j = 0; j < s->k->n_choices; j++) {
        const struct knapsack_choice *c = choice_of(s, group, j),
                                     *b = best == NOBODY ? NULL : choice_of(s, group, best);
        if (!c->allowed) continue;
        if (!b || c->bytes < b->bytes || (c->bytes == b->bytes && c->cost < b->cost)) best = j;
    }
    s->smallest[group] = best;
    return best != NOBODY || error_set(err, ERR_FORMAT, "group %u allows no type", group);
}

static int by_gain(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    if (steeper(x->gain, x->bytes, y->gain, y->bytes)) return -1;
    if (steeper(y->gain, y->bytes, x->gain, x->bytes)) return 1;
    return x->group != y->group ? (x->group < y->group ? -1 : 1) : x->choice < y->choice ? -1 : x->choice > y->choice;
}

static bool make_steps(struct solver *s, struct error *err)
{
    for (uint32_t g = 0; g < s->k->n_groups; g++) {
        if (!find_smallest(s, g, err)) return false;
        for (uint32_t from = s->smallest[g], to; (to = next_corner(s, g, from)) != NOBODY; from = to) {
            const struct knapsack_choice *a = choice_of(s, g, from), *b = choice_of(s, g, to);
            s->steps[s->n_steps++] = (struct step){b->bytes - a->bytes, a->cost - b->cost, g, to};
        }
    }
    if (s->n_steps) qsort(s->steps, s->n_steps, sizeof *s->steps, by_gain);
    return true;
}

/* ---- the relaxation over groups from a position on ---- */

static void open_rest(struct solver *s, uint32_t from)
{
    s->base_bytes = s->base_cost = s->n_open = 0;
    for (uint32_t i = from; i < s->k->n_groups; i++) {
        const struct knapsack_choice *c = choice_of(s, s->order[i], s->smallest[s->order[i]]);
        s->base_bytes += c->bytes;
        s->base_cost += c->cost;
    }
    for (uint64_t i = 0; i < s->n_steps; i++) {
        if (s->position[s->steps[i].group] < from) continue;
        s->open[s->n_open] = (uint32_t)i;
        s->sum_bytes[s->n_open + 1] = s->sum_bytes[s->n_open] + s->steps[i].bytes;
        s->sum_gain[s->n_open + 1] = s->sum_gain[s->n_open] + s->steps[i].gain;
        s->n_open++;
    }
}

/* How many whole steps fit in so many bytes, in their order. */
static uint64_t steps_within(const struct solver *s, uint64_t bytes)
{
    uint64_t low = 0, high = s->n_open;
    while (low < high) {
        uint64_t mid = (low + high + 1) / 2;
        if (s->sum_bytes[mid] <= bytes) low = mid;
        else high = mid - 1;
    }
    return low;
}

/* What the rest costs: exactly with whole steps (*rounded), and at least (*bound). False: it does not fit. */
static bool rest_costs(const struct solver *s, uint64_t room, uint64_t *rounded, uint64_t *bound)
{
    if (room < s->base_bytes) return false;
    room -= s->base_bytes;
    uint64_t n = steps_within(s, room), part = 0;
    if (n < s->n_open) {
        const struct step *t = &s->steps[s->open[n]];
        part = (uint64_t)((wide)t->gain * (room - s->sum_bytes[n]) / t->bytes);
    }
    *rounded = s->base_cost - s->sum_gain[n];
    *bound = *rounded - part;
    return true;
}

/* ---- the order of groups ---- */

struct penalty {
    double price; /* of not doing as the relaxation does; only the speed depends on its rounding */
    uint32_t group;
};

static int dearest_first(const void *a, const void *b)
{
    const struct penalty *x = a, *y = b;
    if (x->price != y->price) return x->price > y->price ? -1 : 1;
    return x->group < y->group ? -1 : x->group > y->group;
}

static bool make_order(struct solver *s, struct error *err)
{
    uint32_t n = s->k->n_groups;
    CLEANUP(free) struct penalty *p = NULL;
    CLEANUP(free) uint32_t *relaxed = NULL;
    if (!memory_alloc(&p, (uint64_t)n + 1, sizeof *p, err) ||
        !memory_alloc(&relaxed, (uint64_t)n + 1, sizeof *relaxed, err))
        return false;
    open_rest(s, 0);
    uint64_t room = s->k->budget - s->base_bytes, whole = steps_within(s, room);
    memcpy(relaxed, s->smallest, n * sizeof *relaxed);
    for (uint64_t i = 0; i < whole; i++) relaxed[s->steps[s->open[i]].group] = s->steps[s->open[i]].choice;
    const struct step *last = whole < s->n_open ? &s->steps[s->open[whole]] : NULL;
    double slope = last ? (double)last->gain / (double)last->bytes : 0;
    for (uint32_t g = 0; g < n; g++) {
        const struct knapsack_choice *r = choice_of(s, g, relaxed[g]);
        p[g] = (struct penalty){1e300, g};
        for (uint32_t j = 0; j < s->k->n_choices; j++) {
            const struct knapsack_choice *c = choice_of(s, g, j);
            if (!c->allowed || j == relaxed[g]) continue;
            double price = (double)c->cost - (double)r->cost + slope * ((double)c->bytes - (double)r->bytes);
            if (price < p[g].price) p[g].price = price;
        }
    }
    if (n) qsort(p, n, sizeof *p, dearest_first);
    for (uint32_t i = 0; i < n; i++) {
        s->order[i] = p[i].group;
        s->position[p[i].group] = i;
    }
    return true;
}

/* ---- dynamic programming ---- */

struct maker {
    struct solver *s;
    struct level *out;
    uint32_t level, capacity;
};

/* Keeps a state that may still lead to something better than the best known. */
static bool keep(struct maker *m, struct state st, struct error *err)
{
    struct solver *s = m->s;
    uint64_t rounded, bound;
    if (st.bytes > s->k->budget || !rest_costs(s, s->k->budget - st.bytes, &rounded, &bound)) return true;
    if (st.cost + bound >= s->best_cost) return true;
    if (m->out->n == m->capacity) {
        uint32_t capacity = m->capacity ? 2 * m->capacity : 64;
        struct state *grown = realloc(m->out->states, capacity * sizeof *grown);
        if (!grown) return error_memory(err, capacity * sizeof *grown);
        m->out->states = grown;
        m->capacity = capacity;
    }
    if (st.cost + rounded < s->best_cost) {
        s->best_cost = st.cost + rounded;
        s->best_level = m->level;
        s->best_state = m->out->n;
    }
    m->out->states[m->out->n++] = st;
    s->n_states++;
    return true;
}

/* The states behind one more group: a merge by bytes of what each choice makes of the states before. */
static bool next_level(struct solver *s, uint32_t i, struct error *err)
{
    const struct level *in = &s->levels[i];
    struct maker m = {.s = s, .out = &s->levels[i + 1], .level = i + 1};
    uint32_t g = s->order[i], at[KNAPSACK_CHOICES_MAX] = {0};
    uint64_t cheapest = UINT64_MAX;
    open_rest(s, i + 1);
    s->n_levels = i + 2;
    for (;;) {
        struct state next = {.parent = NOBODY};
        for (uint32_t j = 0; j < s->k->n_choices; j++) {
            const struct knapsack_choice *c = choice_of(s, g, j);
            if (!c->allowed || at[j] == in->n) continue;
            const struct state *st = &in->states[at[j]];
            uint64_t bytes = st->bytes + c->bytes, cost = st->cost + c->cost;
            if (next.parent == NOBODY || bytes < next.bytes || (bytes == next.bytes && cost < next.cost))
                next = (struct state){bytes, cost, at[j], j};
        }
        if (next.parent == NOBODY) return true;
        at[next.choice]++;
        if (next.cost >= cheapest) continue; /* another takes no more bytes and costs no more */
        cheapest = next.cost;
        if (!keep(&m, next, err)) return false;
        if (s->n_states > (s->k->states_max ? s->k->states_max : STATES_MAX)) return true;
    }
}

/* Back from the best state to the beginning, and on from it by whole steps. */
static void take_best(struct solver *s, uint32_t *picked, struct knapsack_result *r)
{
    uint32_t n = s->k->n_groups;
    memcpy(picked, s->smallest, n * sizeof *picked);
    uint64_t bytes = s->levels[s->best_level].states[s->best_state].bytes;
    open_rest(s, s->best_level);
    uint64_t whole = steps_within(s, s->k->budget - bytes - s->base_bytes);
    for (uint64_t i = 0; i < whole; i++) picked[s->steps[s->open[i]].group] = s->steps[s->open[i]].choice;
    for (uint32_t i = s->best_level, at = s->best_state; i > 0; i--) {
        const struct state *st = &s->levels[i].states[at];
        picked[s->order[i - 1]] = st->choice;
        at = st->parent;
    }
    r->bytes = r->cost = 0;
    for (uint32_t g = 0; g < n; g++) {
        r->bytes += choice_of(s, g, picked[g])->bytes;
        r->cost += choice_of(s, g, picked[g])->cost;
    }
}

static bool run(struct solver *s, uint32_t *picked, struct knapsack_result *r, struct error *err)
{
    uint64_t rounded, limit = s->k->states_max ? s->k->states_max : STATES_MAX;
    if (!make_steps(s, err)) return false;
    for (uint32_t g = 0; g < s->k->n_groups; g++) s->order[g] = s->position[g] = g;
    open_rest(s, 0);
    r->bytes = s->base_bytes;
    if (s->base_bytes > s->k->budget)
        return error_set(err, ERR_FORMAT, "the smallest types take %llu bytes, the budget is %llu",
                         (unsigned long long)s->base_bytes, (unsigned long long)s->k->budget);
    if (!make_order(s, err) || !memory_zalloc(&s->levels[0].states, 1, sizeof(struct state), err)) return false;
    s->levels[0].n = s->n_levels = 1;
    open_rest(s, 0);
    if (!rest_costs(s, s->k->budget, &rounded, &r->bound))
        return error_set(err, ERR_INTERNAL, "the budget is too small");
    s->best_cost = rounded;
    for (uint32_t i = 0; i < s->k->n_groups && s->n_states <= limit; i++)
        if (!next_level(s, i, err)) return false;
    take_best(s, picked, r);
    r->n_states = s->n_states;
    r->proven = s->n_states <= limit;
    if (r->proven) r->bound = r->cost;
    if (r->cost != s->best_cost || r->bytes > s->k->budget)
        return error_set(err, ERR_INTERNAL, "the solution found is not the one that was counted");
    return true;
}

static bool solve(const struct knapsack *k, uint32_t *picked, struct knapsack_result *r, struct error *err)
{
    *r = (struct knapsack_result){0};
    if (k->n_choices == 0 || k->n_choices > KNAPSACK_CHOICES_MAX)
        return error_set(err, ERR_INTERNAL, "%u choices, expected 1 to %u", k->n_choices, KNAPSACK_CHOICES_MAX);
    struct solver s = {.k = k};
    uint64_t n = (uint64_t)k->n_groups + 1, steps = n * k->n_choices;
    bool ok =
        memory_alloc(&s.order, n, sizeof *s.order, err) && memory_alloc(&s.position, n, sizeof *s.position, err) &&
        memory_alloc(&s.smallest, n, sizeof *s.smallest, err) && memory_alloc(&s.steps, steps, sizeof *s.steps, err) &&
        memory_zalloc(&s.sum_bytes, steps + 1, sizeof *s.sum_bytes, err) &&
        memory_zalloc(&s.sum_gain, steps + 1, sizeof *s.sum_gain, err) &&
        memory_alloc(&s.open, steps, sizeof *s.open, err) && memory_zalloc(&s.levels, n, sizeof *s.levels, err) &&
        run(&s, picked, r, err);
    for (uint32_t i = 0; s.levels && i < n; i++) free(s.levels[i].states);
    free(s.levels);
    free(s.open);
    free(s.sum_gain);
    free(s.sum_bytes);
    free(s.steps);
    free(s.smallest);
    free(s.position);
    free(s.order);
    return ok;
}

/* The same with bytes and costs exchanged: within the least cost, the fewest bytes. */
static bool fewest_bytes(const struct knapsack *k, uint32_t *picked, struct knapsack_result *r, struct error *err)
{
    uint64_t n = (uint64_t)k->n_groups * k->n_choices;
    CLEANUP(free) struct knapsack_choice *exchanged = NULL;
    CLEANUP(free) uint32_t *other = NULL;
    struct knapsack_result found;
    if (!memory_alloc(&exchanged, n + 1, sizeof *exchanged, err) ||
        !memory_alloc(&other, (uint64_t)k->n_groups + 1, sizeof *other, err))
        return false;
    for (uint64_t i = 0; i < n; i++) {
        const struct knapsack_choice *c = &k->choices[i];
        exchanged[i] = (struct knapsack_choice){.bytes = c->cost, .cost = c->bytes, .allowed = c->allowed};
    }
    const struct knapsack same = {exchanged, k->n_groups, k->n_choices, r->cost, k->states_max};
    if (!solve(&same, other, &found, err)) return false;
    r->n_states += found.n_states;
    if (found.cost >= r->bytes) return true;
    r->bytes = found.cost;
    memcpy(picked, other, k->n_groups * sizeof *picked);
    return true;
}

bool knapsack_solve(const struct knapsack *k, uint32_t *picked, struct knapsack_result *r, struct error *err)
{
    return solve(k, picked, r, err) && (!r->proven || fewest_bytes(k, picked, r, err));
}
