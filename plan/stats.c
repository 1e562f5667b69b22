#include "plan/stats.h"

#include "core/file.h"
#include "core/text.h"

#include <math.h>

static const char *const kind_suffix[STAT_KIND_COUNT] = {
    [STAT_INPUT_AMAX] = "input_amax", [STAT_OUTPUT_AMAX] = "output_amax", [STAT_WEIGHT_AMAX] = "weight_amax",
    [STAT_INPUT_PEAK] = "input_peak", [STAT_INPUT_GAIN] = "input_gain"};

bool stats_new(struct stats **out, struct error *err)
{
    struct stats *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s) {
        s->work_fd = -1;
        s->arena = arena_new();
    }
    if (!s || !s->arena) {
        free(s);
        return error_memory(err, sizeof *s);
    }
    *out = s;
    return true;
}

void stats_free(struct stats *s)
{
    if (!s) return;
    free(s->stats);
    free(s->experts);
    free(s->forced);
    free(s->solved);
    free(s->gains);
    checkpoint_close(s->file);
    folder_close(s->folder);
    if (s->work_fd >= 0) close(s->work_fd);
    staging_close(s->work, s->keep_work);
    arena_free(s->arena);
    free(s);
}

/* Room for one more in an array of n items whose capacity is the next power of two. */
static bool grow(void *array_ptr, uint32_t n, size_t size, struct error *err)
{
    void **array = array_ptr;
    if (n & (n - 1)) return true; /* full only at 0, 1, 2, 4, ... */
    size_t capacity = n ? 2 * (size_t)n : 1;
    void *p = realloc(*array, capacity * size);
    if (!p) return error_memory(err, capacity * size);
    *array = p;
    return true;
}

bool stats_add(struct stats *s, const char *module, enum stat_kind kind, float amax, struct error *err)
{
    if (!grow(&s->stats, s->n_stats, sizeof *s->stats, err)) return false;
    char *name = arena_text(s->arena, module);
    if (!name) return error_memory(err, strlen(module));
    s->stats[s->n_stats++] = (struct statistic){name, kind, amax};
    return true;
}

static bool add_tokens(struct stats *s, struct expert_tokens **list, uint32_t *n, const char *container,
                       uint32_t n_experts, const uint64_t *tokens, struct error *err)
{
    if (!grow(list, *n, sizeof **list, err)) return false;
    char *name = arena_text(s->arena, container);
    uint64_t *copy = arena_alloc(s->arena, n_experts, sizeof *copy);
    if (!name || !copy) return error_memory(err, n_experts * sizeof *copy);
    memcpy(copy, tokens, n_experts * sizeof *copy);
    (*list)[(*n)++] = (struct expert_tokens){name, n_experts, copy};
    return true;
}

bool stats_add_experts(struct stats *s, const char *container, uint32_t n_experts, const uint64_t *tokens,
                       struct error *err)
{
    return add_tokens(s, &s->experts, &s->n_experts, container, n_experts, tokens, err);
}

bool stats_add_forced(struct stats *s, const char *container, uint32_t n_experts, const uint64_t *tokens,
                      struct error *err)
{
    return add_tokens(s, &s->forced, &s->n_forced, container, n_experts, tokens, err);
}

bool stats_add_solved(struct stats *s, const struct solved_tensor *t, struct error *err)
{
    if (!grow(&s->solved, s->n_solved, sizeof *s->solved, err)) return false;
    char *name = arena_text(s->arena, t->name);
    if (!name) return error_memory(err, strlen(t->name));
    struct solved_tensor *slot = &s->solved[s->n_solved++];
    *slot = *t;
    slot->name = name;
    return true;
}

bool stats_add_gain(struct stats *s, const struct solve_gain *g, struct error *err)
{
    if (!grow(&s->gains, s->n_gains, sizeof *s->gains, err)) return false;
    char *name = arena_text(s->arena, g->module);
    if (!name) return error_memory(err, strlen(g->module));
    struct solve_gain *slot = &s->gains[s->n_gains++];
    *slot = *g;
    slot->module = name;
    return true;
}

static int by_name(const void *a, const void *b)
{
    const struct statistic *x = a, *y = b;
    int c = strcmp(x->module, y->module);
    return c ? c : x->kind < y->kind ? -1 : x->kind > y->kind;
}

static int by_container(const void *a, const void *b)
{
    return strcmp(((const struct expert_tokens *)a)->container, ((const struct expert_tokens *)b)->container);
}

static bool check_tokens(const struct expert_tokens *x, uint32_t n, struct error *err)
{
    for (uint32_t i = 1; i < n; i++)
        if (strcmp(x[i - 1].container, x[i].container) == 0)
            return error_set(err, ERR_FORMAT, "the experts of '%.256s' are counted twice", x[i].container);
    return true;
}

static bool check_forced(const struct stats *s, struct error *err)
{
    for (uint32_t i = 0; i < s->n_forced; i++) {
        const struct expert_tokens *f = &s->forced[i], *x = stats_find_experts(s, f->container);
        if (!x || x->n_experts != f->n_experts)
            return error_set(err, ERR_FORMAT,
                             "'%.256s': all tokens were sent to some of %u experts, and %u are counted", f->container,
                             f->n_experts, x ? x->n_experts : 0);
        for (uint32_t k = 0; k < f->n_experts; k++)
            if (f->tokens[k] && x->tokens[k])
                return error_set(err, ERR_FORMAT, "expert '%.256s.%u' was sent all tokens though it had seen %llu",
                                 f->container, k, (unsigned long long)x->tokens[k]);
    }
    return true;
}

static int by_solved(const void *a, const void *b)
{
    return strcmp(((const struct solved_tensor *)a)->name, ((const struct solved_tensor *)b)->name);
}

static int by_gain(const void *a, const void *b)
{
    return strcmp(((const struct solve_gain *)a)->module, ((const struct solve_gain *)b)->module);
}

void stats_sort_solved(struct stats *s)
{
    if (s->n_solved) qsort(s->solved, s->n_solved, sizeof *s->solved, by_solved);
}

/* Sorts what was solved, and adds it to the digest; without any the digest is what it was. */
static bool seal_solved(struct stats *s, struct sha256 *h, struct error *err)
{
    stats_sort_solved(s);
    if (s->n_gains) qsort(s->gains, s->n_gains, sizeof *s->gains, by_gain);
    if (s->sequential) sha256_add(h, "sequential", sizeof "sequential");
    for (uint32_t i = 0; i < s->n_solved; i++) {
        const struct solved_tensor *t = &s->solved[i];
        if (i && by_solved(t - 1, t) == 0)
            return error_set(err, ERR_FORMAT, "solved tensor '%.256s' is there twice", t->name);
        sha256_add(h, t->name, strlen(t->name) + 1);
        sha256_add(h, t->digest.bytes, DIGEST_BYTES);
        sha256_add(h, t->source.bytes, DIGEST_BYTES);
    }
    for (uint32_t i = 0; i < s->n_gains; i++) {
        const struct solve_gain *g = &s->gains[i];
        if (i && by_gain(g - 1, g) == 0) return error_set(err, ERR_FORMAT, "'%.256s' is solved twice", g->module);
        const double values[] = {g->before, g->after, g->output, g->damp};
        sha256_add(h, g->module, strlen(g->module) + 1);
        sha256_add(h, values, sizeof values);
    }
    return true;
}

static void hash_tokens(struct sha256 *h, const struct expert_tokens *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        sha256_add(h, x[i].container, strlen(x[i].container) + 1);
        sha256_add(h, x[i].tokens, x[i].n_experts * sizeof *x[i].tokens);
    }
}

bool stats_seal(struct stats *s, struct error *err)
{
    if (s->n_stats) qsort(s->stats, s->n_stats, sizeof *s->stats, by_name);
    if (s->n_experts) qsort(s->experts, s->n_experts, sizeof *s->experts, by_container);
    if (s->n_forced) qsort(s->forced, s->n_forced, sizeof *s->forced, by_container);
    if (!check_tokens(s->experts, s->n_experts, err) || !check_tokens(s->forced, s->n_forced, err) ||
        !check_forced(s, err))
        return false;
    for (uint32_t i = 1; i < s->n_stats; i++)
        if (by_name(&s->stats[i - 1], &s->stats[i]) == 0)
            return error_set(err, ERR_FORMAT, "statistic '%.256s.%s' is there twice", s->stats[i].module,
                             kind_suffix[s->stats[i].kind]);
    struct sha256 *h;
    if (!sha256_open(&h, err)) return false;
    sha256_add(h, s->observe_digest.bytes, DIGEST_BYTES);
    sha256_add(h, s->data_digest.bytes, DIGEST_BYTES);
    sha256_add(h, &s->n_texts, sizeof s->n_texts);
    sha256_add(h, &s->n_tokens, sizeof s->n_tokens);
    for (uint32_t i = 0; i < s->n_stats; i++) {
        sha256_add(h, s->stats[i].module, strlen(s->stats[i].module) + 1);
        sha256_add(h, &(uint8_t){(uint8_t)s->stats[i].kind}, 1);
        sha256_add(h, &s->stats[i].amax, sizeof s->stats[i].amax);
    }
    hash_tokens(h, s->experts, s->n_experts);
    hash_tokens(h, s->forced, s->n_forced);
    bool ok = seal_solved(s, h, err);
    return sha256_close(h, ok ? &s->digest : NULL, err) && ok;
}

const struct solved_tensor *stats_find_solved(const struct stats *s, const char *name)
{
    struct solved_tensor key = {.name = name};
    return s->n_solved ? bsearch(&key, s->solved, s->n_solved, sizeof key, by_solved) : NULL;
}

const struct solve_gain *stats_find_gain(const struct stats *s, const char *module)
{
    struct solve_gain key = {.module = module};
    return s->n_gains ? bsearch(&key, s->gains, s->n_gains, sizeof key, by_gain) : NULL;
}

bool stats_read_solved(const struct stats *s, const struct solved_tensor *t, uint64_t offset, void *dst, size_t n,
                       struct error *err)
{
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(err, ERR_INTERNAL, "solved tensor '%.256s' has %llu bytes, %zu were asked for at byte %llu",
                         t->name, (unsigned long long)t->bytes, n, (unsigned long long)offset);
    if (s->file) return checkpoint_read(s->file, (uint32_t)t->at, offset, dst, n, err);
    return file_read_at(s->work_fd, "the work file of the calibration", t->at + offset, dst, n, err);
}

bool stats_find(const struct stats *s, const char *module, enum stat_kind kind, float *amax)
{
    struct statistic key = {module, kind, 0};
    const struct statistic *found = s->n_stats ? bsearch(&key, s->stats, s->n_stats, sizeof *s->stats, by_name) : NULL;
    if (found) *amax = found->amax;
    return found != NULL;
}

const struct expert_tokens *stats_find_experts(const struct stats *s, const char *container)
{
    for (uint32_t i = 0; i < s->n_experts; i++)
        if (strcmp(s->experts[i].container, container) == 0) return &s->experts[i];
    return NULL;
}

bool stats_was_forced(const struct stats *s, const char *container, uint32_t expert)
{
    for (uint32_t i = 0; i < s->n_forced; i++)
        if (strcmp(s->forced[i].container, container) == 0)
            return expert < s->forced[i].n_experts && s->forced[i].tokens[expert] > 0;
    return false;
}

bool stats_fit(const struct stats *s, const struct plan *p, struct error *err)
{
    if (digest_equal(&s->observe_digest, &p->observe_digest)) return true;
    char want[DIGEST_HEX_SIZE], got[DIGEST_HEX_SIZE];
    digest_hex(&p->observe_digest, want);
    digest_hex(&s->observe_digest, got);
    return error_set(err, ERR_FORMAT,
                     "the statistics were made for another checkpoint or recipe: expected observation digest %.16s..., "
                     "found %.16s...",
                     want, got);
}

/* ---- what an item is written with ---- */

static bool one_input(const struct stats *s, const struct plan_item *item, float *amax, bool *found, struct error *err)
{
    const char *module = item->tensor->module;
    *found = s && stats_find(s, module, STAT_INPUT_AMAX, amax);
    if (!*found && item->tensor->container) return true; /* an unseen expert: the layer decides */
    if (!*found) return error_set(err, ERR_FORMAT, "the statistics hold nothing of the input of '%.256s'", module);
    if (isfinite(*amax) && *amax >= 0) return true;
    return error_set(err, ERR_FORMAT, "the input of '%.256s' reached %g during calibration", module, (double)*amax);
}

/* Items [first, end) are one projection of all experts of a layer, or a single linear. */
static uint32_t run_end(const struct plan *p, uint32_t first)
{
    const struct model_tensor *t = p->items[first].tensor;
    uint32_t end = first + 1;
    while (t->container && end < p->n_items && p->items[end].tensor->container &&
           p->items[end].tensor->place.role == t->place.role &&
           strcmp(p->items[end].tensor->container, t->container) == 0)
        end++;
    return end;
}

bool stats_input_amaxes(const struct stats *s, const struct plan *p, float *amax, struct error *err)
{
    if (p->needs_data && !s) return error_set(err, ERR_USAGE, "the recipe needs calibration data");
    if (s && !stats_check_unseen(s, p, err)) return false;
    for (uint32_t i = 0, end; i < p->n_items; i = end) {
        end = run_end(p, i);
        float top = 0;
        for (uint32_t k = i; k < end; k++) {
            const struct plan_item *item = &p->items[k];
            float value = item->input_amax;
            bool found = true;
            if (item->observe_input && !one_input(s, item, &value, &found, err)) return false;
            if (found && value > top) top = value;
        }
        const struct plan_item *item = &p->items[i];
        if (item->observe_input && !(top > 0))
            return error_set(err, ERR_FORMAT,
                             "the input of '%.256s' was zero throughout the calibration: no scale can be made of it",
                             item->tensor->container ? item->tensor->container : item->tensor->module);
        for (uint32_t k = i; k < end; k++) amax[k] = p->items[k].observe_input || p->items[k].input_amax > 0 ? top : 0;
    }
    return true;
}
