/* Calibration statistics: what was seen at the points that a plan asked for, and on which data. In memory, and as a
 * safetensors file: one F32 scalar per maximum, `<experts>.tokens` I64 [n_experts], what was solved; the metadata holds
 * the digests. */
#ifndef PLAN_STATS_H
#define PLAN_STATS_H

#include "core/arena.h"
#include "core/crypto.h"
#include "core/staging.h"
#include "plan/plan.h"
#include "plan/solved.h"

/* What a maximum was taken of. */
enum stat_kind {
    STAT_INPUT_AMAX,
    STAT_OUTPUT_AMAX,
    STAT_WEIGHT_AMAX,
    STAT_INPUT_PEAK, /* the largest magnitude where an observer chose another maximum, STAT_INPUT_AMAX */
    STAT_INPUT_GAIN, /* squared error of the inputs under what was chosen over that under the peak; FP8 only */
    STAT_KIND_COUNT
};

struct statistic {
    const char *module;
    enum stat_kind kind;
    float amax;
};
struct expert_tokens {
    const char *container;
    uint32_t n_experts;
    uint64_t *tokens;
};

struct stats {
    struct digest observe_digest; /* of the plan that asked */
    struct digest data_digest;    /* of the token ids: docs/formats.md, stats */
    uint64_t n_texts, n_tokens;
    enum unseen_policy unseen; /* of the recipe that asked */
    struct statistic *stats;   /* sorted by module, then kind */
    uint32_t n_stats;
    struct expert_tokens *experts; /* sorted by container */
    uint32_t n_experts;
    struct expert_tokens *forced; /* what UNSEEN_ALL_TOKENS sent, to experts of which `experts` has 0; containers where
                                     it did nothing are not there; sorted */
    uint32_t n_forced;
    struct solved_tensor *solved; /* sorted by name */
    uint32_t n_solved;
    struct solve_gain *gains; /* sorted by module */
    uint32_t n_gains;
    bool sequential;      /* every block saw what the quantized blocks in front of it give */
    struct digest digest; /* of everything above but `unseen`, in canonical form */
    struct arena *arena;
    /* where the solved tensors' bytes are: the file that was loaded, or the work file and its folder */
    struct folder *folder;
    struct checkpoint *file;
    struct staging *work;
    int work_fd;
    bool keep_work; /* for a run that will go on: stats_free leaves the work folder */
};

MUST_CHECK bool stats_new(struct stats **out, struct error *err);
void stats_free(struct stats *s); /* NULL is fine */
CLEANUP_DEFINE(stats, struct stats, stats_free)
/* Copies the name. All adds come before stats_seal. */
MUST_CHECK bool stats_add(struct stats *s, const char *module, enum stat_kind kind, float amax, struct error *err);
MUST_CHECK bool stats_add_experts(struct stats *s, const char *container, uint32_t n_experts, const uint64_t *tokens,
                                  struct error *err);
/* The same of what the policy all_tokens sent. */
MUST_CHECK bool stats_add_forced(struct stats *s, const char *container, uint32_t n_experts, const uint64_t *tokens,
                                 struct error *err);
/* Copies the name. `at` is where the bytes are in the work file. */
MUST_CHECK bool stats_add_solved(struct stats *s, const struct solved_tensor *t, struct error *err);
MUST_CHECK bool stats_add_gain(struct stats *s, const struct solve_gain *g, struct error *err);
/* Sorts and digests; ERR_FORMAT when something is there twice or the counts contradict each other. */
MUST_CHECK bool stats_seal(struct stats *s, struct error *err);
void stats_sort_solved(struct stats *s); /* by name; private to plan/ */

/* False when it was not observed. */
bool stats_find(const struct stats *s, const char *module, enum stat_kind kind, float *amax);
const struct expert_tokens *stats_find_experts(const struct stats *s, const char *container);
bool stats_was_forced(const struct stats *s, const char *container, uint32_t expert);

/* NULL when calibration has not solved it. After stats_seal. */
const struct solved_tensor *stats_find_solved(const struct stats *s, const char *name);
const struct solve_gain *stats_find_gain(const struct stats *s, const char *module);
/* n bytes of it from `offset` on. */
MUST_CHECK bool stats_read_solved(const struct stats *s, const struct solved_tensor *t, uint64_t offset, void *dst,
                                  size_t n, struct error *err);

MUST_CHECK bool stats_save(const struct stats *s, const char *path, struct error *err);
MUST_CHECK bool stats_load(struct stats **out, const char *path, struct error *err);
/* ERR_FORMAT when these statistics were not made for this plan's source and points. */
MUST_CHECK bool stats_fit(const struct stats *s, const struct plan *p, struct error *err);

/* Experts of quantized containers that saw no token, as "container.N", in model order; *out lives in the arena. */
MUST_CHECK bool stats_unseen(const struct stats *s, const struct plan *p, struct arena *arena, const char ***out,
                             uint32_t *n, struct error *err);

/* Refuses what the recipe's policy calls an error. */
MUST_CHECK bool stats_check_unseen(const struct stats *s, const struct plan *p, struct error *err);
/* How experts were seen, for reports and ingot.json: "unseen_policy", "unseen_experts" as above, and "experts", a list
 * of {"container", "tokens": [per expert], "all_tokens": [numbers of those that the policy sent all tokens through]};
 * added to `obj`. */
MUST_CHECK bool stats_put_experts(const struct stats *s, const struct plan *p, json_t *obj, struct error *err);

/* The input maximum that each item is written with, amax[n_items]: the recipe's constant, or what was observed; experts
 * of a layer share the largest of their projection. 0 for items whose inputs are not quantized. Applies the recipe's
 * policy for unseen experts. `s` may be NULL when the plan needs no data. */
MUST_CHECK bool stats_input_amaxes(const struct stats *s, const struct plan *p, float *amax, struct error *err);

#endif
