/* Writing a GGUF file (version 3): values are put, tensors announced, then the header is laid out, and with it the
 * place of every tensor. Bytes depend on nothing but what was put, in that order. The file itself is the caller's. */
#ifndef FORMATS_GGUF_WRITE_H
#define FORMATS_GGUF_WRITE_H

#include "core/cleanup.h"
#include "formats/gguf_arch.h"

struct gguf_writer;
MUST_CHECK bool gguf_writer_open(struct gguf_writer **out, const struct gguf_arch *arch, struct error *err);
void gguf_writer_close(struct gguf_writer *w); /* NULL is fine */
CLEANUP_DEFINE(gguf_writer, struct gguf_writer, gguf_writer_close)

/* Values. A key that begins with "%s" gets the architecture's name there. A failed allocation is remembered and
 * reported by gguf_writer_lay. */
void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_put_f32(struct gguf_writer *w, const char *key, float v);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_put_text(struct gguf_writer *w, const char *key, struct bytes v);
void gguf_put_i32_array(struct gguf_writer *w, const char *key, const int32_t *v, uint64_t n);
void gguf_put_f32_array(struct gguf_writer *w, const char *key, const float *v, uint64_t n);
void gguf_put_text_array(struct gguf_writer *w, const char *key, const struct bytes *v, uint64_t n);

/* Numbers of layers of trunk and multi-token prediction; later calls win. block_count is their sum. */
void gguf_set_layers(struct gguf_writer *w, uint64_t trunk, uint64_t mtp);
uint64_t gguf_trunk_layers(const struct gguf_writer *w);
uint64_t gguf_all_layers(const struct gguf_writer *w);

/* What an architecture's maps and functions make of config.json: general.architecture, sizes, rotation. */
MUST_CHECK bool gguf_write_config(struct gguf_writer *w, const json_t *config, struct error *err);
/* tokenizer.json, with what tokenizer_config.json and config.json say of special tokens, as llama.cpp expects it.
 * `vocab_size` is the model's: ids without a token get a placeholder. `json` is the whole file. */
struct gguf_vocab_source {
    struct bytes json;              /* tokenizer.json; size 0: no tokenizer */
    const json_t *tokenizer_config; /* or NULL */
    const json_t *config;           /* config.json */
    struct bytes chat_template;     /* size 0: none */
};
MUST_CHECK bool gguf_write_vocab(struct gguf_writer *w, const struct gguf_vocab_source *s, uint64_t vocab_size,
                                 struct error *err);

/* Tensors, in the order of the file; `dims` outermost first. */
MUST_CHECK bool gguf_add_tensor(struct gguf_writer *w, const char *name, const struct ggml_type *type, uint32_t n_dims,
                                const uint64_t *dims, struct error *err);
/* One that follows from the configuration, F32; goes before all others. The values are copied. */
MUST_CHECK bool gguf_add_made(struct gguf_writer *w, const char *name, const float *v, uint64_t n, struct error *err);
uint32_t gguf_made_count(const struct gguf_writer *w);
const float *gguf_made(const struct gguf_writer *w, uint32_t i, const char **name, uint64_t *n);

/* The header, up to the first tensor, owned by the writer; then the places in the file and its size. */
MUST_CHECK bool gguf_writer_lay(struct gguf_writer *w, struct bytes *header, uint64_t *file_bytes, struct error *err);
uint64_t gguf_tensor_place(const struct gguf_writer *w, uint32_t tensor);
uint64_t gguf_tensor_bytes(const struct gguf_writer *w, uint32_t tensor);

#endif
