#include "formats/gguf_write.h"

#include "core/text.h"

#include <stdio.h>

struct out_tensor {
    const char *name;
    const struct ggml_type *type;
    uint32_t n_dims;
    uint64_t dims[GGUF_DIMS_MAX];
    uint64_t bytes, place;
};

struct made {
    const char *name;
    float *values;
    uint64_t n;
};

struct gguf_writer {
    const struct gguf_arch *arch;
    struct arena *arena;
    struct text values, header;
    uint64_t n_values, trunk, mtp;
    struct out_tensor *tensors;
    uint32_t n_tensors, capacity, n_made, made_capacity;
    struct made *made;
};

bool gguf_writer_open(struct gguf_writer **out, const struct gguf_arch *arch, struct error *err)
{
    *out = NULL;
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w);
    w->arch = arch;
    w->arena = arena_new();
    if (!w->arena) {
        free(w);
        return error_memory(err, 0);
    }
    gguf_put_text(w, "general.architecture", bytes_text(arch->name));
    *out = w;
    return true;
}

void gguf_writer_close(struct gguf_writer *w)
{
    if (!w) return;
    for (uint32_t i = 0; i < w->n_made; i++) free(w->made[i].values);
    text_free(&w->values);
    text_free(&w->header);
    free(w->made);
    free(w->tensors);
    arena_free(w->arena);
    free(w);
}

static void put_le(struct text *t, uint64_t v, size_t bytes)
{
    uint8_t raw[8];
    store_le64(raw, v);
    text_put(t, raw, bytes);
}

static void put_bytes(struct text *t, struct bytes b)
{
    put_le(t, b.size, 8);
    text_put(t, b.data, b.size);
}

static void put_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
    char full[2 * GGUF_KEY_MAX];
    bool of_arch = strncmp(key, "%s", 2) == 0;
    snprintf(full, sizeof full, "%s%s", of_arch ? w->arch->name : "", of_arch ? key + 2 : key);
    put_bytes(&w->values, bytes_text(full));
    put_le(&w->values, type, 4);
    w->n_values++;
}

static void put_array(struct gguf_writer *w, const char *key, enum gguf_type type, uint64_t n)
{
    put_key(w, key, GGUF_ARRAY);
    put_le(&w->values, type, 4);
    put_le(&w->values, n, 8);
}

static uint32_t bits_of(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
    put_key(w, key, GGUF_U32);
    put_le(&w->values, v, 4);
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float v)
{
    put_key(w, key, GGUF_F32);
    put_le(&w->values, bits_of(v), 4);
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool v)
{
    put_key(w, key, GGUF_BOOL);
    put_le(&w->values, v, 1);
}

void gguf_put_text(struct gguf_writer *w, const char *key, struct bytes v)
{
    put_key(w, key, GGUF_STRING);
    put_bytes(&w->values, v);
}

void gguf_put_i32_array(struct gguf_writer *w, const char *key, const int32_t *v, uint64_t n)
{
    put_array(w, key, GGUF_I32, n);
    for (uint64_t i = 0; i < n; i++) put_le(&w->values, (uint32_t)v[i], 4);
}

void gguf_put_f32_array(struct gguf_writer *w, const char *key, const float *v, uint64_t n)
{
    put_array(w, key, GGUF_F32, n);
    for (uint64_t i = 0; i < n; i++) put_le(&w->values, bits_of(v[i]), 4);
}

void gguf_put_text_array(struct gguf_writer *w, const char *key, const struct bytes *v, uint64_t n)
{
    put_array(w, key, GGUF_STRING, n);
    for (uint64_t i = 0; i < n; i++) put_bytes(&w->values, v[i]);
}

void gguf_set_layers(struct gguf_writer *w, uint64_t trunk, uint64_t mtp)
{
    w->trunk = trunk;
    w->mtp = mtp;
}

uint64_t gguf_trunk_layers(const struct gguf_writer *w)
{
    return w->trunk;
}

uint64_t gguf_all_layers(const struct gguf_writer *w)
{
    return w->trunk + w->mtp;
}

static bool write_key(struct gguf_writer *w, const struct gguf_key *k, const json_t *config, struct error *err)
{
    char key[GGUF_KEY_MAX];
    snprintf(key, sizeof key, "%%s.%s", k->key);
    const char *const *hf = k->hf;
    while (*hf && !json_has(config, *hf)) hf++;
    if (!*hf) return true; /* what a family must have, its own reader has asked for */
    uint64_t n = 0;
    double x = 0;
    bool truth = false;
    switch (k->kind) {
    case GGUF_KEY_U32:
        if (!json_get_u64(config, *hf, "config.json", 0, UINT32_MAX, &n, err)) return false;
        gguf_put_u32(w, key, (uint32_t)n);
        break;
    case GGUF_KEY_F32:
        if (!json_get_number(config, *hf, "config.json", &x, err)) return false;
        gguf_put_f32(w, key, (float)x);
        break;
    case GGUF_KEY_BOOL:
        if (!json_get_bool(config, *hf, "config.json", &truth, err)) return false;
        gguf_put_bool(w, key, truth);
        break;
    }
    /* llama.cpp knows two head sizes, one for keys and one for values. */
    if (strcmp(k->key, "attention.key_length") == 0) gguf_put_u32(w, "%s.attention.value_length", (uint32_t)n);
    return true;
}

bool gguf_write_config(struct gguf_writer *w, const json_t *config, struct error *err)
{
    uint64_t layers = 0, vocab;
    if (!json_opt_u64(config, "num_hidden_layers", "config.json", 1, GGUF_LAYERS_MAX, &layers, err) ||
        !json_get_u64(config, "vocab_size", "config.json", 1, INT32_MAX, &vocab, err))
        return false;
    gguf_set_layers(w, layers, 0);
    for (uint32_t i = 0; i < w->arch->n_keys; i++)
        if (!write_key(w, &w->arch->keys[i], config, err)) return false;
    if (w->arch->write && !w->arch->write(w, config, err)) return false;
    if (w->trunk == 0) return error_set(err, ERR_FORMAT, "config.json: key 'num_hidden_layers' is missing");
    gguf_put_u32(w, "%s.block_count", (uint32_t)(w->trunk + w->mtp));
    gguf_put_u32(w, "%s.vocab_size", (uint32_t)vocab);
    return true;
}

bool gguf_add_tensor(struct gguf_writer *w, const char *name, const struct ggml_type *type, uint32_t n_dims,
                     const uint64_t *dims, struct error *err)
{
    if (w->n_tensors == w->capacity) {
        uint32_t capacity = w->capacity ? 2 * w->capacity : 256;
        struct out_tensor *p = realloc(w->tensors, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        w->tensors = p;
        w->capacity = capacity;
    }
    struct out_tensor *t = &w->tensors[w->n_tensors];
    *t = (struct out_tensor){.name = arena_text(w->arena, name), .type = type, .n_dims = n_dims};
    if (!t->name) return error_memory(err, 0);
    uint64_t n = 1;
    for (uint32_t i = 0; i < n_dims; i++)
        if (!u64_mul(n, t->dims[i] = dims[i], &n))
            return error_set(err, ERR_FORMAT, "tensor '%.256s': the product of its shape overflows", name);
    uint32_t block = dtype_block_elems(type->dtype);
    if (dims[n_dims - 1] % block != 0 || !u64_mul(n / block, dtype_block_bytes(type->dtype), &t->bytes))
        return error_set(err, ERR_INTERNAL, "tensor '%.256s' cannot be stored as %s", name, dtype_name(type->dtype));
    w->n_tensors++;
    return true;
}

bool gguf_add_made(struct gguf_writer *w, const char *name, const float *v, uint64_t n, struct error *err)
{
    if (w->n_made == w->made_capacity) {
        uint32_t capacity = w->made_capacity ? 2 * w->made_capacity : 16;
        struct made *p = realloc(w->made, capacity * sizeof *p);
        if (!p) return error_memory(err, capacity * sizeof *p);
        w->made = p;
        w->made_capacity = capacity;
    }
    struct made *m = &w->made[w->n_made];
    m->values = malloc((size_t)n * sizeof *v);
    m->name = arena_text(w->arena, name);
    if (!m->values || !m->name) return error_memory(err, n * sizeof *v);
    memcpy(m->values, v, (size_t)n * sizeof *v);
    m->n = n;
    w->n_made++;
    return true;
}

uint32_t gguf_made_count(const struct gguf_writer *w)
{
    return w->n_made;
}

const float *gguf_made(const struct gguf_writer *w, uint32_t i, const char **name, uint64_t *n)
{
    *name = w->made[i].name;
    *n = w->made[i].n;
    return w->made[i].values;
}

static void put_tensor(struct text *h, const struct out_tensor *t, uint64_t offset)
{
    put_bytes(h, bytes_text(t->name));
    put_le(h, t->n_dims, 4);
    for (uint32_t i = t->n_dims; i-- > 0;) put_le(h, t->dims[i], 8);
    put_le(h, t->type->id, 4);
    put_le(h, offset, 8);
}

bool gguf_writer_lay(struct gguf_writer *w, struct bytes *header, uint64_t *file_bytes, struct error *err)
{
    struct text *h = &w->header;
    uint64_t at = 0;
    put_le(h, GGUF_MAGIC, 4);
    put_le(h, 3, 4);
    put_le(h, w->n_tensors, 8);
    put_le(h, w->n_values, 8);
    text_put(h, w->values.data, w->values.size);
    for (uint32_t i = 0; i < w->n_tensors; i++) {
        struct out_tensor *t = &w->tensors[i];
        put_tensor(h, t, t->place = at);
        if (!u64_add(at, t->bytes, &at) || !u64_align(at, GGUF_ALIGNMENT_DEFAULT, &at) || at > INT64_MAX)
            return error_set(err, ERR_FORMAT, "the tensors have more bytes than a file can hold");
    }
    static const uint8_t zeros[GGUF_ALIGNMENT_DEFAULT];
    size_t rest = h->size % GGUF_ALIGNMENT_DEFAULT;
    if (rest) text_put(h, zeros, GGUF_ALIGNMENT_DEFAULT - rest);
    if (w->values.failed || h->failed) return error_memory(err, h->size);
    if (h->size > GGUF_HEADER_MAX)
        return error_set(err, ERR_UNSUPPORTED,
                         "the header of the GGUF file would have %zu bytes, at most %llu are read", h->size,
                         (unsigned long long)GGUF_HEADER_MAX);
    for (uint32_t i = 0; i < w->n_tensors; i++) w->tensors[i].place += h->size;
    *header = bytes_of(h->data, h->size);
    *file_bytes = h->size + at;
    return true;
}

uint64_t gguf_tensor_place(const struct gguf_writer *w, uint32_t tensor)
{
    return w->tensors[tensor].place;
}

uint64_t gguf_tensor_bytes(const struct gguf_writer *w, uint32_t tensor)
{
    return w->tensors[tensor].bytes;
}
