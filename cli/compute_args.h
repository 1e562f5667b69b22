/* --compute: in which arithmetic linears multiply. */
#ifndef CLI_COMPUTE_ARGS_H
#define CLI_COMPUTE_ARGS_H

#include "cli/options.h"
#include "engine/engine.h"

#define COMPUTE_OPTION(type)                                                                                           \
    {                                                                                                                  \
        "compute", 0, OPTION_TEXT, offsetof(type, compute), "fp32|bf16",                                               \
            "how linears multiply: fp32 (default, exact weights) or bf16 (activations rounded; faster)", 0, 0          \
    }

/* NULL is fp32; ERR_USAGE for a word that is none. */
MUST_CHECK bool compute_parse(const char *word, enum compute *out, struct error *err);

#endif
