/* The options that say how the next token is chosen. */
#ifndef CLI_SAMPLE_ARGS_H
#define CLI_SAMPLE_ARGS_H

#include "cli/options.h"
#include "engine/sampler.h"
#include "models/inventory.h"

struct sample_args {
    const char *temperature, *top_p, *min_p, *repetition_penalty;
    uint64_t top_k, seed;
    bool greedy, sample;
};

#define SAMPLE_OPTIONS(type)                                                                                           \
    {"greedy", 0, OPTION_FLAG, offsetof(type, sample.greedy), NULL, "take the likeliest token (the default)", 0, 0},   \
        {"sample",    0,                                                                                               \
         OPTION_FLAG, offsetof(type, sample.sample),                                                                   \
         NULL,        "draw, with generation_config.json's settings where none is given here",                         \
         0,           0},                                                                                              \
        {"temperature",                                                                                                \
         0,                                                                                                            \
         OPTION_TEXT,                                                                                                  \
         offsetof(type, sample.temperature),                                                                           \
         "T",                                                                                                          \
         "draw from the logits divided by T",                                                                          \
         0,                                                                                                            \
         0},                                                                                                           \
        {"top-k", 0, OPTION_NUMBER, offsetof(type, sample.top_k), "K", "draw from the K likeliest", 1, UINT32_MAX},    \
        {"top-p",     0,                                                                                               \
         OPTION_TEXT, offsetof(type, sample.top_p),                                                                    \
         "P",         "draw from the smallest set that has the probability P",                                         \
         0,           0},                                                                                              \
        {"min-p",     0,                                                                                               \
         OPTION_TEXT, offsetof(type, sample.min_p),                                                                    \
         "P",         "draw from tokens at least P times as likely as the likeliest",                                  \
         0,           0},                                                                                              \
        {"repetition-penalty",                                                                                         \
         0,                                                                                                            \
         OPTION_TEXT,                                                                                                  \
         offsetof(type, sample.repetition_penalty),                                                                    \
         "R",                                                                                                          \
         "divide the positive logits of tokens that were there by R, multiply the negative ones",                      \
         0,                                                                                                            \
         0},                                                                                                           \
    {                                                                                                                  \
        "seed", 0, OPTION_NUMBER, offsetof(type, sample.seed), "N",                                                    \
            "of the draws (default 0); the same seed gives the same text", 0, UINT64_MAX                               \
    }

/* What they come to; with --sample generation_config.json's settings stand where none is given. ERR_USAGE for a value
 * that is no number or contradicts --greedy. */
MUST_CHECK bool sample_settings(const struct sample_args *a, const struct model *m, struct sampler_config *out,
                                struct error *err);

#endif
