/* The files of a Hugging Face model folder that are not weights. config.json and generation_config.json are read in
 * their dialect (core/json.h); every other file is carried byte for byte and not interpreted here. */
#ifndef FORMATS_HF_CONFIG_H
#define FORMATS_HF_CONFIG_H

#include "core/json.h"
#include "formats/folder.h"

/* The largest we know of lists 50 k experts by name, twice: 12 MB. */
#define CONFIG_BYTES_MAX ((size_t)32 << 20)

struct hf_config {
    json_t *config;            /* config.json; never NULL. In Mistral's own layout params.json */
    const char *name;          /* which of the two; NULL, in what tests make: config.json */
    json_t *generation;        /* generation_config.json, or NULL */
    json_t *tokenizer_config;  /* tokenizer_config.json, or NULL */
    json_t *quant;             /* hf_quant_config.json, or NULL */
    struct buffer config_text; /* that file as it stands */
};

/* True for Mistral's params.json, whose keys are others. */
bool hf_config_is_native(const struct hf_config *c);
/* ERR_FORMAT when config.json is missing or any of the files is not an object. */
MUST_CHECK bool hf_config_open(struct hf_config *out, const struct folder *f, struct error *err);
void hf_config_close(struct hf_config *c);

static inline void cleanup_hf_config(struct hf_config *c)
{
    hf_config_close(c);
}

/* The ids that end a text, each once, in the order given: generation_config's before config's before those of the
 * language model inside a multimodal config; an int or a list. At most `max`; *n may be 0. */
MUST_CHECK bool hf_config_eos(const struct hf_config *c, uint32_t *ids, uint32_t max, uint32_t *n, struct error *err);
/* bos_token_id, looked for in the same places; *has false when there is none or it is null. */
MUST_CHECK bool hf_config_bos(const struct hf_config *c, uint32_t *id, bool *has, struct error *err);

/* Width of a DeciLM's MLP from its `ffn_mult`: int(2 * mult * hidden / 3), up to the next multiple of 256 (the family's
 * modeling code); 0 when the multiplier makes none below 2^31. */
uint64_t hf_deci_width(double mult, uint64_t hidden);

/* The key under which a multimodal configuration keeps its language model's, or NULL. */
const char *hf_config_wrapper(const json_t *config);

#endif
