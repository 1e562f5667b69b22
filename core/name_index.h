/* From a name to its number, for sets that are built once and asked often. Sorted, so that no choice of names makes it
 * slow, and so that walking it is deterministic. Borrows the names. */
#ifndef CORE_NAME_INDEX_H
#define CORE_NAME_INDEX_H

#include "core/error.h"

#include <stdint.h>

#define NAME_NONE UINT32_MAX

struct name_index {
    uint32_t n;
    struct name_entry *entries;
};
struct name_entry {
    const char *name;
    uint32_t value;
};

/* names[i] -> i. twice[]: the numbers of two equal names, the lower first, or NAME_NONE when there are none; the index
 * is built all the same. Only memory can be short. */
MUST_CHECK bool name_index_sort(struct name_index *out, const char *const *names, uint32_t n, uint32_t twice[2],
                                struct error *err);
/* names[i] -> i. Fails with ERR_FORMAT on a name that is there twice ("what" names the set in the sentence). */
MUST_CHECK bool name_index_build(struct name_index *out, const char *const *names, uint32_t n, const char *what,
                                 struct error *err);
uint32_t name_index_find(const struct name_index *ix, const char *name); /* NAME_NONE when absent */
void name_index_free(struct name_index *ix);

#endif
