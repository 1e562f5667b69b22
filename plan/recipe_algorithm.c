/* ModelOpt's `algorithm` in our words: `scales` for those whose result is a choice of scales, `solve` for those that
 * change weights. Switches for its own run (layers one by one, checkpoints, ranks) mean nothing here. */
#include "plan/recipe_foreign.h"

static bool method_is(const char *method, const char *word)
{
    return strcmp(method, word) == 0;
}

static bool number_or(const json_t *json, const char *key, const char *what, double otherwise, double *out,
                      struct error *err)
{
    *out = otherwise;
    return json_opt_number(json, key, what, out, err);
}

static bool is_four_over_six(double start, double stop, double step)
{
    return start == 1.0 && stop == 1.5 && step == 0.5;
}

/* mse and local_hessian: over all E4M3 scales, or over multiples of the maximum. */
static bool search(const json_t *json, const char *what, const char *method, struct foreign_algorithm *out,
                   struct error *err)
{
    double start, stop, step;
    bool sweep = method_is(method, "local_hessian");
    if (!json_opt_bool(json, "fp8_scale_sweep", what, &sweep, err) ||
        !number_or(json, "start_multiplier", what, 0.25, &start, err) ||
        !number_or(json, "stop_multiplier", what, 4.0, &stop, err) ||
        !number_or(json, "step_size", what, 0.1, &step, err))
        return false;
    if (!(start > 0 && stop >= start && step > 0 && stop < 1e6 && (stop - start) / step < 1e6))
        return error_set(err, ERR_FORMAT, "%s: algorithm: multipliers from %g to %g in steps of %g are no range", what,
                         start, stop, step);
    if (sweep) {
        out->scales_searched = json_string(method);
        return out->scales_searched ? true : error_memory(err, 0);
    }
    if (!method_is(method, "mse")) {
        snprintf(out->refuse, sizeof out->refuse, "local_hessian without fp8_scale_sweep is not supported");
        return true;
    }
    out->four_over_six_ok = is_four_over_six(start, stop, step);
    out->scales_searched = json_pack("{s:s,s:f,s:f,s:f}", "method", "mse", "start", start, "stop", stop, "step", step);
    out->scales_others = json_incref(out->scales_searched);
    return out->scales_searched ? true : error_memory(err, 0);
}

static bool solve(const json_t *json, const char *what, const char *method, struct foreign_algorithm *out,
                  struct error *err)
{
    if (method_is(method, "gptq")) {
        double damp;
        uint64_t block = 128;
        if (!number_or(json, "perc_damp", what, 0.01, &damp, err) ||
            !json_opt_u64(json, "block_size", what, 1, 1u << 20, &block, err))
            return false;
        out->solve = json_pack("{s:s,s:f,s:I}", "method", "gptq", "damp", damp, "block", (json_int_t)block);
    } else if (method_is(method, "smoothquant")) {
        double alpha;
        if (!number_or(json, "alpha", what, 1.0, &alpha, err)) return false;
        out->solve = json_pack("{s:s,s:f}", "method", "smoothquant", "alpha", alpha);
    } else {
        double step;
        if (!number_or(json, "alpha_step", what, 0.1, &step, err)) return false;
        if (step != 0.1) snprintf(out->refuse, sizeof out->refuse, "alpha_step other than 0.1 is not supported");
        out->solve = method_is(method, "awq_full") ? json_pack("{s:s,s:b}", "method", "awq", "clip", true)
                                                   : json_string(method_is(method, "awq_lite") ? "awq" : "awq_clip");
    }
    return out->solve ? true : error_memory(err, 0);
}

/* Options that change the result in a way that no word here says. */
static bool check_options(const json_t *json, const char *what, struct foreign_algorithm *out, struct error *err)
{
    bool sync_experts = false;
    if (!json_opt_bool(json, "sync_expert_weight_amax", what, &sync_experts, err)) return false;
    if (sync_experts)
        snprintf(out->refuse, sizeof out->refuse,
                 "sync_expert_weight_amax (one maximum for all experts) is not supported");
    if (json_has(json, "shared_states"))
        snprintf(out->refuse, sizeof out->refuse, "shared_states is not read: what engines fuse shares its scale here");
    if (json_has(json, "layerwise") && !json_is_object(json_object_get(json, "layerwise")) &&
        !json_is_boolean(json_object_get(json, "layerwise")))
        return error_set(err, ERR_FORMAT, "%s: algorithm.layerwise: expected a mapping or true or false, found %s",
                         what, json_brief(json_object_get(json, "layerwise")));
    return true;
}

/* NULL when the method is not known; else the options that it has, besides those that all have. */
static const char *const *options_of(const char *method)
{
    static const char
        *const none[] = {NULL},
               *const range[] = {"step_size",
                                 "start_multiplier",
                                 "stop_multiplier",
                                 "fp8_scale_sweep",
                                 "distributed_sync",
                                 "shared_states",
                                 "block_size",
                                 "debug",
                                 NULL},
               *const max[] = {"distributed_sync", "sync_expert_weight_amax", "skip_forward_without_activation_calib",
                               "shared_states", NULL},
               *const gptq[] = {"perc_damp", "block_size", "fused", NULL}, *const smooth[] = {"alpha", NULL},
               *const awq[] = {"alpha_step",  "debug", "max_co_batch_size", "max_tokens_per_batch", "min_clip_ratio",
                               "shrink_step", NULL},
               *const head[] = {"anchor_percentile", "upper_percentile", "rho", "weight_scale_algorithm", NULL},
               *const svd[] = {"lowrank", "skip_layers", NULL},
               *const lsq[] = {"learnable_amax", "tied_amax", "quantize_pre_scale", "scale_algorithm", NULL};
    static const struct {
        const char *method;
        const char *const *options;
    } rows[] = {{"none", none},         {"max", max},      {"mse", range},    {"local_hessian", range},
                {"gptq", gptq},         {"awq_lite", awq}, {"awq_clip", awq}, {"awq_full", awq},
                {"awq", awq},           {"lsq", lsq},      {"svdquant", svd}, {"nvfp4_act_headroom", head},
                {"smoothquant", smooth}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].method, method) == 0) return rows[i].options;
    return NULL;
}

static bool check_keys(const json_t *json, const char *method, const char *what, struct error *err)
{
    static const char *const common[] = {"method", "moe_calib_experts_ratio", "layerwise", "use_sequential", "$at"};
    const char *const *options = options_of(method), *key;
    json_t *v;
    if (!options) return error_set(err, ERR_FORMAT, "%s: algorithm '%.64s' is not known", what, method);
    json_object_foreach ((json_t *)(uintptr_t)json, key, v) {
        bool known = false;
        for (size_t i = 0; i < sizeof common / sizeof *common; i++) known |= strcmp(common[i], key) == 0;
        for (const char *const *o = options; *o; o++) known |= strcmp(*o, key) == 0;
        if (!known) return error_set(err, ERR_FORMAT, "%s: algorithm %s: unknown key '%.64s'", what, method, key);
    }
    return true;
}

static bool by_method(const json_t *json, const char *what, const char *method, struct foreign_algorithm *out,
                      struct error *err)
{
    if (!check_keys(json, method, what, err) || !check_options(json, what, out, err)) return false;
    if (method_is(method, "none") || method_is(method, "max")) return true;
    if (method_is(method, "mse") || method_is(method, "local_hessian")) return search(json, what, method, out, err);
    if (method_is(method, "gptq") || method_is(method, "smoothquant") || method_is(method, "awq_lite") ||
        method_is(method, "awq_clip") || method_is(method, "awq_full"))
        return solve(json, what, method, out, err);
    snprintf(out->refuse, sizeof out->refuse, "algorithm %s is not supported", method);
    return true;
}

bool modelopt_algorithm(const json_t *json, const char *what, struct foreign_algorithm *out, struct error *err)
{
    *out = (struct foreign_algorithm){0};
    if (json_is_array(json)) {
        if (json_array_size(json) == 1) return modelopt_algorithm(json_array_get(json, 0), what, out, err);
        snprintf(out->refuse, sizeof out->refuse, "a sequence of algorithms is not supported");
        return true;
    }
    if (!json || json_is_null(json)) return true;
    if (json_is_string(json)) return by_method(NULL, what, json_string_value(json), out, err);
    if (!json_is_object(json))
        return error_set(err, ERR_FORMAT, "%s: key 'algorithm': expected a name or a mapping, found %s", what,
                         json_brief(json));
    const char *method = "none";
    what = modelopt_at(json, what);
    return json_opt_string(json, "method", what, &method, err) && by_method(json, what, method, out, err);
}

void foreign_algorithm_free(struct foreign_algorithm *a)
{
    json_decref(a->scales_searched);
    json_decref(a->scales_others);
    json_decref(a->solve);
}
