#include "engine/pretokenizer_impl.h"
#include "engine/unicode.h"

/* GPT-2's, which ByteLevel brings along. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static const char *const behavior_names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                             "Contiguous"};
enum { BEHAVIOR_COUNT = sizeof behavior_names / sizeof *behavior_names };
static const char *const prepend_names[] = {"always", "first", "never"};

static bool find_name(const char *const *names, size_t n, const char *name, const char *key, size_t *out,
                      struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = i;
        return true;
    }
    return error_set(err, ERR_UNSUPPORTED, "key '%s': '%.100s' is not supported", key, name);
}

static bool read_split(const json_t *spec, struct step *s, struct error *err)
{
    static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL};
    const char *pattern, *behavior;
    bool is_regex;
    size_t i = 0;
    if (!json_known_keys(spec, "Split", keys, err) || !steps_pattern(spec, &pattern, &is_regex, err) ||
        !json_get_string(spec, "behavior", "Split", &behavior, err) ||
        !json_get_bool(spec, "invert", "Split", &s->invert, err) ||
        !find_name(behavior_names, BEHAVIOR_COUNT, behavior, "behavior", &i, err))
        return false;
    s->behavior = (enum behavior)i;
    return matcher_open(&s->matcher, pattern, is_regex, err);
}

static bool read_digits(const json_t *spec, struct step *s, struct error *err)
{
    static const char *const keys[] = {"type", "individual_digits", NULL};
    bool individual;
    if (!json_known_keys(spec, "Digits", keys, err) ||
        !json_get_bool(spec, "individual_digits", "Digits", &individual, err))
        return false;
    s->behavior = individual ? ISOLATED : CONTIGUOUS;
    return matcher_open(&s->matcher, "\\p{N}", true, err);
}

static bool read_byte_level(const json_t *spec, struct step *s, struct error *err)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    bool use_regex = true;
    s->kind = STEP_BYTE_LEVEL;
    s->behavior = ISOLATED;
    if (!json_known_keys(spec, "ByteLevel", keys, err) ||
        !json_get_bool(spec, "add_prefix_space", "ByteLevel", &s->prefix_space, err) ||
        !json_opt_bool(spec, "use_regex", "ByteLevel", &use_regex, err))
        return false;
    return use_regex ? matcher_open(&s->matcher, gpt2_pattern, true, err) : true;
}

static bool read_metaspace(const json_t *spec, struct step *s, struct error *err)
{
    static const char *const keys[] = {"type",    "replacement", "prepend_scheme", "split", "add_prefix_space",
                                       "str_rep", NULL};
    const char *mark, *scheme = "always";
    bool split = true, prefix = true;
    size_t i = 0;
    s->kind = STEP_METASPACE;
    s->behavior = MERGED_WITH_NEXT;
    if (!json_known_keys(spec, "Metaspace", keys, err) ||
        !json_get_string(spec, "replacement", "Metaspace", &mark, err) ||
        !json_opt_string(spec, "prepend_scheme", "Metaspace", &scheme, err) ||
        !json_opt_bool(spec, "split", "Metaspace", &split, err) ||
        !json_opt_bool(spec, "add_prefix_space", "Metaspace", &prefix, err) ||
        !find_name(prepend_names, 3, scheme, "prepend_scheme", &i, err))
        return false;
    if (!*mark || utf8_lead_size((uint8_t)*mark) != strlen(mark))
        return error_set(err, ERR_FORMAT, "key 'replacement': expected one character, found '%.100s'", mark);
    s->prepend = (enum prepend)i;
    if (!prefix && s->prepend != PREPEND_NEVER)
        return error_set(err, ERR_FORMAT, "add_prefix_space is false, and prepend_scheme is '%s'", scheme);
    memcpy(s->mark, mark, strlen(mark) + 1);
    return split ? matcher_open(&s->matcher, mark, false, err) : true;
}

static bool read_whitespace(const json_t *spec, struct step *s, struct error *err)
{
    static const char *const keys[] = {"type", NULL};
    s->behavior = REMOVED;
    return json_known_keys(spec, "WhitespaceSplit", keys, err) && matcher_open(&s->matcher, "\\s", true, err);
}

static bool read_step(void *ctx, const json_t *spec, const char *type, struct error *err)
{
    static const struct {
        const char *type;
        bool (*read)(const json_t *spec, struct step *s, struct error *err);
    } kinds[] = {
        {"Split", read_split},         {"ByteLevel", read_byte_level},       {"Digits", read_digits},
        {"Metaspace", read_metaspace}, {"WhitespaceSplit", read_whitespace},
    };
    struct pretokenizer *p = ctx;
    if (pretokenizer_is_byte_level(p))
        return error_set(err, ERR_UNSUPPORTED, "type '%.100s' behind ByteLevel is not supported", type);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0) return kinds[i].read(spec, &p->steps[p->n_steps++], err);
    return steps_refuse(type, err);
}

bool pretokenizer_open(struct pretokenizer **out, const json_t *spec, struct error *err)
{
    struct pretokenizer *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return error_memory(err, sizeof *p);
    if (!steps_read(spec, "pre_tokenizer", "pretokenizers", read_step, p, err)) {
        pretokenizer_close(p);
        return false;
    }
    *out = p;
    return true;
}

bool pretokenizer_open_matches(struct pretokenizer **out, const char *pattern, struct error *err)
{
    struct pretokenizer *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return error_memory(err, sizeof *p);
    p->steps[p->n_steps++] = (struct step){.kind = STEP_BYTE_LEVEL, .behavior = REMOVED, .invert = true};
    if (!matcher_open_rust(&p->steps[0].matcher, pattern, err)) {
        pretokenizer_close(p);
        return error_wrap(err, "pattern");
    }
    *out = p;
    return true;
}

void pretokenizer_close(struct pretokenizer *p)
{
    if (!p) return;
    for (uint32_t i = 0; i < p->n_steps; i++) matcher_close(p->steps[i].matcher);
    free(p);
}

bool pretokenizer_is_byte_level(const struct pretokenizer *p)
{
    return p->n_steps && p->steps[p->n_steps - 1].kind == STEP_BYTE_LEVEL;
}
