/* A GGUF model as a checkpoint: every tensor under the name, with the shape and the values, that it has in the family's
 * Hugging Face folder. */
#include "formats/checkpoint.h"
#include "formats/gguf_arch.h"
#include "formats/gguf_split.h"

struct mapper {
    struct checkpoint *ck;
    const struct gguf *g;
    const struct gguf_arch *arch;
    struct arena *names;
    uint64_t n_layers, all_layers;
    struct error *err;
};

static bool wrong(const struct mapper *m, const struct gguf_tensor *t, const char *what)
{
    return error_set(m->err, ERR_FORMAT, "'%.256s': tensor '%.256s' %s",
                     folder_name(checkpoint_folder(m->ck), t->member), t->name, what);
}

static bool flatten(struct tensor_info *out)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < out->n_dims; i++) n *= out->dims[i];
    out->n_dims = 1;
    out->dims[0] = n;
    return true;
}

/* Heads may be said per layer, 0 for those without attention. Without a number of key heads there are as many. */
static bool heads_of(const struct mapper *m, uint32_t block, bool keys, uint64_t *out)
{
    static const char *const names[] = {"%s.attention.head_count", "%s.attention.head_count_kv"};
    if (block == NAME_NONE) block = 0;
    if (keys && !gguf_find(m->g, names[1])) keys = false;
    return gguf_per_layer(m->g, names[keys], m->all_layers, block, out, m->err);
}

static bool rows_apart(const struct mapper *m, const struct gguf_tensor *t, uint32_t block, bool keys,
                       struct tensor_info *out)
{
    uint64_t heads;
    if (!heads_of(m, block, keys, &heads)) return false;
    uint64_t rows = heads ? t->dims[0] / heads : 0;
    if (heads == 0 || t->dims[0] % heads != 0 || rows % 2 != 0 || rows > UINT32_MAX)
        return wrong(m, t, "has rows that do not divide into heads of an even size");
    out->recode = RECODE_ROWS_APART;
    out->head_rows = (uint32_t)rows;
    return true;
}

static bool change(const struct mapper *m, const struct gguf_tensor *t, enum gguf_change how, uint32_t block,
                   struct tensor_info *out)
{
    switch (how) {
    case GGUF_ROPE_Q: return rows_apart(m, t, block, false, out);
    case GGUF_ROPE_K: return rows_apart(m, t, block, true, out);
    case GGUF_PLUS_ONE: out->recode = RECODE_MINUS_ONE; break;
    case GGUF_NEG_EXP:
    case GGUF_NEG_EXP_ROW:
        out->recode = RECODE_LOG_NEG;
        return flatten(out) && (out->dtype == DTYPE_F32 || wrong(m, t, "is not F32"));
    case GGUF_COLUMN:
    case GGUF_GROUPS: return flatten(out);
    case GGUF_ROW:
        (void)flatten(out);
        out->n_dims = 2;
        out->dims[1] = out->dims[0];
        out->dims[0] = 1;
        return true;
    case GGUF_CONV:
        if (t->n_dims != 2) return wrong(m, t, "has not two dimensions");
        out->n_dims = 3;
        out->dims[2] = out->dims[1];
        out->dims[1] = 1;
        return true;
    default: return true;
    }
    return out->dtype == DTYPE_F32 || wrong(m, t, "is not F32");
}

/* A stack of experts: one tensor each, one behind the other. */
static bool add_stack(const struct mapper *m, const struct gguf_name *n, const struct gguf_tensor *t, uint32_t block,
                      struct tensor_info *info)
{
    bool matrix =
        strcmp(t->name + strlen(t->name) - strlen(".bias"), ".bias") != 0; /* a row has matched: it is as long */
    if (t->n_dims != (matrix ? 3 : 2))
        return wrong(m, t, matrix ? "has not three dimensions" : "has not two dimensions");
    uint64_t experts = t->dims[0];
    info->n_dims = t->n_dims - 1;
    info->dims[0] = t->dims[1];
    info->dims[1] = matrix ? t->dims[2] : 0;
    for (uint64_t e = 0; e < experts; e++) {
        if (e >= UINT32_MAX - 1) return wrong(m, t, "has more experts than can be counted");
        info->name = gguf_name_fill(m->names, n->hf, block, (uint32_t)e);
        if (!info->name) return error_memory(m->err, 0);
        info->offset = t->offset + t->bytes / experts * e;
        if (!checkpoint_add(m->ck, info, m->err)) return false;
    }
    return true;
}

/* NVFP4's scales lie beside a weight, one number or one per expert: NAME.scale and NAME.input_scale. */
static const struct sidecar {
    const char *gguf, *hf;
} sidecars[] = {{".scale", ".weight_scale_2"}, {".input_scale", ".input_scale"}};

static const struct sidecar *sidecar_of(const char *name, char weight[GGUF_NAME_MAX + 8])
{
    for (size_t i = 0; i < sizeof sidecars / sizeof *sidecars; i++) {
        size_t n = strlen(name), k = strlen(sidecars[i].gguf);
        if (n <= k || n > GGUF_NAME_MAX || strcmp(name + n - k, sidecars[i].gguf) != 0) continue;
        memcpy(weight, name, n - k);
        memcpy(weight + n - k, ".weight", sizeof ".weight");
        return &sidecars[i];
    }
    return NULL;
}

static bool add_sidecar(const struct mapper *m, const struct gguf_tensor *t, const struct gguf_name *n,
                        const struct sidecar *s, uint32_t block)
{
    size_t stem = n->hf ? strlen(n->hf) : 0;
    bool stack = n->hf && strstr(n->hf, "{E}");
    if (stem < sizeof ".weight" || strcmp(n->hf + stem - strlen(".weight"), ".weight") != 0)
        return wrong(m, t, "belongs to no matrix");
    if (t->type->dtype != DTYPE_F32 || t->n_dims != 1 || (!stack && t->n_elems != 1) || t->n_elems >= UINT32_MAX)
        return wrong(m, t, "is not one F32 number, or one per expert");
    for (uint32_t e = 0; e < t->n_elems; e++) {
        struct tensor_info info = {.dtype = DTYPE_F32, .member = t->member, .offset = t->offset + e * sizeof(float)};
        const char *weight = gguf_name_fill(m->names, n->hf, block, e);
        info.name =
            weight ? arena_printf(m->names, "%.*s%s", (int)(strlen(weight) - strlen(".weight")), weight, s->hf) : NULL;
        if (!info.name) return error_memory(m->err, 0);
        if (!checkpoint_add(m->ck, &info, m->err)) return false;
    }
    return true;
}

/* Two tensors that are one in the folder: the row of the other one follows, or goes before. */
static bool add_half(const struct mapper *m, const struct gguf_name *n, const struct gguf_tensor *t, uint32_t block)
{
    bool second = n->change == GGUF_Z || n->change == GGUF_V_B;
    char *pair = gguf_name_fill(m->names, n[second ? -1 : 1].gguf, block, 0),
         *name = gguf_name_fill(m->names, n->hf, block, 0);
    if (!pair || !name) return error_memory(m->err, 0);
    return gguf_add_split(m->ck, m->g, t, n->change, pair, name, m->err);
}

/* The row of the same name for layers without key heads, where there is one and this is such a layer. */
static bool choose_row(const struct mapper *m, uint32_t block, const struct gguf_name **n)
{
    for (uint32_t i = 0; i < m->arch->n_names; i++) {
        const struct gguf_name *other = &m->arch->names[i];
        uint64_t kv_heads;
        if (other->change != GGUF_LINEAR || strcmp(other->gguf, (*n)->gguf) != 0) continue;
        if (!heads_of(m, block, true, &kv_heads)) return false;
        if (kv_heads == 0) *n = other;
    }
    return true;
}

static bool add(const struct mapper *m, const struct gguf_tensor *t)
{
    uint32_t block;
    char weight[GGUF_NAME_MAX + 8];
    const struct sidecar *side = sidecar_of(t->name, weight);
    const struct gguf_name *of = side ? gguf_name_match(m->arch, weight, m->n_layers, &block) : NULL;
    if (of) return choose_row(m, block, &of) && add_sidecar(m, t, of, side, block);
    const struct gguf_name *n = gguf_name_match(m->arch, t->name, m->n_layers, &block);
    if (!n)
        return error_set(m->err, ERR_FORMAT, "'%.256s': tensor '%.256s' is not part of the GGUF architecture %s",
                         folder_name(checkpoint_folder(m->ck), t->member), t->name, m->arch->name);
    if (!choose_row(m, block, &n)) return false;
    if (!n->hf) return true;
    if (n->change >= GGUF_QKV && n->change <= GGUF_V_B) return add_half(m, n, t, block);
    struct tensor_info info = {.dtype = t->type->dtype, .n_dims = t->n_dims, .member = t->member, .offset = t->offset};
    memcpy(info.dims, t->dims, sizeof t->dims);
    if (strstr(n->hf, "{E}")) return add_stack(m, n, t, block, &info);
    info.name = gguf_name_fill(m->names, n->hf, block, 0);
    if (!info.name) return error_memory(m->err, 0);
    return change(m, t, n->change, block, &info) && checkpoint_add(m->ck, &info, m->err);
}

static bool open_all(struct checkpoint *ck, const struct gguf *g, struct arena *names, struct error *err)
{
    struct mapper m = {.ck = ck, .g = g, .names = names, .err = err};
    const char *name;
    uint64_t mtp;
    if (!gguf_architecture(g, &name, err) || !gguf_arch_find(&m.arch, name, err) ||
        !gguf_layers(g, &m.n_layers, &mtp, err))
        return false;
    m.all_layers = m.n_layers + mtp;
    for (uint32_t i = 0; i < g->n_files; i++)
        if (!checkpoint_add_file(ck, g->files[i].member, &g->files[i].digest, err)) return false;
    for (uint32_t i = 0; i < g->n_tensors; i++)
        if (!add(&m, &g->tensors[i])) return false;
    return true;
}

static bool open_gguf(struct checkpoint *ck, struct error *err)
{
    CLEANUP(gguf) struct gguf *g = NULL;
    if (!gguf_open(&g, checkpoint_folder(ck), err)) return false;
    struct arena *names = arena_new();
    if (!names) return error_memory(err, 0);
    bool ok = open_all(ck, g, names, err);
    arena_free(names);
    return ok;
}

const struct checkpoint_format checkpoint_gguf = {.name = "gguf", .probe = gguf_folder_has, .open = open_gguf};
