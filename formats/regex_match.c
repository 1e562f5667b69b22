/* Running a program over a name: forward, with the set of all steps it may stand at. What lookarounds find is worked
 * out before, from the name's end to its begin, where each place needs only what is known of the next. */
#include "formats/regex_impl.h"

#include <string.h>

uint32_t regex_letter(const char *p, const char **next)
{
    const uint8_t *u = (const uint8_t *)p;
    uint32_t n = u[0] >= 0xf0 && u[0] < 0xf8 ? 3 : u[0] >= 0xe0 && u[0] < 0xf0 ? 2 : u[0] >= 0xc2 && u[0] < 0xe0;
    uint32_t c = n ? u[0] & (63u >> n) : u[0], i = 1;
    for (; i <= n && (u[i] & 0xc0) == 0x80; i++) c = c << 6 | (u[i] & 63u);
    bool whole = u[0] < 128 || (n && i > n && c >= 128);
    *next = p + (whole ? 1 + n : 1);
    return whole ? c : u[0] | 1u << 31;
}

/* A name being read, and what is known of its places. */
struct reading {
    const struct regex *r;
    const char *name;
    const uint32_t *looks; /* by place (byte): one bit per lookaround that holds there; NULL when there are none */
};

static bool takes(const struct regex *r, const struct regex_step *s, uint32_t c)
{
    if (s->op == REGEX_CHAR) return c == (uint32_t)s->a;
    if (s->op == REGEX_ANY) return c != '\n';
    const struct regex_set *set = &r->sets[s->a];
    return c < 128 ? set->ascii[c / 64] >> c % 64 & 1 : set->others;
}

static bool consumes(const struct regex_step *s)
{
    return s->op == REGEX_CHAR || s->op == REGEX_ANY || s->op == REGEX_SET;
}

/* Whether a step that takes no letter lets through at a place. */
static bool holds(const struct reading *g, const struct regex_step *s, size_t at)
{
    const char *p = g->name + at;
    if (s->op == REGEX_LOOK) return g->looks[at] >> s->a & 1;
    bool before = at > 0 && regex_is_word((uint8_t)p[-1]), here = regex_is_word((uint8_t)*p);
    switch ((enum regex_place)s->a) {
    case REGEX_BEGIN: return at == 0;
    case REGEX_END: return *p == '\0';
    case REGEX_END_OR_NEWLINE: return *p == '\0' || (*p == '\n' && p[1] == '\0');
    case REGEX_BOUNDARY: return before != here;
    case REGEX_NO_BOUNDARY: return before == here && (at > 0 || *p); /* Python: not in an empty text */
    }
    return false;
}

/* ---- what lookarounds find ---- */

/* One place: can[i] becomes whether the end is reached from step i on. later: the same of the next place. Loops go back
 * to steps that are not known yet, so it is done until nothing changes: at most once per loop inside of a loop. */
static void settle(const struct reading *g, const struct regex_program *p, size_t at, uint32_t c, const uint8_t *later,
                   uint8_t *can)
{
    memset(can, 0, p->n);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = p->n; i-- > 0;) {
            const struct regex_step *s = &p->steps[i];
            if (can[i]) continue;
            if (consumes(s)) can[i] = c && later[i + 1] && takes(g->r, s, c);
            else if (s->op == REGEX_ACCEPT) can[i] = true;
            else if (s->op == REGEX_SPLIT) can[i] = can[(int32_t)i + s->a] || can[(int32_t)i + s->b];
            else if (s->op == REGEX_JUMP) can[i] = can[(int32_t)i + s->a];
            else can[i] = can[i + 1] && holds(g, s, at);
            changed = changed || can[i];
        }
    }
}

/* The place of the next letter, or of the one before. Names have few letters beyond ASCII. */
static size_t letter_before(const char *name, size_t at)
{
    const char *next;
    for (size_t back = at > 4 ? at - 4 : 0; back < at; back++) {
        regex_letter(name + back, &next);
        if (next == name + at) return back;
    }
    return at - 1;
}

/* Sets bit k of looks at every place where lookaround k holds. */
static void find_look(struct reading *g, uint32_t k, size_t n, uint32_t *looks)
{
    const struct regex_look *l = &g->r->looks[k];
    uint8_t rows[2][REGEX_STEPS_MAX], reached[REGEX_NAME_MAX + 1] = {0};
    const char *next;
    uint32_t turn = 0;
    memset(rows, 0, sizeof rows);
    for (size_t at = n;; at = letter_before(g->name, at), turn ^= 1) {
        settle(g, &l->body, at, regex_letter(g->name + at, &next), rows[turn ^ 1], rows[turn]);
        reached[at] = rows[turn][0];
        if (at == 0) break;
    }
    for (size_t at = 0; at <= n; at++) {
        size_t from = at;
        uint32_t back = l->behind ? l->width : 0;
        for (; back && from; back--) from = letter_before(g->name, from);
        if ((back == 0 && reached[from]) != l->negative) looks[at] |= 1u << k;
    }
}

/* ---- the pattern itself ---- */

/* Steps that may be stood at, each once. */
struct steps {
    uint16_t list[REGEX_STEPS_MAX], n;
};

/* Adds a step and whatever is reached from it without a letter; seen: by step, the last place + 1. True: the end. */
static bool add(const struct reading *g, struct steps *to, uint32_t *seen, uint32_t mark, uint32_t first, size_t at)
{
    uint16_t stack[REGEX_STEPS_MAX], depth = 0; /* each step is pushed once */
    if (seen[first] == mark) return false;
    seen[first] = mark;
    stack[depth++] = (uint16_t)first;
    while (depth) {
        uint16_t i = stack[--depth];
        const struct regex_step *s = &g->r->main.steps[i];
        int32_t ways[2] = {1, 0};
        if (s->op == REGEX_ACCEPT) return true;
        if (consumes(s)) {
            to->list[to->n++] = i;
            continue;
        }
        if (s->op == REGEX_JUMP) ways[0] = s->a;
        else if (s->op == REGEX_SPLIT) ways[0] = s->a, ways[1] = s->b;
        else if (!holds(g, s, at)) continue;
        for (int w = 0; w < 2; w++) {
            uint32_t to_step = (uint32_t)(i + ways[w]);
            if (ways[w] == 0 || seen[to_step] == mark) continue;
            seen[to_step] = mark;
            stack[depth++] = (uint16_t)to_step;
        }
    }
    return false;
}

static bool run(const struct reading *g)
{
    struct steps both[2], *now = &both[0], *then = &both[1];
    uint32_t seen[REGEX_STEPS_MAX], mark = 1;
    memset(seen, 0, g->r->main.n * sizeof *seen);
    now->n = 0;
    if (add(g, now, seen, mark, 0, 0)) return true;
    for (const char *p = g->name, *next; *p && now->n; p = next) {
        uint32_t c = regex_letter(p, &next);
        then->n = 0;
        mark++;
        for (uint32_t i = 0; i < now->n; i++)
            if (takes(g->r, &g->r->main.steps[now->list[i]], c) &&
                add(g, then, seen, mark, now->list[i] + 1u, (size_t)(next - g->name)))
                return true;
        struct steps *swap = now;
        now = then;
        then = swap;
    }
    return false;
}

static bool run_looking(struct reading *g)
{
    uint32_t looks[REGEX_NAME_MAX + 1];
    size_t n = strlen(g->name);
    if (n > REGEX_NAME_MAX) return false;
    memset(looks, 0, (n + 1) * sizeof *looks);
    g->looks = looks;
    for (uint32_t k = 0; k < g->r->n_looks; k++) find_look(g, k, n, looks);
    return run(g);
}

bool regex_fits(const struct regex *r, const char *name)
{
    struct reading g = {r, name, NULL};
    return r->n_looks ? run_looking(&g) : run(&g);
}
