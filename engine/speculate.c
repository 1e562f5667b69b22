#include "engine/speculate.h"

#include "engine/mtp.h"

#include "core/memory.h"

struct speculation {
    struct session *session;
    struct mtp *head;
    uint64_t hidden, vocab;
    uint32_t n_drafts;
    /* Pairs that the head has not seen: the trunk's row at a token, and the token after it; the last id is the newest
     * token, which the trunk has not seen either. */
    float *rows; /* [SESSION_ROWS_MAX, hidden] */
    uint32_t ids[SPECULATE_DRAFTS_MAX + 1];
    uint32_t n_pairs;
    float *logits; /* [n_drafts + 1, vocab] */
    float *after;  /* [hidden] */
    struct speculation_counts counts;
};

bool speculation_open(struct speculation **out, struct engine *e, uint32_t n_drafts, struct error *err)
{
    *out = NULL;
    struct speculation *sp = calloc(1, sizeof *sp);
    if (!sp) return error_memory(err, sizeof *sp);
    const struct model_config *cfg = engine_config(e);
    *sp = (struct speculation){.hidden = cfg->dims[DIM_HIDDEN], .vocab = cfg->dims[DIM_VOCAB], .n_drafts = n_drafts};
    bool ok = n_drafts >= 1 && n_drafts <= SPECULATE_DRAFTS_MAX
                  ? true
                  : error_set(err, ERR_USAGE, "%u drafts at a time: expected 1 to %u", n_drafts, SPECULATE_DRAFTS_MAX);
    ok = ok && mtp_open(&sp->head, e, true, err) && session_open(&sp->session, e, err) &&
         memory_alloc(&sp->rows, SESSION_ROWS_MAX * sp->hidden, sizeof(float), err) &&
         memory_alloc(&sp->after, sp->hidden, sizeof(float), err) &&
         memory_alloc(&sp->logits, ((uint64_t)n_drafts + 1) * sp->vocab, sizeof(float), err);
    if (!ok) {
        speculation_close(sp);
        return false;
    }
    *out = sp;
    return true;
}

void speculation_close(struct speculation *sp)
{
    if (!sp) return;
    session_close(sp->session);
    mtp_close(sp->head);
    free(sp->rows);
    free(sp->after);
    free(sp->logits);
    free(sp);
}

struct speculation_counts speculation_counted(const struct speculation *sp)
{
    return sp->counts;
}

/* Of equal logits the lower id. */
static uint32_t likeliest(const struct speculation *sp, const float *logits)
{
    uint64_t best = 0;
    for (uint64_t i = 1; i < sp->vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return (uint32_t)best;
}

bool speculation_start(struct speculation *sp, const uint32_t *prompt, uint32_t n, uint32_t *id, struct error *err)
{
    if (n == 0) return error_set(err, ERR_FORMAT, "the prompt is empty");
    for (uint32_t i = 0; i < n; i += SESSION_ROWS_MAX) {
        uint32_t m = n - i < SESSION_ROWS_MAX ? n - i : SESSION_ROWS_MAX, last = i + m == n;
        if (!session_feed_rows(sp->session, prompt + i, m, sp->rows, sp->logits, last, err)) return false;
        uint32_t pairs = m - last; /* the token behind the last is not known yet */
        if (pairs && !mtp_feed(sp->head, sp->rows, prompt + i + 1, pairs, NULL, 0, NULL, err)) return false;
        memmove(sp->rows, sp->rows + (m - 1) * sp->hidden, sp->hidden * sizeof *sp->rows);
    }
    *id = sp->ids[0] = likeliest(sp, sp->logits);
    sp->n_pairs = 1;
    return true;
}

/* drafts: [n_drafts] */
static bool draft(struct speculation *sp, uint32_t *drafts, struct error *err)
{
    if (!mtp_feed(sp->head, sp->rows, sp->ids, sp->n_pairs, sp->logits, 1, sp->after, err)) return false;
    drafts[0] = likeliest(sp, sp->logits);
    if (sp->n_drafts == 1) return true;
    if (!mtp_mark(sp->head, err)) return false;
    for (uint32_t i = 1; i < sp->n_drafts; i++) {
        if (!mtp_feed(sp->head, sp->after, &drafts[i - 1], 1, sp->logits, 1, sp->after, err)) return false;
        drafts[i] = likeliest(sp, sp->logits);
    }
    return mtp_rewind(sp->head, err);
}

bool speculation_next(struct speculation *sp, uint32_t *ids, uint32_t *n, struct error *err)
{
    uint32_t batch[SPECULATE_DRAFTS_MAX + 1], good = 0;
    batch[0] = sp->ids[sp->n_pairs - 1];
    if (!draft(sp, batch + 1, err) || !session_mark(sp->session, err) ||
        !session_feed_rows(sp->session, batch, sp->n_drafts + 1, sp->rows, sp->logits, sp->n_drafts + 1, err))
        return false;
    for (;; good++) {
        ids[good] = likeliest(sp, sp->logits + good * sp->vocab);
        if (good == sp->n_drafts || ids[good] != batch[good + 1]) break;
    }
    sp->counts.drafted += sp->n_drafts;
    sp->counts.accepted += good;
    *n = sp->n_pairs = good + 1;
    memcpy(sp->ids, ids, *n * sizeof *ids);
    return session_rewind(sp->session, batch, good + 1, err);
}
