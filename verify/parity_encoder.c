#include "verify/parity_encoder.h"

#include "core/memory.h"
#include "engine/pooling.h"

#include <math.h>

/* 1 when both are zero, 0 when one is. */
static double cosine(const float *a, const float *b, uint64_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (uint64_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    if (aa == 0 || bb == 0) return aa == bb;
    return ab / (sqrt(aa) * sqrt(bb));
}

static bool add_text(struct parity *out, const float *a, const float *b, uint64_t n, uint32_t text, struct error *err)
{
    for (uint64_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i]))
            return error_set(err, ERR_FORMAT, "what the models make of text %u is not finite", text + 1);
        double d = fabs((double)a[i] - (double)b[i]);
        out->score_difference_mean += d;
        if (d > out->score_difference_max) out->score_difference_max = d;
    }
    double c = cosine(a, b, n);
    out->cosine_mean += c;
    if (text == 0 || c < out->cosine_least) out->cosine_least = c;
    return true;
}

bool parity_encoded(struct parity *out, struct engine *const e[2], struct stream *original, struct stream *quantized,
                    const struct corpus *corpus, struct error *err)
{
    uint64_t n = encoder_width(engine_config(e[0]));
    CLEANUP(encoder) struct encoder *xa = NULL;
    CLEANUP(encoder) struct encoder *xb = NULL;
    CLEANUP(free) float *a = NULL;
    CLEANUP(free) float *b = NULL;
    if (!encoder_open(&xa, e[0], err) || !encoder_open(&xb, e[1], err) || !memory_alloc(&a, n, sizeof *a, err) ||
        !memory_alloc(&b, n, sizeof *b, err))
        return false;
    for (uint32_t t = 0; t < corpus->n_texts; t++)
        if (!encoder_text(xa, original, t, corpus->texts[t].n, a, err) ||
            !encoder_text(xb, quantized, t, corpus->texts[t].n, b, err) || !add_text(out, a, b, n, t, err))
            return false;
    out->n_texts = corpus->n_texts;
    out->n_tokens = stream_rows(original);
    out->cosine_mean /= (double)corpus->n_texts;
    out->score_difference_mean /= (double)corpus->n_texts * (double)n;
    return true;
}

bool parity_encoded_json(const struct parity *p, const char *data_sha256, json_t *layers, json_t **out,
                         struct error *err)
{
    bool scores = p->output == OUTPUT_SCORES;
    *out = json_pack("{s:s,s:s,s:I,s:I,s:o,s:o,s:O}", "compute", "fp32", "data_sha256", data_sha256, "texts",
                     (json_int_t)p->n_texts, "tokens", (json_int_t)p->n_tokens,
                     scores ? "score_difference_mean" : "cosine_mean",
                     parity_figure(scores ? p->score_difference_mean : p->cosine_mean),
                     scores ? "score_difference_max" : "cosine_least",
                     parity_figure(scores ? p->score_difference_max : p->cosine_least), "layer_sqnr_db", layers);
    return *out ? true : error_memory(err, 0);
}
