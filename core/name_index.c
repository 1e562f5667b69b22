#include "core/name_index.h"

#include <stdlib.h>
#include <string.h>

/* What is sorted: eight bytes of the name behind the part that all names share, so that most comparisons need not
 * follow the pointer. Millions of names would otherwise cost a cache miss each, twenty times over. */
struct sort_item {
    uint64_t key;
    uint32_t value;
};
struct sort_names {
    const char *const *names;
    size_t shared;
};

static uint64_t sort_key(const char *name)
{
    uint64_t key = 0;
    for (int i = 0; i < 8; i++) {
        key = key << 8 | (uint8_t)*name;
        name += *name != '\0';
    }
    return key;
}

static int by_name(const void *a, const void *b, void *ctx)
{
    const struct sort_item *x = a, *y = b;
    const struct sort_names *s = ctx;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    int c = x->key & 0xff ? strcmp(s->names[x->value] + s->shared, s->names[y->value] + s->shared) : 0;
    return c ? c : (x->value > y->value) - (x->value < y->value);
}

/* Bytes at the beginning that all names have in common. */
static size_t shared_prefix(const char *const *names, uint32_t n)
{
    size_t shared = n ? strlen(names[0]) : 0;
    for (uint32_t i = 1; i < n && shared; i++) {
        size_t k = 0;
        while (k < shared && names[i][k] == names[0][k]) k++;
        shared = k;
    }
    return shared;
}

static bool is_sorted(const char *const *names, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) >= 0) return false;
    return true;
}

static bool sort_entries(struct name_entry *entries, const char *const *names, uint32_t n)
{
    struct sort_names ctx = {names, shared_prefix(names, n)};
    struct sort_item *items = malloc(n * sizeof *items);
    if (!items) return false;
    for (uint32_t i = 0; i < n; i++) items[i] = (struct sort_item){sort_key(names[i] + ctx.shared), i};
    qsort_r(items, n, sizeof *items, by_name, &ctx);
    for (uint32_t i = 0; i < n; i++) entries[i] = (struct name_entry){names[items[i].value], items[i].value};
    free(items);
    return true;
}

bool name_index_sort(struct name_index *out, const char *const *names, uint32_t n, uint32_t twice[2], struct error *err)
{
    twice[0] = twice[1] = NAME_NONE;
    *out = (struct name_index){.n = n, .entries = malloc((n ? n : 1) * sizeof *out->entries)};
    if (!out->entries) return error_memory(err, n * sizeof *out->entries);
    bool sorted = is_sorted(names, n);
    for (uint32_t i = 0; sorted && i < n; i++) out->entries[i] = (struct name_entry){names[i], i};
    if (sorted) return true;
    if (!sort_entries(out->entries, names, n)) {
        name_index_free(out);
        return error_memory(err, n * sizeof(struct sort_item));
    }
    for (uint32_t i = 1; i < n && twice[0] == NAME_NONE; i++) {
        const struct name_entry *a = &out->entries[i - 1], *b = &out->entries[i];
        if (strcmp(a->name, b->name) != 0) continue;
        twice[0] = a->value;
        twice[1] = b->value;
    }
    return true;
}

bool name_index_build(struct name_index *out, const char *const *names, uint32_t n, const char *what, struct error *err)
{
    uint32_t twice[2];
    if (!name_index_sort(out, names, n, twice, err)) return false;
    if (twice[0] == NAME_NONE) return true;
    name_index_free(out);
    return error_set(err, ERR_FORMAT, "%s: name '%.256s' is there twice", what, names[twice[0]]);
}

uint32_t name_index_find(const struct name_index *ix, const char *name)
{
    uint32_t lo = 0, hi = ix->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = strcmp(ix->entries[mid].name, name);
        if (c == 0) return ix->entries[mid].value;
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    return NAME_NONE;
}

void name_index_free(struct name_index *ix)
{
    free(ix->entries);
    *ix = (struct name_index){0};
}
