/* tokenizer.model from a GGUF tokenizer of kind "llama": tokens, scores and types are the pieces of a SentencePiece
 * model, with the same numbers for types, so the file is written as SentencePiece's protobuf has it
 * (sentencepiece_model.proto). What GGUF does not say is as in Llama's own file. */
#include "core/text.h"
#include "formats/gguf.h"
#include "formats/gguf_folder.h"

enum { TYPE_UNUSED = 5, TYPE_BYTE };
enum wire { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static void put_varint(struct text *t, uint64_t v)
{
    uint8_t raw[10];
    size_t n = 0;
    do {
        raw[n++] = (uint8_t)(v & 0x7F) | (v > 0x7F ? 0x80 : 0);
        v >>= 7;
    } while (v);
    text_put(t, raw, n);
}

static void put_number(struct text *t, uint32_t field, uint64_t v)
{
    put_varint(t, field << 3 | WIRE_VARINT);
    put_varint(t, v);
}

static void put_bytes(struct text *t, uint32_t field, struct bytes b)
{
    put_varint(t, field << 3 | WIRE_BYTES);
    put_varint(t, b.size);
    text_put(t, b.data, b.size);
}

static void put_message(struct text *t, uint32_t field, const struct text *m)
{
    put_bytes(t, field, bytes_of(m->data, m->size));
    if (m->failed) t->failed = true;
}

static void put_piece(struct text *out, struct bytes text, double score, uint64_t type)
{
    __attribute__((cleanup(cleanup_text))) struct text piece = TEXT_INIT;
    float f = (float)score;
    put_bytes(&piece, 1, text);
    put_varint(&piece, 2 << 3 | WIRE_FIXED32);
    text_put(&piece, &f, sizeof f);
    put_number(&piece, 3, type);
    put_message(out, 1, &piece);
}

static bool put_pieces(const struct gguf *g, struct text *out, uint64_t *n_bytes, struct error *err)
{
    const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens"),
                            *scores = gguf_find(g, "tokenizer.ggml.scores"),
                            *types = gguf_find(g, "tokenizer.ggml.token_type");
    size_t at = 0;
    uint64_t n = tokens->n, last = TYPE_UNUSED;
    /* What fills the vocabulary up to the model's size is no piece. */
    while (n && gguf_u64_at(types, n - 1, 255, &last, err) && last == TYPE_UNUSED) n--;
    for (uint64_t i = 0; i < n; i++) {
        struct bytes text;
        double score;
        uint64_t type;
        if (!gguf_next_text(tokens, &at, &text, err) || !gguf_number_at(scores, i, &score, err) ||
            !gguf_u64_at(types, i, 255, &type, err))
            return false;
        *n_bytes += type == TYPE_BYTE;
        put_piece(out, text, score, type);
    }
    return true;
}

/* The text of the token that a key names. */
static bool put_special(const struct gguf *g, const char *key, uint32_t field, struct text *out, struct error *err)
{
    const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    uint64_t id;
    bool has;
    size_t at = 0;
    struct bytes text = {0};
    if (!gguf_opt_u64(g, key, UINT32_MAX, &id, &has, err)) return false;
    if (!has) return true;
    if (id >= tokens->n)
        return error_set(err, ERR_FORMAT, "key '%s' is %llu of %llu tokens", key, (unsigned long long)id,
                         (unsigned long long)tokens->n);
    for (uint64_t i = 0; i <= id; i++)
        if (!gguf_next_text(tokens, &at, &text, err)) return false;
    put_bytes(out, field, text);
    return true;
}

static bool put_specs(const struct gguf *g, uint64_t n_bytes, struct text *out, struct error *err)
{
    __attribute__((cleanup(cleanup_text))) struct text trainer = TEXT_INIT, normalizer = TEXT_INIT;
    bool prefix = true, remove = false, has;
    if (!gguf_opt_bool(g, "tokenizer.ggml.add_space_prefix", &prefix, &has, err) ||
        !gguf_opt_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &remove, &has, err))
        return false;
    put_number(&trainer, 3, 2); /* model_type: BPE */
    put_number(&trainer, 35, n_bytes > 0);
    if (!put_special(g, "tokenizer.ggml.bos_token_id", 46, &trainer, err) ||
        !put_special(g, "tokenizer.ggml.eos_token_id", 47, &trainer, err))
        return false;
    put_number(&normalizer, 3, prefix);
    put_number(&normalizer, 4, remove);
    put_number(&normalizer, 5, 1); /* escape_whitespaces */
    put_message(out, 2, &trainer);
    put_message(out, 3, &normalizer);
    return true;
}

bool gguf_spm(const struct gguf *g, char **out, size_t *out_size, struct error *err)
{
    struct text text = TEXT_INIT;
    uint64_t n_bytes = 0;
    if (!put_pieces(g, &text, &n_bytes, err) || !put_specs(g, n_bytes, &text, err)) {
        text_free(&text);
        return false;
    }
    return text_take(&text, out, out_size, err);
}
