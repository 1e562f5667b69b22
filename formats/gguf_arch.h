/* What llama.cpp's architectures call things, held against the names that families have on the Hugging Face hub: one
 * row per architecture, with a map of tensors and a map of keys, each used in both directions. Names, and what happens
 * to the values of a tensor, are those of llama.cpp's converter and loader (gguf-py's constants; its conversion of each
 * family). The models themselves are described in models/; nothing here knows shapes. */
#ifndef FORMATS_GGUF_ARCH_H
#define FORMATS_GGUF_ARCH_H

#include "core/json.h"
#include "formats/gguf.h"

/* How the tensor of a GGUF file differs from that of a Hugging Face folder. */
enum gguf_change {
    GGUF_SAME,
    GGUF_ROPE_Q,   /* rows of a head: GGUF has the partners of a rotation side by side, the folder half a head apart */
    GGUF_ROPE_K,   /* the same with the number of key heads */
    GGUF_LINEAR,   /* the same: in a layer without key heads, the name belongs to this row (deci) */
    GGUF_QKV,      /* of DeltaNet's projection q, k and v of all heads; the folder has it by key heads */
    GGUF_Z,        /* of the same the gates */
    GGUF_K_B,      /* of latent attention's second projection the rows of keys, [heads, rank, rows] */
    GGUF_V_B,      /* of the same those of values, [heads, rows, rank] */
    GGUF_PLUS_ONE, /* GGUF holds w + 1 */
    GGUF_NEG_EXP,  /* GGUF holds -exp(w), as a column */
    GGUF_NEG_EXP_ROW, /* the same, in one dimension */
    GGUF_ROW,         /* the folder's [1, n] is [n] in GGUF */
    GGUF_COLUMN,      /* the folder's [n] is [n, 1] in GGUF */
    GGUF_GROUPS,      /* the folder's [n] is [groups, n / groups] in GGUF, the key ssm.group_count */
    GGUF_CONV,        /* the folder's [channels, 1, taps] is [channels, taps] in GGUF */
    GGUF_MADE         /* not in the folder: follows from the configuration */
};

/* The rows of a projection: groups (heads) of sections. GGUF_QKV, GGUF_Z: query, key, values and gates of a key head;
 * GGUF_K_B, GGUF_V_B: keys and values of a head. */
struct gguf_sections {
    uint64_t groups, rows[4];
    uint32_t n;
};
uint64_t gguf_group_rows(const struct gguf_sections *s); /* of all sections; formats/gguf_split.c */

/* {B}: the number of the layer; {E} in `hf`: the expert's, whose tensors lie stacked in one of GGUF. */
struct gguf_name {
    const char *gguf, *hf; /* hf NULL: GGUF_MADE */
    enum gguf_change change;
    bool f32; /* GGUF holds it in F32 whatever the type asked for, beside everything with one dimension */
    bool mtp; /* of the trailing block that holds the multi-token-prediction head: {B} is that block's number */
};

enum gguf_key_kind { GGUF_KEY_U32, GGUF_KEY_F32, GGUF_KEY_BOOL };
struct gguf_key {
    const char *key;       /* behind "ARCHITECTURE." */
    const char *const *hf; /* keys of config.json, NULL-terminated; the first is the one we write */
    enum gguf_key_kind kind;
    bool required; /* reading a GGUF file fails without it */
};

struct gguf_arch;
struct gguf_writer;

/* What the two maps cannot say. `config` is config.json, on reading the part that the map of keys has filled. */
typedef bool (*gguf_read_fn)(const struct gguf *g, json_t *config, struct error *err);
typedef bool (*gguf_write_fn)(struct gguf_writer *w, const json_t *config, struct error *err);

struct gguf_arch {
    const char *name;                 /* general.architecture */
    const char *hf_name, *model_type; /* what config.json says */
    const char *also_hf, *also_type;  /* another family that is written as this one, or NULL */
    const struct gguf_name *names;
    uint32_t n_names;
    const struct gguf_key *keys;
    uint32_t n_keys;
    /* Matrices whose product llama.cpp's graph multiplies with NAME.scale, " attn_q attn_k ... ": it loads a scale for
     * more than it uses (docs/formats.md, GGUF). */
    const char *scaled;
    bool drops_mtp;      /* the multi-token-prediction head is not written: llama.cpp has no place for it */
    gguf_read_fn read;   /* or NULL */
    gguf_write_fn write; /* or NULL */
};
extern const struct gguf_arch *const gguf_archs[]; /* NULL-terminated; formats/gguf_arch.c */

/* ERR_UNSUPPORTED, naming it, when there is no row. */
MUST_CHECK bool gguf_arch_find(const struct gguf_arch **out, const char *name, struct error *err);
/* The row that writes a config.json; ERR_UNSUPPORTED when there is none. */
MUST_CHECK bool gguf_arch_for(const struct gguf_arch **out, const json_t *config, struct error *err);

/* The row whose name fits, with the numbers it holds (NAME_NONE: none), or NULL. `n_layers` is that of the trunk. */
const struct gguf_name *gguf_name_match(const struct gguf_arch *a, const char *gguf, uint64_t n_layers,
                                        uint32_t *block);
const struct gguf_name *gguf_name_match_hf(const struct gguf_arch *a, const char *hf, uint32_t *block,
                                           uint32_t *expert);
/* Fills a pattern; arena text or NULL. */
char *gguf_name_fill(struct arena *arena, const char *pattern, uint32_t block, uint32_t expert);

/* block_count without the trailing blocks of nextn_predict_layers. */
MUST_CHECK bool gguf_layers(const struct gguf *g, uint64_t *trunk, uint64_t *mtp, struct error *err);
#define GGUF_LAYERS_MAX 4096u

/* config.json as a family's reader expects it; new reference. */
MUST_CHECK bool gguf_config(const struct gguf *g, const struct gguf_arch *a, json_t **out, struct error *err);

/* What `scaled` is made of. */
#define GGUF_SCALED_ATTN " attn_q attn_k attn_v attn_output "
#define GGUF_SCALED_FFN " ffn_gate ffn_up ffn_down "
#define GGUF_SCALED_EXPS " ffn_gate_exps ffn_up_exps ffn_down_exps "
#define GGUF_SCALED_SHEXP " ffn_gate_shexp ffn_up_shexp ffn_down_shexp "
/* Of "blk.3.attn_q.weight", made by `row` (or NULL): llama.cpp uses its scale. */
bool gguf_takes_scale(const struct gguf_arch *a, const struct gguf_name *row, const char *name);

/* For rows of several families (formats/gguf_config.c, formats/gguf_rope.c, formats/gguf_llama.c). */
/* Element i of an array with one element per layer, or the one value for all layers; `key` begins with "%s.". */
MUST_CHECK bool gguf_per_layer(const struct gguf *g, const char *key, uint64_t n_layers, uint64_t i, uint64_t *out,
                               struct error *err);
/* Biases are there or not; config.json says so, GGUF only shows it. */
MUST_CHECK bool gguf_read_biases(const struct gguf *g, json_t *config, struct error *err);
/* ERR_UNSUPPORTED unless the key is absent, null or as wanted. */
MUST_CHECK bool gguf_flag_is(const json_t *config, const char *key, bool wanted, const char *arch, struct error *err);
/* head_dim of config.json, or hidden_size / num_attention_heads. */
MUST_CHECK bool gguf_head_dim(const json_t *config, uint64_t *out, struct error *err);
MUST_CHECK bool gguf_put_number(json_t *config, const char *key, double value, struct error *err);
MUST_CHECK bool gguf_read_rope(const struct gguf *g, json_t *config, struct error *err);
MUST_CHECK bool gguf_write_rope(struct gguf_writer *w, const json_t *config, uint64_t rope_dims, struct error *err);

#endif
