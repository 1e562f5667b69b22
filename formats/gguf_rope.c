/* Rotary embeddings in GGUF: frequency base and scaling rule are keys; Llama 3's rule is a tensor with one divisor per
 * frequency, worked out by whoever writes the file. */
#include "formats/gguf_write.h"

#include <math.h>

#define FREQS_MAX 4096u
#define PI 3.14159265358979323846

struct llama3 {
    double factor, low, high, original;
};

/* models.md: llama3. The divisor of frequency i of n: 1 for short waves, `factor` for long ones. In fp32, in the order
 * of llama.cpp's converter (torch, so that the tensors agree to the last bit or nearly so). */
static float divisor(const struct llama3 *r, double theta, uint64_t i, uint64_t n)
{
    float freq = 1.0f / (float)pow(theta, (double)((float)(2 * i) / (float)(2 * n)));
    double wave = 2 * PI / (double)freq, low_wave = r->original / r->low, high_wave = r->original / r->high;
    if (wave < high_wave) return 1;
    if (wave > low_wave) return (float)r->factor;
    double smooth = (r->original / wave - r->low) / (r->high - r->low);
    return (float)(1 / ((1 - smooth) / r->factor + smooth));
}

/* ---- reading ---- */

static bool load_freqs(const struct gguf *g, const struct gguf_tensor *t, float *out, struct error *err)
{
    if (t->type->dtype != DTYPE_F32 || t->n_dims != 1 || t->n_elems > FREQS_MAX)
        return error_set(err, ERR_UNSUPPORTED, "tensor 'rope_freqs.weight': expected up to %u numbers in F32",
                         FREQS_MAX);
    return folder_read(g->folder, t->member, t->offset, out, (size_t)t->bytes, err);
}

/* The parameters cannot be read off the divisors, only checked: the published ones have 1 and 4 as bounds and a power
 * of two as the original length. */
static bool guess(const float *freqs, uint64_t n, double theta, struct llama3 *r)
{
    *r = (struct llama3){.low = 1, .high = 4};
    for (uint64_t i = 0; i < n; i++) r->factor = fmax(r->factor, (double)freqs[i]);
    for (r->original = 16; r->original <= 1 << 20; r->original *= 2) {
        bool same = true;
        for (uint64_t i = 0; same && i < n; i++)
            same = fabs((double)divisor(r, theta, i, n) - (double)freqs[i]) <= 1e-5 * (double)freqs[i];
        if (same) return true;
    }
    return false;
}

static bool read_llama3(const struct gguf *g, const struct gguf_tensor *t, double theta, json_t *config,
                        struct error *err)
{
    float freqs[FREQS_MAX];
    struct llama3 r;
    if (!load_freqs(g, t, freqs, err)) return false;
    for (uint64_t i = 0; i < t->n_elems; i++)
        if (!(freqs[i] > 0 && isfinite(freqs[i])))
            return error_set(err, ERR_FORMAT, "tensor 'rope_freqs.weight': a divisor is not positive and finite");
    if (!guess(freqs, t->n_elems, theta, &r))
        return error_set(err, ERR_UNSUPPORTED,
                         "tensor 'rope_freqs.weight' does not follow the llama3 rule with bounds 1 "
                         "and 4: put the model's config.json beside the file");
    return json_put(config, "rope_scaling",
                    json_pack("{s:s,s:f,s:f,s:f,s:I}", "rope_type", "llama3", "factor", r.factor, "low_freq_factor",
                              r.low, "high_freq_factor", r.high, "original_max_position_embeddings",
                              (json_int_t)r.original),
                    err);
}

/* What llama.cpp multiplies cosines and sines with beside yarn_attn_factor (rope_yarn of ggml); the Hugging Face
 * configuration's attention_factor is the product. */
static double yarn_own_factor(double factor)
{
    return 1 + 0.1 * log(factor);
}

static const struct {
    const char *hf, *key;
    bool is_product;
} yarn_numbers[] = {{"attention_factor", "%s.rope.scaling.attn_factor", true},
                    {"beta_fast", "%s.rope.scaling.yarn_beta_fast", false},
                    {"beta_slow", "%s.rope.scaling.yarn_beta_slow", false}};
enum { N_YARN_NUMBERS = sizeof yarn_numbers / sizeof *yarn_numbers };

static bool read_yarn(const struct gguf *g, double factor, json_t *scaling, struct error *err)
{
    uint64_t original;
    bool has;
    if (!gguf_opt_u64(g, "%s.rope.scaling.original_context_length", UINT32_MAX, &original, &has, err)) return false;
    if (has && !json_put(scaling, "original_max_position_embeddings", json_integer((json_int_t)original), err))
        return false;
    for (size_t i = 0; i < N_YARN_NUMBERS; i++) {
        double x;
        if (!gguf_opt_number(g, yarn_numbers[i].key, &x, &has, err)) return false;
        if (has && yarn_numbers[i].is_product) x = (double)(float)(x * yarn_own_factor(factor));
        if (has && !gguf_put_number(scaling, yarn_numbers[i].hf, x, err)) return false;
    }
    return true;
}

static bool text_is(struct bytes t, const char *word)
{
    return t.size == strlen(word) && memcmp(t.data, word, t.size) == 0;
}

static bool read_scaling(const struct gguf *g, struct bytes type, json_t *config, struct error *err)
{
    double factor = 1;
    bool has;
    if (text_is(type, "none")) return true;
    if (!text_is(type, "linear") && !text_is(type, "yarn"))
        return error_set(err, ERR_UNSUPPORTED, "key 'rope.scaling.type' is '%.*s'; none, linear and yarn are known",
                         (int)u64_min(type.size, 64), (const char *)type.data);
    if (!gguf_opt_number(g, "%s.rope.scaling.factor", &factor, &has, err)) return false;
    if (!has) return error_set(err, ERR_FORMAT, "key 'rope.scaling.factor' is missing");
    if (!(factor > 0)) return error_set(err, ERR_FORMAT, "key 'rope.scaling.factor' is %g", factor);
    CLEANUP(json) json_t *scaling = json_object();
    return scaling && json_put(scaling, "rope_type", json_stringn((const char *)type.data, type.size), err) &&
           gguf_put_number(scaling, "factor", factor, err) &&
           (text_is(type, "linear") || read_yarn(g, factor, scaling, err)) &&
           json_put(config, "rope_scaling", take_ptr(&scaling), err);
}

bool gguf_read_rope(const struct gguf *g, json_t *config, struct error *err)
{
    double theta = 10000; /* what llama.cpp takes when nothing is said */
    bool has, has_type;
    struct bytes type;
    const struct gguf_tensor *freqs = gguf_find_tensor(g, "rope_freqs.weight");
    if (!gguf_opt_number(g, "%s.rope.freq_base", &theta, &has, err) ||
        !gguf_opt_text(g, "%s.rope.scaling.type", &type, &has_type, err) ||
        !gguf_put_number(config, "rope_theta", theta, err))
        return false;
    if (!(theta > 1)) return error_set(err, ERR_FORMAT, "key 'rope.freq_base' is %g", theta);
    if (freqs) return read_llama3(g, freqs, theta, config, err);
    return !has_type || read_scaling(g, type, config, err);
}

/* ---- writing ---- */

static bool write_llama3(struct gguf_writer *w, const json_t *s, double theta, uint64_t rope_dims, struct error *err)
{
    struct llama3 r;
    float freqs[FREQS_MAX];
    uint64_t n = rope_dims / 2;
    if (!json_get_number(s, "factor", "config.json", &r.factor, err) ||
        !json_get_number(s, "low_freq_factor", "config.json", &r.low, err) ||
        !json_get_number(s, "high_freq_factor", "config.json", &r.high, err) ||
        !json_get_number(s, "original_max_position_embeddings", "config.json", &r.original, err))
        return false;
    if (n == 0 || n > FREQS_MAX || !(r.factor > 0 && r.low > 0 && r.high > r.low && r.original > 0))
        return error_set(err, ERR_FORMAT, "config.json: rope_scaling of type llama3 holds numbers that make no sense");
    for (uint64_t i = 0; i < n; i++) freqs[i] = divisor(&r, theta, i, n);
    return gguf_add_made(w, "rope_freqs.weight", freqs, n, err);
}

static bool write_scaled(struct gguf_writer *w, const json_t *s, bool yarn, struct error *err)
{
    double factor;
    uint64_t original = 0;
    if (!json_get_number(s, "factor", "config.json", &factor, err)) return false;
    if (yarn && !(factor >= 1 && isfinite(factor)))
        return error_set(err, ERR_FORMAT, "config.json: rope_scaling's factor is %g, at least 1 is expected", factor);
    gguf_put_text(w, "%s.rope.scaling.type", bytes_text(yarn ? "yarn" : "linear"));
    gguf_put_f32(w, "%s.rope.scaling.factor", (float)factor);
    if (!yarn) return true;
    if (!json_get_u64(s, "original_max_position_embeddings", "config.json", 1, UINT32_MAX, &original, err))
        return false;
    gguf_put_u32(w, "%s.rope.scaling.original_context_length", (uint32_t)original);
    for (size_t i = 0; i < N_YARN_NUMBERS; i++) {
        double x;
        if (!json_has(s, yarn_numbers[i].hf)) continue;
        if (!json_get_number(s, yarn_numbers[i].hf, "config.json", &x, err)) return false;
        if (yarn_numbers[i].is_product) x /= yarn_own_factor(factor);
        gguf_put_f32(w, yarn_numbers[i].key, (float)x);
    }
    return true;
}

bool gguf_write_rope(struct gguf_writer *w, const json_t *config, uint64_t rope_dims, struct error *err)
{
    const json_t *s = json_object_get(config, json_has(config, "rope_parameters") ? "rope_parameters" : "rope_scaling");
    const char *type = "default";
    double theta = 10000;
    if (s && json_is_null(s)) s = NULL;
    if (s && !json_is_object(s)) return error_set(err, ERR_FORMAT, "config.json: rope_scaling is not an object");
    if (!json_opt_number(config, "rope_theta", "config.json", &theta, err)) return false;
    if (s && (!json_opt_number(s, "rope_theta", "config.json", &theta, err) ||
              !json_opt_string(s, "type", "config.json", &type, err) ||
              !json_opt_string(s, "rope_type", "config.json", &type, err)))
        return false;
    gguf_put_f32(w, "%s.rope.freq_base", (float)theta);
    if (strcmp(type, "default") == 0) return true;
    if (strcmp(type, "llama3") == 0) return write_llama3(w, s, theta, rope_dims, err);
    if (strcmp(type, "linear") == 0 || strcmp(type, "yarn") == 0) return write_scaled(w, s, type[0] == 'y', err);
    return error_set(err, ERR_UNSUPPORTED, "config.json: rope type '%.64s' is not written as GGUF here", type);
}
