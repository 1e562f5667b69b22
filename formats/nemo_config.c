/* config.json from model_config.yaml: GPT models as NeMo describes them, those that are a Llama or a Nemotron-4. */
#include "core/yaml.h"
#include "formats/nemo.h"

#define WHAT NEMO_CONFIG_NAME

struct making {
    const json_t *in;
    json_t *out;
    struct error *err;
};

static bool copy_u64(struct making *m, const char *key, const char *to, bool required)
{
    uint64_t n = 0;
    if (!json_has(m->in, key)) return !required || error_set(m->err, ERR_FORMAT, WHAT ": key '%s' is missing", key);
    return json_get_u64(m->in, key, WHAT, 1, UINT32_MAX, &n, m->err) &&
           json_put(m->out, to, json_integer((json_int_t)n), m->err);
}

static bool copy_number(struct making *m, const char *key, const char *to, double otherwise)
{
    double x = otherwise;
    return json_opt_number(m->in, key, WHAT, &x, m->err) && json_put(m->out, to, json_real(x), m->err);
}

static bool refuse(struct making *m, const char *key, const char *value)
{
    return error_set(m->err, ERR_UNSUPPORTED,
                     WHAT ": key '%s': '%.64s': Llama and Nemotron-4 have it otherwise, and"
                          " other GPT models are not read here",
                     key, value);
}

/* The one choice that makes a family: the activation; everything else must fit it. */
static bool choose_family(struct making *m, bool *nemotron)
{
    const char *activation = "gelu", *norm = "layernorm", *position = "learned_absolute";
    bool zero_centered = false;
    if (!json_opt_string(m->in, "activation", WHAT, &activation, m->err) ||
        !json_opt_string(m->in, "normalization", WHAT, &norm, m->err) ||
        !json_opt_string(m->in, "position_embedding_type", WHAT, &position, m->err) ||
        !json_opt_bool(m->in, "layernorm_zero_centered_gamma", WHAT, &zero_centered, m->err))
        return false;
    *nemotron = strcmp(activation, "squared-relu") == 0;
    if (!*nemotron && strcmp(activation, "swiglu") != 0 && strcmp(activation, "fast-swiglu") != 0)
        return refuse(m, "activation", activation);
    bool fits = *nemotron ? strcmp(norm, "layernorm1p") == 0 || (zero_centered && strcmp(norm, "layernorm") == 0)
                          : strcmp(norm, "rmsnorm") == 0 && !zero_centered;
    if (!fits) return refuse(m, "normalization", norm);
    return strcmp(position, "rope") == 0 || refuse(m, "position_embedding_type", position);
}

/* Things that other GPT models have, none of which changes a name or a shape that would give them away. */
static bool refuse_others(struct making *m)
{
    static const struct {
        const char *key;
        bool usual;
    } switches[] = {{"apply_query_key_layer_scaling", false},
                    {"qk_layernorm", false},
                    {"normalize_attention_scores", true},
                    {"add_position_embedding", false},
                    {"multi_query_attention", false}};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++) {
        bool value = switches[i].usual;
        if (!json_opt_bool(m->in, switches[i].key, WHAT, &value, m->err)) return false;
        if (i >= 1 && i <= 2 && value != switches[i].usual) return refuse(m, switches[i].key, value ? "true" : "false");
    }
    double factor = 1;
    if (!json_opt_number(m->in, "seq_len_interpolation_factor", WHAT, &factor, m->err)) return false;
    if (factor == 1) return true;
    return json_put(m->out, "rope_scaling", json_pack("{s:s,s:f}", "rope_type", "linear", "factor", factor), m->err);
}

/* Llama 3.1's stretch of the rotation, whose numbers Megatron has as constants. */
static bool scale_rope(struct making *m)
{
    bool scaled = false;
    if (!json_opt_bool(m->in, "scale_positional_embedding", WHAT, &scaled, m->err) || !scaled) return scaled == false;
    return json_put(m->out, "rope_scaling",
                    json_pack("{s:s,s:f,s:f,s:f,s:i}", "rope_type", "llama3", "factor", 8.0, "low_freq_factor", 1.0,
                              "high_freq_factor", 4.0, "original_max_position_embeddings", 8192),
                    m->err);
}

static bool put_type(struct making *m)
{
    const json_t *p = json_object_get(m->in, "precision");
    const char *text = json_is_string(p) ? json_string_value(p) : "";
    const char *type = strncmp(text, "bf16", 4) == 0                                                        ? "bfloat16"
                       : strncmp(text, "16", 2) == 0 || (json_is_integer(p) && json_integer_value(p) == 16) ? "float16"
                       : json_is_integer(p) || strncmp(text, "32", 2) == 0                                  ? "float32"
                                                                           : "bfloat16";
    return json_put(m->out, "torch_dtype", json_string(type), m->err);
}

static bool put_sizes(struct making *m, uint64_t vocab)
{
    uint64_t hidden = 0, heads = 1, channels = 0, groups;
    if (!copy_u64(m, "hidden_size", "hidden_size", true) || !copy_u64(m, "num_layers", "num_hidden_layers", true) ||
        !copy_u64(m, "num_attention_heads", "num_attention_heads", true) ||
        !copy_u64(m, "ffn_hidden_size", "intermediate_size", true) ||
        !copy_u64(m, "max_position_embeddings", "max_position_embeddings", false) ||
        !json_get_u64(m->out, "hidden_size", WHAT, 1, UINT32_MAX, &hidden, m->err) ||
        !json_get_u64(m->out, "num_attention_heads", WHAT, 1, UINT32_MAX, &heads, m->err))
        return false;
    groups = heads;
    channels = hidden / heads;
    if (!json_opt_u64(m->in, "num_query_groups", WHAT, 1, UINT32_MAX, &groups, m->err) ||
        !json_opt_u64(m->in, "kv_channels", WHAT, 1, UINT32_MAX, &channels, m->err))
        return false;
    if (vocab == 0 && !json_get_u64(m->in, "override_vocab_size", WHAT, 1, UINT32_MAX, &vocab, m->err)) return false;
    return json_put(m->out, "num_key_value_heads", json_integer((json_int_t)groups), m->err) &&
           json_put(m->out, "head_dim", json_integer((json_int_t)channels), m->err) &&
           json_put(m->out, "vocab_size", json_integer((json_int_t)vocab), m->err);
}

static bool make(struct making *m, uint64_t vocab)
{
    bool nemotron, shared = true, bias = true;
    if (!choose_family(m, &nemotron)) return false;
    const char *hf = nemotron ? "NemotronForCausalLM" : "LlamaForCausalLM";
    if (!json_put(m->out, "architectures", json_pack("[s]", hf), m->err) ||
        !json_put(m->out, "model_type", json_string(nemotron ? "nemotron" : "llama"), m->err) || !put_sizes(m, vocab) ||
        !json_put(m->out, "hidden_act", json_string(nemotron ? "relu2" : "silu"), m->err) ||
        !copy_number(m, "layernorm_epsilon", nemotron ? "norm_eps" : "rms_norm_eps", 1e-5) ||
        !copy_number(m, "rotary_base", "rope_theta", 10000) ||
        (nemotron && !copy_number(m, "rotary_percentage", "partial_rotary_factor", 1)) ||
        !json_opt_bool(m->in, "share_embeddings_and_output_weights", WHAT, &shared, m->err) ||
        !json_opt_bool(m->in, "bias", WHAT, &bias, m->err))
        return false;
    double rotary = 1;
    if (!nemotron && !json_opt_number(m->in, "rotary_percentage", WHAT, &rotary, m->err)) return false;
    if (rotary != 1) return refuse(m, "rotary_percentage", json_brief(json_object_get(m->in, "rotary_percentage")));
    return json_put(m->out, "tie_word_embeddings", json_boolean(shared), m->err) &&
           json_put(m->out, "attention_bias", json_boolean(bias), m->err) &&
           json_put(m->out, "mlp_bias", json_boolean(bias), m->err) && refuse_others(m) && scale_rope(m) && put_type(m);
}

bool nemo_config(struct bytes yaml, uint64_t vocab, json_t **out, struct error *err)
{
    CLEANUP(yaml) struct yaml *y = NULL;
    CLEANUP(json) json_t *config = json_object();
    *out = NULL;
    if (!config) return error_memory(err, 0);
    if (!yaml_parse_documents(yaml, WHAT, &y, err)) return false;
    const json_t *root = yaml_root(y);
    if (json_is_array(root)) root = json_array_get(root, 0);
    struct making m = {.in = root, .out = config, .err = err};
    if (!json_is_object(root)) return error_set(err, ERR_FORMAT, WHAT ": a mapping is expected");
    if (!make(&m, vocab)) return false;
    *out = take_ptr(&config);
    return true;
}
