#include "models/inventory.h"

#include "formats/name_match.h"
#include "models/expected.h"
#include "models/stacks.h"

struct builder {
    struct inventory *inv;
    const struct checkpoint *ck;
    uint32_t capacity;
    const struct quant_rules *rules; /* or NULL */
    bool *claimed;                   /* [checkpoint_count] */
    struct error *err;
};

static bool grow(struct builder *b)
{
    struct inventory *inv = b->inv;
    if (inv->n_tensors < b->capacity) return true;
    uint32_t capacity = b->capacity ? 2 * b->capacity : 256;
    struct model_tensor *p = realloc(inv->tensors, capacity * sizeof *p);
    if (!p) return error_memory(b->err, capacity * sizeof *p);
    inv->tensors = p;
    b->capacity = capacity;
    return true;
}

static void shape_text(char out[96], uint32_t n_dims, const uint64_t *dims)
{
    size_t at = 0;
    out[at++] = '[';
    for (uint32_t i = 0; i < n_dims && at < 80; i++)
        at += (size_t)snprintf(out + at, 96 - at, "%s%llu", i ? ", " : "", (unsigned long long)dims[i]);
    if (at > 90) at = 90;
    snprintf(out + at, 96 - at, "]");
}

static bool same_shape(const struct tensor_info *t, uint32_t n_dims, const uint64_t *dims)
{
    if (t->n_dims != n_dims) return false;
    for (uint32_t i = 0; i < n_dims; i++)
        if (t->dims[i] != dims[i]) return false;
    return true;
}

static bool check_shape(struct builder *b, const struct tensor_info *t, uint32_t n_dims, const uint64_t *dims)
{
    if (same_shape(t, n_dims, dims)) return true;
    char want[96], got[96];
    shape_text(want, n_dims, dims);
    shape_text(got, t->n_dims, t->dims);
    return error_set(b->err, ERR_FORMAT,
                     "file '%.128s': tensor '%.256s': expected shape %s (from config.json), found %s",
                     folder_name(checkpoint_folder(b->ck), t->member), t->name, want, got);
}

enum tensor_part tensor_cache_part(enum tensor_role role)
{
    if (role == ROLE_ATTN_K || role == ROLE_MLA_KV_A) return PART_K_SCALE;
    return role == ROLE_ATTN_V || role == ROLE_MLA_KV_B ? PART_V_SCALE : PART_COUNT;
}

char *tensor_cache_name(const struct model_tensor *t, struct arena *arena)
{
    bool k = tensor_cache_part(t->place.role) == PART_K_SCALE;
    const char *dot = strrchr(t->module, '.');
    int n = dot ? (int)(dot - t->module) : 0;
    return arena_printf(arena, "%.*s.%s", n, t->module, k ? "k_proj.k_scale" : "v_proj.v_scale");
}

/* compressed-tensors has them beside the projections: "self_attn.k_scale". */
static bool find_cache_scale(struct builder *b, const struct model_tensor *mt, enum tensor_part part, uint32_t *out)
{
    const char *dot = strrchr(mt->module, '.');
    char *name = arena_printf(b->inv->arena, "%.*s%s", dot ? (int)(dot - mt->module) + 1 : 0, mt->module,
                              tensor_part_suffix(part));
    *out = name ? checkpoint_find(b->ck, name) : NAME_NONE;
    return name ? true : error_memory(b->err, 0);
}

/* Looks for the scale tensors beside a linear's weight and claims them. */
static bool find_parts(struct builder *b, struct model_tensor *mt)
{
    for (int part = PART_WEIGHT + 1; part < PART_COUNT; part++) {
        bool cache = part == PART_K_SCALE || part == PART_V_SCALE;
        if (cache && tensor_cache_part(mt->place.role) != (enum tensor_part)part) continue;
        char *name = cache
                         ? tensor_cache_name(mt, b->inv->arena)
                         : arena_printf(b->inv->arena, "%s.%s", mt->module, tensor_part_suffix((enum tensor_part)part));
        if (!name) return error_memory(b->err, 0);
        uint32_t i = checkpoint_find(b->ck, name);
        if (i == NAME_NONE && part >= PART_K_SCALE && !find_cache_scale(b, mt, (enum tensor_part)part, &i))
            return false;
        mt->parts[part] = i;
        if (i != NAME_NONE) b->claimed[i] = true;
    }
    return true;
}

/* What a linear's weight may be called. */
static const char *const stems[] = {"weight", "weight_packed", "qweight"};

static bool has_stem(const char *name, const char *stem)
{
    const char *dot = strrchr(name, '.');
    return dot && strcmp(dot + 1, stem) == 0;
}

static bool has_part(const struct model_tensor *mt, enum tensor_part part)
{
    return mt->parts[part] != NAME_NONE;
}

/* Formats that differ in the size of their groups only: the scale's columns say which. */
static bool group_fits(const struct builder *b, const struct model_tensor *mt, const struct quant_part *p)
{
    const struct tensor_info *s = checkpoint_tensor(b->ck, mt->parts[p->part]);
    uint64_t cols;
    return s->n_dims == 2 && u64_mul(s->dims[p->on_side ? 0 : 1], p->cols_per_elem, &cols) && cols == mt->dims[1];
}

static bool format_fits(const struct builder *b, const struct model_tensor *mt, const struct quant_format *f)
{
    uint32_t expected = 0;
    if (!has_stem(mt->name, quant_format_stem(f))) return false;
    for (uint32_t i = 0; i < f->n_parts; i++) {
        const struct quant_part *p = &f->parts[i];
        expected |= 1u << p->part;
        if (!has_part(mt, p->part) || !quant_part_fits(p, checkpoint_tensor(b->ck, mt->parts[p->part])->dtype))
            return false;
        bool scales = p->part == PART_WEIGHT_SCALE || p->part == PART_SCALES;
        if (f->stem && scales && !group_fits(b, mt, p)) return false;
    }
    for (int part = 0; part <= PART_INPUT_SCALE; part++)
        if (has_part(mt, (enum tensor_part)part) && !(expected & 1u << part)) return false;
    return true;
}

static const struct quant_format *rules_say(const struct quant_rules *rules, const struct model_tensor *t)
{
    bool named = quant_rules_linears_only(rules) && !model_tensor_is_converted(t);
    return named ? quant_rules_named(rules, t->module) : quant_rules_resolve(rules, t->module);
}

/* What the configuration says where it fits: several types may be stored alike. */
static const struct quant_format *stored_format(const struct builder *b, const struct model_tensor *mt)
{
    const struct quant_format *said = b->rules ? rules_say(b->rules, mt) : NULL;
    if (said && format_fits(b, mt, said)) return said;
    for (const struct quant_format *const *f = quant_formats; *f; f++)
        if (format_fits(b, mt, *f)) return *f;
    return NULL;
}

static bool check_quantized(struct builder *b, struct model_tensor *mt)
{
    const struct tensor_info *w = checkpoint_tensor(b->ck, mt->parts[PART_WEIGHT]);
    mt->format = stored_format(b, mt);
    if (!mt->format) {
        char parts[128] = "";
        for (int part = PART_WEIGHT + 1; part <= PART_INPUT_SCALE; part++)
            if (has_part(mt, (enum tensor_part)part))
                snprintf(parts + strlen(parts), sizeof parts - strlen(parts), " %s",
                         tensor_part_suffix((enum tensor_part)part));
        return error_set(b->err, ERR_FORMAT, "tensor '%.256s': no quantization type is stored as %s with%s", w->name,
                         dtype_name(w->dtype), *parts ? parts : " no scales");
    }
    for (uint32_t i = 0; i < mt->format->n_parts; i++) {
        const struct quant_part *p = &mt->format->parts[i];
        uint32_t n_dims;
        uint64_t dims[QUANT_DIMS_MAX];
        if (mt->dims[1] % mt->format->block_cols != 0)
            return error_set(b->err, ERR_FORMAT, "tensor '%.256s': %llu columns are not a multiple of %s's block of %u",
                             w->name, (unsigned long long)mt->dims[1], mt->format->name, mt->format->block_cols);
        quant_part_shape(p, mt->dims[0], mt->dims[1], &n_dims, dims);
        if (!check_shape(b, checkpoint_tensor(b->ck, mt->parts[p->part]), n_dims, dims)) return false;
    }
    b->inv->is_quantized = true;
    return true;
}

/* Of a linear whose format is settled. */
static bool check_pre_scale(struct builder *b, const struct model_tensor *mt)
{
    if (!has_part(mt, PART_PRE_QUANT_SCALE)) return true;
    const struct tensor_info *s = checkpoint_tensor(b->ck, mt->parts[PART_PRE_QUANT_SCALE]);
    if (!mt->format || mt->format->method)
        return error_set(b->err, ERR_FORMAT,
                         "tensor '%.256s' stands beside a weight of %s; it belongs to ModelOpt's types", s->name,
                         mt->format ? mt->format->name : "plain numbers");
    if (b->rules && !quant_rules_pre_scaled(b->rules))
        return error_set(
            b->err, ERR_FORMAT,
            "tensor '%.256s' is there, but the quantization config says nothing of pre_quant_scale: engines "
            "would not look for it",
            s->name);
    if (!dtype_is_plain_float(s->dtype))
        return error_set(b->err, ERR_FORMAT, "tensor '%.256s': expected F32, BF16 or F16, found %s", s->name,
                         dtype_name(s->dtype));
    return check_shape(b, s, 1, &mt->dims[1]);
}

static bool check_tensor(struct builder *b, struct model_tensor *mt)
{
    const struct tensor_info *w = checkpoint_tensor(b->ck, mt->parts[PART_WEIGHT]);
    enum role_kind kind = role_info(mt->place.role)->kind;
    bool may_be_quantized = (kind == KIND_LINEAR || kind == KIND_TABLE) && mt->n_dims == 2;
    if (may_be_quantized && !find_parts(b, mt)) return false;
    for (int part = PART_K_SCALE; part <= PART_V_SCALE; part++) {
        if (!has_part(mt, (enum tensor_part)part)) continue;
        b->inv->is_quantized = true;
        const struct tensor_info *s = checkpoint_tensor(b->ck, mt->parts[part]);
        if (!dtype_is_plain_float(s->dtype) || s->n_elems != 1)
            return error_set(b->err, ERR_FORMAT, "tensor '%.256s': expected one number, found %s with %llu elements",
                             s->name, dtype_name(s->dtype), (unsigned long long)s->n_elems);
    }
    bool plain = dtype_is_plain_float(w->dtype);
    for (int part = PART_WEIGHT_SCALE; part <= PART_INPUT_SCALE; part++)
        plain = plain && !has_part(mt, (enum tensor_part)part);
    for (size_t i = 1; i < sizeof stems / sizeof *stems; i++) /* no engine finds plain numbers under such a name */
        plain = plain && !(may_be_quantized && has_stem(mt->name, stems[i]));
    if (!plain && may_be_quantized) return check_quantized(b, mt) && check_pre_scale(b, mt);
    if (w->view && w->view->is_mxfp4) b->inv->is_quantized = true;
    if (!plain)
        return error_set(b->err, ERR_FORMAT, "tensor '%.256s': expected F32, BF16 or F16, found %s", w->name,
                         dtype_name(w->dtype));
    return check_shape(b, w, mt->n_dims, mt->dims) && check_pre_scale(b, mt);
}

static bool missing(struct builder *b, const struct expected_tensor *t)
{
    char shape[97] = " ", why[96] = "";
    shape_text(shape + 1, t->n_dims, t->dims);
    if (t->block)
        snprintf(why, sizeof why, ": config.json makes %slayer %u of kind %s", t->block->mtp ? "mtp " : "",
                 t->block->layer, block_kind_name(t->block->kind));
    const struct stack_rule *s = b->inv->config.arch->stacks;
    while (s && s->stack && strcmp(s->member, t->rule->pattern) != 0) s++;
    const char *stack =
        s && s->stack ? model_pattern_name(&b->inv->config, b->inv->arena, s->stack, t->block, -1) : NULL;
    return error_set(b->err, ERR_FORMAT, "tensor '%.256s'%s is missing%s", stack ? stack : t->name, stack ? "" : shape,
                     why);
}

/* The module is the name without ".weight"; an expert's container ends in ".experts". */
static bool name_module(struct builder *b, struct model_tensor *mt)
{
    size_t n = strlen(mt->name);
    mt->module = mt->name;
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++)
        if (has_stem(mt->name, stems[i])) mt->module = arena_copy(b->inv->arena, mt->name, n - strlen(stems[i]) - 1);
    const char *experts = mt->place.expert >= 0 ? strstr(mt->name, ".experts.") : NULL;
    if (experts)
        mt->container = arena_copy(b->inv->arena, mt->name, (size_t)(experts - mt->name) + sizeof ".experts" - 1);
    return mt->module && (!experts || mt->container) ? true : error_memory(b->err, n);
}

static int32_t block_number(const struct model_config *cfg, const struct block_config *b)
{
    return b ? (int32_t)(b - (b->mtp ? cfg->mtp_blocks : cfg->blocks)) : -1;
}

static bool add(void *ctx, const struct expected_tensor *t, struct error *err)
{
    struct builder *b = ctx;
    struct inventory *inv = b->inv;
    uint64_t bytes;
    const char *name = t->name;
    uint32_t i = checkpoint_find(b->ck, name);
    for (size_t k = 1; i == NAME_NONE && has_stem(t->name, stems[0]) && k < sizeof stems / sizeof *stems; k++) {
        char *other = arena_printf(inv->arena, "%.*s%s", (int)(strlen(t->name) - strlen(stems[0])), t->name, stems[k]);
        if (!other) return error_memory(err, 0);
        i = checkpoint_find(b->ck, other);
        if (i != NAME_NONE) name = other;
    }
    if (i == NAME_NONE) return t->rule->role == ROLE_LM_HEAD && inv->config.tied_head ? true : missing(b, t);
    if (!grow(b)) return false;
    struct model_tensor *mt = &inv->tensors[inv->n_tensors];
    const struct block_config *block = t->block;
    *mt = (struct model_tensor){.name = name,
                                .place = {.role = t->rule->role,
                                          .layer = block ? (int32_t)block->layer : -1,
                                          .expert = t->expert,
                                          .mtp = block && block->mtp,
                                          .block = block_number(&inv->config, block)},
                                .n_dims = t->n_dims};
    memcpy(mt->dims, t->dims, sizeof mt->dims);
    for (int part = 0; part < PART_COUNT; part++) mt->parts[part] = NAME_NONE;
    b->claimed[i] = true;
    mt->parts[PART_WEIGHT] = i;
    if (!name_module(b, mt) || !tensor_size(t->name, DTYPE_F32, t->n_dims, t->dims, &mt->n_elems, &bytes, err) ||
        !check_tensor(b, mt))
        return false;
    inv->n_tensors++;
    return true;
}

/* Tensors of towers beside the language model. */
static bool add_carried(struct builder *b)
{
    struct inventory *inv = b->inv;
    const char *const *prefixes = inv->config.arch->carried;
    for (uint32_t i = 0; prefixes && i < checkpoint_count(b->ck); i++) {
        const struct tensor_info *t = checkpoint_tensor(b->ck, i);
        const char *const *p = prefixes;
        while (*p && !(strncmp(t->name, *p, strlen(*p)) == 0 && t->name[strlen(*p)] == '.')) p++;
        if (b->claimed[i] || !*p) continue;
        if (!grow(b)) return false;
        struct model_tensor *mt = &inv->tensors[inv->n_tensors++];
        *mt = (struct model_tensor){
            .name = t->name, .place = {ROLE_CARRIED, -1, -1, false, -1}, .n_dims = t->n_dims, .n_elems = t->n_elems};
        memcpy(mt->dims, t->dims, sizeof mt->dims);
        for (int part = 0; part < PART_COUNT; part++) mt->parts[part] = NAME_NONE;
        mt->parts[PART_WEIGHT] = i;
        b->claimed[i] = true;
        if (!name_module(b, mt)) return false;
    }
    return true;
}

/* The first of the family's roots under which the embedding stands. */
static bool choose_root(struct builder *b)
{
    struct model_config *cfg = &b->inv->config;
    for (const struct name_root *r = cfg->arch->roots; r->body; r++) {
        cfg->root = r;
        const char *name = model_rule_name(cfg, ROLE_EMBED, b->inv->arena);
        if (!name) return error_memory(b->err, 0);
        if (checkpoint_find(b->ck, name) != NAME_NONE) return true;
    }
    cfg->root = cfg->arch->roots;
    return true;
}

static bool nothing_unknown(const struct builder *b)
{
    uint32_t n = 0, first = 0;
    for (uint32_t i = checkpoint_count(b->ck); i-- > 0;) {
        if (b->claimed[i]) continue;
        n++;
        first = i;
    }
    if (n == 0) return true;
    const struct tensor_info *t = checkpoint_tensor(b->ck, first);
    char more[48] = "", shape[96];
    if (n > 1) snprintf(more, sizeof more, " (and %u more)", n - 1);
    shape_text(shape, t->n_dims, t->dims);
    return error_set(b->err, ERR_FORMAT, "file '%.128s': tensor '%.256s' %s is not part of %s with this config.json%s",
                     folder_name(checkpoint_folder(b->ck), t->member), t->name, shape, b->inv->config.arch->name, more);
}

/* What the methods that speak of linears alone mean by that: not tables and routers, nor the projection of the
 * multi-token-prediction head, which the published ones leave as it is without saying so. */
bool model_tensor_is_converted(const struct model_tensor *t)
{
    return role_info(t->place.role)->kind == KIND_LINEAR && t->place.role != ROLE_MTP_PROJ;
}

/* Names of other programs count beside the tensors' own where they are left out; lists of layers have ours. */
static bool said_of(struct inventory *inv, const struct quant_rules *rules, const struct model_tensor *t,
                    const struct quant_format **out, struct error *err)
{
    bool named = quant_rules_linears_only(rules) && !model_tensor_is_converted(t);
    *out = rules_say(rules, t);
    if (named || !*out || !inv->config.arch->config_name || quant_rules_lists_layers(rules)) return true;
    char *other = inv->config.arch->config_name(t->module, inv->arena);
    if (!other) return error_memory(err, 0);
    if (!quant_rules_resolve(rules, other)) *out = NULL;
    return true;
}

static bool check_rules(struct inventory *inv, const struct quant_rules *rules, struct error *err)
{
    if (!rules) {
        for (uint32_t i = 0; inv->is_quantized && i < inv->n_tensors; i++)
            if (inv->tensors[i].format && !inv->tensors[i].format->self_described)
                return error_set(
                    err, ERR_FORMAT,
                    "tensor '%.256s' is quantized (%s), but neither config.json nor hf_quant_config.json says so",
                    inv->tensors[i].name, inv->tensors[i].format->algo);
        return true;
    }
    const char *kv = quant_rules_kv_algo(rules);
    inv->act_order = quant_rules_act_order(rules);
    if (kv && !(inv->kv_algo = arena_text(inv->arena, kv))) return error_memory(err, 0);
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i];
        if (!model_tensor_is_module(t)) continue;
        const struct quant_format *said;
        if (!said_of(inv, rules, t, &said, err)) return false;
        if (said == t->format) continue;
        const struct tensor_view *view = checkpoint_tensor(inv->checkpoint, t->parts[PART_WEIGHT])->view;
        if (view && view->is_mxfp4 && said && said->decode_op == OP_DECODE_MXFP4) continue; /* decoded as it is read */
        return error_set(err, ERR_FORMAT,
                         "module '%.256s': the quantization config says %s, the tensors are stored as %s", t->module,
                         said ? said->algo : "not quantized", t->format ? t->format->algo : "plain numbers");
    }
    return true;
}

static int compare_place(const struct tensor_place *a, const struct tensor_place *b)
{
    if (a->mtp != b->mtp) return a->mtp ? 1 : -1;
    if (a->layer != b->layer) return a->layer < b->layer ? -1 : 1;
    if (a->role != b->role) return a->role < b->role ? -1 : 1;
    return a->expert < b->expert ? -1 : a->expert > b->expert;
}

static int compare_block(const struct tensor_place *a, const struct tensor_place *b)
{
    int c = compare_place(a, b);
    return c ? c : a->block < b->block ? -1 : a->block > b->block;
}

static int by_place(const void *a, const void *b, void *inv_arg)
{
    const struct inventory *inv = inv_arg;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    int c = compare_block(&inv->tensors[i].place, &inv->tensors[k].place);
    return c ? c : i < k ? -1 : i > k; /* several of one role (biases): in rule order */
}

static bool sort_places(struct inventory *inv, struct error *err)
{
    inv->by_place = arena_alloc(inv->arena, inv->n_tensors, sizeof *inv->by_place);
    if (!inv->by_place) return error_memory(err, inv->n_tensors * sizeof *inv->by_place);
    for (uint32_t i = 0; i < inv->n_tensors; i++) inv->by_place[i] = i;
    qsort_r(inv->by_place, inv->n_tensors, sizeof *inv->by_place, by_place, inv);
    return true;
}

static const struct model_tensor *find_place(const struct inventory *inv, const struct tensor_place *place,
                                             int (*compare)(const struct tensor_place *, const struct tensor_place *))
{
    uint32_t lo = 0, hi = inv->n_tensors;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (compare(&inv->tensors[inv->by_place[mid]].place, place) < 0) lo = mid + 1;
        else hi = mid;
    }
    if (lo == inv->n_tensors) return NULL;
    const struct model_tensor *t = &inv->tensors[inv->by_place[lo]];
    return compare(&t->place, place) == 0 ? t : NULL;
}

const struct model_tensor *inventory_find(const struct inventory *inv, enum tensor_role role, int32_t layer,
                                          int32_t expert, bool mtp)
{
    return find_place(inv, &(struct tensor_place){role, layer, expert, mtp, -1}, compare_place);
}

const struct model_tensor *inventory_find_block(const struct inventory *inv, enum tensor_role role,
                                                const struct block_config *block, int32_t expert)
{
    struct tensor_place place = {role, (int32_t)block->layer, expert, block->mtp, block_number(&inv->config, block)};
    return find_place(inv, &place, compare_block);
}

const struct model_tensor *inventory_find_name(const struct inventory *inv, const char *name)
{
    uint32_t i = name_index_find(&inv->names, name);
    return i == NAME_NONE ? NULL : &inv->tensors[i];
}

static bool index_names(struct inventory *inv, struct error *err)
{
    CLEANUP(free) const char **names = malloc((inv->n_tensors + 1) * sizeof *names);
    if (!names) return error_memory(err, inv->n_tensors * sizeof *names);
    for (uint32_t i = 0; i < inv->n_tensors; i++) names[i] = inv->tensors[i].name;
    return name_index_build(&inv->names, names, inv->n_tensors, "model", err);
}

bool model_tensor_is_module(const struct model_tensor *t)
{
    enum role_kind kind = role_info(t->place.role)->kind;
    return kind == KIND_LINEAR || kind == KIND_TABLE || t->place.role == ROLE_ROUTER ||
           t->place.role == ROLE_SHARED_MIX || t->place.role == ROLE_SSM_CONV || t->place.role == ROLE_SCORE;
}

static const struct model_tensor *other_of_pair(const struct inventory *inv, const struct model_tensor *t)
{
    struct tensor_place place = t->place;
    switch (t->place.role) {
    case ROLE_ATTN_K: place.role = ROLE_ATTN_V; break;
    case ROLE_ATTN_V: place.role = ROLE_ATTN_K; break;
    case ROLE_MLA_KV_A: place.role = ROLE_MLA_KV_B; break;
    default: place.role = ROLE_MLA_KV_A;
    }
    return find_place(inv, &place, compare_block);
}

/* Engines take 1 for a scale that is missing: with the other one there, that is no cache that somebody made. */
static bool check_cache(const struct inventory *inv, struct error *err)
{
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i], *other;
        enum tensor_part part = tensor_cache_part(t->place.role);
        if (part == PART_COUNT || !has_part(t, part)) continue;
        const char *name = checkpoint_tensor(inv->checkpoint, t->parts[part])->name;
        if (!inv->kv_algo)
            return error_set(err, ERR_FORMAT,
                             "tensor '%.256s' is a scale of a quantized KV cache; the quantization config says nothing "
                             "of one",
                             name);
        other = other_of_pair(inv, t);
        if (!other || has_part(other, part == PART_K_SCALE ? PART_V_SCALE : PART_K_SCALE)) continue;
        return error_set(err, ERR_FORMAT, "tensor '%.256s' is a scale of the KV cache, and there is no %s beside it",
                         name, tensor_part_suffix(part == PART_K_SCALE ? PART_V_SCALE : PART_K_SCALE));
    }
    return true;
}

static void claim_view(bool *claimed, const struct tensor_view *v)
{
    claimed[v->base] = true;
    if (v->is_mxfp4) claimed[v->scales] = true;
}

static bool build(struct inventory *inv, struct checkpoint *ck, const struct hf_config *hf,
                  const struct quant_rules *rules, struct error *err)
{
    inv->checkpoint = ck;
    inv->arena = arena_new();
    if (!inv->arena) return error_memory(err, 0);
    if (!model_config_read(&inv->config, hf, inv->arena, err) ||
        !sha256_of(buffer_view(&hf->config_text), &inv->config_digest, err))
        return false;
    struct builder b = {.inv = inv, .ck = ck, .rules = rules, .err = err};
    if (!choose_root(&b) || !stacks_open(&inv->config, ck, inv->arena, err)) return false;
    CLEANUP(free) bool *claimed = b.claimed = calloc((size_t)checkpoint_count_all(ck) + 1, 1);
    if (!claimed) return error_memory(err, checkpoint_count_all(ck));
    for (uint32_t i = checkpoint_count(ck); i < checkpoint_count_all(ck); i++)
        claim_view(claimed, checkpoint_tensor(ck, i)->view);
    return model_expect(&inv->config, inv->arena, add, &b, err) && add_carried(&b) && nothing_unknown(&b) &&
           check_rules(inv, rules, err) && sort_places(inv, err) && check_cache(inv, err) && index_names(inv, err);
}

bool inventory_open(struct inventory **out, struct checkpoint *ck, const struct hf_config *hf,
                    const struct quant_rules *rules, struct error *err)
{
    struct inventory *inv = calloc(1, sizeof *inv);
    *out = NULL;
    if (!inv) return error_memory(err, sizeof *inv);
    if (!build(inv, ck, hf, rules, err)) {
        inventory_close(inv);
        return false;
    }
    *out = inv;
    return true;
}

void inventory_close(struct inventory *inv)
{
    if (!inv) return;
    free(inv->tensors);
    name_index_free(&inv->names);
    arena_free(inv->arena);
    free(inv);
}

bool model_open_folder(struct model *out, struct folder *folder, struct error *err)
{
    *out = (struct model){.folder = folder};
    bool ok = checkpoint_open(&out->checkpoint, folder, err) && hf_config_open(&out->hf, folder, err) &&
              quant_rules_open(&out->rules, &out->hf, err) &&
              inventory_open(&out->inventory, out->checkpoint, &out->hf, out->rules, err);
    if (ok) return true;
    if (!strstr(err->text, folder_path(folder))) error_wrap(err, "'%.256s'", folder_path(folder));
    model_close(out);
    return false;
}

bool model_open(struct model *out, const char *path, struct error *err)
{
    struct folder *folder;
    *out = (struct model){0};
    if (folder_open(&folder, path, err)) return model_open_folder(out, folder, err);
    if (!strstr(err->text, path)) error_wrap(err, "'%.256s'", path);
    return false;
}

bool model_idle_rules(const struct model *m, const char **first, uint32_t *n, struct error *err)
{
    const struct inventory *inv = m->inventory;
    *first = NULL;
    *n = 0;
    if (!m->rules) return true;
    CLEANUP(free) const char **names = malloc(2 * ((size_t)inv->n_tensors + 1) * sizeof *names);
    if (!names) return error_memory(err, inv->n_tensors * sizeof *names);
    uint32_t n_names = 0;
    bool head = false;
    for (uint32_t i = 0; i < inv->n_tensors; i++) {
        const struct model_tensor *t = &inv->tensors[i];
        names[n_names++] = t->module;
        char *other = inv->config.arch->config_name ? inv->config.arch->config_name(t->module, inv->arena) : NULL;
        if (other) names[n_names++] = other;
        head |= t->place.role == ROLE_LM_HEAD;
    }
    if (!head) names[n_names++] = "lm_head"; /* tied to the table: without a tensor, and a module all the same */
    *n = quant_rules_idle(m->rules, names, texts_sort(names, n_names), first);
    return true;
}

void model_close(struct model *m)
{
    inventory_close(m->inventory);
    quant_rules_close(m->rules);
    hf_config_close(&m->hf);
    checkpoint_close(m->checkpoint);
    folder_close(m->folder);
    *m = (struct model){0};
}
