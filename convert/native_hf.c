#include "convert/native_hf.h"

#include "convert/cast.h"
#include "core/memory.h"
#include "models/expected.h"

struct output {
    struct tensor_spec spec;
    uint32_t *parts; /* of the checkpoint */
    uint32_t n_parts;
    uint64_t separate;
    enum dtype from;
};

struct native {
    const struct model *m;
    json_t *config;
    struct model_config cfg; /* of the result */
    struct arena *arena;
    struct output *outputs;
    uint32_t n, capacity;
    bool *used; /* [tensors of the source's inventory] */
    enum dtype type;
};

/* The tensor of the source that is this one of the result. */
static const struct model_tensor *source_of(const struct native *n, const struct expected_tensor *t)
{
    const struct inventory *inv = n->m->inventory;
    if (!t->block) return inventory_find(inv, t->rule->role, -1, -1, false);
    return inventory_find_block(inv, t->rule->role, &inv->config.blocks[t->block - n->cfg.blocks], t->expert);
}

static const struct stack_rule *stack_of(const struct native *n, const struct expected_tensor *t)
{
    for (const struct stack_rule *r = n->cfg.arch->stacks; r && r->stack; r++)
        if (strcmp(r->member, t->rule->pattern) == 0) return r;
    return NULL;
}

static enum dtype type_of(const struct native *n, const struct model_tensor *s, enum dtype from)
{
    enum role_kind kind = role_info(s->place.role)->kind;
    bool matrix = kind == KIND_LINEAR || kind == KIND_TABLE;
    return matrix && n->type != DTYPE_COUNT ? n->type : from;
}

static bool new_output(struct native *n, const char *name, uint32_t n_parts, const struct model_tensor *s,
                       struct output **out, struct error *err)
{
    if (n->n == n->capacity) {
        uint32_t capacity = n->capacity ? 2 * n->capacity : 256;
        struct output *p = realloc(n->outputs, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        n->outputs = p;
        n->capacity = capacity;
    }
    uint32_t *parts = arena_alloc(n->arena, n_parts, sizeof *parts);
    if (!parts) return error_memory(err, n_parts);
    enum dtype from = checkpoint_tensor(n->m->checkpoint, s->parts[PART_WEIGHT])->dtype;
    *out = &n->outputs[n->n++];
    **out = (struct output){
        .spec = {.name = name, .dtype = type_of(n, s, from)}, .parts = parts, .n_parts = n_parts, .from = from};
    return cast_possible(from, (*out)->spec.dtype) ||
           error_set(err, ERR_UNSUPPORTED, "tensor '%.256s' is stored as %s, which cannot become %s here", s->name,
                     dtype_name(from), dtype_name((*out)->spec.dtype));
}

/* One expert's part of a stack: the stack is made with the first, and the rules bring its parts one after another. */
static bool add_member(struct native *n, const struct expected_tensor *t, const struct stack_rule *r,
                       const struct model_tensor *s, struct output **out, uint32_t *part, struct error *err)
{
    const char *name = model_pattern_name(&n->cfg, n->arena, r->stack, t->block, -1);
    if (!name) return error_memory(err, 0);
    *part = (uint32_t)t->expert * r->n_parts + r->part;
    *out = NULL;
    for (uint32_t i = n->n; i-- > 0 && n->n - i <= 8 && !*out;)
        if (strcmp(n->outputs[i].spec.name, name) == 0) *out = &n->outputs[i];
    if (*out) return true;
    if (!new_output(n, name, n->cfg.moe.n_experts * r->n_parts, s, out, err)) return false;
    (*out)->spec.n_dims = 3;
    (*out)->spec.dims[0] = n->cfg.moe.n_experts;
    (*out)->spec.dims[1] = r->n_parts * t->dims[0];
    (*out)->spec.dims[2] = t->dims[1];
    return true;
}

static bool add_plain(struct native *n, const struct expected_tensor *t, const struct model_tensor *s,
                      struct output **out, struct error *err)
{
    enum tensor_role role = s->place.role;
    const struct attention_config *was = &n->m->inventory->config.attention, *is = &n->cfg.attention;
    if (!new_output(n, t->name, 1, s, out, err)) return false;
    (*out)->spec.n_dims = t->n_dims;
    memcpy((*out)->spec.dims, t->dims, sizeof t->dims);
    if ((role == ROLE_ATTN_Q || role == ROLE_ATTN_K) && was->rope.style == ROPE_INTERLEAVED &&
        is->rope.style == ROPE_HALF)
        (*out)->separate = is->head_dim;
    return true;
}

static bool add(void *ctx, const struct expected_tensor *t, struct error *err)
{
    struct native *n = ctx;
    const struct model_tensor *s = source_of(n, t);
    const struct stack_rule *r = stack_of(n, t);
    struct output *out = NULL;
    uint32_t part = 0;
    if (!s && t->rule->role == ROLE_LM_HEAD && n->cfg.tied_head) return true;
    if (!s) return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s' of the result has no source", t->name);
    if (s->n_dims != t->n_dims || memcmp(s->dims, t->dims, t->n_dims * sizeof *t->dims) != 0)
        return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s' has another shape than '%.256s' should have", s->name,
                         t->name);
    if (!(r ? add_member(n, t, r, s, &out, &part, err) : add_plain(n, t, s, &out, err))) return false;
    enum dtype from = checkpoint_tensor(n->m->checkpoint, s->parts[PART_WEIGHT])->dtype;
    if (from != out->from)
        return error_set(err, ERR_UNSUPPORTED, "tensor '%.256s': expected %s as the rest of '%.256s', found %s",
                         s->name, dtype_name(out->from), out->spec.name, dtype_name(from));
    out->parts[part] = s->parts[PART_WEIGHT];
    n->used[s - n->m->inventory->tensors] = true;
    return true;
}

/* Nothing of the source is lost. */
static bool check_all_used(const struct native *n, struct error *err)
{
    const struct inventory *inv = n->m->inventory;
    for (uint32_t i = 0; i < inv->n_tensors; i++)
        if (!n->used[i])
            return error_set(err, ERR_UNSUPPORTED,
                             "tensor '%.256s' has no place in a Hugging Face folder of %s as it is written here%s",
                             inv->tensors[i].name, n->cfg.hf_name,
                             inv->tensors[i].place.role == ROLE_CARRIED ? " (towers beside the language model)" : "");
    return true;
}

static bool fill(struct native *n, struct error *err)
{
    const struct inventory *inv = n->m->inventory;
    const struct model_tensor *embed = inventory_find(inv, ROLE_EMBED, -1, -1, false);
    enum dtype type = n->type;
    if (inv->is_quantized)
        return error_set(err, ERR_UNSUPPORTED,
                         "a quantized model in Mistral's own layout does not become a Hugging Face folder in one step: "
                         "make it plain first (`convert --to safetensors --type bf16`)");
    if (type == DTYPE_COUNT && embed) type = checkpoint_tensor(n->m->checkpoint, embed->parts[PART_WEIGHT])->dtype;
    if (!native_make_config(n->m, type, &n->config, err)) return false;
    struct hf_config hf = {.config = n->config};
    return model_config_read(&n->cfg, &hf, n->arena, err) &&
           memory_zalloc(&n->used, inv->n_tensors, sizeof *n->used, err) &&
           model_expect(&n->cfg, n->arena, add, n, err) && check_all_used(n, err);
}

bool native_open(struct native **out, const struct model *m, enum dtype type, struct error *err)
{
    struct native *n = calloc(1, sizeof *n);
    if (!n || !(n->arena = arena_new())) {
        free(n);
        return error_memory(err, sizeof *n);
    }
    n->m = m;
    n->type = type;
    if (!fill(n, err)) {
        native_close(n);
        return false;
    }
    *out = n;
    return true;
}

void native_close(struct native *n)
{
    if (!n) return;
    json_decref(n->config);
    free(n->outputs);
    free(n->used);
    arena_free(n->arena);
    free(n);
}

uint32_t native_count(const struct native *n)
{
    return n->n;
}

const json_t *native_hf_config(const struct native *n)
{
    return n->config;
}

void native_output(const struct native *n, uint32_t i, struct tensor_spec *spec, struct convert_item *item)
{
    const struct output *o = &n->outputs[i];
    *spec = o->spec;
    uint64_t elems = checkpoint_tensor(n->m->checkpoint, o->parts[0])->n_elems;
    *item = (struct convert_item){.parts = o->parts,
                                  .n_parts = o->n_parts,
                                  .cols = spec->dims[spec->n_dims - 1],
                                  .separate = o->separate,
                                  .from = o->from,
                                  .to = spec->dtype,
                                  .name = spec->name};
    item->part_rows = item->cols ? elems / item->cols : 0;
    item->rows = item->part_rows * o->n_parts;
}
