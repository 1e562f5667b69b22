/* The word `solve:` of a recipe's line: weights are not rounded one by one, calibration looks for codes that keep what
 * the linear does to its inputs, and leaves them in the statistics (plan/stats.h), from which quantize writes them. */
#ifndef PLAN_SOLVE_H
#define PLAN_SOLVE_H

#include "core/json.h"

enum solve_method {
    SOLVE_NONE,
    SOLVE_GPTQ,    /* column by column; the error of each is taken over by those that follow (calibrate/gptq.h) */
    SOLVE_DESCENT, /* GPTQ, then coordinate descent over codes and block scales (calibrate/descent.h) */
    SOLVE_ROUND,   /* to the nearest; only the scales need the data. What scales: local_hessian means by itself */
    SOLVE_CLIP     /* to the nearest under a smaller maximum per block, by the outputs' error (calibrate/clip.h) */
};

/* Scales per channel that go from what linears read into their weights (plan/fold.h): which. */
enum fold_method {
    FOLD_NONE,
    FOLD_AWQ,        /* mean |x| to a power that a search finds, by the error of the outputs (calibrate/folding.h) */
    FOLD_SMOOTHQUANT /* max |x|^alpha / max |w|^(1 - alpha) */
};
struct fold_choice {
    enum fold_method method;
    double alpha; /* SMOOTHQUANT */
    bool duo;     /* AWQ: also mean |x|^a / mean |w|^(1 - a), w over its block's maximum, among the candidates */
    bool exact;   /* scales are rounded to powers of two, which no weight's type rounds away */
    bool pre;     /* where nothing in front can be divided: a pre_quant_scale is written beside the weight */
};

struct solve_choice {
    enum solve_method method;
    struct fold_choice fold; /* beside any method but those that solve by moments */
    /* GPTQ: */
    double damp;    /* of the mean of the second moments' diagonal, added to it; llm-compressor's and ModelOpt's 0.01 */
    uint32_t block; /* columns whose errors are taken over together; of no influence but by rounding */
    /* Where the format rounds inputs: the codes are solved for the inputs as rounded, and towards what makes the most
     * of them (calibrate/target.h). Each layer is run once more for it, and its moments cost three times as much. */
    bool rounded_inputs;
    bool act_order;   /* columns in order of their second moment, largest first; scales stay where they are */
    bool for_readers; /* DESCENT: errors count by what blocks behind read (calibrate/readers.h) */
    uint32_t passes;  /* DESCENT: over all blocks of a row, at most */
};

#define SOLVE_DAMP_DEFAULT 0.01
#define SOLVE_BLOCK_DEFAULT 128u
#define SOLVE_BLOCK_MAX 1024u
#define SOLVE_PASSES_DEFAULT 4u
#define SOLVE_PASSES_MAX 64u
#define FOLD_ALPHA_DEFAULT 0.5

extern const struct solve_choice solve_round; /* SOLVE_ROUND with its defaults */

/* The value of key `solve`: a method's word, or a mapping with it and its options. An absent key leaves *out as it
 * is. */
MUST_CHECK bool solve_read(const json_t *line, const char *what, struct solve_choice *out, struct error *err);
/* What decides the result, for plans and digests; new reference, NULL when memory is gone. */
json_t *solve_json(const struct solve_choice *s);
const char *solve_name(enum solve_method m);
/* What people call the whole of it: "awq", "awq_clip"; NULL: nothing is solved and nothing folded. */
const char *solve_label(const struct solve_choice *s);
/* Codes come from second moments of inputs (plan/solve_parts.h). */
static inline bool solve_by_moments(const struct solve_choice *s)
{
    return s->method != SOLVE_NONE && s->method != SOLVE_CLIP;
}
bool fold_choice_equal(const struct fold_choice *a, const struct fold_choice *b);
json_t *fold_json(const struct fold_choice *f); /* new reference */

#endif
