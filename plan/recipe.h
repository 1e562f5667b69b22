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
    SCALES_RANGE,      /* least squared error over multiples of the maximum: of a block (NVFP4), of the tensor (FP8) */
    SCALES_MXFP4_CAST, /* of MXFP4 sources: powers of two that give every number back (numeric/nvfp4_cast.h) */
    SCALES_COUNT
};

/* Of SCALES_RANGE: n multipliers from start to stop (numeric/nvfp4_range.h). */
struct scale_range {
    float start, stop;
    uint32_t n;
};

enum unseen_policy {
    UNSEEN_ERROR,     /* an expert that saw no calibration token is an error */
    UNSEEN_LAYER_MAX, /* it uses the layer's maximum, as ModelOpt's fused experts do; listed either way */
    UNSEEN_ALL_TOKENS /* calibrate sends all tokens through it, once the layer is done, and keeps what it saw then */
};

/* CAST: declared, no scales written: engines use 1.0 */
enum kv_choice { KV_NONE, KV_FP8, KV_FP8_CAST, KV_NVFP4, KV_NVFP4_CAST };

struct recipe_line {
    uint32_t line;     /* in the file, for errors; the number of the rule when there is no file */
    const char *text;  /* how reasons show it: "rule 2: role routed_experts" */
    const char *label; /* how errors do, with where it stands: "rule 2: role routed_experts (line 9)" */
    /* selectors: all that are set must hold */
    const char *quantizer;     /* shell pattern over "<module>.weight_quantizer", "<module>.input_quantizer",
                                  "<attention>.k_bmm_quantizer": ModelOpt's names */
    const char *module;        /* shell pattern over the module's name, or "re:" and a regular expression */
    struct regex_list *regex;  /* that expression; owned */
    const char *module_class;  /* "Linear", "Embedding", or a class of other frameworks that nothing here has */
    const char *const *except; /* patterns over the module's name that it does not select, NULL-terminated, or NULL */
    struct regex_list *except_regex; /* those with "re:"; owned */
    const char *const *roles;        /* names or classes of roles, NULL-terminated; NULL: any */
    const uint32_t *layers;          /* NULL: any */
    uint32_t n_layers;
    bool mtp;   /* reaches into the multi-token-prediction head; otherwise that is left alone */
    int before; /* an enum block_kind: only blocks whose next one in the trunk is of that kind; -1: any */
    /* actions */
    const struct quant_type *weights, *inputs, *kv; /* NULL: says nothing of them */
    uint32_t group;                                 /* columns that share a scale, where the type has groups; 0: 128 */
    bool zero;                                      /* with zero points */
    enum scale_method scales;
    struct scale_range range; /* SCALES_RANGE */
    struct solve_choice solve;
    struct input_observer observer;
    double input_amax;  /* > 0: inputs are not observed, this maximum is used */
    bool kv_constant;   /* a CAST */
    bool optional;      /* may match nothing */
    bool enable;        /* only switches on what an earlier line said */
    const char *refuse; /* what it asks for cannot be had, and why: an error where it decides */
    const char *note;   /* where it stands in the recipe that this one was made from, or NULL */
};

struct recipe {
    const char *name; /* the published or file's name */
    const char *summary, *source;
    bool published;     /* lines that match nothing are listed, not refused */
    bool copies;        /* quantizes nothing on purpose */
    bool allow_ssm;     /* 4/6 with quantized inputs on Mamba's linears, which loses much */
    bool requantize;    /* a source that is quantized already is decoded and quantized again */
    const char *layout; /* a method of formats/quant_format_rows.c; "modelopt" */
    enum fp8_rounding rounding;
    enum unseen_policy unseen;
    struct recipe_line *lines;
    uint32_t n_lines, n_regexes;
    struct digest digest; /* SHA-256 of the recipe's canonical JSON */
    json_t *json;         /* the recipe as read; travels in ingot.json so that a plan can be rebuilt */
    struct arena *arena;
};

/* A built-in name or alias, or a path (tried when it holds a '/', ends in .yaml, .yml or .json, or names no built-in).
 */
MUST_CHECK bool recipe_load(struct recipe **out, const char *path_or_name, struct error *err);
/* What a file holds; `file` names it in errors, and imports of other programs' recipes are looked for beside it. */
MUST_CHECK bool recipe_from_text(struct recipe **out, struct bytes text, const char *file, struct error *err);
/* From the JSON that recipe->json holds. `what` names it in errors. */
MUST_CHECK bool recipe_from_json(struct recipe **out, const json_t *json, const char *what, struct error *err);
/* As `requantize: true` in the file: part of the recipe from now on, of its JSON and its digest. */
MUST_CHECK bool recipe_allow_requantize(struct recipe *r, struct error *err);
/* The same recipe in another layout; its digest changes with it. ERR_USAGE for a word that is none. */
MUST_CHECK bool recipe_set_layout(struct recipe *r, const char *layout, struct error *err);
void recipe_free(struct recipe *r); /* NULL is fine */
CLEANUP_DEFINE(recipe, struct recipe, recipe_free)

/* Built-in recipes in order of name: *name, *aliases (comma-separated or "") and *summary are owned by *arena_out's
 * arena. */
struct recipe_listing {
    const char *name, *aliases, *summary;
};
MUST_CHECK bool recipe_list(struct recipe_listing **out, uint32_t *n, struct arena *arena, struct error *err);

/* What lines select by. */
struct recipe_target {
    const char *module;
    enum tensor_role role;
    int32_t layer; /* -1: none */
    bool mtp;      /* belongs to the multi-token-prediction head */
    int next;      /* enum block_kind of the trunk's next block; -1: none */
};
/* Of a line that selects: says it anything of this half, and is that a type (or the refusal of one)? */
static inline bool recipe_line_speaks(const struct recipe_line *l, const struct quant_type *half)
{
    return l->enable || l->refuse || half;
}
static inline bool recipe_line_says_type(const struct recipe_line *l, const struct quant_type *half)
{
    return l->refuse || (half && half != QUANT_TYPE_NONE);
}
/* True when the line speaks of this quantizer of the module ("weight_quantizer"). */
bool recipe_line_selects(const struct recipe_line *l, const struct recipe_target *t, const char *quantizer_suffix);
/* The same of a quantizer of K or V ("k_bmm_quantizer") of an attention module, which is of none of the classes that
 * lines can name. */
bool recipe_line_selects_cache(const struct recipe_line *l, const struct recipe_target *t, const char *quantizer);

#endif
