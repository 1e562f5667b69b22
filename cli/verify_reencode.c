#include "cli/verify_reencode.h"

#include "core/memory.h"
#include "plan/fold.h"
#include "quantize/quantize.h"
#include "verify/draw.h"
#include "verify/findings.h"

#define MANIFEST "ingot.json"
#define MANIFEST_BYTES_MAX ((size_t)1 << 30)
#define NAMES_SHOWN 8u /* of what was drawn, in the text; all are in the JSON */

struct reencode {
    const struct command_env *env;
    const struct reencode_request *q;
    struct report *report;
    json_t *said; /* ingot.json */
    struct recipe *recipe;
    struct plan *plan;
    struct stats *stats; /* NULL: not given, or not those that ingot.json names */
    bool given;          /* scales were taken from elsewhere: only what they scale can be made again */
    bool every;          /* all items, copies too */
    char *seed;          /* NULL: nothing was drawn */
    uint32_t n_drawn, n_can;
    bool *drawn, *wanted, *needs; /* [n_items]; wanted: of those drawn, what can be made */
    struct digest *made;          /* [n_outputs] */
    bool *known;
    json_t *undecided; /* names of tensors */
};

static void cleanup_reencode(struct reencode *x)
{
    json_decref(x->said);
    json_decref(x->undecided);
    stats_free(x->stats);
    plan_free(x->plan);
    recipe_free(x->recipe);
    free(x->seed);
    free(x->drawn);
    free(x->wanted);
    free(x->needs);
    free(x->made);
    free(x->known);
}

static bool load(struct reencode *x, const struct folder *packed, const struct model *original, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    json_t *json;
    if (!folder_load(packed, MANIFEST, MANIFEST_BYTES_MAX, &text, err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_STRICT, MANIFEST, &x->said, err) ||
        !json_get_object(x->said, "recipe", MANIFEST, &json, err) ||
        !recipe_from_json(&x->recipe, json, "recipe in ingot.json", err) ||
        !plan_build(&x->plan, original->inventory, x->recipe, err))
        return false;
    x->given = json_has(x->said, "scales_from");
    x->undecided = json_array();
    uint64_t n = (uint64_t)x->plan->n_items + 1, n_outputs = (uint64_t)x->plan->n_outputs + 1;
    return (x->undecided || error_memory(err, 0)) && memory_zalloc(&x->drawn, n, sizeof(bool), err) &&
           memory_zalloc(&x->wanted, n, sizeof(bool), err) && memory_zalloc(&x->needs, n, sizeof(bool), err) &&
           memory_zalloc(&x->made, n_outputs, sizeof *x->made, err) &&
           memory_zalloc(&x->known, n_outputs, sizeof(bool), err) && quantize_needs_stats(x->plan, x->needs, err);
}

/* The statistics that were given, where they are those of the package. */
static bool load_stats(struct reencode *x, struct error *err)
{
    static const char name[] = "statistics";
    CLEANUP(stats) struct stats *s = NULL;
    char hex[DIGEST_HEX_SIZE];
    struct error found = ERROR_INIT;
    if (!x->q->stats) return true;
    if (!stats_load(&s, x->q->stats, err)) return false;
    const char *said = json_string_value(json_object_get(json_object_get(x->said, "calibration"), "stats_sha256"));
    digest_hex(&s->digest, hex);
    if (!said)
        report_add(x->report, CHECK_DIGEST, VERDICT_UNDECIDED, name, "ingot.json names none, '%.256s' has sha256 %s",
                   x->q->stats, hex);
    else if (strcmp(said, hex) != 0)
        report_add(x->report, CHECK_DIGEST, VERDICT_FAIL, name, "ingot.json names sha256 %.80s, '%.256s' has %s", said,
                   x->q->stats, hex);
    else if (!stats_fit(s, x->plan, &found)) report_add(x->report, CHECK_DIGEST, VERDICT_FAIL, name, "%s", found.text);
    else {
        report_add(x->report, CHECK_DIGEST, VERDICT_PASS, name, "sha256 %s, as ingot.json names", hex);
        x->stats = take_ptr(&s);
    }
    return true;
}

static bool make_seed(struct reencode *x, struct error *err)
{
    const struct reencode_request *q = x->q;
    int n = q->seed ? asprintf(&x->seed, "%s", q->seed)
                    : asprintf(&x->seed, "%s%s%s", q->image, q->nonce ? " " : "", q->nonce ? q->nonce : "");
    if (n >= 0) return true;
    x->seed = NULL;
    return error_memory(err, 0);
}

static bool choose(struct reencode *x, struct error *err)
{
    const struct plan *p = x->plan;
    if (!x->q->all && !make_seed(x, err)) return false;
    if (!draw_items(p, x->seed ? x->seed : "", x->q->all ? UINT64_MAX : x->q->sample, x->drawn, &x->n_can, err))
        return false;
    for (uint32_t i = 0; i < p->n_items; i++) x->n_drawn += x->drawn[i];
    x->every = x->n_drawn == x->n_can;
    for (uint32_t i = 0; i < p->n_items; i++) {
        if (x->every) x->drawn[i] = p->items[i].n_outputs > 0;
        x->wanted[i] = x->drawn[i] && (x->given ? x->q->model != NULL : x->stats || !x->needs[i]);
    }
    return true;
}

/* Whether what was made of an output says anything: scales that come out of the package itself do not. */
static bool decides(const struct reencode *x, uint32_t o)
{
    const struct plan_output *out = &x->plan->outputs[o];
    if (!x->known[o]) return false;
    return !x->given || out->part == PART_WEIGHT || plan_output_is_copy(x->plan, o);
}

static bool differs(const struct reencode *x, uint32_t o)
{
    const json_t *row = json_object_get(json_object_get(x->said, "tensors"), x->plan->specs[o].name);
    const char *said = json_string_value(json_object_get(row, "sha256"));
    struct digest want;
    return !said || !digest_parse(said, &want) || !digest_equal(&want, &x->made[o]);
}

static void describe(const struct reencode *x, char out[320])
{
    uint32_t shown = 0;
    size_t at = 0;
    out[0] = '\0';
    if (!x->seed) return;
    at += (size_t)snprintf(out, 320, "; drawn by '%.96s': ", x->seed);
    for (uint32_t i = 0; i < x->plan->n_items && at < 320; i++) {
        if (!x->drawn[i] || !draw_can(x->plan, i)) continue;
        if (shown == NAMES_SHOWN) {
            snprintf(out + at, 320 - at, ", ...");
            return;
        }
        const char *name = x->plan->specs[x->plan->items[i].first_output].name;
        at += (size_t)snprintf(out + at, 320 - at, "%s%s", shown++ ? ", " : "", name);
    }
}

static bool compare(struct reencode *x, uint32_t *n, struct error *err)
{
    struct findings f = {0};
    const struct plan *p = x->plan;
    for (uint32_t o = 0; o < p->n_outputs; o++) {
        const char *name = p->specs[o].name;
        if (!x->drawn[p->outputs[o].item]) continue;
        if (!decides(x, o)) {
            if (json_array_append_new(x->undecided, json_string(name)) != 0) return error_memory(err, 0);
            continue;
        }
        ++*n;
        if (differs(x, o)) find(&f, "tensor '%.256s' is not what the original gives by this recipe", name);
    }
    char what[640], drawn[320];
    describe(x, drawn);
    snprintf(what, sizeof what,
             "tensors of %u among %u encoded weights, made from the original again, have the bytes that ingot.json "
             "lists%s%s",
             x->n_drawn, x->n_can, x->given ? ", with the package's own scales" : "", drawn);
    if (*n || f.n) report_findings(x->report, CHECK_DIGEST, REENCODE_CHECK, &f, *n, what);
    return true;
}

static void report_undecided(const struct reencode *x)
{
    size_t n = json_array_size(x->undecided);
    if (n == 0) return;
    report_add(x->report, CHECK_DIGEST, VERDICT_UNDECIDED, REENCODE_CHECK ", the rest",
               "%zu tensors, such as '%.200s', hang on %s", n, json_string_value(json_array_get(x->undecided, 0)),
               x->given   ? "scales that were taken from elsewhere, which are not here"
               : x->stats ? "what the statistics do not hold"
                          : "calibration statistics: give those of ingot.json with --stats");
}

static bool attach(struct reencode *x, uint32_t n, const struct quantize_result *result, struct error *err)
{
    CLEANUP(json) json_t *names = json_array();
    if (!names) return error_memory(err, 0);
    for (uint32_t i = 0; i < x->plan->n_items; i++) {
        if (!x->drawn[i] || !draw_can(x->plan, i)) continue;
        const char *name = x->plan->specs[x->plan->items[i].first_output].name;
        if (json_array_append_new(names, json_string(name)) != 0) return error_memory(err, 0);
    }
    json_t *j = json_pack("{s:s?,s:I,s:I,s:O,s:I,s:I,s:O}", "seed", x->seed, "weights", (json_int_t)x->n_can, "drawn",
                          (json_int_t)x->n_drawn, "names", names, "tensors", (json_int_t)n, "read_bytes",
                          (json_int_t)result->read_bytes, "undecided", x->undecided);
    if (!j) return error_memory(err, 0);
    report_attach(x->report, "encoded_again", j);
    return true;
}

static bool encode(struct reencode *x, const struct model *original, struct quantize_result *result, bool *ok,
                   struct error *err)
{
    struct error found = ERROR_INIT;
    const struct command_env *env = x->env;
    /* Scales that were taken over from elsewhere are in the package too. */
    struct quantize_options o = {.pool = env->pool, .isa = env->isa, .scales_model = x->given ? x->q->model : NULL};
    struct quantize_again again = {x->wanted, x->made, x->known};
    *ok = quantize_digests(x->plan, original, x->stats, &o, &again, result, env->progress, &found);
    if (*ok) return true;
    if (found.code != ERR_FORMAT && found.code != ERR_UNSUPPORTED) {
        if (err) *err = found;
        return false;
    }
    /* The sources are the right ones, and do not give a package at all. */
    report_add(x->report, CHECK_DIGEST, found.code == ERR_FORMAT ? VERDICT_FAIL : VERDICT_UNDECIDED, REENCODE_CHECK,
               "%s", found.text);
    return true;
}

bool reencode_check(const struct command_env *env, const struct reencode_request *q, const struct folder *packed,
                    const struct model *original, struct report *r, struct error *err)
{
    __attribute__((cleanup(cleanup_reencode))) struct reencode x = {.env = env, .q = q, .report = r};
    struct quantize_result result;
    uint32_t n = 0;
    bool ok;
    if (!load(&x, packed, original, err) || !load_stats(&x, err) || !choose(&x, err) ||
        !encode(&x, original, &result, &ok, err))
        return false;
    if (!ok) return true;
    if (!compare(&x, &n, err) || !attach(&x, n, &result, err)) return false;
    report_undecided(&x);
    return true;
}
