/* What a pre-tokenizer is made of; for its own files. */
#ifndef ENGINE_PRETOKENIZER_IMPL_H
#define ENGINE_PRETOKENIZER_IMPL_H

#include "engine/pretokenizer.h"
#include "engine/pretokenizer_match.h"
#include "engine/tokenizer_steps.h"

enum step_kind { STEP_SPLIT, STEP_BYTE_LEVEL, STEP_METASPACE };
enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
enum prepend { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct step {
    enum step_kind kind;
    struct matcher *matcher; /* NULL: nothing to split by */
    enum behavior behavior;
    bool invert, prefix_space;
    enum prepend prepend; /* metaspace */
    char mark[5];         /* metaspace: what spaces become, and what is put in front */
};

struct pretokenizer {
    struct step steps[STEPS_MAX];
    uint32_t n_steps;
};

#endif
