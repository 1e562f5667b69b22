#include "models/rope.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static bool positive(const json_t *obj, const char *key, double *out, struct error *err)
{
    if (!json_opt_number(obj, key, "config", out, err)) return false;
    return *out > 0 && isfinite(*out)
               ? true
               : error_set(err, ERR_FORMAT, "key '%s': expected a positive number, found %g", key, *out);
}

static bool required(const json_t *obj, const char *key, double *out, struct error *err)
{
    if (!json_has(obj, key)) return error_set(err, ERR_FORMAT, "key '%s' of the rope scaling is missing", key);
    return positive(obj, key, out, err);
}

bool rope_find(const json_t *json, const char *layer_type, double fallback, struct rope_spec *out, struct error *err)
{
    const char *key = json_has(json, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    const json_t *v = json_object_get(json, key);
    *out = (struct rope_spec){.theta = fallback};
    if (json_is_null(v)) v = NULL;
    if (v && !json_is_object(v))
        return error_set(err, ERR_FORMAT, "key '%s': expected an object, found %s", key, json_brief(v));
    const json_t *own = layer_type ? json_object_get(v, layer_type) : NULL;
    if (json_is_object(own)) v = own;
    out->scaling = v;
    if (!positive(json, "rope_theta", &out->theta, err) || (v && !positive(v, "rope_theta", &out->theta, err)))
        return false;
    return out->theta > 1 ? true : error_set(err, ERR_FORMAT, "key 'rope_theta': expected a number above 1");
}

static bool rope_type(const struct rope_spec *spec, const char **out, struct error *err)
{
    *out = "default";
    return !spec->scaling || (json_opt_string(spec->scaling, "type", "rope scaling", out, err) &&
                              json_opt_string(spec->scaling, "rope_type", "rope scaling", out, err));
}

/* theta^(2i/dim), rounded to fp32 at each step as the reference does. */
static float wave(const struct rope_spec *spec, uint64_t dim, uint64_t i)
{
    return (float)pow(spec->theta, (double)((float)(2 * i) / (float)dim));
}

static bool scale_linear(const struct rope_spec *spec, uint64_t dim, float *f, struct error *err)
{
    double factor;
    if (!required(spec->scaling, "factor", &factor, err)) return false;
    for (uint64_t i = 0; i < dim / 2; i++) f[i] /= (float)factor;
    return true;
}

static bool scale_llama3(const struct rope_spec *spec, uint64_t dim, float *f, struct error *err)
{
    double factor, low, high, original;
    if (!required(spec->scaling, "factor", &factor, err) || !required(spec->scaling, "low_freq_factor", &low, err) ||
        !required(spec->scaling, "high_freq_factor", &high, err) ||
        !required(spec->scaling, "original_max_position_embeddings", &original, err))
        return false;
    if (!(high > low))
        return error_set(err, ERR_FORMAT, "high_freq_factor %g is not above low_freq_factor %g", high, low);
    for (uint64_t i = 0; i < dim / 2; i++) {
        float wavelength = (float)(2 * pi) / f[i];
        float smooth = ((float)original / wavelength - (float)low) / (float)(high - low);
        if (wavelength > (float)(original / low)) f[i] /= (float)factor;
        else if (!(wavelength < (float)(original / high)))
            f[i] = (1.0f - smooth) * (f[i] / (float)factor) + smooth * f[i];
    }
    return true;
}

/* ---- yarn ---- */

static double yarn_g(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

/* The index whose frequency turns n times over the original length. */
static double correction(const struct rope_spec *spec, double dim, double original, double n)
{
    return dim * log(original / (n * 2 * pi)) / (2 * log(spec->theta));
}

struct yarn {
    double factor, original, beta_fast, beta_slow, mscale, mscale_all, attention_factor;
    bool truncate;
};

static bool read_yarn(const json_t *j, uint64_t max_position, struct yarn *y, struct error *err)
{
    *y = (struct yarn){.original = (double)max_position, .beta_fast = 32, .beta_slow = 1, .truncate = true};
    uint64_t max = max_position;
    if (!json_opt_number(j, "original_max_position_embeddings", "config", &y->original, err) ||
        !positive(j, "beta_fast", &y->beta_fast, err) || !positive(j, "beta_slow", &y->beta_slow, err) ||
        !json_opt_number(j, "mscale", "config", &y->mscale, err) ||
        !json_opt_number(j, "mscale_all_dim", "config", &y->mscale_all, err) ||
        !json_opt_number(j, "attention_factor", "config", &y->attention_factor, err) ||
        !json_opt_bool(j, "truncate", "config", &y->truncate, err))
        return false;
    if (!(y->original > 0 && isfinite(y->original)))
        return error_set(err, ERR_FORMAT, "key 'original_max_position_embeddings' of the rope scaling is missing");
    y->factor = (double)max / y->original; /* when the configuration leaves it to its two lengths */
    if (json_has(j, "factor") || max == 0) {
        if (!required(j, "factor", &y->factor, err)) return false;
    }
    const struct {
        const char *key;
        double value;
    } factors[] = {{"mscale", y->mscale}, {"mscale_all_dim", y->mscale_all}, {"attention_factor", y->attention_factor}};
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
        if (!(factors[i].value >= 0 && isfinite(factors[i].value)))
            return error_set(err, ERR_FORMAT, "key '%s': expected a number from 0 up, found %g", factors[i].key,
                             factors[i].value);
    return true;
}

static bool scale_yarn(const struct rope_spec *spec, uint64_t dim, uint64_t max_position, float *f, double *factor,
                       struct error *err)
{
    struct yarn y;
    if (!read_yarn(spec->scaling, max_position, &y, err)) return false;
    if (y.attention_factor > 0) *factor = y.attention_factor;
    else if (y.mscale > 0 && y.mscale_all > 0) *factor = yarn_g(y.factor, y.mscale) / yarn_g(y.factor, y.mscale_all);
    else *factor = yarn_g(y.factor, 1);
    double low = correction(spec, (double)dim, y.original, y.beta_fast),
           high = correction(spec, (double)dim, y.original, y.beta_slow);
    if (y.truncate) {
        low = floor(low);
        high = ceil(high);
    }
    if (!(low > 0)) low = 0;
    if (!(high < (double)dim - 1)) high = (double)dim - 1;
    if (low == high) high += 0.001;
    for (uint64_t i = 0; i < dim / 2; i++) {
        float ramp = ((float)i - (float)low) / (float)(high - low);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        float keep = 1.0f - ramp;
        f[i] = 1.0f / ((float)y.factor * wave(spec, dim, i)) * (1.0f - keep) + f[i] * keep;
    }
    return true;
}

bool rope_make(const struct rope_spec *spec, enum rope_style style, uint64_t dim, uint64_t max_position,
               struct arena *arena, struct rope_config *out, struct error *err)
{
    const char *type;
    if (!rope_type(spec, &type, err)) return false;
    float *f = arena_alloc(arena, dim / 2 + 1, sizeof *f);
    if (!f) return error_memory(err, dim);
    for (uint64_t i = 0; i < dim / 2; i++) f[i] = 1.0f / wave(spec, dim, i);
    *out = (struct rope_config){.style = style, .dim = (uint32_t)dim, .inv_freq = f, .factor = 1};
    if (strcmp(type, "default") == 0) return true;
    if (strcmp(type, "linear") == 0) return scale_linear(spec, dim, f, err);
    if (strcmp(type, "llama3") == 0) return scale_llama3(spec, dim, f, err);
    if (strcmp(type, "yarn") == 0) return scale_yarn(spec, dim, max_position, f, &out->factor, err);
    return error_set(err, ERR_UNSUPPORTED, "rope type '%s' is not known (default, linear, llama3, yarn)", type);
}

bool rope_partial(const json_t *json, const struct rope_spec *spec, uint64_t head_dim, double fallback, uint64_t *dim,
                  struct error *err)
{
    double part = fallback;
    if (!json_opt_number(json, "partial_rotary_factor", "config", &part, err) ||
        (spec->scaling && !json_opt_number(spec->scaling, "partial_rotary_factor", "config", &part, err)))
        return false;
    if (!(part > 0 && part <= 1))
        return error_set(err, ERR_FORMAT,
                         "key 'partial_rotary_factor': expected a number above 0 and up to 1, found %g", part);
    *dim = (uint64_t)((double)head_dim * part);
    if (*dim == 0 || *dim % 2 != 0)
        return error_set(err, ERR_FORMAT, "%llu of a head's %llu elements would rotate; expected an even number",
                         (unsigned long long)*dim, (unsigned long long)head_dim);
    return true;
}

bool rope_mscale_all(const struct rope_spec *spec, uint64_t max_position, double *out, struct error *err)
{
    const char *type;
    struct yarn y;
    *out = 1;
    if (!rope_type(spec, &type, err)) return false;
    if (strcmp(type, "yarn") != 0) return true;
    if (!read_yarn(spec->scaling, max_position, &y, err)) return false;
    if (y.mscale_all > 0) *out = yarn_g(y.factor, y.mscale_all);
    return true;
}
