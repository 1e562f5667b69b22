#include "plan/solve.h"

#include "core/text.h"

static const char *const names[] = {[SOLVE_NONE] = "none",
                                    [SOLVE_GPTQ] = "gptq",
                                    [SOLVE_DESCENT] = "descent",
                                    [SOLVE_ROUND] = "round",
                                    [SOLVE_CLIP] = "awq_clip"};
static const char *const fold_names[] = {[FOLD_NONE] = "none", [FOLD_AWQ] = "awq", [FOLD_SMOOTHQUANT] = "smoothquant"};

const struct solve_choice solve_round = {
    .method = SOLVE_ROUND, .damp = SOLVE_DAMP_DEFAULT, .block = SOLVE_BLOCK_DEFAULT, .passes = SOLVE_PASSES_DEFAULT};
#define N_NAMES (sizeof names / sizeof *names)
#define N_FOLD_NAMES (sizeof fold_names / sizeof *fold_names)

const char *solve_name(enum solve_method m)
{
    return names[m];
}

const char *solve_label(const struct solve_choice *s)
{
    if (s->fold.method == FOLD_NONE) return s->method == SOLVE_NONE ? NULL : names[s->method];
    if (s->method != SOLVE_CLIP) return fold_names[s->fold.method];
    return s->fold.method == FOLD_AWQ ? "awq+clip" : "smoothquant+clip";
}

bool fold_choice_equal(const struct fold_choice *a, const struct fold_choice *b)
{
    return a->method == b->method && a->alpha == b->alpha && a->duo == b->duo && a->exact == b->exact &&
           a->pre == b->pre;
}

static bool read_method(const char *word, const char *what, struct solve_choice *out, struct error *err)
{
    __attribute__((cleanup(cleanup_text))) struct text list = TEXT_INIT;
    *out =
        (struct solve_choice){.damp = SOLVE_DAMP_DEFAULT, .block = SOLVE_BLOCK_DEFAULT, .passes = SOLVE_PASSES_DEFAULT};
    for (size_t i = 0; i < N_NAMES; i++) {
        out->method = (enum solve_method)i;
        if (strcmp(names[i], word) == 0) return true;
        text_add(&list, "%s%s", i ? ", " : "", names[i]);
    }
    out->method = SOLVE_NONE;
    for (size_t i = FOLD_AWQ; i < N_FOLD_NAMES; i++) {
        out->fold = (struct fold_choice){.method = (enum fold_method)i,
                                         .alpha = i == FOLD_SMOOTHQUANT ? FOLD_ALPHA_DEFAULT : 0,
                                         .duo = i == FOLD_AWQ};
        if (strcmp(fold_names[i], word) == 0) return true;
        text_add(&list, ", %s", fold_names[i]);
    }
    return error_set(err, ERR_FORMAT, "%s: key 'solve': expected one of %s, found '%.64s'", what, list.data, word);
}

static bool read_fold(const json_t *v, const char *what, struct solve_choice *out, struct error *err)
{
    static const char *const awq_keys[] = {"method", "clip", "duo", "exact", "pre_quant_scale", NULL};
    static const char *const smooth_keys[] = {"method", "alpha", "clip", "exact", "pre_quant_scale", NULL};
    struct fold_choice *f = &out->fold;
    bool clip = false;
    if (!json_known_keys(v, what, f->method == FOLD_AWQ ? awq_keys : smooth_keys, err) ||
        !json_opt_number(v, "alpha", what, &f->alpha, err) || !json_opt_bool(v, "duo", what, &f->duo, err) ||
        !json_opt_bool(v, "exact", what, &f->exact, err) || !json_opt_bool(v, "pre_quant_scale", what, &f->pre, err) ||
        !json_opt_bool(v, "clip", what, &clip, err))
        return false;
    if (clip) out->method = SOLVE_CLIP;
    if (f->alpha >= 0 && f->alpha <= 1) return true;
    return error_set(err, ERR_FORMAT, "%s: solve.alpha: expected a number from 0 to 1, found %g", what, f->alpha);
}

static bool read_gptq(const json_t *v, const char *what, struct solve_choice *out, struct error *err)
{
    static const char *const gptq_keys[] = {"method", "damp", "block", "act_order", "inputs", NULL};
    static const char *const descent_keys[] = {"method", "damp",   "block",   "act_order",
                                               "inputs", "passes", "outputs", NULL};
    const char *inputs = "original", *outputs = "alike";
    uint64_t block = out->block, passes = out->passes;
    if (!json_known_keys(v, what, out->method == SOLVE_DESCENT ? descent_keys : gptq_keys, err) ||
        !json_opt_u64(v, "passes", what, 1, SOLVE_PASSES_MAX, &passes, err) ||
        !json_opt_number(v, "damp", what, &out->damp, err) ||
        !json_opt_u64(v, "block", what, 32, SOLVE_BLOCK_MAX, &block, err) ||
        !json_opt_bool(v, "act_order", what, &out->act_order, err) ||
        !json_opt_string(v, "inputs", what, &inputs, err) || !json_opt_string(v, "outputs", what, &outputs, err))
        return false;
    out->rounded_inputs = strcmp(inputs, "rounded") == 0;
    if (!out->rounded_inputs && strcmp(inputs, "original") != 0)
        return error_set(err, ERR_FORMAT, "%s: solve.inputs: expected one of original, rounded, found '%.64s'", what,
                         inputs);
    out->for_readers = strcmp(outputs, "readers") == 0;
    if (!out->for_readers && strcmp(outputs, "alike") != 0)
        return error_set(err, ERR_FORMAT, "%s: solve.outputs: expected one of alike, readers, found '%.64s'", what,
                         outputs);
    if (!(out->damp > 0 && out->damp <= 1))
        return error_set(err, ERR_FORMAT, "%s: solve.damp: expected a number above 0 and up to 1, found %g", what,
                         out->damp);
    if (block % 32) /* the panels of the matrix products */
        return error_set(err, ERR_FORMAT, "%s: solve.block: expected a multiple of 32, found %llu", what,
                         (unsigned long long)block);
    out->block = (uint32_t)block;
    out->passes = (uint32_t)passes;
    return true;
}

bool solve_read(const json_t *line, const char *what, struct solve_choice *out, struct error *err)
{
    const json_t *v = json_object_get(line, "solve");
    const char *word = NULL;
    if (!json_has(line, "solve")) return true;
    if (!json_is_object(v))
        return json_get_string(line, "solve", what, &word, err) && read_method(word, what, out, err);
    if (!json_get_string(v, "method", what, &word, err) || !read_method(word, what, out, err)) return false;
    if (out->method == SOLVE_GPTQ || out->method == SOLVE_DESCENT) return read_gptq(v, what, out, err);
    if (out->fold.method != FOLD_NONE) return read_fold(v, what, out, err);
    static const char *const keys[] = {"method", NULL};
    return json_known_keys(v, what, keys, err);
}

json_t *fold_json(const struct fold_choice *f)
{
    const char *name = fold_names[f->method];
    json_t *j = f->method == FOLD_AWQ
                    ? json_pack("{s:s,s:b,s:b}", "method", name, "duo", f->duo, "exact", f->exact)
                    : json_pack("{s:s,s:f,s:b}", "method", name, "alpha", f->alpha, "exact", f->exact);
    if (j && f->pre && json_object_set_new(j, "pre_quant_scale", json_true()) != 0) json_decref(take_ptr(&j));
    return j;
}

json_t *solve_json(const struct solve_choice *s)
{
    if (s->method != SOLVE_GPTQ && s->method != SOLVE_DESCENT) return json_string(solve_name(s->method));
    json_t *j = json_pack("{s:s,s:f,s:b,s:s}", "method", solve_name(s->method), "damp", s->damp, "act_order",
                          s->act_order, "inputs", s->rounded_inputs ? "rounded" : "original");
    if (j && s->method == SOLVE_DESCENT && json_object_set_new(j, "passes", json_integer(s->passes)) != 0)
        json_decref(take_ptr(&j));
    if (j && s->for_readers && json_object_set_new(j, "outputs", json_string("readers")) != 0)
        json_decref(take_ptr(&j));
    return j;
}
