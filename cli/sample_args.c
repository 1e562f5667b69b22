#include "cli/sample_args.h"

#include <stdlib.h>

static bool number(const char *text, const char *option, double *out, struct error *err)
{
    char *end;
    if (!text) return true;
    *out = strtod(text, &end);
    return *text && !*end ? true
                          : error_set(err, ERR_USAGE, "option --%s: expected a number, found '%.64s'", option, text);
}

/* generation_config.json's settings; an absent one is off, except top_k, whose published default is 50. */
static bool model_settings(const struct model *m, struct sampler_config *c, struct error *err)
{
    uint64_t top_k = 50;
    c->temperature = 1;
    if (m->hf.generation &&
        (!json_opt_number(m->hf.generation, "temperature", "generation_config.json", &c->temperature, err) ||
         !json_opt_number(m->hf.generation, "top_p", "generation_config.json", &c->top_p, err) ||
         !json_opt_number(m->hf.generation, "min_p", "generation_config.json", &c->min_p, err) ||
         !json_opt_number(m->hf.generation, "repetition_penalty", "generation_config.json", &c->repetition_penalty,
                          err) ||
         !json_opt_u64(m->hf.generation, "top_k", "generation_config.json", 0, UINT32_MAX, &top_k, err)))
        return false;
    c->top_k = (uint32_t)top_k;
    return true;
}

bool sample_settings(const struct sample_args *a, const struct model *m, struct sampler_config *c, struct error *err)
{
    bool draws = a->sample || a->temperature || a->top_k || a->top_p || a->min_p;
    *c = SAMPLER_GREEDY;
    if (a->greedy && draws)
        return error_set(err, ERR_USAGE, "--greedy takes the likeliest token: there is nothing to draw");
    if (a->sample && !model_settings(m, c, err)) return false;
    if (draws && !a->sample) c->temperature = 1;
    if (a->top_k) c->top_k = (uint32_t)a->top_k;
    c->seed = a->seed;
    return number(a->temperature, "temperature", &c->temperature, err) && number(a->top_p, "top-p", &c->top_p, err) &&
           number(a->min_p, "min-p", &c->min_p, err) &&
           number(a->repetition_penalty, "repetition-penalty", &c->repetition_penalty, err);
}
