#include "core/name_index.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct name_entry *)a)->name, ((const struct name_entry *)b)->name);
}

bool name_index_build(struct name_index *out, const char *const *names, uint32_t n, const char *what, struct error *err)
{
    *out = (struct name_index){0};
    out->entries = malloc((n ? n : 1) * sizeof *out->entries);
    if (!out->entries) return error_memory(err, n * sizeof *out->entries);
    out->n = n;
    for (uint32_t i = 0; i < n; i++) out->entries[i] = (struct name_entry){names[i], i};
    qsort(out->entries, n, sizeof *out->entries, by_name);
    for (uint32_t i = 1; i < n; i++) {
        if (strcmp(out->entries[i - 1].name, out->entries[i].name) != 0) continue;
        error_set(err, ERR_FORMAT, "%s: name '%.256s' is there twice", what, out->entries[i].name);
        name_index_free(out);
        return false;
    }
    return true;
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
