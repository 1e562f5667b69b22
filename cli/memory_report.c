#include "cli/memory_report.h"

#include "core/memory.h"

bool memory_report_begin(struct memory_report *r, const struct inventory *inv, const struct engine_options *opt,
                         const struct corpus *corpus, const char *spill_dir, bool with_logits, struct error *err)
{
    CLEANUP(engine) struct engine *e = NULL;
    struct stream_footprint f;
    if (!engine_open(&e, inv, opt, err) || !stream_footprint(&f, e, corpus->texts, corpus->n_texts, spill_dir, err))
        return false;
    r->process = memory_resident();
    r->expected = r->process + (with_logits ? f.peak : f.blocks_peak);
    return true;
}

json_t *memory_report_json(const struct memory_report *r)
{
    return json_pack("{s:I,s:I,s:I}", "process_bytes", (json_int_t)r->process, "expected_bytes",
                     (json_int_t)r->expected, "peak_bytes", (json_int_t)memory_peak());
}

void memory_report_print(const struct memory_report *r)
{
    char expected[32], peak[32];
    text_bytes(expected, r->expected);
    text_bytes(peak, memory_peak());
    print_text("%s of memory at most, %s expected\n", peak, expected);
}

/* ---- plan ---- */

/* One answer to all that can be asked. */
struct answer {
    uint64_t process;
    bool any; /* of whatever batch and session: what each token adds is said apart */
    uint64_t n_texts, n_tokens, longest;
    struct stream_footprint stream;
    uint64_t stream_token, stream_fixed;
    bool has_session;
    uint64_t session_tokens;
    struct session_footprint session;
};

/* As many texts as fill two calls and the room for logits: the batch that stands for all. */
static bool any_stream(struct answer *a, const struct memory_question *q, const struct engine *e, struct error *err)
{
    uint64_t rows = stream_logit_rows(e, UINT64_MAX) + 1;
    if (rows < 2 * STREAM_ROWS) rows = 2 * STREAM_ROWS;
    uint64_t length = u64_min(q->text_tokens, UINT32_MAX), n = u64_div_up(rows, length);
    CLEANUP(free) struct text_ids *texts = NULL;
    if (!memory_zalloc(&texts, n, sizeof *texts, err)) return false;
    for (uint64_t i = 0; i < n; i++) texts[i].n = (uint32_t)length;
    if (!stream_footprint(&a->stream, e, texts, (uint32_t)n, NULL, err)) return false;
    a->n_texts = n;
    a->longest = length;
    a->n_tokens = n * length;
    a->stream_fixed = a->process + a->stream.peak - a->stream.residual;
    return true;
}

static bool find_answer(struct answer *a, const struct memory_question *q, struct error *err)
{
    CLEANUP(engine) struct engine *e = NULL;
    *a = (struct answer){.any = !q->corpus && q->n_tokens == 0};
    if (!engine_open(&e, q->inventory, q->options, err)) return false;
    a->process = memory_resident();
    a->stream_token = stream_token_bytes(e);
    bool generates = q->inventory->config.encoder.output == OUTPUT_LOGITS;
    a->has_session = q->n_tokens || (a->any && generates);
    a->session_tokens = q->n_tokens ? q->n_tokens : SESSION_ROWS_MAX;
    if (a->has_session && !session_footprint(&a->session, e, a->session_tokens, err)) return false;
    if (a->any) return any_stream(a, q, e, err);
    if (!q->corpus) return true;
    a->n_texts = q->corpus->n_texts;
    a->n_tokens = q->corpus->n_tokens;
    a->longest = corpus_longest(q->corpus);
    return stream_footprint(&a->stream, e, q->corpus->texts, q->corpus->n_texts, q->spill_dir, err);
}

static json_t *stream_json(const struct answer *a)
{
    const struct stream_footprint *f = &a->stream;
    json_t *j = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "texts", (json_int_t)a->n_texts, "tokens",
                          (json_int_t)a->n_tokens, "longest", (json_int_t)a->longest, "activations_bytes",
                          (json_int_t)f->residual, "weights_bytes", (json_int_t)f->weights, "state_bytes",
                          (json_int_t)f->state, "scratch_bytes", (json_int_t)(f->calling + f->n_threads * f->worker),
                          "logits_bytes", (json_int_t)(f->head + f->logits), "page_cache_bytes",
                          (json_int_t)f->page_cache, "keeps_weights", f->keeps_blocks);
    if (!j) return NULL;
    json_object_set_new(j, "peak_bytes", json_integer((json_int_t)(a->process + f->peak)));
    json_object_set_new(j, "calibrate_peak_bytes", json_integer((json_int_t)(a->process + f->blocks_peak)));
    if (!a->any) return j;
    json_object_set_new(j, "fixed_bytes", json_integer((json_int_t)a->stream_fixed));
    json_object_set_new(j, "bytes_per_token", json_integer((json_int_t)a->stream_token));
    return j;
}

static json_t *session_json(const struct answer *a)
{
    const struct session_footprint *f = &a->session;
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "tokens", (json_int_t)a->session_tokens, "weights_bytes",
                     (json_int_t)f->weights, "state_bytes", (json_int_t)f->state, "scratch_bytes",
                     (json_int_t)(f->calling + f->n_threads * f->worker), "logits_bytes", (json_int_t)f->logits,
                     "bytes_per_token", (json_int_t)f->token_bytes, "peak_bytes", (json_int_t)(a->process + f->peak));
}

bool memory_answer_json(const struct memory_question *q, json_t **out, struct error *err)
{
    struct answer a;
    *out = NULL;
    if (!find_answer(&a, q, err)) return false;
    json_t *j = json_pack("{s:s,s:i,s:I}", "compute", q->options->compute == COMPUTE_BF16 ? "bf16" : "fp32", "threads",
                          (int)pool_threads(q->options->pool), "process_bytes", (json_int_t)a.process);
    if (!j) return error_memory(err, 0);
    if (q->corpus || a.any) json_object_set_new(j, "stream", stream_json(&a));
    if (a.has_session) json_object_set_new(j, "session", session_json(&a));
    *out = j;
    return true;
}

static void line(const char *what, uint64_t bytes)
{
    char text[32];
    text_bytes(text, bytes);
    print_text("  %-58s %12s\n", what, text);
}

static void print_stream(const struct answer *a)
{
    const struct stream_footprint *f = &a->stream;
    char file[32];
    line("the process, its libraries, names and token ids", a->process);
    if (!a->any)
        line(f->residual ? "activations between layers" : "activations between layers, in a file", f->residual);
    line(f->keeps_blocks ? "a layer's weights, kept while all tokens go through" : "of a layer's weights, what stays",
         f->weights);
    line("caches and states of the texts at hand", f->state);
    line("what layers work in", f->calling + f->n_threads * f->worker);
    line("the output head and its logits, instead of layers", f->head + f->logits);
    text_bytes(file, f->page_cache);
    if (a->any) {
        line("at most, beside the tokens' activations", a->stream_fixed);
        line("each token more", a->stream_token);
    } else {
        line("calibrate at most", a->process + f->blocks_peak);
        line("eval and logits at most", a->process + f->peak);
    }
    print_text("  beside it %s of the page cache, which the system can take back\n", file);
}

static void print_session(const struct answer *a)
{
    const struct session_footprint *f = &a->session;
    line("the process, its libraries and names", a->process);
    line("weights of all layers and the head", f->weights);
    line("caches and states", f->state);
    line("what layers work in", f->calling + f->n_threads * f->worker);
    line("generate at most", a->process + f->peak);
    line("each token more", f->token_bytes);
}

bool memory_answer_print(const struct memory_question *q, struct error *err)
{
    struct answer a;
    if (!find_answer(&a, q, err)) return false;
    const char *compute = q->options->compute == COMPUTE_BF16 ? "bf16" : "fp32";
    unsigned threads = pool_threads(q->options->pool);
    if (a.any)
        print_text("memory of a pass over texts of up to %llu tokens, %s, %u threads:\n", (unsigned long long)a.longest,
                   compute, threads);
    else if (q->corpus)
        print_text("memory of a pass over %llu texts, %llu tokens, the longest %llu, %s, %u threads:\n",
                   (unsigned long long)a.n_texts, (unsigned long long)a.n_tokens, (unsigned long long)a.longest,
                   compute, threads);
    if (q->corpus || a.any) print_stream(&a);
    if (!a.has_session) return true;
    print_text("memory of generating up to token %llu, %s, %u threads:\n", (unsigned long long)a.session_tokens,
               compute, threads);
    print_session(&a);
    return true;
}
