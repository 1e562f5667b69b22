#include "cli/id_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool id_list_parse(const char *text, uint32_t **out, size_t *n_out, struct error *err)
{
    size_t most = 1;
    for (const char *p = text; *p; p++) most += *p == ',';
    uint32_t *ids = malloc(most * sizeof *ids);
    if (!ids) return error_memory(err, most * sizeof *ids);
    size_t n = 0;
    for (const char *p = text;; p++) {
        char *end;
        errno = 0;
        unsigned long long v = *p >= '0' && *p <= '9' ? strtoull(p, &end, 10) : UINT64_MAX;
        if (v > UINT32_MAX || errno || (*end != ',' && *end != '\0')) break;
        ids[n++] = (uint32_t)v;
        p = end;
        if (*p) continue;
        *out = ids;
        *n_out = n;
        return true;
    }
    free(ids);
    return error_set(err, ERR_USAGE, "expected token ids like 1,2,3, found '%.64s'", text);
}
