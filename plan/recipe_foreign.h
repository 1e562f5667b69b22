/* Recipes in the languages of other programs, made into ours: the JSON that recipe_from_json reads. What they say is
 * kept line for line; each rule's `note` says where it stands in the original. Private to plan/.
 *
 * ModelOpt's: `metadata`, `quantize: {algorithm, quant_cfg}`, `imports` and `$import`; also the older `ptq_cfg` with a
 * mapping, presets (a bare quant_cfg), and a folder of metadata.yaml and quantize.yaml.
 * llm-compressor's: `NAME_stage: {NAME_modifiers: {...Modifier: {...}}}`. */
#ifndef PLAN_RECIPE_FOREIGN_H
#define PLAN_RECIPE_FOREIGN_H

#include "core/yaml.h"
#include "plan/recipe.h"

/* From our own JSON; `doc` is where it was read from, or NULL: then errors speak of rules and not of lines. */
MUST_CHECK bool recipe_make(struct recipe **out, const json_t *json, const struct yaml *doc, const char *file,
                            struct error *err);

/* An import may import, so deep; all files together, so many. */
#define IMPORT_DEPTH_MAX 16u
#define IMPORT_FILES_MAX 256u

/* By the keys of the first document. */
bool modelopt_is_recipe(const json_t *doc);
bool llmcompressor_is_recipe(const json_t *doc);

/* `docs`: what yaml_parse_documents gives. `file` names it in errors and gives the recipe its name; imports are looked
 * for in its folder, in the folders above that, and among the standard units. `metadata`: of the form with two files,
 * of which `docs` is the other; the folder's name is the recipe's then. NULL: one file. */
MUST_CHECK bool modelopt_recipe(const struct yaml *docs, const json_t *metadata, const char *file, json_t **out,
                                struct error *err);
MUST_CHECK bool llmcompressor_recipe(const struct yaml *docs, const char *file, json_t **out, struct error *err);

/* A file's documents with every $import put in, the imports themselves taken out; each mapping has a member "$at" that
 * says where it stood ("file: line 3"). New reference. */
MUST_CHECK bool modelopt_resolve(const struct yaml *docs, const char *file, json_t **out, struct error *err);
/* "$at" of a mapping, for errors. */
const char *modelopt_at(const json_t *node, const char *otherwise);

/* What quantizers say of a type, and what it is called here (plan/recipe_attributes.c). */
struct foreign_type {
    const char *word;        /* of `type:`; NULL: `refuse` says why there is none */
    uint32_t group;          /* int4: columns of a group */
    bool searched;           /* block scales are chosen by the algorithm, not by each block's own maximum */
    bool four_over_six;      /* between two of them, against scales of their own */
    bool constant;           /* no maximum is kept: engines use 1.0 */
    bool weights_searchable; /* ModelOpt's search of multipliers touches it */
    double amax;             /* > 0: fixed */
    char refuse[256];
};
/* ERR_FORMAT for what is no type at all: unknown keys, words, widths. */
MUST_CHECK bool modelopt_type(const json_t *cfg, const char *what, struct foreign_type *out, struct error *err);

/* What calibration makes of the types (plan/recipe_algorithm.c): members for rules, borrowed; NULL: none. */
struct foreign_algorithm {
    json_t *scales_searched; /* `scales` of weights whose block scales are searched */
    json_t *scales_others;   /* `scales` of the other types that keep a maximum */
    json_t *solve;
    bool four_over_six_ok; /* the multipliers are those of 4/6: 1 and 1.5 */
    char refuse[256];      /* not empty: what no rule can say */
};
MUST_CHECK bool modelopt_algorithm(const json_t *json, const char *what, struct foreign_algorithm *out,
                                   struct error *err);
void foreign_algorithm_free(struct foreign_algorithm *a);

#endif
