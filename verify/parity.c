#include "verify/parity_encoder.h"

#include "core/memory.h"
#include "engine/compare.h"

#include <math.h>

#define LOGIT_BYTES ((uint64_t)64 << 20) /* of one model's logits held at a time */

/* One token's figures. */
struct row {
    double kl, nll_original, nll_quantized, signal, noise;
    bool same_top, has_next;
};

struct pair {
    struct stream *original, *quantized;
    const struct corpus *corpus;
    const struct parity_options *opt;
    uint64_t hidden, vocab;
    struct row *rows; /* [stream_rows] */
};

static double decibel(double signal, double noise)
{
    return noise > 0 ? 10 * log10(signal / noise) : (double)INFINITY;
}

/* ---- logits ---- */

struct logit_ctx {
    const struct pair *p;
    const float *a, *b;
    uint64_t first;
    const uint32_t *next;
};

static void logit_item(void *ctx, uint64_t i, uint32_t worker)
{
    (void)worker;
    const struct logit_ctx *c = ctx;
    uint64_t vocab = c->p->vocab, top_a, top_b;
    const float *a = c->a + i * vocab, *b = c->b + i * vocab;
    struct row *r = &c->p->rows[c->first + i];
    double za = logits_log_sum(a, vocab, &top_a), zb = logits_log_sum(b, vocab, &top_b);
    *r = (struct row){.same_top = top_a == top_b, .kl = logits_kl(a, za, b, zb, vocab)};
    for (uint64_t k = 0; k < vocab; k++) {
        double d = (double)a[k] - (double)b[k];
        r->signal += (double)a[k] * (double)a[k];
        r->noise += d * d;
    }
    uint32_t next = c->next[c->first + i];
    if (next == NO_NEXT_TOKEN) return;
    r->has_next = true;
    r->nll_original = za - (double)a[next];
    r->nll_quantized = zb - (double)b[next];
}

static bool compare_logits(struct pair *p, const struct progress *pr, struct error *err)
{
    uint64_t total = stream_rows(p->original), n_max = LOGIT_BYTES / (p->vocab * sizeof(float));
    n_max = u64_min(n_max ? n_max : 1, total);
    CLEANUP(free) float *a = NULL;
    CLEANUP(free) float *b = NULL;
    CLEANUP(free) uint32_t *next = NULL;
    if (!memory_alloc(&a, n_max * p->vocab, sizeof *a, err) || !memory_alloc(&b, n_max * p->vocab, sizeof *b, err) ||
        !corpus_next_tokens(p->corpus, &next, err))
        return false;
    for (uint64_t first = 0; first < total; first += n_max) {
        uint64_t n = u64_min(n_max, total - first);
        progress_update(pr, "verify", "logits", first, total);
        if (!progress_go_on(pr, err) || !stream_logits(p->original, first, n, NULL, a, err) ||
            !stream_logits(p->quantized, first, n, NULL, b, err))
            return false;
        struct logit_ctx c = {p, a, b, first, next};
        pool_for(p->opt->pool, n, logit_item, &c);
    }
    return true;
}

/* ---- summary ---- */

/* Ratio estimator over texts: sum of the texts' sums over the sum of their tokens; its spread between texts. */
static struct parity_mean clustered(const double *sums, const struct corpus *c)
{
    double total = 0, n = 0, spread = 0;
    for (uint32_t t = 0; t < c->n_texts; t++) {
        total += sums[t];
        n += c->texts[t].n;
    }
    struct parity_mean m = {total / n, 0};
    if (c->n_texts < 2) return m;
    for (uint32_t t = 0; t < c->n_texts; t++) {
        double d = sums[t] - m.mean * c->texts[t].n;
        spread += d * d;
    }
    double per_text = n / c->n_texts;
    m.half_width = 1.96 * sqrt(spread / (c->n_texts - 1.0) / c->n_texts) / per_text;
    return m;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool summarize(const struct pair *p, struct parity *out, struct error *err)
{
    const struct corpus *c = p->corpus;
    uint64_t n = stream_rows(p->original), n_next = 0;
    CLEANUP(free) double *kl = NULL;
    CLEANUP(free) double *kl_sum = NULL;
    CLEANUP(free) double *top_sum = NULL;
    if (!memory_alloc(&kl, n, sizeof *kl, err) || !memory_zalloc(&kl_sum, c->n_texts, sizeof *kl_sum, err) ||
        !memory_zalloc(&top_sum, c->n_texts, sizeof *top_sum, err))
        return false;
    double nll_a = 0, nll_b = 0, signal = 0, noise = 0;
    uint32_t text = 0;
    for (uint64_t i = 0; i < n; i++) {
        const struct row *r = &p->rows[i];
        if (!isfinite(r->kl))
            return error_set(err, ERR_FORMAT, "the logits of token %llu are not finite", (unsigned long long)i);
        while (i >= stream_first_row(p->original, text) + c->texts[text].n) text++;
        kl[i] = r->kl;
        kl_sum[text] += r->kl;
        top_sum[text] += r->same_top;
        signal += r->signal;
        noise += r->noise;
        nll_a += r->nll_original;
        nll_b += r->nll_quantized;
        n_next += r->has_next;
    }
    qsort(kl, n, sizeof *kl, ascending);
    out->n_texts = c->n_texts;
    out->n_tokens = n;
    out->kl = clustered(kl_sum, c);
    out->top1 = clustered(top_sum, c);
    out->kl_p99 = kl[(n - 1) * 99 / 100];
    out->kl_max = kl[n - 1];
    out->ppl_original = n_next ? exp(nll_a / (double)n_next) : (double)NAN;
    out->ppl_quantized = n_next ? exp(nll_b / (double)n_next) : (double)NAN;
    out->logit_sqnr_db = decibel(signal, noise);
    return true;
}

static bool same_shape(const struct model_config *a, const struct model_config *b, struct error *err)
{
    if (a->arch == b->arch && a->encoder.output == b->encoder.output && a->dims[DIM_LABELS] == b->dims[DIM_LABELS] &&
        a->n_blocks == b->n_blocks && a->dims[DIM_HIDDEN] == b->dims[DIM_HIDDEN] &&
        a->dims[DIM_VOCAB] == b->dims[DIM_VOCAB])
        return true;
    return error_set(err, ERR_FORMAT,
                     "original and quantized model differ in architecture, layers, width or vocabulary");
}

/* A layer's figure is taken behind its last block; a layer without one has that of the layer before it. */
static bool run(struct pair *p, struct engine *const e[2], struct parity *out, const struct progress *pr,
                struct error *err)
{
    const struct model_config *cfg = engine_config(e[0]);
    uint32_t layer = 0;
    for (uint32_t b = 0; b < cfg->n_blocks; b++) {
        uint32_t end = b + 1 < cfg->n_blocks ? cfg->blocks[b + 1].layer : cfg->n_layers;
        progress_update(pr, "verify", "parity", b, cfg->n_blocks);
        if (!stream_block(p->original, b, NULL, pr, err) || !stream_block(p->quantized, b, NULL, pr, err)) return false;
        if (layer == end) continue;
        double signal, noise;
        if (!stream_difference(p->original, p->quantized, p->hidden, p->opt->pool, &signal, &noise, err)) return false;
        for (; layer < end; layer++) out->layer_sqnr_db[layer] = decibel(signal, noise);
    }
    if (out->output != OUTPUT_LOGITS) return parity_encoded(out, e, p->original, p->quantized, p->corpus, err);
    return compare_logits(p, pr, err) && summarize(p, out, err);
}

bool parity_run(struct parity *out, const struct inventory *original, const struct inventory *quantized,
                const struct corpus *corpus, const struct parity_options *opt, const struct progress *pr,
                struct error *err)
{
    *out = (struct parity){.n_layers = original->config.n_layers, .output = original->config.encoder.output};
    if (!same_shape(&original->config, &quantized->config, err)) return false;
    CLEANUP(engine) struct engine *ea = NULL;
    CLEANUP(engine) struct engine *eb = NULL;
    CLEANUP(stream) struct stream *sa = NULL;
    CLEANUP(stream) struct stream *sb = NULL;
    CLEANUP(free) struct row *rows = NULL;
    struct engine_options eo = {.pool = opt->pool, .isa = opt->isa, .quantize_inputs = true};
    if (!engine_open(&ea, original, &eo, err) || !engine_open(&eb, quantized, &eo, err) ||
        !stream_open(&sa, ea, corpus->texts, corpus->n_texts, opt->spill_dir, err) ||
        !stream_open(&sb, eb, corpus->texts, corpus->n_texts, opt->spill_dir, err) ||
        !memory_zalloc(&rows, stream_rows(sa), sizeof *rows, err) ||
        !memory_zalloc(&out->layer_sqnr_db, out->n_layers, sizeof(double), err))
        return false;
    struct pair p = {sa, sb, corpus, opt, original->config.dims[DIM_HIDDEN], original->config.dims[DIM_VOCAB], rows};
    if (run(&p, (struct engine *const[2]){ea, eb}, out, pr, err)) return true;
    parity_free(out);
    return false;
}

void parity_free(struct parity *p)
{
    free(p->layer_sqnr_db);
    *p = (struct parity){0};
}

/* Ten digits: what double arithmetic is sure of, on any machine. */
json_t *parity_figure(double v)
{
    if (!isfinite(v)) return json_null();
    char text[32];
    snprintf(text, sizeof text, "%.10g", v);
    return json_real(strtod(text, NULL));
}

bool parity_json(const struct parity *p, const struct corpus *corpus, json_t **out, struct error *err)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&corpus->digest, hex);
    CLEANUP(json) json_t *layers = json_array();
    for (uint32_t i = 0; layers && i < p->n_layers; i++)
        json_array_append_new(layers, parity_figure(p->layer_sqnr_db[i]));
    if (p->output != OUTPUT_LOGITS) return parity_encoded_json(p, hex, layers, out, err);
    *out = json_pack("{s:s,s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:O}", "compute", "fp32", "data_sha256", hex,
                     "texts", (json_int_t)p->n_texts, "tokens", (json_int_t)p->n_tokens, "kl_mean",
                     parity_figure(p->kl.mean), "kl_mean_half_width_95", parity_figure(p->kl.half_width), "kl_p99",
                     parity_figure(p->kl_p99), "kl_max", parity_figure(p->kl_max), "top1_agreement",
                     parity_figure(p->top1.mean), "top1_half_width_95", parity_figure(p->top1.half_width),
                     "ppl_original", parity_figure(p->ppl_original), "ppl_quantized", parity_figure(p->ppl_quantized),
                     "logit_sqnr_db", parity_figure(p->logit_sqnr_db), "layer_sqnr_db", layers);
    return *out ? true : error_memory(err, 0);
}
