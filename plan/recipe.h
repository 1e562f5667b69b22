/* What the user wishes: an ordered list of lines that select modules and say how their weights and inputs are stored;
 * later lines win. A recipe is a YAML (or JSON) file, or the name of a built-in one (the files of recipes/, inside the
 * program). Grammar: docs/man/ingot-recipe.5. Published recipes are transcribed line by line from ModelOpt's resolved
 * lists, so that what they select is what the original selects. */
#ifndef PLAN_RECIPE_H
#define PLAN_RECIPE_H

#include "core/crypto.h"
#include "core/json.h"
#include "formats/quant_format.h"
#include "models/arch.h"
#include "plan/input_observer.h"
#include "plan/quant_type.h"
#include "plan/solve.h"

#define RECIPE_BYTES_MAX ((size_t)4 << 20)
#define RECIPE_LINES_MAX 100000u

enum scale_method {
    SCALES_MAX,           /* each block's own maximum ("dynamic" order) */
    SCALES_MSE,           /* least squared error over all E4M3 scales ("static" order) */
    SCALES_LOCAL_HESSIAN, /* least error of the outputs, by the second moments of a block's inputs ("static" order) */
    SCALES_FOUR_OVER_SIX, /* a block's maximum is mapped to 6 or to 4, by squared error ("static" order, m = 256) */
    SCALES_RANGE, /* least squared error over multiples of the maximum: of a block (NVFP4), of the tensor (FP8) */
    SCALES_COUNT
};

/* Of SCALES_RANGE: n multipliers from start to stop (numeric/nvfp4_range.h). */
struct scale_range {
    float start, stop;
    uint32_t n;
};

enum unseen_policy {
    UNSEEN_ERROR,    /* an expert that saw no calibration token is an error */
    UNSEEN_LAYER_MAX /* it uses the layer's maximum, as ModelOpt's fused experts do; listed either way */
};

enum kv_choice { KV_NONE, KV_FP8, KV_FP8_CAST /* declared, no scales written: engines use 1.0 */ };

struct recipe_line {
    uint32_t line;    /* in the file, for errors; the number of the rule when there is no file */
    const char *text; /* how reasons show it: "rule 2: role routed_experts" */
    /* selectors: all that are set must hold */
    const char *quantizer;    /* shell pattern over "<module>.weight_quantizer", "<module>.input_quantizer",
                                 "<attention>.k_bmm_quantizer": ModelOpt's names */
    const char *module;       /* shell pattern over the module's name */
    const char *module_class; /* "Linear", "Embedding", or a class of other frameworks that nothing here has */
    const char *const *roles; /* names or classes of roles, NULL-terminated; NULL: any */
    const uint32_t *layers;   /* NULL: any */
    uint32_t n_layers;
    bool mtp; /* reaches into the multi-token-prediction head; otherwise that is left alone */
    /* actions */
    const struct quant_type *weights, *inputs, *kv; /* NULL: says nothing of them */
    uint32_t group;                                 /* columns that share a scale, where the type has groups; 0: 128 */
    bool zero;                                      /* with zero points */
    enum scale_method scales;
    struct scale_range range; /* SCALES_RANGE */
    struct solve_choice solve;
    double input_amax; /* > 0: inputs are not observed, this maximum is used */
    struct input_observer observer;
    bool kv_constant; /* KV_FP8_CAST */
    bool optional;    /* may match nothing */
};

struct recipe {
    const char *name; /* the published or file's name */
    const char *summary, *source;
    bool published;     /* lines that match nothing are listed, not refused */
    bool copies;        /* quantizes nothing on purpose */
    const char *layout; /* a method of formats/quant_format_rows.c; "modelopt" */
    enum fp8_rounding rounding;
    enum unseen_policy unseen;
    struct recipe_line *lines;
    uint32_t n_lines;
    struct digest digest; /* SHA-256 of the recipe's canonical JSON */
    json_t *json;         /* the recipe as read; travels in ingot.json so that a plan can be rebuilt */
    struct arena *arena;
};

/* A built-in name or alias, or a path (tried when it holds a '/', ends in .yaml, .yml or .json, or names no built-in).
 */
MUST_CHECK bool recipe_load(struct recipe **out, const char *path_or_name, struct error *err);
/* From the JSON that recipe->json holds. `what` names it in errors. */
MUST_CHECK bool recipe_from_json(struct recipe **out, const json_t *json, const char *what, struct error *err);
void recipe_free(struct recipe *r); /* NULL is fine */
CLEANUP_DEFINE(recipe, struct recipe, recipe_free)

/* Built-in recipes in order of name: *name, *aliases (comma-separated or "") and *summary are owned by *arena_out's
 * arena. */
struct recipe_listing {
    const char *name, *aliases, *summary;
};
MUST_CHECK bool recipe_list(struct recipe_listing **out, uint32_t *n, struct arena *arena, struct error *err);

/* What a line asks of one module. `mtp`: the module belongs to that head. */
bool recipe_line_selects(const struct recipe_line *l, const char *module, enum tensor_role role, int32_t layer,
                         bool mtp, const char *quantizer_suffix);

#endif
