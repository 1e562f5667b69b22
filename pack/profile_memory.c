/* How much context and how many sequences: what was asked, or defaults cut down to what fits. */
#include "pack/profile_parts.h"

#define CONTEXT_STEP 1024u /* a reduced default is a multiple of it */
#define STEP_TOKENS 8192u  /* max_num_batched_tokens of vLLM's server on large GPUs; less elsewhere */
#define TP_SEARCH_MAX 64u  /* "how many would do" is not answered beyond */

static bool compute(struct profile_draft *d, struct error *err)
{
    struct profile_facts *f = &d->facts;
    f->fit_request.context = f->context;
    f->fit_request.sequences = f->sequences;
    return fit_compute(&f->fit_model, &f->fit_request, &f->fit, err);
}

/* Sequences first: the context is what the model was made for, the number of sequences is only our guess. */
static bool cut_down(struct profile_draft *d, struct error *err)
{
    struct profile_facts *f = &d->facts;
    uint64_t asked_sequences = f->sequences, asked_context = f->context;
    if (!d->req->sequences && !f->fit.fits) {
        uint64_t n = fit_max_sequences(&f->fit);
        f->sequences = n ? n : 1;
        if (!compute(d, err)) return false;
    }
    if (!d->req->context && !f->fit.fits) {
        uint64_t c = fit_max_context(&f->fit) / CONTEXT_STEP * CONTEXT_STEP;
        if (c) f->context = c;
        if (!compute(d, err)) return false;
    }
    if (!f->fit.fits) { /* say what was asked for, not what was tried */
        f->sequences = asked_sequences;
        f->context = asked_context;
        return compute(d, err);
    }
    if (f->sequences != asked_sequences &&
        !draft_note(d, err, "%llu sequences instead of the default %llu: more do not fit at a context of %llu tokens",
                    (unsigned long long)f->sequences, (unsigned long long)asked_sequences,
                    (unsigned long long)f->context))
        return false;
    return f->context == asked_context ||
           draft_note(d, err,
                      "a context of %llu tokens instead of the default %llu: more does not fit for %llu sequence%s",
                      (unsigned long long)f->context, (unsigned long long)asked_context,
                      (unsigned long long)f->sequences, f->sequences == 1 ? "" : "s");
}

/* With what was asked; a default may be as small as it gets, it is cut down anyway. */
static bool find_tp(struct profile_draft *d, struct error *err)
{
    struct profile_facts *f = &d->facts;
    struct fit_model m = f->fit_model;
    struct fit_request r = f->fit_request;
    struct fit fit;
    if (!d->req->sequences) r.sequences = 1;
    if (!d->req->context && r.context > CONTEXT_STEP) r.context = CONTEXT_STEP;
    for (r.tp = f->tp + 1; r.tp <= TP_SEARCH_MAX; r.tp++) {
        if (!tp_divides(&f->inv->config, r.tp)) continue;
        if (facts_have_experts(f) && f->inv->config.moe.n_experts % r.tp != 0) continue;
        m.weight_bytes = fit_weights(f->inv, r.tp, f->drafts > 0);
        if (!fit_compute(&m, &r, &fit, err)) return false;
        if (!fit.fits) continue;
        f->tp_that_fits = r.tp;
        return true;
    }
    return true;
}

/* FlashInfer takes no blocks of 16 tokens at head size 256 on compute capability 10.x (vllm models/config.py). */
static uint32_t block_tokens(const struct profile_facts *f)
{
    bool wide = f->gpu->capability / 10 == 10 && f->inv->config.attention.head_dim == 256;
    return wide && f->engine->kv_block_tokens < 32 ? 32 : f->engine->kv_block_tokens;
}

bool draft_memory(struct profile_draft *d, struct error *err)
{
    struct profile_facts *f = &d->facts;
    uint64_t max = f->inv->config.max_position;
    f->context = d->req->context                        ? d->req->context
                 : max && max < PROFILE_CONTEXT_DEFAULT ? max
                                                        : PROFILE_CONTEXT_DEFAULT;
    f->sequences = d->req->sequences ? d->req->sequences : PROFILE_SEQUENCES_DEFAULT;
    fit_model_from(&f->inv->config, &f->fit_model);
    f->fit_model.weight_bytes = fit_weights(f->inv, f->tp, f->drafts > 0);
    f->fit_request = (struct fit_request){.memory_bytes = f->gpu->memory_bytes,
                                          .utilisation_permille = f->utilisation_permille,
                                          .overhead_bytes = fit_overhead(f->gpu->memory_bytes),
                                          .tp = f->tp,
                                          .drafts = f->drafts,
                                          .step_tokens = STEP_TOKENS,
                                          .kv_bits_x2 = facts_kv_fp8(f) ? 16 : 32,
                                          .ssm_bytes = 4,
                                          .conv_bytes = 2,
                                          .block_tokens = block_tokens(f),
                                          .group_stretch_percent = f->engine->kv_group_stretch_percent};
    if (!compute(d, err)) return false;
    if (!f->fit.fits && !cut_down(d, err)) return false;
    return f->fit.fits || find_tp(d, err);
}
