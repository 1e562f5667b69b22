/* Encoders: retrieval embedders and rerankers, which are Llama or Qwen3 with another end. A text's rows behind the
 * final norm are pooled into one vector; a reranker sends that through its score head. NVIDIA's classes take the causal
 * mask away, those of transformers keep it; a key `is_causal` says otherwise. */
#include "models/decoder.h"

#include <math.h>

extern const struct model_arch model_llama, model_qwen3;

/* What a class does where config.json is silent. */
static const struct encoder_class {
    const char *name;
    enum model_output output;
    enum pooling pooling;
    bool bidirectional;
} classes[] = {
    {"LlamaBidirectionalModel", OUTPUT_EMBEDDING, POOL_MEAN, true},
    {"LlamaBidirectionalForSequenceClassification", OUTPUT_SCORES, POOL_MEAN, true},
    {"LlamaForSequenceClassification", OUTPUT_SCORES, POOL_LAST, false},
    {"Qwen3BidirectionalModel", OUTPUT_EMBEDDING, POOL_MEAN, true},
    {"Qwen3Model", OUTPUT_EMBEDDING, POOL_LAST, false},
    {"Qwen3ForSequenceClassification", OUTPUT_SCORES, POOL_LAST, false},
};

static const struct encoder_class *class_of(const char *name)
{
    const struct encoder_class *c = classes;
    while (strcmp(c->name, name) != 0) c++; /* the families below answer to these names alone */
    return c;
}

/* NVIDIA's words. Its weighted_avg is the plain sum over tokens, which points where the mean does. */
static bool read_pooling(const json_t *json, enum pooling *out, struct error *err)
{
    static const struct {
        const char *word;
        enum pooling pooling;
    } words[] = {
        {"avg", POOL_MEAN}, {"mean", POOL_MEAN}, {"weighted_avg", POOL_SUM}, {"cls", POOL_FIRST}, {"last", POOL_LAST}};
    const char *word = NULL;
    if (!json_opt_string(json, "pooling", "config", &word, err)) return false;
    if (!word) return true;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].word, word) != 0) continue;
        *out = words[i].pooling;
        return true;
    }
    return error_set(err, ERR_UNSUPPORTED,
                     "key 'pooling': expected avg, mean, weighted_avg, cls or last, found '%.64s'", word);
}

/* transformers writes the labels' names and not their number, and neither when there are two. */
static bool read_labels(const json_t *json, uint64_t *out, struct error *err)
{
    const json_t *names = json_object_get(json, "id2label");
    uint64_t n = 2;
    if (names && !json_is_null(names)) {
        if (!json_is_object(names) || json_object_size(names) == 0)
            return error_set(err, ERR_FORMAT, "key 'id2label': expected an object of labels, found %s",
                             json_brief(names));
        n = json_object_size(names);
    }
    return config_count(json, NAMES("num_labels"), MODEL_DIM_MAX, n, out, err);
}

static bool read_encoder(struct model_config *cfg, const json_t *json, struct error *err)
{
    const struct encoder_class *c = class_of(cfg->hf_name);
    bool causal = !c->bidirectional;
    double t = 1;
    cfg->encoder = (struct encoder_config){.output = c->output, .pooling = c->pooling};
    cfg->tied_head = false;
    if (!json_opt_bool(json, "is_causal", "config", &causal, err) || !read_pooling(json, &cfg->encoder.pooling, err) ||
        !json_opt_number(json, "temperature", "config", &t, err))
        return false;
    if (!(t > 0) || !isfinite(t))
        return error_set(err, ERR_FORMAT, "key 'temperature': expected a positive number, found %s",
                         json_brief(json_object_get(json, "temperature")));
    cfg->bidirectional = !causal;
    cfg->encoder.temperature = t;
    return c->output != OUTPUT_SCORES || read_labels(json, &cfg->dims[DIM_LABELS], err);
}

static bool read_llama(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    return model_llama.read_config(cfg, json, arena, err) && read_encoder(cfg, json, err);
}

static bool read_qwen3(struct model_config *cfg, const json_t *json, struct arena *arena, struct error *err)
{
    if (json_has(json, "num_experts"))
        return error_set(err, ERR_UNSUPPORTED, "key 'num_experts': %s with experts is not supported", cfg->hf_name);
    return model_qwen3.read_config(cfg, json, arena, err) && read_encoder(cfg, json, err);
}

WHEN(gives_scores, cfg->encoder.output == OUTPUT_SCORES)

#define RULES_ENCODER_END                                                                                              \
    {"{R}norm.weight", ROLE_FINAL_NORM, SCOPE_MODEL, 0, "hidden", NULL},                                               \
    {                                                                                                                  \
        "score.weight", ROLE_SCORE, SCOPE_MODEL, 0, "labels,hidden", gives_scores                                      \
    }

/* Embedders have the names of the body alone, rerankers a body called model. */
static const struct name_root roots[] = {{"", ""}, {"model.", ""}, {0}};

static const struct role_rule llama_rules[] = {
    RULES_EMBED,    RULES_ATTENTION_NORM, RULES_ATTENTION,      RULES_ATTENTION_BIAS,
    RULES_MLP_NORM, RULES_GATED_MLP,      RULES_GATED_MLP_BIAS, RULES_ENCODER_END,
};

const struct model_arch model_llama_encoder = {
    .name = "llama_encoder",
    .hf_names = NAMES("LlamaBidirectionalModel", "LlamaBidirectionalForSequenceClassification",
                      "LlamaForSequenceClassification"),
    .model_types = NAMES("llama_bidirec"),
    .read_config = read_llama,
    .roots = roots,
    .block_prefix = "{R}layers.%u",
    .rules = llama_rules,
    .n_rules = sizeof llama_rules / sizeof *llama_rules,
};

static const struct role_rule qwen3_rules[] = {
    RULES_EMBED,   RULES_ATTENTION_NORM, RULES_ATTENTION, RULES_ATTENTION_BIAS,
    RULES_QK_NORM, RULES_MLP_NORM,       RULES_GATED_MLP, RULES_ENCODER_END,
};

const struct model_arch model_qwen3_encoder = {
    .name = "qwen3_encoder",
    .hf_names = NAMES("Qwen3BidirectionalModel", "Qwen3Model", "Qwen3ForSequenceClassification"),
    .model_types = (const char *const[]){NULL},
    .read_config = read_qwen3,
    .roots = roots,
    .block_prefix = "{R}layers.%u",
    .rules = qwen3_rules,
    .n_rules = sizeof qwen3_rules / sizeof *qwen3_rules,
};
