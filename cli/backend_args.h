/* --backend: who computes. */
#ifndef CLI_BACKEND_ARGS_H
#define CLI_BACKEND_ARGS_H

#include "backends/backend.h"
#include "cli/options.h"

#define BACKEND_OPTION(type)                                                                                           \
    {                                                                                                                  \
        "backend", 0, OPTION_TEXT, offsetof(type, common.backend), "NAME[:N]",                                         \
            "who computes: auto (default), cpu, cuda; :N is its device N alone", 0, 0                                  \
    }

/* For stages that run the forward pass, which is on the CPU only: true for no word, "auto" and "cpu"; ERR_UNSUPPORTED
 * for another backend, there or not; ERR_USAGE for a word that is none. `what` begins the sentence: "calibration". */
MUST_CHECK bool backend_forward(const struct common_args *common, const char *what, struct error *err);

#endif
