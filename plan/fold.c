#include "plan/fold.h"

#include "core/memory.h"
#include "plan/solve_parts.h"

/* Channels of readers that are not the maker's one by one. */
enum columns { AS_THEY_ARE, OF_KV_HEADS, OF_ONE_HEAD };

#define KIND(k) (1u << (k))

/* One row: in blocks of these kinds the maker feeds the readers, and nobody else. A role that a model lacks stands for
 * nothing; a reader that is not listed here would compute with other numbers, so every reader is. */
struct fold_row {
    uint32_t kinds;
    enum tensor_role maker;
    enum { BY_NORM, BY_PLAIN_NORM, BY_ROWS, BY_MLP } how; /* BY_MLP: what stands behind the maker decides */
    enum columns columns;
    enum { ALWAYS, WITH_LATENT, WITHOUT_LATENT } when;
    bool per_expert; /* maker and reader of one expert */
    enum tensor_role readers[8];
    uint32_t n_readers;
};

#define ROW(...) {__VA_ARGS__}, sizeof((enum tensor_role[]){__VA_ARGS__}) / sizeof(enum tensor_role)

static const struct fold_row rows[] = {
    {KIND(BLOCK_MAMBA2), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_SSM_IN)},
    {KIND(BLOCK_MAMBA2), ROLE_SSM_NORM, BY_PLAIN_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_SSM_OUT)},
    {KIND(BLOCK_ATTENTION), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false,
     ROW(ROLE_ATTN_Q, ROLE_ATTN_K, ROLE_ATTN_V)},
    /* what heads give is a mean of values (times a gate of its own): channel by channel */
    {KIND(BLOCK_ATTENTION), ROLE_ATTN_V, BY_ROWS, OF_KV_HEADS, ALWAYS, false, ROW(ROLE_ATTN_O)},
    {KIND(BLOCK_MLA), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false,
     ROW(ROLE_ATTN_Q, ROLE_MLA_Q_A, ROLE_MLA_KV_A)},
    {KIND(BLOCK_MLA), ROLE_MLA_Q_A_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_MLA_Q_B)},
    {KIND(BLOCK_MLA), ROLE_MLA_KV_A_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_MLA_KV_B)},
    {KIND(BLOCK_MLP), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_MLP_GATE, ROLE_MLP_UP)},
    {KIND(BLOCK_MLP), ROLE_MLP_UP, BY_MLP, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_MLP_DOWN)},
    {KIND(BLOCK_MOE), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, WITHOUT_LATENT, false,
     ROW(ROLE_ROUTER, ROLE_EXPERT_GATE, ROLE_EXPERT_UP, ROLE_SHARED_GATE, ROLE_SHARED_UP, ROLE_SHARED_MIX)},
    {KIND(BLOCK_MOE), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, WITH_LATENT, false,
     ROW(ROLE_ROUTER, ROLE_LATENT_IN, ROLE_SHARED_GATE, ROLE_SHARED_UP, ROLE_SHARED_MIX)},
    {KIND(BLOCK_MOE), ROLE_LATENT_IN, BY_ROWS, AS_THEY_ARE, WITH_LATENT, false, ROW(ROLE_EXPERT_GATE, ROLE_EXPERT_UP)},
    /* the sum of the experts' results, each times a number */
    {KIND(BLOCK_MOE), ROLE_EXPERT_DOWN, BY_ROWS, AS_THEY_ARE, WITH_LATENT, false, ROW(ROLE_LATENT_OUT)},
    {KIND(BLOCK_MOE), ROLE_EXPERT_UP, BY_MLP, AS_THEY_ARE, ALWAYS, true, ROW(ROLE_EXPERT_DOWN)},
    {KIND(BLOCK_MOE), ROLE_SHARED_UP, BY_MLP, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_SHARED_DOWN)},
    {KIND(BLOCK_DELTA), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false,
     ROW(ROLE_DELTA_QKVZ, ROLE_DELTA_BA, ROLE_DELTA_QKV, ROLE_DELTA_Z, ROLE_DELTA_B, ROLE_DELTA_A)},
    {KIND(BLOCK_DELTA), ROLE_DELTA_NORM, BY_PLAIN_NORM, OF_ONE_HEAD, ALWAYS, false, ROW(ROLE_DELTA_OUT)},
    {KIND(BLOCK_LINEAR), ROLE_BLOCK_NORM, BY_NORM, AS_THEY_ARE, ALWAYS, false, ROW(ROLE_ATTN_LINEAR, ROLE_MLP_LINEAR)},
};

struct folder {
    struct plan *p;
    uint32_t *by_block; /* items of the trunk's blocks, in order; [block] is where one begins */
    uint32_t *first;
    uint32_t capacity;
    bool noted[ROLE_COUNT];
    struct error *err;
};

/* Of one row in one block: who takes part. */
struct party {
    const struct fold_row *row;
    uint32_t block;
    int32_t expert; /* -1: of all */
    const char *why;
    const struct plan_item *bad; /* who cannot change, and why */
    const struct plan_item *first_maker, *asks;
    const struct plan_item *observed; /* a reader whose input an observer chooses the maximum of */
};

static bool is_reader(const struct party *q, const struct plan_item *item)
{
    const struct tensor_place *at = &item->tensor->place;
    for (uint32_t k = 0; k < q->row->n_readers; k++)
        if (q->row->readers[k] == at->role) return q->expert < 0 || at->expert == q->expert;
    return false;
}

static bool is_maker(const struct party *q, const struct plan_item *item)
{
    const struct tensor_place *at = &item->tensor->place;
    return at->role == q->row->maker && (q->expert < 0 || at->expert == q->expert);
}

/* Why a member's weight cannot be changed as it streams past; NULL: it can. */
static const char *fixed(const struct plan *p, const struct plan_item *item)
{
    const struct tensor_info *w = checkpoint_tensor(p->inventory->checkpoint, item->tensor->parts[PART_WEIGHT]);
    if (item->tensor->format || item->decoded) return "is quantized in the source";
    if (w->view || item->stack) return "lies in a stack of experts";
    if (!dtype_is_plain_float(w->dtype)) return "is of no type that can be scaled";
    if (solve_by_moments(&item->solve)) return "is solved for its inputs as they are";
    return NULL;
}

static const struct plan_item *bias_of(const struct plan *p, const struct model_tensor *t)
{
    char name[1024];
    snprintf(name, sizeof name, "%s.bias", t->module);
    const struct model_tensor *bias = inventory_find_name(p->inventory, name);
    return bias ? &p->items[bias - p->inventory->tensors] : NULL;
}

static bool norm_is_plain(const struct party *q, const struct model_config *cfg)
{
    return q->row->how == BY_PLAIN_NORM || cfg->norm == NORM_RMS;
}

/* What the maker is divided by; false: what stands behind it does not pass a scale on. */
static bool maker_kind(const struct party *q, const struct model_config *cfg, enum fold_maker *out)
{
    const struct mlp_config *mlp = q->row->kinds & KIND(BLOCK_MOE) ? &cfg->moe.mlp : &cfg->mlp;
    *out = FOLD_ROWS;
    if (q->row->how == BY_ROWS) return true;
    if (q->row->how != BY_MLP) {
        *out = norm_is_plain(q, cfg) ? FOLD_NORM : FOLD_NORM_ONE;
        return true;
    }
    if (mlp->gated) return mlp->activation != ACT_CLAMPED;
    *out = FOLD_ROOT;
    return mlp->activation == ACT_RELU2;
}

static void refuse(struct party *q, const struct plan_item *who, const char *why)
{
    if (q->why) return;
    q->why = why;
    q->bad = who;
}

static bool same_choice(struct folder *f, const struct party *q, const struct plan_item *item)
{
    if (!q->asks || fold_choice_equal(&q->asks->solve.fold, &item->solve.fold)) return true;
    return error_set(f->err, ERR_UNSUPPORTED,
                     "recipe '%s': '%.200s' and '%.200s' read the same channels, and their lines fold differently",
                     f->p->recipe->name, q->asks->tensor->name, item->tensor->name);
}

/* Finds the members; q->asks stays NULL when no reader wants to be folded. */
static bool look(struct folder *f, struct party *q)
{
    const struct plan *p = f->p;
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        const struct plan_item *item = &p->items[f->by_block[k]];
        bool reads = is_reader(q, item), makes = is_maker(q, item);
        if (!reads && !makes) continue;
        const char *why = fixed(p, item);
        if (why) refuse(q, item, why);
        if (makes && !q->first_maker) q->first_maker = item;
        const struct plan_item *bias = makes ? bias_of(p, item->tensor) : NULL;
        if (bias && fixed(p, bias)) refuse(q, bias, fixed(p, bias));
        if (reads && item->observe_input && item->observer.method != OBSERVER_MAX) q->observed = item;
        if (!reads || item->solve.fold.method == FOLD_NONE) continue;
        if (!same_choice(f, q, item)) return false;
        q->asks = item;
    }
    if (!q->asks || !q->observed) return true;
    return error_set(
        f->err, ERR_UNSUPPORTED,
        "recipe '%s': tensor '%.256s': observer: %s cannot follow a scale per channel, which solve: %s makes",
        p->recipe->name, q->observed->tensor->name, observer_name(q->observed->observer.method),
        solve_label(&q->asks->solve));
}

/* ---- one group ---- */

static uint32_t kv_channel(const struct attention_config *a, uint32_t column)
{
    uint32_t head = column / a->head_dim / (a->n_heads / a->n_kv_heads);
    return head * a->head_dim + column % a->head_dim;
}

static bool map_columns(struct folder *f, const struct party *q, struct plan_fold *g)
{
    const struct model_config *cfg = &f->p->inventory->config;
    const struct attention_config *a = block_attention_config(cfg, &cfg->blocks[q->block]);
    uint32_t n = (uint32_t)q->asks->tensor->dims[1];
    bool one_by_one = q->row->columns == AS_THEY_ARE || n == g->n;
    if (n % g->n || (one_by_one && n != g->n))
        return error_set(f->err, ERR_INTERNAL, "'%.256s' makes %u channels and '%.256s' reads %u", g->maker, g->n,
                         q->asks->tensor->name, n);
    if (one_by_one) return true;
    uint32_t *map = arena_alloc(f->p->arena, n, sizeof *map);
    if (!map) return error_memory(f->err, n * sizeof *map);
    for (uint32_t c = 0; c < n; c++) map[c] = q->row->columns == OF_KV_HEADS ? kv_channel(a, c) : c % g->n;
    g->columns = map;
    return true;
}

static void set_maker(struct plan *p, const struct model_tensor *t, uint32_t number)
{
    const struct plan_item *bias = bias_of(p, t);
    p->items[t - p->inventory->tensors].fold_out = number;
    if (bias) p->items[bias - p->items].fold_out = number;
}

/* A member that stays in its own type would be rounded once more: routers in bf16 flip choices by that. Norms do not
 * count, since what their rounding leaves is what the columns get. */
static bool needs_exact(const struct folder *f, const struct party *q)
{
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        const struct plan_item *item = &f->p->items[f->by_block[k]];
        bool makes = is_maker(q, item) && (q->row->how == BY_ROWS || q->row->how == BY_MLP);
        if ((makes || is_reader(q, item)) && item->action != ACTION_QUANTIZE) return true;
    }
    return false;
}

static bool reserve_fold(struct folder *f)
{
    struct plan *p = f->p;
    if (p->n_folds < f->capacity) return true;
    uint32_t capacity = f->capacity ? 2 * f->capacity : 64;
    struct plan_fold *grown = arena_alloc(p->arena, capacity, sizeof *grown);
    if (!grown) return error_memory(f->err, capacity * sizeof *grown);
    if (p->n_folds) memcpy(grown, p->folds, p->n_folds * sizeof *grown);
    p->folds = grown;
    f->capacity = capacity;
    return true;
}

static bool join(struct folder *f, struct party *q, enum fold_maker kind)
{
    struct plan *p = f->p;
    uint32_t number = p->n_folds;
    const struct model_tensor *maker = q->first_maker->tensor;
    if (!reserve_fold(f)) return false;
    /* A norm's module is its name with ".weight" gone; what has none keeps its name. */
    struct plan_fold *g = &p->folds[number];
    *g = (struct plan_fold){.name = arena_printf(p->arena, "%s.fold_scale", maker->module),
                            .maker = maker->module,
                            .kind = kind,
                            .block = q->block,
                            .first_maker = (uint32_t)(q->first_maker - p->items),
                            .n = (uint32_t)maker->dims[0],
                            .choice = q->asks->solve.fold};
    if (!g->name) return error_memory(f->err, 0);
    g->exact = g->choice.exact || needs_exact(f, q);
    if (!map_columns(f, q, g)) return false;
    p->n_folds++;
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        struct plan_item *item = &p->items[f->by_block[k]];
        if (is_reader(q, item)) item->fold_in = number;
        if (!is_maker(q, item)) continue;
        set_maker(p, item->tensor, number);
    }
    return true;
}

static bool note(struct folder *f, const struct party *q)
{
    enum tensor_role role = q->asks->tensor->place.role;
    if (f->noted[role] || q->asks->solve.fold.pre) return true;
    f->noted[role] = true;
    return plan_note(f->p, f->err, "solve: %s: '%.128s' keeps its channels as they are: '%.128s' %s",
                     solve_label(&q->asks->solve), q->asks->tensor->module, q->bad->tensor->name, q->why);
}

/* Why a linear cannot have a pre_quant_scale; NULL: it can. */
static const char *no_pre_scale(const struct plan *p, const struct plan_item *item)
{
    const struct quant_format *f = item->action == ACTION_QUANTIZE ? item->format : NULL;
    bool nvfp4 = f && f->encode_op == OP_ENCODE_NVFP4 && f->input_op == OP_INPUT_NVFP4;
    if (item->tensor->place.expert >= 0) return "is an expert's: engines want one pre_quant_scale for all of a layer";
    if (!f || f->method || !(nvfp4 || f->encode_op == OP_ENCODE_INT4))
        return "becomes no type that ModelOpt has a pre_quant_scale for (NVFP4 with NVFP4 inputs, INT4)";
    return fixed(p, item);
}

/* Where a member stays in its own type only powers of two would go into it: beside the readers any number can stand. */
static bool better_beside(const struct folder *f, const struct party *q)
{
    if (!q->asks->solve.fold.pre || q->asks->solve.fold.exact || !needs_exact(f, q)) return false;
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        const struct plan_item *item = &f->p->items[f->by_block[k]];
        if (is_reader(q, item) && item->solve.fold.pre && no_pre_scale(f->p, item)) return false;
    }
    return true;
}

static bool settle(struct folder *f, struct party *q)
{
    enum fold_maker kind = FOLD_ROWS;
    if (!look(f, q)) return false;
    if (!q->asks) return true;
    if (q->first_maker && !maker_kind(q, &f->p->inventory->config, &kind))
        refuse(q, q->first_maker, "has an activation behind it that passes no scale on");
    if (!q->first_maker) return true; /* told at the end */
    if (q->why) return note(f, q);
    return better_beside(f, q) || join(f, q, kind);
}

static bool block_row(struct folder *f, uint32_t block, const struct fold_row *row)
{
    const struct model_config *cfg = &f->p->inventory->config;
    if (!(row->kinds & KIND(cfg->blocks[block].kind))) return true;
    if (row->when != ALWAYS && (row->when == WITH_LATENT) != cfg->moe.has_latent) return true;
    if (!row->per_expert) return settle(f, &(struct party){.row = row, .block = block, .expert = -1});
    for (uint32_t e = 0; e < cfg->moe.n_experts; e++)
        if (!settle(f, &(struct party){.row = row, .block = block, .expert = (int32_t)e})) return false;
    return true;
}

/* ---- scales of inputs ---- */

/* Linears that see one input have one scale: engines multiply with them as one. */
static bool inputs_party(struct folder *f, struct party *q, uint32_t owner)
{
    const struct plan *p = f->p;
    for (uint32_t k = f->first[q->block]; k < f->first[q->block + 1]; k++) {
        const struct plan_item *item = &p->items[f->by_block[k]];
        if (solve_owner(p, f->by_block[k]) != owner) continue;
        const char *why = no_pre_scale(p, item);
        if (why) refuse(q, item, why);
        if (!same_choice(f, q, item)) return false;
    }
    return true;
}

static bool join_inputs(struct folder *f, uint32_t block, uint32_t owner)
{
    struct plan *p = f->p;
    const struct plan_item *lead = &p->items[owner];
    if (!reserve_fold(f)) return false;
    uint32_t number = p->n_folds++;
    p->folds[number] = (struct plan_fold){.name = arena_printf(p->arena, "%s.input_fold_scale", lead->tensor->module),
                                          .maker = lead->tensor->module,
                                          .kind = FOLD_INPUT,
                                          .block = block,
                                          .first_maker = owner,
                                          .n = (uint32_t)lead->tensor->dims[1],
                                          .choice = lead->solve.fold,
                                          .exact = lead->solve.fold.exact};
    if (!p->folds[number].name) return error_memory(f->err, 0);
    for (uint32_t k = f->first[block]; k < f->first[block + 1]; k++)
        if (solve_owner(p, f->by_block[k]) == owner) p->items[f->by_block[k]].fold_in = number;
    return true;
}

static bool settle_inputs(struct folder *f, uint32_t block, uint32_t i)
{
    const struct plan_item *lead = &f->p->items[i];
    struct party q = {.block = block, .asks = lead};
    enum tensor_role role = lead->tensor->place.role;
    if (!lead->solve.fold.pre || lead->fold_in != NAME_NONE || solve_owner(f->p, i) != i) return true;
    if (!inputs_party(f, &q, i)) return false;
    if (!q.why) return join_inputs(f, block, i);
    if (f->noted[role]) return true;
    f->noted[role] = true;
    return plan_note(f->p, f->err, "solve: %s: '%.128s' keeps its channels as they are: '%.128s' %s",
                     solve_label(&lead->solve), lead->tensor->module, q.bad->tensor->name, q.why);
}

bool plan_item_pre_scaled(const struct plan *p, const struct plan_item *item)
{
    if (item->action == ACTION_COPY) return !item->decoded && item->tensor->parts[PART_PRE_QUANT_SCALE] != NAME_NONE;
    return item->fold_in != NAME_NONE && p->folds[item->fold_in].kind == FOLD_INPUT;
}

/* ---- the whole ---- */

/* Lines that fold nothing at all are mistakes; linears of others that stay are named, one per role. */
static bool check_left(struct folder *f)
{
    const struct plan *p = f->p;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        enum tensor_role role = item->tensor->place.role;
        if (item->solve.fold.method == FOLD_NONE || item->fold_in != NAME_NONE || f->noted[role]) continue;
        f->noted[role] = true;
        bool any = p->recipe->published;
        for (uint32_t k = 0; k < p->n_items && !any; k++)
            any = p->items[k].fold_in != NAME_NONE && p->items[k].solve.fold.method != FOLD_NONE &&
                  strcmp(p->items[k].reason, item->reason) == 0;
        const char *why = item->tensor->place.mtp ? "calibration does not run the multi-token-prediction head"
                                                  : "nothing in front of it can take a scale per channel";
        if (!any)
            return error_set(f->err, ERR_UNSUPPORTED, "recipe '%s': %s: tensor '%.256s': solve: %s folds nothing: %s",
                             p->recipe->name, item->reason, item->tensor->name, solve_label(&item->solve), why);
        if (!plan_note(f->p, f->err, "solve: %s: '%.128s' keeps its channels as they are: %s",
                       solve_label(&item->solve), item->tensor->module, why))
            return false;
    }
    return true;
}

static bool in_trunk(const struct model_tensor *t)
{
    return t->place.block >= 0 && !t->place.mtp;
}

/* Items by block, counted and then laid out. */
static bool sort_items(struct folder *f, uint32_t n_blocks)
{
    const struct plan *p = f->p;
    f->first = arena_alloc(p->arena, (size_t)n_blocks + 2, sizeof *f->first);
    f->by_block = arena_alloc(p->arena, (size_t)p->n_items + 1, sizeof *f->by_block);
    if (!f->first || !f->by_block) return error_memory(f->err, p->n_items * sizeof *f->by_block);
    memset(f->first, 0, (n_blocks + 2) * sizeof *f->first);
    for (uint32_t i = 0; i < p->n_items; i++)
        if (in_trunk(p->items[i].tensor)) f->first[p->items[i].tensor->place.block + 2]++;
    for (uint32_t b = 2; b < n_blocks + 2; b++) f->first[b] += f->first[b - 1];
    for (uint32_t i = 0; i < p->n_items; i++)
        if (in_trunk(p->items[i].tensor)) f->by_block[f->first[p->items[i].tensor->place.block + 1]++] = i;
    return true;
}

bool plan_fold(struct plan *p, struct error *err)
{
    struct folder f = {.p = p, .err = err};
    bool asked = false;
    for (uint32_t i = 0; i < p->n_items; i++) {
        asked |= p->items[i].solve.fold.method != FOLD_NONE;
        p->items[i].fold_in = p->items[i].fold_out = NAME_NONE;
    }
    if (!asked) return true;
    uint32_t n_blocks = p->inventory->config.n_blocks;
    if (!sort_items(&f, n_blocks)) return false;
    for (uint32_t b = 0; b < n_blocks; b++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            if (!block_row(&f, b, &rows[r])) return false;
        for (uint32_t k = f.first[b]; k < f.first[b + 1]; k++)
            if (!settle_inputs(&f, b, f.by_block[k])) return false;
    }
    return check_left(&f);
}

static const char *const kind_names[] = {[FOLD_NORM] = "norm",
                                         [FOLD_NORM_ONE] = "norm around zero",
                                         [FOLD_ROWS] = "rows",
                                         [FOLD_ROOT] = "rows, by the root",
                                         [FOLD_INPUT] = "inputs"};

json_t *plan_folds_json(const struct plan *p)
{
    json_t *list = json_array();
    for (uint32_t g = 0; list && g < p->n_folds; g++) {
        const struct plan_fold *fold = &p->folds[g];
        json_array_append_new(list, json_pack("{s:s,s:s,s:i,s:b,s:o}", "maker", fold->maker, "kind",
                                              kind_names[fold->kind], "channels", (int)fold->n, "exact", fold->exact,
                                              "choice", fold_json(&fold->choice)));
    }
    return list;
}

/* ---- what calibrate keeps ---- */

uint32_t plan_fold_sample_rows(const struct plan_item *item)
{
    return item->tensor->place.expert >= 0 ? FOLD_SAMPLE_ROWS_EXPERT : FOLD_SAMPLE_ROWS;
}

static bool looks_at(const struct plan_item *item)
{
    bool linear = role_info(item->tensor->place.role)->kind == KIND_LINEAR;
    return in_trunk(item->tensor) && linear && (item->fold_in != NAME_NONE || item->solve.method == SOLVE_CLIP);
}

bool plan_fold_watches(const struct plan *p, uint32_t i)
{
    return looks_at(&p->items[i]) && solve_owner(p, i) == i;
}

uint64_t plan_fold_bytes(const struct plan *p)
{
    uint64_t most = 0, sum = 0;
    int32_t block = -1;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct model_tensor *t = p->items[i].tensor;
        if (!plan_fold_watches(p, i)) continue;
        if (t->place.block != block) sum = 0;
        block = t->place.block;
        sum += t->dims[1] * (sizeof(float) + sizeof(double) + 2 * (uint64_t)plan_fold_sample_rows(&p->items[i]));
        if (sum > most) most = sum;
    }
    return most;
}

/* A dozen copies of a tile: source, fp32, rounded, codes and scales, what is left, a piece of the sample. */
uint64_t plan_fold_worker_bytes(const struct plan *p)
{
    uint64_t widest = 0;
    for (uint32_t i = 0; i < p->n_items; i++)
        if (plan_fold_watches(p, i) && p->items[i].tensor->dims[1] > widest) widest = p->items[i].tensor->dims[1];
    return widest * FOLD_TILE * 12 * sizeof(float);
}
