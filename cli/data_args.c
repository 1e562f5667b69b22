#include "cli/data_args.h"

bool data_load(const struct data_args *a, const struct model *m, struct corpus *out, struct error *err)
{
    if (a->data && a->ids) return error_set(err, ERR_USAGE, "--data and --ids exclude each other");
    struct corpus_options o = {.max_tokens = (uint32_t)data_max_tokens(a), .max_texts = (uint32_t)a->max_texts};
    return a->ids ? corpus_load_ids(out, a->ids, &o, err) : corpus_load(out, a->data, m, &o, err);
}
