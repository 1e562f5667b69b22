/* What generate makes: tokens as they come, and how fast they came. */
#ifndef CLI_GENERATED_H
#define CLI_GENERATED_H

#include "cli/commands.h"
#include "engine/speculate.h"
#include "engine/text_stream.h"
#include "engine/tokenizer.h"

struct generated {
    uint32_t *ids; /* the prompt, then what follows it */
    size_t n_prompt, n;
    double prompt_seconds, seconds;
    struct text_stream text; /* tokenizer NULL: there is no text */
    bool drafted;
    struct speculation_counts counts; /* when drafted */
};

/* The next token. Text appears token by token, JSON at the end. */
MUST_CHECK bool generated_add(const struct command_env *env, struct generated *out, uint32_t id, struct error *err);
/* What is left to say at the end; t NULL: there is no tokenizer. */
MUST_CHECK bool generated_print(const struct command_env *env, const struct tokenizer *t, struct generated *out,
                                struct error *err);

#endif
