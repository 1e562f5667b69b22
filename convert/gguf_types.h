/* Which type each tensor of a GGUF file gets: the words of --type. What a mix gives to which tensor are llama.cpp's
 * rules (src/llama-quant.cpp: llama_tensor_get_type), so that a file of ours has the types of the file that
 * llama-quantize makes; tests/interop/gguf_peer.py holds them against it. */
#ifndef CONVERT_GGUF_TYPES_H
#define CONVERT_GGUF_TYPES_H

#include "core/dtype.h"

#include <stdbool.h>
#include <stdint.h>

enum gguf_rule {
    GGUF_PURE,    /* every matrix alike */
    GGUF_LLAMA,   /* head, or the embedding that serves as one, in Q6_K (Q8_0 stays) */
    GGUF_SMALL,   /* and Q5_K for the first attn_v and ffn_down: llama.cpp's "S" */
    GGUF_MEDIUM,  /* and Q6_K for about half of attn_v and ffn_down: "M" */
    GGUF_EXPERTS, /* stacks of experts in it, everything else Q8_0 */
    GGUF_SCALED /* NVFP4: what llama.cpp multiplies with a tensor's scale; embedding and head stay plain, others Q8_0 */
};

struct gguf_mix {
    const char *word;
    enum dtype base;
    uint32_t file_type; /* general.file_type: llama.cpp's number */
    enum gguf_rule rule;
};
extern const struct gguf_mix gguf_mixes[];              /* ends with word == NULL */
const struct gguf_mix *gguf_mix_find(const char *word); /* NULL: no such word */
const struct gguf_mix *gguf_mix_of(enum dtype plain);   /* of a file whose matrices have it; NULL: none */

/* What the rules look at, of the whole model; the counters go on from tensor to tensor, in the order of layers. */
struct gguf_model_facts {
    uint32_t n_layers, n_attn_v, n_experts;
    bool tied, is_70b;
    uint32_t attn_v, ffn_down; /* so far */
};
bool gguf_is_attn_v(const char *name); /* counts as one in n_attn_v */
/* The type of a matrix, or of a stack of `n_stack` > 1 of them, with rows of so many columns, that llama.cpp would
 * quantize at all; `scaled` of gguf_takes_scale. *fallback: not what the rules ask for, because rows are not whole
 * blocks of that. */
enum dtype gguf_mix_type(const struct gguf_mix *mix, struct gguf_model_facts *facts, const char *name, uint64_t cols,
                         uint32_t n_stack, bool scaled, bool *fallback);

#endif
