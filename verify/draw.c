#include "verify/draw.h"

#include "core/memory.h"
#include "plan/fold.h"

struct ticket {
    struct digest rank;
    uint32_t item;
};

bool draw_can(const struct plan *p, uint32_t item)
{
    const struct plan_item *i = &p->items[item];
    return i->n_outputs > 0 && !plan_output_is_copy(p, i->first_output);
}

static int by_rank(const void *a, const void *b)
{
    const struct ticket *x = a, *y = b;
    int order = memcmp(x->rank.bytes, y->rank.bytes, sizeof x->rank.bytes);
    return order ? order : (x->item > y->item) - (x->item < y->item);
}

static bool write_ticket(const struct plan *p, const char *seed, uint32_t item, struct ticket *out, struct error *err)
{
    const char *name = p->specs[p->items[item].first_output].name;
    struct sha256 *h;
    out->item = item;
    if (!sha256_open(&h, err)) return false;
    sha256_add(h, seed, strlen(seed));
    sha256_add(h, "\n", 1);
    sha256_add(h, name, strlen(name));
    return sha256_close(h, &out->rank, err);
}

bool draw_items(const struct plan *p, const char *seed, uint64_t n, bool *drawn, uint32_t *n_of, struct error *err)
{
    CLEANUP(free) struct ticket *tickets = NULL;
    uint32_t count = 0;
    if (!memory_alloc(&tickets, (size_t)p->n_items + 1, sizeof *tickets, err)) return false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        drawn[i] = false;
        if (draw_can(p, i) && !write_ticket(p, seed, i, &tickets[count++], err)) return false;
    }
    qsort(tickets, count, sizeof *tickets, by_rank);
    for (uint32_t i = 0; i < count && i < n; i++) drawn[tickets[i].item] = true;
    *n_of = count;
    return true;
}
