/* ModelOpt's quantizer attributes and calibration algorithms in our words. What is legal there and has no word here is
 * refused only where it decides about a tensor: recipes name many modules that a checkpoint does not have. */
#include "plan/recipe_foreign.h"

#include <ctype.h>

/* Element types as (exponent, mantissa), integers as (0, bits). */
struct element {
    uint32_t exponent, mantissa;
};

static bool read_element(const json_t *v, const char *key, const char *what, struct element *out, struct error *err)
{
    const char *s = json_string_value(v);
    unsigned e, m;
    int end = 0;
    if (json_is_integer(v) && json_integer_value(v) > 0 && json_integer_value(v) <= 64) {
        *out = (struct element){0, (uint32_t)json_integer_value(v)};
        return true;
    }
    if (s && tolower((unsigned char)*s) == 'e' && isdigit((unsigned char)s[1]) &&
        sscanf(s + 1, "%2u%*1[Mm]%2u%n", &e, &m, &end) == 2 && s[1 + end] == '\0') {
        *out = (struct element){e, m};
        return true;
    }
    const json_t *pair[2] = {json_array_get(v, 0), json_array_get(v, 1)};
    if (json_array_size(v) == 2 && json_is_integer(pair[0]) && json_is_integer(pair[1]) &&
        json_integer_value(pair[0]) >= 0 && json_integer_value(pair[0]) < 64 && json_integer_value(pair[1]) >= 0 &&
        json_integer_value(pair[1]) < 64) {
        *out = (struct element){(uint32_t)json_integer_value(pair[0]), (uint32_t)json_integer_value(pair[1])};
        return true;
    }
    return error_set(err, ERR_FORMAT, "%s: key '%s': expected a number of bits or a type such as e4m3, found %s", what,
                     key, json_brief(v));
}

static bool is(struct element a, uint32_t exponent, uint32_t mantissa)
{
    return a.exponent == exponent && a.mantissa == mantissa;
}

struct attributes {
    struct element bits, scale_bits;
    bool has_scale_bits;
    int64_t axis; /* -1: per tensor */
    bool other_axis;
    bool blocks;      /* block_sizes is there */
    int64_t block[2]; /* of the last dimension and the one before; 0: not there, -1: the whole dimension */
    bool dynamic;
};

static bool read_block_sizes(const json_t *sizes, const char *what, struct attributes *a, struct foreign_type *out,
                             struct error *err)
{
    const char *key;
    json_t *v;
    if (!json_is_object(sizes))
        return error_set(err, ERR_FORMAT, "%s: key 'block_sizes': expected a mapping, found %s", what,
                         json_brief(sizes));
    a->blocks = true;
    json_object_foreach ((json_t *)(uintptr_t)sizes, key, v) {
        const char *s = json_string_value(v);
        if (strcmp(key, "$at") == 0) continue;
        if (strcmp(key, "type") == 0) {
            if (!s || (strcmp(s, "static") != 0 && strcmp(s, "dynamic") != 0))
                return error_set(err, ERR_FORMAT, "%s: block_sizes.type: expected static or dynamic, found %s", what,
                                 json_brief(v));
            a->dynamic = strcmp(s, "dynamic") == 0;
        } else if (strcmp(key, "scale_bits") == 0) {
            if (json_is_null(v)) continue;
            a->has_scale_bits = true;
            if (!read_element(v, "scale_bits", what, &a->scale_bits, err)) return false;
        } else if (strcmp(key, "four_over_six") == 0) {
            if (!json_opt_bool(sizes, key, what, &out->four_over_six, err)) return false;
        } else if (strcmp(key, "-1") == 0 || strcmp(key, "-2") == 0) {
            int64_t n = json_is_null(v) ? -1 : json_integer_value(v);
            if (n != -1 && (!json_is_integer(v) || n < 1))
                return error_set(err, ERR_FORMAT, "%s: block_sizes.%s: expected a positive number, found %s", what, key,
                                 json_brief(v));
            a->block[key[1] == '2'] = n;
        } else if (strcmp(key, "0") == 0 || strcmp(key, "1") == 0 || strcmp(key, "scale_block_sizes") == 0) {
            snprintf(out->refuse, sizeof out->refuse, "block_sizes.%s is not read here", key);
        } else {
            return error_set(err, ERR_FORMAT, "%s: block_sizes: unknown key '%.64s'", what, key);
        }
    }
    return true;
}

static bool read_axis(const json_t *v, const char *what, struct attributes *a, struct error *err)
{
    a->axis = -1;
    if (!v || json_is_null(v)) return true;
    if (!json_is_integer(v) && !json_is_array(v))
        return error_set(err, ERR_FORMAT, "%s: key 'axis': expected a number, a list of them or nothing, found %s",
                         what, json_brief(v));
    a->other_axis = !json_is_integer(v) || json_integer_value(v) != 0;
    a->axis = 0;
    return true;
}

/* Each block's layout and type that is known here, by what the attributes say. */
static const char *word_of(const struct attributes *a, struct foreign_type *out)
{
    bool rows = a->block[1] == 0;
    if (a->other_axis) return NULL;
    if (is(a->bits, 2, 1) && a->blocks && rows && a->has_scale_bits) {
        if (a->block[0] == 16 && is(a->scale_bits, 4, 3)) {
            out->searched = !a->dynamic;
            return "nvfp4";
        }
        return a->block[0] == 32 && is(a->scale_bits, 8, 0) ? "mxfp4" : NULL;
    }
    if (is(a->bits, 4, 3)) {
        out->weights_searchable = !a->dynamic;
        if (!a->blocks) return a->axis == 0 ? "fp8_channel" : "fp8";
        if (rows && a->block[0] == 32 && a->has_scale_bits && is(a->scale_bits, 8, 0)) return "mxfp8";
        if (a->has_scale_bits) return NULL;
        if (rows && a->block[0] == -1 && a->dynamic) return "fp8_token";
        if (a->block[0] == 128 && a->block[1] == 128) return "fp8_block";
        return rows && a->block[0] == 128 && a->dynamic ? "fp8_group" : NULL;
    }
    if (is(a->bits, 0, 4) && a->blocks && rows && !a->has_scale_bits && !a->dynamic &&
        (a->block[0] == 32 || a->block[0] == 64 || a->block[0] == 128)) {
        out->group = (uint32_t)a->block[0];
        out->weights_searchable = true;
        return "int4";
    }
    return NULL;
}

static void describe(const struct attributes *a, char *dst, size_t size)
{
    char bits[32], block[64] = "";
    if (a->bits.exponent == 0) snprintf(bits, sizeof bits, "INT%u", a->bits.mantissa);
    else snprintf(bits, sizeof bits, "E%uM%u", a->bits.exponent, a->bits.mantissa);
    if (a->blocks && a->has_scale_bits)
        snprintf(block, sizeof block, " in blocks of %lld with E%uM%u scales", (long long)a->block[0],
                 a->scale_bits.exponent, a->scale_bits.mantissa);
    else if (a->blocks) snprintf(block, sizeof block, " in blocks of %lld", (long long)a->block[0]);
    else if (a->axis == 0) snprintf(block, sizeof block, " per channel");
    snprintf(dst, size, "%s%s is no type that this program writes", bits, block);
}

/* Attributes that ask for more than a type. */
static bool read_extras(const json_t *cfg, const char *what, struct foreign_type *out, struct error *err)
{
    static const char *const beyond[] = {"bias", "rotate", "unsigned", "narrow_range", "backend", "learn_amax"};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
        const json_t *v = json_object_get(cfg, beyond[i]);
        if (!v || json_is_null(v) || json_is_false(v)) continue;
        if (json_is_object(v) && json_is_false(json_object_get(v, "enable"))) continue;
        snprintf(out->refuse, sizeof out->refuse, "'%s' of a quantizer is not supported", beyond[i]);
    }
    const char *calibrator = json_string_value(json_object_get(cfg, "calibrator"));
    if (json_has(cfg, "calibrator") && (!calibrator || strcmp(calibrator, "max") != 0))
        snprintf(out->refuse, sizeof out->refuse, "calibrators other than max are not supported");
    if (!json_opt_bool(cfg, "use_constant_amax", what, &out->constant, err) ||
        !json_opt_number(cfg, "constant_amax", what, &out->amax, err))
        return false;
    if (json_has(cfg, "constant_amax") && !(out->amax > 0 && out->amax < 1e30))
        return error_set(err, ERR_FORMAT, "%s: constant_amax: expected a positive number, found %g", what, out->amax);
    if (out->constant && out->amax > 0)
        return error_set(err, ERR_FORMAT, "%s: constant_amax and use_constant_amax exclude each other", what);
    return true;
}

bool modelopt_type(const json_t *cfg, const char *what, struct foreign_type *out, struct error *err)
{
    static const char *const keys[] = {"num_bits",   "axis",     "block_sizes",       "type",
                                       "enable",     "bias",     "use_constant_amax", "constant_amax",
                                       "rotate",     "unsigned", "narrow_range",      "effective_bits",
                                       "fake_quant", "backend",  "calibrator",        "trt_high_precision_dtype",
                                       "learn_amax", "$at",      "pass_through_bwd",  "backend_extra_args",
                                       NULL};
    *out = (struct foreign_type){0};
    struct attributes a = {.bits = {0, 8}};
    const char *type = "static";
    if (!json_known_keys(cfg, what, keys, err) || !read_extras(cfg, what, out, err) ||
        !json_opt_string(cfg, "type", what, &type, err) || !read_axis(json_object_get(cfg, "axis"), what, &a, err))
        return false;
    if (json_has(cfg, "num_bits") && !read_element(json_object_get(cfg, "num_bits"), "num_bits", what, &a.bits, err))
        return false;
    if (strcmp(type, "static") != 0 && strcmp(type, "dynamic") != 0)
        return error_set(err, ERR_FORMAT, "%s: key 'type': expected static or dynamic, found '%.64s'", what, type);
    if (json_has(cfg, "block_sizes") && !read_block_sizes(json_object_get(cfg, "block_sizes"), what, &a, out, err))
        return false;
    a.dynamic = a.dynamic || strcmp(type, "dynamic") == 0;
    if (a.blocks && a.axis == 0) return error_set(err, ERR_FORMAT, "%s: axis and block_sizes exclude each other", what);
    static const uint8_t known[][2] = {{4, 3}, {5, 2}, {2, 1}, {1, 2}, {0, 3}, {3, 0}, {3, 2}, {2, 3}};
    bool legal = a.bits.exponent == 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) legal |= is(a.bits, known[i][0], known[i][1]);
    if (!legal)
        return error_set(err, ERR_FORMAT, "%s: key 'num_bits': E%uM%u is no type of ModelOpt's", what, a.bits.exponent,
                         a.bits.mantissa);
    if (!out->refuse[0] && !(out->word = word_of(&a, out))) describe(&a, out->refuse, sizeof out->refuse);
    if (out->four_over_six && (!out->word || strcmp(out->word, "nvfp4") != 0 || !out->searched))
        return error_set(err, ERR_FORMAT, "%s: block_sizes.four_over_six: only for NVFP4 of type static", what);
    if (out->refuse[0]) out->word = NULL;
    return true;
}
