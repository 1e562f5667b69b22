/* The options by which commands take texts. */
#ifndef CLI_DATA_ARGS_H
#define CLI_DATA_ARGS_H

#include "cli/options.h"
#include "engine/corpus.h"

struct data_args {
    const char *data, *ids;
    uint64_t max_tokens, max_texts;
};

#define DATA_OPTIONS(type)                                                                                             \
    {"data", 'd', OPTION_TEXT, offsetof(type, data.data), "FILE", "texts: .jsonl lines with \"text\", or plain text",  \
     0,      0},                                                                                                       \
        {"ids", 0, OPTION_TEXT, offsetof(type, data.ids), "FILE", "token ids instead: a JSON list of lists", 0, 0},    \
        {"max-tokens",                                                                                                 \
         0,                                                                                                            \
         OPTION_NUMBER,                                                                                                \
         offsetof(type, data.max_tokens),                                                                              \
         "N",                                                                                                          \
         "tokens per text at most (default 512)",                                                                      \
         1,                                                                                                            \
         1u << 24},                                                                                                    \
    {                                                                                                                  \
        "max-texts", 0, OPTION_NUMBER, offsetof(type, data.max_texts), "N", "texts at most (default all)", 1, 10000000 \
    }

static inline bool data_given(const struct data_args *a)
{
    return a->data || a->ids;
}

/* Tokens per text at most. */
static inline uint64_t data_max_tokens(const struct data_args *a)
{
    return a->max_tokens ? a->max_tokens : 512;
}

MUST_CHECK bool data_load(const struct data_args *a, const struct model *m, struct corpus *out, struct error *err);

#endif
