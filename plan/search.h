/* Automatic mixed precision: which type each group of linears gets within a budget of bytes.
 *
 *     search_space_make     groups that engines want alike, the types each may have, and their bytes
 *     sensitivity_measure   what each type of each group costs (calibrate/sensitivity.h), or search_scores_read
 *     search_forbid         what a target cannot run, if there is one
 *     search_solve          the assignment of least cost, exactly (plan/knapsack.h)
 *     search_recipe         the same as a recipe with its reasons
 *
 * A group is: all experts of a layer; linears that engines fuse into one product (q, k, v; gate, up; ...); any other
 * linear alone; the head, when it is asked for and has weights of its own. Bytes are those of the plans that quantize
 * would follow, so that the budget means what plan_effective_bits says: all bytes of the result over all elements,
 * whatever is not searched included. */
#ifndef PLAN_SEARCH_H
#define PLAN_SEARCH_H

#include "plan/knapsack.h"
#include "plan/plan.h"

#define SEARCH_TYPES_MAX 8u

/* One word of --types: "nvfp4" (weights and inputs), "nvfp4/none" (weights/inputs), "none". */
struct search_type {
    const char *word, *weights, *inputs; /* words of recipes */
    struct recipe *recipe;               /* every group that may have it, in it; NULL for "none" */
    struct plan *plan;                   /* of that */
    const struct quant_format *format;   /* NULL for "none" */
    bool rounds_inputs;                  /* measured with inputs quantized: as the engine will run it */
};

struct search_choice {
    const char *why_not; /* NULL: allowed */
    uint64_t bytes;
    bool known;   /* kl is */
    double kl;    /* what it costs alone, in nats per token; 0 for "none" */
    double error; /* sum of squared errors behind the block, relative to the block's output; NaN when not measured */
};

struct search_group {
    const char *name; /* "backbone.layers.0.mixer.in_proj", "model.layers.3.self_attn.{q_proj,k_proj,v_proj}" */
    const char *const *patterns; /* of modules, as rules have them */
    uint32_t n_patterns;
    uint32_t *items; /* of plans, ascending */
    uint32_t n_items;
    int32_t block, layer; /* of the head: the number of blocks, -1 */
    const char *role_class;
    uint64_t n_elems;
    struct search_choice choices[SEARCH_TYPES_MAX];
    uint32_t picked; /* by search_solve */
};

/* The K/V cache: one type for the whole model, beside the weights in the same memory. */
enum search_cache_type { SEARCH_CACHE_NONE, SEARCH_CACHE_FP8, SEARCH_CACHE_NVFP4, SEARCH_CACHE_COUNT };
extern const char *const search_cache_words[SEARCH_CACHE_COUNT]; /* of recipes */

struct search_cache {
    uint64_t tokens; /* 0: it is not searched */
    /* bytes: of the tokens, and of the scales in the checkpoint; error: NaN */
    struct search_choice choices[SEARCH_CACHE_COUNT];
    uint64_t scale_bytes[SEARCH_CACHE_COUNT]; /* of these, in the checkpoint */
    uint32_t picked;                          /* by search_solve */
};

struct search_space {
    const struct inventory *inventory;
    struct search_type types[SEARCH_TYPES_MAX]; /* types[0] is "none" */
    uint32_t n_types;
    struct search_group *groups; /* in model order */
    uint32_t n_groups;
    uint32_t *group_of;   /* [n_items]; NAME_NONE: not searched */
    uint64_t other_bytes; /* of the result, without the groups */
    uint64_t total_elems;
    const char *scales, *kv_cache; /* words of recipes; kv_cache counts when the cache is not searched */
    struct search_cache cache;
    /* where the scores come from */
    const char *method; /* "kl", "gain"; NULL: nowhere yet */
    struct digest data_digest;
    uint64_t n_texts, n_tokens;
    /* search_solve */
    uint64_t budget; /* bytes of the whole result, and of a cache that is searched */
    struct knapsack_result solution;
    uint64_t write_bytes; /* of the result */
    uint64_t cache_bytes; /* of the tokens in the cache; 0: it is not searched */
    double kl;            /* the sum of what was picked */
    double power;         /* of scores, whose sum is the least: 1, but for "kl" where routers follow */
    struct arena *arena;
};

struct search_request {
    const char *const *types; /* words, without doubles; "none" is always one */
    uint32_t n_types;
    const char *const *roles;  /* names or classes, NULL-terminated; NULL: every linear but latent projections */
    bool add_roles;            /* `roles` come to these, and do not stand in their place */
    const char *scales;        /* for nvfp4 weights; NULL: "max" */
    const char *kv_cache;      /* NULL: "none" */
    uint64_t cache_tokens;     /* > 0: the cache is searched, for so many tokens, and kv_cache is NULL */
    const char *const *caches; /* then: its types, NULL-terminated, "none" among them or not; NULL: all that fit */
};

/* Borrows the inventory. ERR_USAGE for words that are none, ERR_UNSUPPORTED when no group may be quantized. */
MUST_CHECK bool search_space_make(struct search_space **out, const struct inventory *inv,
                                  const struct search_request *req, struct error *err);
void search_space_free(struct search_space *s); /* NULL is fine */
CLEANUP_DEFINE(search_space, struct search_space, search_space_free)

/* Takes a type from a group; the first reason stays. `why_not` is copied. */
MUST_CHECK bool search_forbid(struct search_space *s, uint32_t group, uint32_t type, const char *why_not,
                              struct error *err);

/* The same of a type of cache. */
MUST_CHECK bool search_forbid_cache(struct search_space *s, enum search_cache_type type, const char *why_not,
                                    struct error *err);
/* The recipe's word for the cache. */
const char *search_cache_word(const struct search_space *s);

/* bytes of the whole result at most; `one_type`: at most one type beside "none" (targets that take no mixture).
 * Fills picked, write_bytes, kl, solution. ERR_FORMAT when the budget is below what the smallest types take. */
MUST_CHECK bool search_solve(struct search_space *s, uint64_t budget, bool one_type, struct error *err);

/* The recipe as YAML: rules for what was picked, and in comments the scores and the reason. The same solution gives the
 * same text. *out: caller frees. */
MUST_CHECK bool search_recipe(const struct search_space *s, const char *name, char **out, struct error *err);
/* Plans it again from its text: the bytes must be those that were promised. */
MUST_CHECK bool search_check_recipe(const struct search_space *s, const char *path, struct error *err);

/* Scores as JSON (schema ingot.sensitivity/1); new reference. */
MUST_CHECK bool search_scores_json(const struct search_space *s, json_t **out, struct error *err);
/* The way back: ERR_FORMAT when they are of another checkpoint or lack a type or group that the space has. `what` names
 * them in errors. */
MUST_CHECK bool search_scores_read(struct search_space *s, const json_t *json, const char *what, struct error *err);

/* private to plan/: the cache's choices, when types are planned */
MUST_CHECK bool search_cache_make(struct search_space *s, const struct search_request *req, struct error *err);
/* private to plan/: the JSON of a recipe that gives each group the type that `pick` says (NULL: type everywhere where
 * it is allowed); new reference. */
MUST_CHECK bool search_recipe_json(const struct search_space *s, const char *name, uint32_t type, json_t **out,
                                   struct error *err);

#endif
