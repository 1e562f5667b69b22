/* Groups, the types they may have, and their bytes. */
#include "core/memory.h"
#include "plan/quant_type.h"
#include "plan/search.h"

#include <math.h>

struct builder {
    struct search_space *s;
    const struct search_request *req;
    struct error *err;
};

/* ---- types ---- */

static bool read_type(struct builder *b, const char *word)
{
    struct search_space *s = b->s;
    const char *slash = strchr(word, '/');
    struct search_type t = {.word = arena_text(s->arena, word), .rounds_inputs = true};
    t.weights = slash ? arena_copy(s->arena, word, (size_t)(slash - word)) : t.word;
    const struct quant_type *alone = slash ? NULL : quant_type_find(word);
    bool weights_only = alone && !(alone->uses & USE_INPUTS);
    t.inputs = slash ? arena_text(s->arena, slash + 1) : weights_only ? "none" : t.word;
    if (!t.word || !t.weights || !t.inputs) return error_memory(b->err, 0);
    const char *halves[] = {t.weights, t.inputs};
    for (int i = 0; i < 2; i++) {
        const struct quant_type *q = quant_type_find(halves[i]);
        if (!q || !(q->uses & (i == 0 ? USE_WEIGHTS : USE_INPUTS)))
            return error_set(b->err, ERR_USAGE, "type '%.64s': '%.64s' is no type of %s (man 5 ingot-recipe)", word,
                             halves[i], i == 0 ? "weights" : "inputs");
    }
    for (uint32_t i = 0; i < s->n_types; i++)
        if (strcmp(s->types[i].word, word) == 0)
            return i == 0 || error_set(b->err, ERR_USAGE, "type '%.64s' is there twice", word);
    if (s->n_types == SEARCH_TYPES_MAX) return error_set(b->err, ERR_USAGE, "more than %u types", SEARCH_TYPES_MAX - 1);
    s->types[s->n_types++] = t;
    return true;
}

/* ---- groups ---- */

static bool is_named(const struct builder *b, enum tensor_role role)
{
    for (const char *const *w = b->req->roles; w && *w; w++)
        if (role_is(role, *w)) return true;
    return false;
}

/* A head of its own; one that is stored beside `tie_word_embeddings` is not what engines multiply by. */
static bool has_head(const struct inventory *inv)
{
    return !inv->config.tied_head && inventory_find(inv, ROLE_LM_HEAD, -1, -1, false);
}

/* Few engines load a quantized head: it is searched only when it is named. */
static bool is_searched(const struct builder *b, const struct model_tensor *t)
{
    enum tensor_role role = t->place.role;
    bool head = role == ROLE_LM_HEAD && has_head(b->s->inventory),
         linear = role_info(role)->kind == KIND_LINEAR && t->place.block >= 0;
    if ((!head && !linear) || t->n_dims != 2 || t->place.mtp || t->format) return false;
    bool usual = linear && role != ROLE_LATENT_IN && role != ROLE_LATENT_OUT;
    return is_named(b, role) || (usual && (!b->req->roles || b->req->add_roles));
}

/* Where a group is measured: the head behind all blocks. */
static int32_t block_of(const struct builder *b, const struct model_tensor *t)
{
    return t->place.role == ROLE_LM_HEAD ? (int32_t)b->s->inventory->config.n_blocks : t->place.block;
}

/* Engines want both in one type. */
static bool alike(const struct model_tensor *a, const struct model_tensor *b)
{
    if (a->place.block != b->place.block) return false;
    if (a->container || b->container) return a->container && b->container && strcmp(a->container, b->container) == 0;
    return plan_fusion_lead(a->place.role) == plan_fusion_lead(b->place.role);
}

static bool find_groups(struct builder *b)
{
    struct search_space *s = b->s;
    const struct inventory *inv = s->inventory;
    s->group_of = arena_alloc(s->arena, (size_t)inv->n_tensors + 1, sizeof *s->group_of);
    s->groups = arena_alloc(s->arena, (size_t)inv->n_tensors + 1, sizeof *s->groups);
    if (!s->group_of || !s->groups) return error_memory(b->err, inv->n_tensors * sizeof *s->groups);
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i];
        s->group_of[i] = NAME_NONE;
        if (!is_searched(b, t)) continue;
        int32_t block = block_of(b, t);
        uint32_t g = s->n_groups; /* the members of a block stand together: few groups are looked at */
        while (g > 0 && s->groups[g - 1].block == block && !alike(&inv->tensors[s->groups[g - 1].items[0]], t)) g--;
        bool found = g > 0 && s->groups[g - 1].block == block;
        struct search_group *x = &s->groups[found ? g - 1 : s->n_groups];
        if (!found) {
            *x = (struct search_group){.block = block,
                                       .layer = t->place.layer,
                                       .role_class = role_info(t->place.role)->role_class,
                                       .items = arena_alloc(s->arena, 1, sizeof *x->items)};
            if (!x->items) return error_memory(b->err, sizeof *x->items);
            x->items[0] = i;
            s->n_groups++;
        }
        s->group_of[i] = (uint32_t)(x - s->groups);
        x->n_items++;
        x->n_elems += t->n_elems;
    }
    return s->n_groups > 0 || error_set(b->err, ERR_UNSUPPORTED, "the checkpoint has no linear that is searched");
}

static bool list_items(struct builder *b)
{
    struct search_space *s = b->s;
    for (uint32_t g = 0; g < s->n_groups; g++) {
        struct search_group *x = &s->groups[g];
        x->items = arena_alloc(s->arena, x->n_items, sizeof *x->items);
        if (!x->items) return error_memory(b->err, x->n_items * sizeof *x->items);
        x->n_items = 0;
    }
    for (uint32_t i = 0; i < s->inventory->n_tensors; i++) {
        if (s->group_of[i] == NAME_NONE) continue;
        struct search_group *x = &s->groups[s->group_of[i]];
        x->items[x->n_items++] = i;
    }
    return true;
}

/* "a.b.{q_proj,k_proj}" of what is beside each other; of experts "a.b.experts.*". */
static bool name_group(struct builder *b, struct search_group *x)
{
    struct arena *arena = b->s->arena;
    const struct model_tensor *first = &b->s->inventory->tensors[x->items[0]];
    const char **patterns = arena_alloc(arena, x->n_items, sizeof *patterns);
    if (!patterns) return error_memory(b->err, 0);
    if (first->container) {
        patterns[0] = x->name = arena_printf(arena, "%s.*", first->container);
        x->n_patterns = 1;
    } else {
        const char *dot = strrchr(first->module, '.');
        size_t stem = dot ? (size_t)(dot + 1 - first->module) : 0;
        const char *names = arena_text(arena, first->module + stem);
        for (uint32_t i = 0; i < x->n_items; i++) {
            const struct model_tensor *t = &b->s->inventory->tensors[x->items[i]];
            patterns[x->n_patterns++] = t->module;
            if (i && names)
                names = arena_printf(arena, "%s,%s", names, t->module + (strlen(t->module) > stem ? stem : 0));
        }
        if (x->n_items == 1) x->name = first->module;
        else if (names) x->name = arena_printf(arena, "%.*s{%s}", (int)stem, first->module, names);
    }
    x->patterns = patterns;
    return x->name && patterns[0] ? true : error_memory(b->err, 0);
}

/* ---- what a type makes of a group ---- */

static const char *why_not(struct builder *b, const struct search_group *x, const struct quant_format *f)
{
    const struct inventory *inv = b->s->inventory;
    for (uint32_t i = 0; i < x->n_items; i++) {
        const struct model_tensor *t = &inv->tensors[x->items[i]];
        if (t->dims[1] % f->block_cols != 0)
            return arena_printf(b->s->arena, "%llu columns are no multiple of %u", (unsigned long long)t->dims[1],
                                f->block_cols);
    }
    return NULL;
}

/* Formats are what plans say, so a plan of one group asks: the first that it is possible for. */
static bool find_format(struct builder *b, struct search_type *t)
{
    const struct search_space *s = b->s;
    struct search_type *slot = t;
    for (uint32_t g = 0; g < s->n_groups && !slot->format; g++) {
        struct error e = ERROR_INIT;
        CLEANUP(json) json_t *json = NULL;
        CLEANUP(recipe) struct recipe *r = NULL;
        CLEANUP(plan) struct plan *p = NULL;
        for (uint32_t k = 0; k < s->n_groups; k++) b->s->groups[k].picked = k == g ? (uint32_t)(t - s->types) : 0;
        if (!search_recipe_json(s, "search", NAME_NONE, &json, b->err) || !recipe_from_json(&r, json, "--types", &e) ||
            !plan_build(&p, s->inventory, r, &e)) {
            if (g + 1 < s->n_groups && e.code == ERR_UNSUPPORTED) continue;
            if (e.code != ERR_NONE && b->err) *b->err = e;
            return error_wrap(b->err, "type '%.64s'", t->word);
        }
        slot->format = p->items[s->groups[g].items[0]].format;
    }
    return true;
}

static uint64_t bytes_in(const struct plan *p, uint32_t item)
{
    uint64_t sum = 0, n, bytes;
    for (uint32_t k = 0; k < p->items[item].n_outputs; k++) {
        const struct plan_output *o = &p->outputs[p->items[item].first_output + k];
        const struct tensor_spec *spec = &p->specs[p->items[item].first_output + k];
        if (o->part == PART_K_SCALE || o->part == PART_V_SCALE) continue; /* there whatever the type */
        if (tensor_size(spec->name, spec->dtype, spec->n_dims, spec->dims, &n, &bytes, NULL)) sum += bytes;
    }
    return sum;
}

static uint64_t source_bytes(const struct search_space *s, const struct search_group *x)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < x->n_items; i++)
        sum +=
            checkpoint_tensor(s->inventory->checkpoint, s->inventory->tensors[x->items[i]].parts[PART_WEIGHT])->bytes;
    return sum;
}

/* Experts in stacks stay: a trial reads weights tensor by tensor. */
static bool in_stack(const struct search_space *s, const struct search_group *x)
{
    uint32_t t = s->inventory->tensors[x->items[0]].parts[PART_WEIGHT];
    return checkpoint_stored(s->inventory->checkpoint, t) != t;
}

static bool plan_type(struct builder *b, uint32_t number)
{
    struct search_space *s = b->s;
    struct search_type *t = &s->types[number];
    CLEANUP(json) json_t *json = NULL;
    if (!find_format(b, t)) return false;
    bool any = false;
    for (uint32_t g = 0; g < s->n_groups; g++) {
        struct search_group *x = &s->groups[g];
        const char *why = in_stack(s, x) ? "experts in stacks are not searched yet" : why_not(b, x, t->format);
        if (why && !search_forbid(s, g, number, why, b->err)) return false;
        any = any || !why;
    }
    if (!any) return error_set(b->err, ERR_UNSUPPORTED, "type '%.64s' fits no linear of this checkpoint", t->word);
    if (!search_recipe_json(s, "search", number, &json, b->err) ||
        !recipe_from_json(&t->recipe, json, "--types", b->err) ||
        !plan_build(&t->plan, s->inventory, t->recipe, b->err))
        return error_wrap(b->err, "type '%.64s'", t->word);
    s->other_bytes = t->plan->write_bytes;
    s->total_elems = t->plan->total_elems;
    for (uint32_t g = 0; g < s->n_groups; g++) {
        struct search_group *x = &s->groups[g];
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < x->n_items; i++) bytes += bytes_in(t->plan, x->items[i]);
        x->choices[number].bytes = bytes;
        s->other_bytes -= bytes;
    }
    return true;
}

static bool build(struct builder *b)
{
    struct search_space *s = b->s;
    s->scales = arena_text(s->arena, b->req->scales ? b->req->scales : "max");
    s->kv_cache = arena_text(s->arena, b->req->kv_cache ? b->req->kv_cache : "none");
    if (!s->scales || !s->kv_cache) return error_memory(b->err, 0);
    if (s->inventory->is_quantized)
        return error_set(b->err, ERR_UNSUPPORTED, "the checkpoint is quantized already; search the original");
    if (!read_type(b, "none")) return false;
    for (uint32_t i = 0; i < b->req->n_types; i++)
        if (!read_type(b, b->req->types[i])) return false;
    if (s->n_types == 1) return error_set(b->err, ERR_USAGE, "no type beside none");
    for (const char *const *w = b->req->roles; w && *w; w++)
        if (!role_word_known(*w))
            return error_set(b->err, ERR_USAGE, "role '%.64s' is not known (`ingot list roles`)", *w);
    if (is_named(b, ROLE_LM_HEAD) && !has_head(s->inventory))
        return error_set(b->err, ERR_UNSUPPORTED,
                         "role 'lm_head': the model has no head of its own that could be quantized%s",
                         s->inventory->config.tied_head ? ": it is the embedding's table" : "");
    if (!find_groups(b) || !list_items(b)) return false;
    for (uint32_t g = 0; g < s->n_groups; g++) {
        struct search_group *x = &s->groups[g];
        x->choices[0] = (struct search_choice){.bytes = source_bytes(s, x), .known = true};
        if (!name_group(b, x)) return false;
    }
    for (uint32_t t = 1; t < s->n_types; t++)
        if (!plan_type(b, t)) return false;
    return search_cache_make(s, b->req, b->err);
}

bool search_space_make(struct search_space **out, const struct inventory *inv, const struct search_request *req,
                       struct error *err)
{
    *out = NULL;
    struct search_space *s = calloc(1, sizeof *s);
    if (s) s->arena = arena_new();
    if (!s || !s->arena) {
        free(s);
        return error_memory(err, sizeof *s);
    }
    s->inventory = inv;
    struct builder b = {s, req, err};
    if (!build(&b)) {
        search_space_free(s);
        return false;
    }
    *out = s;
    return true;
}

void search_space_free(struct search_space *s)
{
    if (!s) return;
    for (uint32_t t = 0; t < s->n_types; t++) {
        plan_free(s->types[t].plan);
        recipe_free(s->types[t].recipe);
    }
    arena_free(s->arena);
    free(s);
}

bool search_forbid(struct search_space *s, uint32_t group, uint32_t type, const char *why, struct error *err)
{
    struct search_choice *c = &s->groups[group].choices[type];
    if (c->why_not) return true;
    c->why_not = arena_text(s->arena, why);
    return c->why_not ? true : error_memory(err, strlen(why));
}
