/* From Megatron's names and layouts to those of the Hugging Face folder. */
#include "core/json.h"
#include "core/text.h"
#include "formats/megatron.h"
#include "formats/tensor_pieces.h"

#include <stdio.h>

enum how { PLAIN, QKV, FC1 };

/* Behind "decoder.layers.N.", or whole names. The second words are NeMo's before Megatron-core. */
static const struct row {
    const char *name, *old, *hf; /* hf: of QKV and FC1 with a %s for the projection */
    enum how how;
    int cut;
} layer_rows[] =
    {
        {"self_attention.linear_qkv.layer_norm_weight", "input_layernorm.weight", "input_layernorm.weight", PLAIN, -1},
        {"self_attention.linear_qkv.layer_norm_bias", "input_layernorm.bias", "input_layernorm.bias", PLAIN, -1},
        {"self_attention.linear_qkv.weight", "self_attention.query_key_value.weight", "self_attn.%s_proj.weight", QKV,
         0},
        {"self_attention.linear_qkv.bias", "self_attention.query_key_value.bias", "self_attn.%s_proj.bias", QKV, 0},
        {"self_attention.linear_proj.weight", "self_attention.dense.weight", "self_attn.o_proj.weight", PLAIN, 1},
        {"self_attention.linear_proj.bias", "self_attention.dense.bias", "self_attn.o_proj.bias", PLAIN, -1},
        {"mlp.linear_fc1.layer_norm_weight", "pre_mlp_layernorm.weight", "post_attention_layernorm.weight", PLAIN, -1},
        {"mlp.linear_fc1.layer_norm_bias", "pre_mlp_layernorm.bias", "post_attention_layernorm.bias", PLAIN, -1},
        {"mlp.linear_fc1.weight", "mlp.dense_h_to_4h.weight", "mlp.%s_proj.weight", FC1, 0},
        {"mlp.linear_fc1.bias", "mlp.dense_h_to_4h.bias", "mlp.%s_proj.bias", FC1, 0},
        {"mlp.linear_fc2.weight", "mlp.dense_4h_to_h.weight", "mlp.down_proj.weight", PLAIN, 1},
        {"mlp.linear_fc2.bias", "mlp.dense_4h_to_h.bias", "mlp.down_proj.bias", PLAIN, -1},
},
  other_rows[] = {
      {"embedding.word_embeddings.weight", "word_embeddings.weight", "model.embed_tokens.weight", PLAIN, 0},
      {"decoder.final_layernorm.weight", "decoder.final_norm.weight", "model.norm.weight", PLAIN, -1},
      {"decoder.final_layernorm.bias", "decoder.final_norm.bias", "model.norm.bias", PLAIN, -1},
      {"output_layer.weight", "lm_head.weight", "lm_head.weight", PLAIN, 0},
};
#define N_LAYER_ROWS (sizeof layer_rows / sizeof *layer_rows)
#define N_OTHER_ROWS (sizeof other_rows / sizeof *other_rows)
#define LAYERS "decoder.layers."
#define LOOKS_MAX ((uint64_t)1 << 28) /* chunks that are held against ranges of rows */

/* ---- names ---- */

static const char *skip(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

const char *mega_name(struct arena *a, const char *name, int64_t *layer)
{
    static const char *const wrappers[] = {"module.", "model.", "language_model.", "enc_dec_model."};
    static const char *const no_weights[] = {"optimizer.", "chained_", "rng_state", "rerun_state", "rotary_pos_emb."};
    const char *rest;
    *layer = -1;
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        if ((rest = skip(name, wrappers[i]))) {
            name = rest;
            i = (size_t)-1;
        }
    for (size_t i = 0; i < sizeof no_weights / sizeof *no_weights; i++)
        if (skip(name, no_weights[i])) return NULL;
    if (strstr(name, "._extra_state") || text_ends_with(name, "rotary_emb.inv_freq")) return NULL;
    if (!skip(name, "encoder.")) name = arena_text(a, name);
    else name = arena_printf(a, "decoder.%s", name + 8);
    rest = name ? skip(name, LAYERS) : NULL;
    if (!rest || *rest < '0' || *rest > '9') return name;
    int64_t n = 0;
    const char *p = rest;
    for (; *p >= '0' && *p <= '9' && n < INT32_MAX; p++) n = n * 10 + (*p - '0');
    if (*p != '.') return name;
    *layer = n;
    return arena_printf(a, LAYERS "%s", p + 1);
}

char *mega_layer_name(struct arena *a, const char *name, int64_t layer)
{
    const char *rest = skip(name, LAYERS);
    if (layer < 0 || !rest) return arena_text(a, name);
    return arena_printf(a, LAYERS "%lld.%s", (long long)layer, rest);
}

static const struct row *find_row(const char *name)
{
    const char *rest = skip(name, LAYERS);
    for (size_t i = 0; rest && i < N_LAYER_ROWS; i++)
        if (strcmp(rest, layer_rows[i].name) == 0 || strcmp(rest, layer_rows[i].old) == 0 ||
            (strncmp(layer_rows[i].old, "pre_mlp", 7) == 0 && skip(rest, "post_attention") &&
             strcmp(rest + 14, layer_rows[i].old + 7) == 0))
            return &layer_rows[i];
    for (size_t i = 0; !rest && i < N_OTHER_ROWS; i++)
        if (strcmp(name, other_rows[i].name) == 0 || strcmp(name, other_rows[i].old) == 0) return &other_rows[i];
    return NULL;
}

int mega_cut(const char *name, bool *is_fc1)
{
    const struct row *r = find_row(name);
    *is_fc1 = r && r->how == FC1;
    return r ? r->cut : -2;
}

/* ---- sets ---- */

void mega_set_free(struct mega_set *s)
{
    for (uint32_t i = 0; i < s->n; i++) free(s->arrays[i].chunks);
    free(s->arrays);
    arena_free(s->arena);
    *s = (struct mega_set){0};
}

struct mega_array *mega_set_array(struct mega_set *s, const struct mega_array *a, struct error *err)
{
    /* Chunks of an array come in runs, and what a rank has is what the others have in the same order. */
    for (uint32_t i = 0; i < s->n; i++) {
        struct mega_array *x = &s->arrays[s->n - 1 - i];
        if (strcmp(x->name, a->name) == 0) return x;
    }
    if (s->n == MEGA_ARRAYS_MAX) {
        error_set(err, ERR_UNSUPPORTED, "there are more than %u arrays", MEGA_ARRAYS_MAX);
        return NULL;
    }
    if (s->n == s->capacity) {
        uint32_t capacity = s->capacity ? 2 * s->capacity : 64;
        struct mega_array *p = realloc(s->arrays, capacity * sizeof *p);
        if (!p) {
            error_memory(err, capacity * sizeof *p);
            return NULL;
        }
        s->arrays = p;
        s->capacity = capacity;
    }
    struct mega_array *x = &s->arrays[s->n];
    *x = *a;
    x->chunks = NULL;
    x->n_chunks = x->capacity = 0;
    x->name = arena_text(s->arena, a->name);
    if (!x->name) {
        error_memory(err, 0);
        return NULL;
    }
    s->n++;
    return x;
}

bool mega_add_chunk(struct mega_set *s, struct mega_array *a, const struct mega_chunk *c, struct error *err)
{
    bool inside = c->part.n_dims == a->n_dims && c->part.dtype == a->dtype;
    for (uint32_t i = 0; inside && i < a->n_dims; i++)
        inside = c->at[i] <= a->dims[i] && c->part.dims[i] <= a->dims[i] - c->at[i];
    if (!inside)
        return error_set(err, ERR_FORMAT, "array '%.256s': a chunk of it has another type or is not inside", a->name);
    if (s->n_chunks == MEGA_CHUNKS_MAX)
        return error_set(err, ERR_UNSUPPORTED, "there are more than %u chunks", MEGA_CHUNKS_MAX);
    if (a->n_chunks == a->capacity) {
        uint32_t capacity = a->capacity ? 2 * a->capacity : 1;
        struct mega_chunk *p = realloc(a->chunks, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        a->chunks = p;
        a->capacity = capacity;
    }
    a->chunks[a->n_chunks++] = *c;
    s->n_chunks++;
    return true;
}

/* ---- tensors ---- */

struct mapper {
    struct checkpoint *ck;
    struct mega_set *set;
    const struct mega_config *c;
    struct tensor_piece *pieces;
    uint32_t n, capacity;
    const struct mega_chunk **near; /* chunks of the array at hand that have something of the layer at hand */
    uint32_t near_capacity;
    uint64_t looks; /* so far */
    struct error *err;
};

/* Rows [first, first + n) of the source become rows [to, to + n) of the tensor. */
struct rows {
    uint64_t first, n, to;
};

static bool push(struct mapper *m, const struct tensor_piece *p)
{
    if (m->n == m->capacity) {
        uint32_t capacity = m->capacity ? 2 * m->capacity : 64;
        if (capacity > 2 * TENSOR_PIECES_MAX)
            return error_set(m->err, ERR_UNSUPPORTED, "a tensor lies in more than %u pieces", TENSOR_PIECES_MAX);
        struct tensor_piece *q = realloc(m->pieces, capacity * sizeof *q);
        if (!q) return error_memory(m->err, capacity * sizeof *q);
        m->pieces = q;
        m->capacity = capacity;
    }
    m->pieces[m->n++] = *p;
    return true;
}

/* `axis`: the dimension of rows, behind that of layers when there is one. */
static bool cut_chunk(struct mapper *m, const struct mega_chunk *c, uint32_t axis, uint64_t layer, struct rows r)
{
    const struct torch_tensor *t = &c->part;
    bool has_cols = axis + 1 < t->n_dims;
    uint64_t from = r.first > c->at[axis] ? r.first : c->at[axis], end = c->at[axis] + t->dims[axis];
    if (end > r.first + r.n) end = r.first + r.n;
    if (from >= end || (has_cols && t->dims[axis + 1] == 0)) return true;
    struct tensor_piece p = {.row = r.to + from - r.first,
                             .rows = end - from,
                             .cols = has_cols ? t->dims[axis + 1] : 1,
                             .col = has_cols ? c->at[axis + 1] : 0,
                             .row_step = t->steps[axis],
                             .col_step = has_cols && t->dims[axis + 1] > 1 ? t->steps[axis + 1] : dtype_bytes(t->dtype),
                             .member = t->member};
    p.offset = t->offset + (from - c->at[axis]) * t->steps[axis] + (axis ? (layer - c->at[0]) * t->steps[0] : 0);
    return push(m, &p);
}

/* The chunks with something of this layer. What is looked at is counted: ranges times chunks, of every layer, come to
 * more than anybody waits for, and to a few million where a checkpoint is what it seems. */
static bool find_near(struct mapper *m, const struct mega_array *a, bool stacked, uint64_t layer, uint64_t n_ranges,
                      uint32_t *n)
{
    if (a->n_chunks > m->near_capacity) {
        const struct mega_chunk **p = realloc(m->near, a->n_chunks * sizeof *p);
        if (!p) return error_memory(m->err, a->n_chunks * sizeof *p);
        m->near = p;
        m->near_capacity = a->n_chunks;
    }
    *n = 0;
    for (uint32_t k = 0; k < a->n_chunks; k++) {
        const struct mega_chunk *c = &a->chunks[k];
        if (!stacked || (layer >= c->at[0] && layer - c->at[0] < c->part.dims[0])) m->near[(*n)++] = c;
    }
    m->looks += a->n_chunks + n_ranges * *n; /* at most 2^16 * 10^6 */
    return m->looks <= LOOKS_MAX ||
           error_set(m->err, ERR_UNSUPPORTED, "array '%.256s': %u chunks and %llu query groups are too many", a->name,
                     a->n_chunks, (unsigned long long)n_ranges);
}

/* One tensor from rows of an array; `layer` counts when the array is a stack of layers. */
static bool emit(struct mapper *m, const char *name, const struct mega_array *a, bool stacked, uint64_t layer,
                 const struct rows *ranges, uint64_t n_ranges)
{
    uint32_t axis = stacked;
    struct tensor_info info = {.name = name, .dtype = a->dtype, .n_dims = a->n_dims - axis};
    uint64_t rows = 0;
    uint32_t n_near = 0;
    m->n = 0;
    if (!find_near(m, a, stacked, layer, n_ranges, &n_near)) return false;
    for (uint64_t i = 0; i < n_ranges; i++) {
        rows += ranges[i].n;
        for (uint32_t k = 0; k < n_near; k++)
            if (!cut_chunk(m, m->near[k], axis, layer, ranges[i])) return false;
    }
    info.dims[0] = rows;
    if (info.n_dims > 1) info.dims[1] = a->dims[axis + 1];
    struct tensor_pieces p = {.rows = rows, .cols = info.n_dims > 1 ? info.dims[1] : 1, .n = m->n, .piece = m->pieces};
    uint64_t elem = dtype_bytes(a->dtype);
    const struct tensor_piece *one = m->pieces;
    if (m->n == 1 && one->rows == rows && one->cols == p.cols && one->col_step == elem &&
        (rows == 1 || one->row_step == p.cols * elem)) {
        info.member = one->member;
        info.offset = one->offset;
        return checkpoint_add(m->ck, &info, m->err);
    }
    if (m->n == 0) return error_set(m->err, ERR_FORMAT, "tensor '%.256s': no stored part of it is there", name);
    return checkpoint_add_pieces(m->ck, &info, &p, m->err);
}

static bool shape_is(struct mapper *m, const struct mega_array *a, uint32_t axis, uint64_t rows)
{
    if (a->dims[axis] == rows) return true;
    return error_set(m->err, ERR_FORMAT, "array '%.256s' has %llu rows, config.json makes it %llu", a->name,
                     (unsigned long long)a->dims[axis], (unsigned long long)rows);
}

/* Rows of a query group: those of its query heads, of its key head, of its value head. */
static bool emit_qkv(struct mapper *m, const char *pattern, const struct mega_array *a, bool stacked, uint64_t layer)
{
    const struct mega_config *c = m->c;
    uint64_t q = c->heads / c->groups * c->head_dim, group = q + 2 * c->head_dim;
    const uint64_t first[3] = {0, q, q + c->head_dim}, n[3] = {q, c->head_dim, c->head_dim};
    if (!shape_is(m, a, stacked, c->groups * group)) return false;
    CLEANUP(free) struct rows *r = malloc((size_t)c->groups * sizeof *r);
    if (!r) return error_memory(m->err, (size_t)c->groups * sizeof *r);
    for (int k = 0; k < 3; k++) {
        char name[TORCH_NAME_MAX];
        const char letter[2] = {"qkv"[k], '\0'};
        for (uint64_t g = 0; g < c->groups; g++) r[g] = (struct rows){g * group + first[k], n[k], g * n[k]};
        snprintf(name, sizeof name, "model.layers.%llu.", (unsigned long long)layer);
        size_t used = strlen(name);
        const char *at = strstr(pattern, "%s");
        snprintf(name + used, sizeof name - used, "%.*s%s%s", (int)(at - pattern), pattern, letter, at + 2);
        if (!emit(m, name, a, stacked, layer, r, c->groups)) return false;
    }
    return true;
}

/* Gate and up share one, gate first. */
static bool emit_fc1(struct mapper *m, const char *pattern, const struct mega_array *a, bool stacked, uint64_t layer)
{
    static const char *const words[2] = {"gate", "up"};
    uint64_t rows = a->dims[stacked], half = m->c->gated ? rows / 2 : 0;
    if (m->c->gated && rows % 2)
        return error_set(m->err, ERR_FORMAT, "array '%.256s' has an odd number of rows for gate and up", a->name);
    for (int k = m->c->gated ? 0 : 1; k < 2; k++) {
        char name[TORCH_NAME_MAX];
        struct rows r = {k ? half : 0, m->c->gated ? half : rows, 0};
        const char *at = strstr(pattern, "%s");
        snprintf(name, sizeof name, "model.layers.%llu.%.*s%s%s", (unsigned long long)layer, (int)(at - pattern),
                 pattern, words[k], at + 2);
        if (!emit(m, name, a, stacked, layer, &r, 1)) return false;
    }
    return true;
}

static bool emit_row(struct mapper *m, const struct row *row, const struct mega_array *a, bool stacked, int64_t layer)
{
    uint32_t dims = a->n_dims - stacked;
    if (a->n_dims < 1u + stacked || dims > 2)
        return error_set(m->err, ERR_FORMAT, "array '%.256s' has %u dimensions", a->name, a->n_dims);
    if (row->how == QKV) return emit_qkv(m, row->hf, a, stacked, (uint64_t)layer);
    if (row->how == FC1) return emit_fc1(m, row->hf, a, stacked, (uint64_t)layer);
    char name[TORCH_NAME_MAX];
    struct rows r = {0, a->dims[stacked], 0};
    if (layer < 0) snprintf(name, sizeof name, "%s", row->hf);
    else snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer, row->hf);
    return emit(m, name, a, stacked, layer < 0 ? 0 : (uint64_t)layer, &r, 1);
}

struct entry {
    int64_t layer; /* -1: none; -2: a stack of them */
    const struct row *row;
    const struct mega_array *array;
};

/* The embedding, layer by layer, the rest: the order of a Hugging Face model. */
static int by_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static bool collect(struct mapper *m, struct entry **out, size_t *n)
{
    size_t capacity = 0;
    for (uint32_t i = 0; i < m->set->n; i++) {
        const struct mega_array *a = &m->set->arrays[i];
        capacity += strncmp(a->name, LAYERS, strlen(LAYERS)) == 0 ? (size_t)m->c->layers : 1;
        if (capacity > MEGA_CHUNKS_MAX)
            return error_set(m->err, ERR_UNSUPPORTED, "there are more than %u tensors", MEGA_CHUNKS_MAX);
    }
    *n = 0;
    *out = calloc(capacity + 1, sizeof **out);
    if (!*out) return error_memory(m->err, capacity * sizeof **out);
    for (uint32_t i = 0; i < m->set->n; i++) {
        const struct mega_array *a = &m->set->arrays[i];
        int64_t layer;
        const char *plain = mega_name(m->set->arena, a->name, &layer);
        if (!plain) return error_memory(m->err, 0);
        const struct row *row = find_row(plain);
        if (!row)
            return error_set(m->err, ERR_UNSUPPORTED,
                             "array '%.256s' is not part of the layouts of Megatron that are read here: GPT models like"
                             " Llama and Nemotron-4",
                             a->name);
        bool stack = layer < 0 && strncmp(plain, LAYERS, strlen(LAYERS)) == 0;
        if (stack && (a->n_dims < 2 || a->dims[0] != m->c->layers))
            return error_set(m->err, ERR_FORMAT, "array '%.256s' does not hold the %llu layers of config.json", a->name,
                             (unsigned long long)m->c->layers);
        if (!stack) (*out)[(*n)++] = (struct entry){layer < 0 && row != other_rows ? INT64_MAX : layer, row, a};
        for (uint64_t l = 0; stack && l < m->c->layers; l++) (*out)[(*n)++] = (struct entry){(int64_t)l, row, a};
    }
    if (*n) qsort(*out, *n, sizeof **out, by_order);
    return true;
}

bool mega_add_all(struct checkpoint *ck, struct mega_set *s, const struct mega_config *c, struct error *err)
{
    struct mapper m = {.ck = ck, .set = s, .c = c, .err = err};
    struct entry *entries = NULL;
    size_t n = 0;
    bool ok = collect(&m, &entries, &n);
    for (size_t i = 0; ok && i < n; i++) {
        const struct entry *e = &entries[i];
        int64_t ignored, layer = e->layer == INT64_MAX ? -1 : e->layer;
        bool stacked = false;
        if (layer >= 0) stacked = mega_name(s->arena, e->array->name, &ignored) && ignored < 0;
        ok = emit_row(&m, e->row, e->array, stacked, layer);
    }
    free(entries);
    free(m.pieces);
    free(m.near);
    return ok;
}

/* ---- config.json ---- */

bool mega_config_read(const struct folder *f, struct mega_config *out, struct error *err)
{
    CLEANUP_BUFFER struct buffer text = {0};
    CLEANUP(json) json_t *doc = NULL;
    const char *type, *act = "silu", *what = "config.json";
    uint64_t hidden;
    *out = (struct mega_config){0};
    if (!folder_load(f, "config.json", (size_t)16 << 20, &text, err) ||
        !json_parse(buffer_view(&text), JSON_DIALECT_HF, what, &doc, err) ||
        !json_get_string(doc, "model_type", what, &type, err) ||
        !json_get_u64(doc, "hidden_size", what, 1, UINT32_MAX, &hidden, err) ||
        !json_get_u64(doc, "num_hidden_layers", what, 1, 4096, &out->layers, err) ||
        !json_get_u64(doc, "num_attention_heads", what, 1, 65536, &out->heads, err) ||
        !json_opt_string(doc, "hidden_act", what, &act, err))
        return false;
    out->groups = out->heads;
    out->head_dim = hidden / out->heads;
    out->gated = strcmp(act, "silu") == 0;
    if (!json_opt_u64(doc, "num_key_value_heads", what, 1, 65536, &out->groups, err) ||
        !json_opt_u64(doc, "head_dim", what, 1, 65536, &out->head_dim, err))
        return false;
    if (strcmp(type, "llama") != 0 && strcmp(type, "mistral") != 0 && strcmp(type, "nemotron") != 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "config.json: model_type '%.64s': Megatron's layouts of llama, mistral and"
                         " nemotron are read",
                         type);
    if (out->heads % out->groups || out->head_dim == 0)
        return error_set(err, ERR_FORMAT, "config.json: %llu heads do not divide into %llu groups",
                         (unsigned long long)out->heads, (unsigned long long)out->groups);
    return true;
}
