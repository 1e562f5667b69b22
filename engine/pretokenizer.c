#include "engine/pretokenizer_impl.h"
#include "engine/unicode.h"

struct pretokenizer_run {
    const struct pretokenizer *p;
    struct match_run *match;
    struct text buffers[STEPS_MAX]; /* what a step that changes the text made of it */
    word_fn fn;
    void *ctx;
};

bool pretokenizer_run_open(struct pretokenizer_run **out, const struct pretokenizer *p, size_t text_size,
                           struct error *err)
{
    struct pretokenizer_run *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) return error_memory(err, sizeof *r);
    r->p = p;
    if (!match_run_open(&r->match, text_size, err)) {
        free(r);
        return false;
    }
    *out = r;
    return true;
}

void pretokenizer_run_close(struct pretokenizer_run *r)
{
    if (!r) return;
    match_run_close(r->match);
    for (uint32_t i = 0; i < STEPS_MAX; i++) text_free(&r->buffers[i]);
    free(r);
}

static bool run_step(struct pretokenizer_run *r, uint32_t step, struct bytes text, bool at_start, struct error *err);

/* A stretch of text on its way to the next step; the one before waits because the next may still belong to it. */
struct stretch {
    struct span span;
    bool is_match, any;
};
struct splitter {
    struct pretokenizer_run *r;
    uint32_t step;
    struct bytes text;
    bool at_start;
    struct stretch waiting;
    bool match_before;
};

static bool give(struct splitter *sp, struct span span, struct error *err)
{
    if (span.start == span.end) return true;
    return run_step(sp->r, sp->step + 1, bytes_of(sp->text.data + span.start, span.end - span.start),
                    sp->at_start && span.start == 0, err);
}

/* Stretches come in order, matches and what is between. */
static bool take(struct splitter *sp, struct span span, bool is_match, struct error *err)
{
    const struct step *s = &sp->r->p->steps[sp->step];
    struct stretch *w = &sp->waiting;
    bool before = sp->match_before, join;
    is_match = is_match != s->invert;
    sp->match_before = is_match;
    if (s->behavior == ISOLATED) return give(sp, span, err);
    if (s->behavior == REMOVED) return is_match ? true : give(sp, span, err);
    if (s->behavior == CONTIGUOUS) join = is_match == before;
    else if (s->behavior == MERGED_WITH_PREVIOUS) join = is_match && !before;
    else join = w->is_match && !is_match;
    if (w->any && join) {
        w->span.end = span.end;
        w->is_match = false;
        return true;
    }
    struct stretch last = *w;
    *w = (struct stretch){span, is_match, true};
    return last.any ? give(sp, last.span, err) : true;
}

static bool split(struct splitter *sp, struct error *err)
{
    const struct step *s = &sp->r->p->steps[sp->step];
    struct span m;
    size_t done = 0, at = 0, last_end = SIZE_MAX;
    while (at <= sp->text.size) {
        if (!match_next(sp->r->match, s->matcher, sp->text, at, &m, err)) return false;
        if (m.start == SIZE_MAX) break;
        if (m.start == m.end && m.end == last_end) {
            /* Nothing, right behind a match: the search goes on one character later. */
            at += at < sp->text.size ? utf8_lead_size(sp->text.data[at]) : 1;
            continue;
        }
        if (m.start > done && !take(sp, (struct span){done, m.start}, false, err)) return false;
        if (!take(sp, m, true, err)) return false;
        done = at = last_end = m.end;
    }
    if (done < sp->text.size && !take(sp, (struct span){done, sp->text.size}, false, err)) return false;
    return sp->waiting.any ? give(sp, sp->waiting.span, err) : true;
}

/* Spaces become marks, and one is put in front. */
static struct bytes mark_spaces(struct text *t, const struct step *s, struct bytes in, bool at_start)
{
    struct bytes mark = bytes_text(s->mark);
    bool marked = in.data[0] == ' ' || (in.size >= mark.size && memcmp(in.data, mark.data, mark.size) == 0);
    t->size = 0;
    if (!marked && (s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && at_start)))
        text_put(t, mark.data, mark.size);
    steps_replace(t, in, bytes_text(" "), mark);
    return bytes_of(t->data, t->size);
}

static bool run_step(struct pretokenizer_run *r, uint32_t step, struct bytes text, bool at_start, struct error *err)
{
    if (step == r->p->n_steps) return r->fn(r->ctx, text, err);
    const struct step *s = &r->p->steps[step];
    struct text *t = &r->buffers[step];
    if (s->kind == STEP_METASPACE) {
        text = mark_spaces(t, s, text, at_start);
    } else if (s->prefix_space && text.data[0] != ' ') {
        t->size = 0;
        text_put(t, " ", 1);
        text_put(t, text.data, text.size);
        text = bytes_of(t->data, t->size);
    }
    if (t->failed) return error_memory(err, t->size);
    struct splitter sp = {.r = r, .step = step, .text = text, .at_start = at_start};
    return s->matcher ? split(&sp, err) : give(&sp, (struct span){0, text.size}, err);
}

bool pretokenizer_split(struct pretokenizer_run *r, struct bytes text, bool at_start, word_fn fn, void *ctx,
                        struct error *err)
{
    r->fn = fn;
    r->ctx = ctx;
    return text.size ? run_step(r, 0, text, at_start, err) : true;
}
